"""Data sets, samplers and the batch loader, under the names of ``torch.utils.data``.

``dataset`` defines the items and ``sampler`` their order, ``collate`` makes a batch from a list of items, and
``dataloader`` combines them. A data set over arrays returns a whole batch by one gather
(``dataset.batch_reader``); any other is read item by item.
"""

from importlib import import_module
from typing import Any

from fastnn.utils.data.collate import default_collate, default_convert
from fastnn.utils.data.dataloader import DataLoader, get_worker_info
from fastnn.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    ImageDataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from fastnn.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]

# Imported on first use.
_ON_USE = ("_utils", "distributed")


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return import_module(f"fastnn.utils.data.{name}")
    if name == "DistributedSampler":
        return import_module("fastnn.utils.data.distributed").DistributedSampler
    raise AttributeError(f"module 'fastnn.utils.data' has no attribute {name!r}")
