"""Names and parts of PyTorch's that libraries look into; the same code on both libraries where both have them."""

from __future__ import annotations

import importlib
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

NAMES = """
    utils.hooks: RemovableHandle BackwardHook
    utils._pytree: tree_map tree_map_with_path tree_flatten_with_path tree_leaves_with_path keystr
    types: _dtype IntLikeType Number Device
    compiler: is_compiling disable reset compile
    _dynamo: disable reset config is_compiling explain
    _dynamo.config: suppress_errors cache_size_limit
    fx.proxy: Proxy
    profiler: profile record_function schedule ProfilerActivity
    autograd.profiler: emit_nvtx emit_itt record_function
    autograd.profiler_util: EventList FunctionEvent
    hub: load get_dir HASH_REGEX _get_torch_home
    cuda: OutOfMemoryError stream StreamContext get_rng_state_all set_rng_state_all is_current_stream_capturing graph
    cuda.nvtx: range_push range_pop mark range
    backends: opt_einsum nnpack quantized
    amp.autocast_mode: autocast custom_fwd custom_bwd
    amp.grad_scaler: GradScaler
    nn.parallel: DataParallel DistributedDataParallel replicate parallel_apply data_parallel scatter gather
    nn.parallel.data_parallel: DataParallel
    nn.modules.dropout: _DropoutNd
    optim.optimizer: ParamsT StateDict _RequiredParameter required
    testing: make_tensor assert_close
    torch_version: TorchVersion
    utils.dlpack: to_dlpack from_dlpack
    utils._python_dispatch: TorchDispatchMode is_traceable_wrapper_subclass
    jit: annotate Final TracerWarning ScriptModule
    func: debug_unwrap vmap grad
    _functorch.apis: vmap grad
    _functorch.eager_transforms: jacrev jvp vjp
    utils.data: _DatasetKind IterDataPipe MapDataPipe
    utils.data.dataloader: _InfiniteConstantSampler _utils _collate_fn_t _MultiProcessingDataLoaderIter
    utils.data._utils.fetch: _MapDatasetFetcher _IterableDatasetFetcher
    utils.data._utils.worker: _worker_loop _IterableDatasetStopIteration _ResumeIteration WorkerInfo
    utils.data._utils.signal_handling: _set_SIGCHLD_handler
"""


@pytest.mark.filterwarnings("ignore")
def test_names(lib):
    for line in NAMES.strip().splitlines():
        module, _, names = line.strip().partition(": ")
        found = importlib.import_module(f"{lib.__name__}.{module}")
        for name in names.split():
            assert hasattr(found, name), f"{module}.{name}"


def test_modules_are_attributes(monkeypatch):
    """Programs write ``torch.utils.dlpack`` after ``import torch`` alone."""
    for path in (
        "torch_version", "utils.dlpack", "utils._python_dispatch", "amp.autocast_mode", "amp.grad_scaler",
        "autograd.profiler_util", "fx.graph_module", "fx.node", "fx.proxy", "nn.utils.stateless",
    ):  # fmt: skip
        module = importlib.import_module(f"fastnn.{path}")
        parent = importlib.import_module(module.__name__.rpartition(".")[0])
        monkeypatch.delattr(parent, path.rpartition(".")[2])
        assert getattr(parent, path.rpartition(".")[2]) is module


def test_paths_of_a_tree(lib):
    pytree = importlib.import_module(f"{lib.__name__}.utils._pytree")
    tree = {"a": [1, (2, 3)], "b": 4}
    found, spec = pytree.tree_flatten_with_path(tree)
    assert [(pytree.keystr(path), leaf) for path, leaf in found] == [
        ("['a'][0]", 1), ("['a'][1][0]", 2), ("['a'][1][1]", 3), ("['b']", 4)
    ]  # fmt: skip
    assert pytree.tree_unflatten([leaf for _, leaf in found], spec) == tree
    assert pytree.tree_map_with_path(lambda path, x: len(path) * x, tree) == {"a": [2, (6, 9)], "b": 4}


def test_attributes_of_a_loader(lib):
    data = lib.utils.data
    loader = data.DataLoader(data.TensorDataset(lib.arange(10.0)), batch_size=3, drop_last=True)
    assert loader._auto_collation
    assert loader._index_sampler is loader.batch_sampler
    assert loader._dataset_kind == data._DatasetKind.Map
    assert loader._iterator is None
    assert loader._DataLoader__initialized
    assert loader._DataLoader__multiprocessing_context is None
    passes = iter(loader)
    assert passes._dataset_kind == data._DatasetKind.Map
    assert passes._index_sampler is loader.batch_sampler
    assert passes._drop_last
    single = data.DataLoader(loader.dataset, batch_size=None)
    assert not single._auto_collation
    assert single._index_sampler is single.sampler

    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

    stream = data.DataLoader(Stream(), batch_size=2)
    assert stream._dataset_kind == data._DatasetKind.Iterable
    assert next(iter(stream._index_sampler)) == [None, None]
    options = {k: v for k, v in vars(loader).items() if k in ("dataset", "batch_size", "drop_last", "collate_fn")}
    assert len(list(data.DataLoader(**options, num_workers=0))) == 3


def test_a_pass_over_an_object_like_a_loader(lib):
    """As fastai's."""
    module = importlib.import_module(f"{lib.__name__}.utils.data.dataloader")
    like = SimpleNamespace(
        dataset=[5, 6, 7], _dataset_kind=module._DatasetKind.Iterable, _IterableDataset_len_called=None,
        _auto_collation=False, collate_fn=lambda x: x * 2, drop_last=False, num_workers=0, prefetch_factor=2,
        pin_memory=False, pin_memory_device="", timeout=0, persistent_workers=False, generator=None,
        _index_sampler=itertools.count(), sampler=None, multiprocessing_context=None, worker_init_fn=None,
        _get_shared_seed=lambda: None,
    )  # fmt: skip
    assert list(module._SingleProcessDataLoaderIter(like)) == [10, 12, 14]


def test_fetchers(lib):
    fetch = importlib.import_module(f"{lib.__name__}.utils.data._utils.fetch")
    by_index = fetch._MapDatasetFetcher([1, 2, 3], True, sum, False)
    assert by_index.fetch([0, 2]) == 4
    in_order = fetch._IterableDatasetFetcher(iter([1, 2, 3]), True, list, True)
    assert in_order.fetch([None, None]) == [1, 2]
    with pytest.raises(StopIteration):
        in_order.fetch([None, None])


def test_cuda_without_devices(lib):
    cuda: Any = lib.cuda
    if cuda.is_available():
        pytest.skip("a machine with CUDA")
    assert cuda.get_rng_state_all() == []
    assert not cuda.memory_stats()
    cuda.set_rng_state_all([])
    with cuda.stream(None):
        assert cuda.device_count() == 0
    assert issubclass(cuda.OutOfMemoryError, RuntimeError)
    assert cuda.OutOfMemoryError is lib.OutOfMemoryError


def test_random_tensors_of_tests(lib):
    make = lib.testing.make_tensor
    found = make((2, 3), dtype=lib.float64, device="cpu", low=-1, high=1, requires_grad=True)
    assert found.shape == (2, 3)
    assert found.requires_grad
    assert (found.abs() <= 1).all()
    assert make(50, dtype=lib.int64, device="cpu", low=0, high=3).unique().tolist() == [0, 1, 2]
    assert not make(4, 4, dtype=lib.float32, device="cpu", noncontiguous=True).is_contiguous()
