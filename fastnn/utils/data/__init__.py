"""Data sets, samplers and the batch loader, under the names of ``torch.utils.data``.

``dataset`` defines the items and ``sampler`` their order, ``collate`` makes a batch from a list of items, and
``dataloader`` combines them. A data set over arrays returns a whole batch by one gather
(``dataset.batch_reader``); any other is read item by item.
"""

from importlib import import_module
from typing import Any

from fastnn._core.absent import absent_class
from fastnn.utils.data.collate import default_collate, default_convert
from fastnn.utils.data.dataloader import DataLoader, get_worker_info
from fastnn.utils.data.dataloader import _DatasetKind as _DatasetKind
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
    "IterDataPipe",
    "IterableDataset",
    "MapDataPipe",
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

_DATAPIPES = "fastnn has no data pipes: torch.utils.data.{} is only a name; use a Dataset or an IterableDataset"
IterDataPipe = absent_class("torch.utils.data.IterDataPipe", (), _DATAPIPES.format("IterDataPipe"))
MapDataPipe = absent_class("torch.utils.data.MapDataPipe", (), _DATAPIPES.format("MapDataPipe"))

# Imported on first use.
_ON_USE = ("_utils", "distributed")


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return import_module(f"fastnn.utils.data.{name}")
    if name == "DistributedSampler":
        return import_module("fastnn.utils.data.distributed").DistributedSampler
    raise AttributeError(f"module 'fastnn.utils.data' has no attribute {name!r}")
