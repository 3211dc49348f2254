"""PyTorch's modules and layers that libraries import: what is real has PyTorch's values, the rest says what it is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections import OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HAS_TORCH

import fastnn
from fastnn import nn
from fastnn._core.absent import is_only_a_name
from fastnn.nn import functional, not_computed

ROOT = Path(__file__).resolve().parents[2]

# Modules that load at first use.
MODULES = (
    "_C", "_dynamo", "_utils", "compiler", "cpu", "distributed", "export", "fft", "futures", "fx", "hub", "library",
    "masked", "onnx", "overrides", "profiler", "quasirandom", "report", "safetensors", "sparse", "nn.attention",
    "nn.common_types", "nn.parallel",
    "nn.utils.rnn", "utils._pytree", "utils.benchmark", "utils.collect_env", "utils.data._utils",
    "utils.data.distributed", "utils.flop_counter", "utils.model_zoo",
)  # fmt: skip

Point = namedtuple("Point", "x y")


def test_modules_load_at_first_use():
    code = (
        "import sys, fastnn\n"
        f"names = {MODULES!r}\n"
        "assert not [n for n in (*names, '_core.absent', 'nn.not_computed') if 'fastnn.' + n in sys.modules]\n"
        "for name in names:\n"
        "    found = fastnn\n"
        "    for part in name.split('.'):\n"
        "        found = getattr(found, part)\n"
        "    assert found is sys.modules['fastnn.' + name], name\n"
        "    assert found.__doc__\n"
        "    assert all(hasattr(found, n) for n in getattr(found, '__all__', ())), name\n"
        "assert not {'onnx', 'onnxruntime', 'safetensors', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- Layers that are not computed ------------------------------------------------------------


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    files = [*ROOT.glob("fastnn/**/*.py"), *ROOT.glob("kernels/**/*.py")]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in files}
    found = {name if name.startswith("fastnn") else f"fastnn.{name}" for name in found}
    assert set(listed) == found


def test_layers_are_names():
    for name in not_computed.names():
        layer = getattr(nn, name)
        assert issubclass(layer, nn.Module)
        assert not isinstance(nn.Linear(1, 1), layer)
        assert layer.__name__ == layer.__qualname__ == name
        home = importlib.import_module("fastnn.nn.modules")
        assert getattr(getattr(home, layer.__module__.rpartition(".")[2]), name) is layer
        with pytest.raises(NotImplementedError, match=rf"^fastnn does not compute torch\.nn\.[\w.]*{name}; docs/"):
            layer(1, 2, kernel_size=3)


def test_hierarchy_of_layers():
    modules = nn.modules
    assert issubclass(nn.Conv2d, modules.conv._ConvNd)
    assert issubclass(nn.LazyConv2d, nn.Conv2d)
    assert issubclass(nn.ConvTranspose1d, modules.conv._ConvTransposeNd)
    assert not issubclass(nn.Conv2d, modules.conv._ConvTransposeNd)
    assert issubclass(nn.BatchNorm2d, modules.batchnorm._BatchNorm)
    assert issubclass(nn.SyncBatchNorm, modules.batchnorm._BatchNorm)
    assert not issubclass(nn.BatchNorm2d, nn.BatchNorm1d)
    assert issubclass(nn.InstanceNorm2d, modules.instancenorm._InstanceNorm)
    assert issubclass(nn.InstanceNorm1d, modules.instancenorm._InstanceNorm)
    assert not issubclass(nn.InstanceNorm2d, nn.InstanceNorm1d)
    assert issubclass(nn.LSTM, modules.rnn.RNNBase)
    assert issubclass(nn.GRUCell, modules.rnn.RNNCellBase)
    assert issubclass(nn.MaxPool2d, modules.pooling._MaxPoolNd)
    assert issubclass(nn.ZeroPad2d, nn.ConstantPad2d)
    assert issubclass(nn.CTCLoss, modules.loss._Loss)
    assert not hasattr(modules.conv, "LSTM")
    assert not hasattr(nn, "Conv9d")
    assert "LSTM" in dir(modules.rnn)
    # No Linear is one of them.
    assert not isinstance(nn.Linear(1, 1), (nn.Conv1d, nn.LSTM, nn.Upsample, nn.DataParallel))


def test_layers_as_base_classes():
    class Masked(nn.Conv2d):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)

    assert not is_only_a_name(Masked)
    assert issubclass(Masked, nn.Conv2d)
    with pytest.raises(NotImplementedError, match=r"torch\.nn\.Conv2d"):
        Masked(1, 2, 3)

    class Own(nn.LSTM):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    own = Own()
    assert isinstance(own, nn.LSTM)
    assert own(fastnn.ones(1, 2)).shape == (1, 2)


def test_functions_are_names():
    for name in not_computed.FUNCTIONS:
        with pytest.raises(NotImplementedError, match=rf"torch\.nn\.functional\.{name};"):
            getattr(functional, name)(fastnn.ones(1), 2)
    assert functional.conv2d is functional.conv2d
    assert not hasattr(functional, "conv9d")


def test_no_name_hides_one_that_is_computed():
    for name in not_computed.names():
        assert getattr(nn, name) is not_computed.layer(name)
    for name in not_computed.FUNCTIONS:
        assert name not in vars(functional)


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_layers_are_where_pytorch_has_them():
    import torch

    for name in not_computed.names():
        home = importlib.import_module(getattr(nn, name).__module__.replace("fastnn", "torch", 1))
        theirs = getattr(home, name)
        bases = [base.__name__ for base in theirs.__mro__]
        for base in getattr(nn, name).__mro__[1:]:
            # fastnn's own bases of Module and of its norms are not PyTorch's.
            if base.__name__ not in ("Hooked", "Stateful", "_Affine", "_RunningNorm"):
                assert base.__name__ in bases, (name, base)
    assert all(hasattr(torch.nn.functional, name) for name in not_computed.FUNCTIONS)


# -- utils._pytree ---------------------------------------------------------------------------

TREE = {
    "b": [1, (2, None)],
    "a": Point(3, deque([4], maxlen=2)),
    "c": OrderedDict(z=5, y=defaultdict(list, k=6)),
    "d": [],
}


def _pytree_values(tree: Any) -> list[Any]:
    leaves, spec = tree.tree_flatten(TREE)
    return [
        leaves,
        tree.tree_unflatten([10 * (x or 0) for x in leaves], spec),
        (spec.num_leaves, spec.num_children, spec.type, spec.context, spec.is_leaf()),
        tree.tree_map(lambda a, b: (a, b), [1, {"k": 2}], [3, {"k": 4}]),
        tree.tree_map_only(int, lambda x: -x, [1, "a", (2.0, True)]),
        tree.tree_map_only((int, str), lambda x: x * 2, [1, "a", 2.0]),
        tree.tree_leaves([1, [2]], is_leaf=lambda x: x == [2]),
        tree.tree_leaves(None),
        tree.tree_all(lambda x: x > 0, [1, (2,)]),
        tree.tree_any(lambda x: x > 1, [1, (0,)]),
        tree._broadcast_to_and_flatten([0, (1, 2)], tree.tree_structure([(5, 5), (6, [7])])),
        tree._broadcast_to_and_flatten([0], tree.tree_structure([5, 6])),
        tree.tree_structure([1, {"a": 2}]) == tree.tree_structure([3, {"a": 4}]),
        tree.tree_structure([1]) == tree.tree_structure((1,)),
        str(tree.treespec_pprint(tree.tree_structure({"a": (1, [2])}))),
    ]


def test_pytree():
    tree = importlib.import_module("fastnn.utils._pytree")
    values = _pytree_values(tree)
    assert values[0] == [1, 2, None, 3, 4, 5, 6]
    assert values[1] == {
        "b": [10, (20, 0)], "a": Point(30, deque([40])), "c": OrderedDict(z=50, y={"k": 60}), "d": [],
    }  # fmt: skip
    assert values[1]["a"].y.maxlen == 2
    assert values[1]["c"]["y"].default_factory is list
    assert values[2:] == [
        (7, 4, dict, ["b", "a", "c", "d"], False), [(1, 3), {"k": (2, 4)}], [-1, "a", (2.0, -1)], [2, "aa", 2.0],
        [1, [2]], [None], True, False, [0, 0, 1, 2], None, True, False, "{'a': (*, [*])}",
    ]  # fmt: skip
    # Keys in another order are the same keys.
    assert tree.tree_map(lambda a, b: a + b, {"x": 1, "y": 2}, {"y": 20, "x": 10}) == {"x": 11, "y": 22}
    for other in ([1], (1, 2), [1, [2]]):
        if other == [1, [2]]:
            assert tree.tree_map(lambda a, b: b, [1, 2], other) == other
        else:
            with pytest.raises(ValueError, match="mismatch"):
                tree.tree_map(lambda a, b: a, [1, 2], other)
    with pytest.raises(ValueError, match="holds 2 items"):
        tree.tree_unflatten([1], tree.tree_structure([1, 2]))
    with pytest.raises(TypeError, match="expected a TreeSpec"):
        tree.tree_unflatten([1], [1])


def test_pytree_nodes_of_users():
    tree = importlib.import_module("fastnn.utils._pytree")

    class Pair:
        def __init__(self, a: Any, b: Any) -> None:
            self.a, self.b = a, b

    assert len(tree.tree_leaves(Pair(1, 2))) == 1
    tree.register_pytree_node(Pair, lambda pair: ([pair.a, pair.b], "kept"), lambda values, kept: Pair(*values))
    try:
        doubled = tree.tree_map(lambda x: 2 * x, [Pair(1, (2,))])
        assert (doubled[0].a, doubled[0].b) == (2, (4,))
        with pytest.raises(ValueError, match="already registered"):
            tree.register_pytree_node(Pair, list, list)
    finally:
        del tree.SUPPORTED_NODES[Pair]
    # What Lightning builds by hand.
    kind = tree._get_node_type(Point(1, 2))
    children, context = tree.SUPPORTED_NODES[kind].flatten_fn(Point(1, 2))
    spec = tree.TreeSpec(kind, context, [tree.LeafSpec() for _ in children])
    assert tree.tree_unflatten([3, 4], spec) == Point(3, 4)


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_pytree_is_pytorchs():
    import torch.utils._pytree as theirs

    assert _pytree_values(importlib.import_module("fastnn.utils._pytree")) == _pytree_values(theirs)


# -- nn.utils.rnn ----------------------------------------------------------------------------


def _rnn_values(torch: Any, rnn: Any) -> list[Any]:
    rows = [torch.arange(2.0 * n).reshape(n, 2) + n for n in (2, 4, 1)]
    padded = rnn.pad_sequence(rows, padding_value=-1.0)
    packed = rnn.pack_padded_sequence(padded, [2, 4, 1], enforce_sorted=False)
    out: list[Any] = [padded, rnn.pad_sequence(rows, batch_first=True, padding_side="left"), *packed]
    out += rnn.pad_packed_sequence(packed, batch_first=True, padding_value=7.0, total_length=5)
    out += rnn.pad_packed_sequence(packed)
    out += rnn.unpack_sequence(packed)
    # PyTorch's transposes its argument in place.
    out += rnn.unpad_sequence(padded.clone(), torch.tensor([2, 4, 1]))
    by_length = rnn.pack_sequence([rows[1], rows[0], rows[2]])
    out += [by_length.data, by_length.batch_sizes, by_length.sorted_indices]
    out += [rnn.pad_sequence([torch.tensor([1, 2]), torch.tensor([3])]), rnn.invert_permutation(packed.sorted_indices)]
    weight = torch.arange(14.0).reshape(7, 2).requires_grad_()
    total = (rnn.pack_padded_sequence(weight[:6].reshape(3, 2, 2), [3, 1]).data ** 2).sum()
    (total + (rnn.pad_sequence([weight[:3], weight[3:4]]) * 3).sum()).backward()
    out.append(weight.grad)
    assert packed.to(torch.float64).data.dtype == torch.float64
    assert type(packed.to(torch.float64)) is rnn.PackedSequence
    return [None if value is None else value.tolist() for value in out]


def test_packed_sequences():
    values = _rnn_values(fastnn, importlib.import_module("fastnn.nn.utils.rnn"))
    nothing = [-1.0, -1.0]
    assert values[0] == [
        [[2, 3], [4, 5], [1, 2]], [[4, 5], [6, 7], nothing], [nothing, [8, 9], nothing], [nothing, [10, 11], nothing],
    ]  # fmt: skip
    assert values[1][0] == [[0, 0], [0, 0], [2, 3], [4, 5]]
    assert values[2:6] == [
        [[4, 5], [2, 3], [1, 2], [6, 7], [4, 5], [8, 9], [10, 11]], [3, 2, 1, 1], [1, 0, 2], [1, 0, 2],
    ]  # fmt: skip
    assert values[6][2] == [[1, 2], [7, 7], [7, 7], [7, 7], [7, 7]]
    assert values[7] == values[9] == [2, 4, 1]
    assert values[-1] == [[3, 5], [7, 9], [11, 13], [3, 3], [16, 18], [0, 0], [0, 0]]


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_packed_sequences_are_pytorchs():
    import torch
    import torch.nn.utils.rnn as theirs

    assert _rnn_values(fastnn, importlib.import_module("fastnn.nn.utils.rnn")) == _rnn_values(torch, theirs)


def test_packed_sequences_refuse():
    rnn = importlib.import_module("fastnn.nn.utils.rnn")
    x = fastnn.ones(3, 2, 1)
    for lengths, error, match in (
        ([1, 3], RuntimeError, "sorted in decreasing order"), ([3, 0], RuntimeError, "greater than 0"),
        ([3], RuntimeError, "batch_size=2"), ([4, 1], ValueError, "at most 3"),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            rnn.pack_padded_sequence(x, lengths)
    with pytest.raises(RuntimeError, match="empty list"):
        rnn.pad_sequence([])
    with pytest.raises(ValueError, match="padding_side"):
        rnn.pad_sequence([x], padding_side="top")
    with pytest.raises(ValueError, match="total_length=1"):
        rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, [3, 1]), total_length=1)


# -- Real modules ----------------------------------------------------------------------------


def test_futures():
    futures = importlib.import_module("fastnn.futures")
    future: Any = futures.Future()
    with pytest.raises(RuntimeError, match="not complete"):
        future.value()
    seen: list[Any] = []
    future.add_done_callback(lambda done: seen.append(done.value()))
    doubled, failed = future.then(lambda done: 2 * done.value()), future.then(lambda done: done.value() // 0)
    thread = threading.Thread(target=future.set_result, args=(3,))
    thread.start()
    assert (future.wait(), doubled.wait(), seen, future.done()) == (3, 6, [3], True)
    thread.join()
    with pytest.raises(ZeroDivisionError):
        failed.wait()
    with pytest.raises(RuntimeError, match="once"):
        future.set_result(4)
    assert futures.wait_all([future, doubled]) == [3, 6]
    assert futures.collect_all([]).wait() == []
    with pytest.raises(TypeError, match="not an Exception"):
        futures.Future().set_exception("no")
    with pytest.raises(ValueError, match="devices"):
        futures.Future(devices=["cuda"])


def test_compiler():
    for name in ("compiler", "_dynamo"):
        module = importlib.import_module(f"fastnn.{name}")
        assert module.is_compiling() is False
        assert module.disable(abs) is module.allow_in_graph(abs) is module.disable()(abs) is abs
        assert module.list_backends() == []
        assert module.reset() is None
    dynamo = importlib.import_module("fastnn._dynamo")
    model = nn.Linear(1, 1)
    assert not isinstance(fastnn.compile(model), dynamo.eval_frame.OptimizedModule)
    assert dynamo.OptimizedModule is dynamo.eval_frame.OptimizedModule
    assert dynamo.optimize("eager")(model) is model
    with fastnn.compiler.set_stance("force_eager"):
        pass


class Own:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].answer if args[0].answer is NotImplemented else (func.__name__, types, args[0].answer, kwargs)


def test_overrides():
    overrides = importlib.import_module("fastnn.overrides")
    own = Own(1)
    assert overrides.has_torch_function((fastnn.ones(1), own))
    assert overrides.has_torch_function_variadic(own)
    assert not overrides.has_torch_function((fastnn.ones(1), nn.Parameter(fastnn.ones(1)), 1))
    assert overrides.handle_torch_function(fastnn.sum, (own,), own, dim=0) == ("sum", (Own,), 1, {"dim": 0})
    with pytest.raises(TypeError, match=r"no implementation found for '[a-z.]*sum'"):
        overrides.handle_torch_function(fastnn.sum, (Own(NotImplemented),), Own(NotImplemented))
    assert [overrides.is_tensor_like(x) for x in (own, fastnn.ones(1), np.ones(1))] == [True, True, False]
    functions = overrides.get_overridable_functions()
    assert fastnn.exp in functions[fastnn]
    assert functional.relu in functions[functional]
    assert fastnn.Tensor.exp in functions[fastnn.Tensor]
    assert fastnn.ones in overrides.get_ignored_functions()
    assert overrides.is_tensor_method_or_property(fastnn.Tensor.exp)
    assert not overrides.is_tensor_method_or_property(abs)
    assert overrides.resolve_name(functional.relu) == "torch.nn.functional.relu"
    assert overrides.resolve_name(abs) is None


def test_hub(tmp_path):
    hub = importlib.import_module("fastnn.hub")
    (tmp_path / "parts.py").write_text("SIZE = 3\n")
    (tmp_path / "hubconf.py").write_text(
        "from parts import SIZE\nimport fastnn\n"
        "def small(out=1):\n    'A layer.'\n    return fastnn.nn.Linear(SIZE, out)\n"
    )
    path = list(sys.path)
    assert hub.load(str(tmp_path), "small", source="local", out=2).weight.shape == (2, 3)
    assert hub.list(str(tmp_path), source="local") == ["small"]
    assert hub.help(str(tmp_path), "small", source="local") == "A layer."
    assert sys.path == path
    with pytest.raises(RuntimeError, match="Cannot find callable big"):
        hub.load(str(tmp_path), "big", source="local")
    with pytest.raises(NotImplementedError, match="local folders only"):
        hub.load("pytorch/vision", "resnet18")
    with pytest.raises(FileNotFoundError, match=r"hubconf\.py"):
        hub.load(str(tmp_path / "no"), "small", source="local")
    for name in ("load_state_dict_from_url", "download_url_to_file"):
        with pytest.raises(NotImplementedError, match="downloads nothing"):
            getattr(hub, name)("https://example.com/x.pt")


def test_hub_folder(monkeypatch):
    hub = importlib.import_module("fastnn.hub")
    monkeypatch.setattr(hub, "_dir", None)
    monkeypatch.setenv("TORCH_HOME", "/some/where")
    assert Path(hub.get_dir()) == Path("/some/where/hub")
    hub.set_dir("/else/where")
    assert hub.get_dir() == "/else/where"


def test_fft():
    fft = importlib.import_module("fastnn.fft")
    np.testing.assert_array_equal(fft.fftfreq(5, 2.0).numpy(), np.fft.fftfreq(5, 2.0).astype(np.float32))
    np.testing.assert_array_equal(fft.rfftfreq(6, 0.5, dtype=fastnn.float64).numpy(), np.fft.rfftfreq(6, 0.5))
    x = fastnn.arange(30).reshape(2, 3, 5)
    for dim in (None, 1, (0, 2), -1):
        for ours, numpys in ((fft.fftshift, np.fft.fftshift), (fft.ifftshift, np.fft.ifftshift)):
            np.testing.assert_array_equal(ours(x, dim).numpy(), numpys(x.numpy(), dim))
    for name in ("fft", "ifft", "rfft", "irfft", "fft2", "fftn", "rfftn"):
        found, expected = getattr(fft, name)(x.float()), getattr(np.fft, name)(x.float().numpy())
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-5)
        assert found.dtype is (fastnn.float32 if name == "irfft" else fastnn.complex64)
    with pytest.raises(NotImplementedError, match=r"torch\.fft\.hfft2 is not in NumPy"):
        fft.hfft2(x)
    with pytest.raises(NotImplementedError, match="no derivatives"):
        fft.fft(fastnn.ones(3, requires_grad=True))


def test_sobol():
    engine = fastnn.quasirandom.SobolEngine(3)
    first = engine.draw(5)
    assert first.tolist() == [[0, 0, 0], [0.5, 0.5, 0.5], [0.75, 0.25, 0.25], [0.25, 0.75, 0.75], [0.375, 0.375, 0.625]]
    assert first.dtype is fastnn.float32
    rest = engine.draw(3, dtype=fastnn.float64)
    assert (rest.dtype, engine.num_generated) == (fastnn.float64, 8)
    again = engine.reset().fast_forward(5).draw(3)
    assert again.tolist() == rest.tolist()
    assert engine.draw_base2(3).shape == (8, 3)
    with pytest.raises(ValueError, match="power of 2"):
        engine.draw_base2(1)
    out = fastnn.empty(2, 3)
    assert engine.reset().draw(2, out=out) is out
    assert out.tolist() == first[:2].tolist()
    assert engine.reset().draw(0).shape == (0, 3)
    scrambled = [fastnn.quasirandom.SobolEngine(2, scramble=True, seed=s).draw(4).tolist() for s in (1, 1, 2)]
    assert scrambled[0] == scrambled[1] != scrambled[2]
    with pytest.raises(ValueError, match="dimension"):
        fastnn.quasirandom.SobolEngine(0)


def test_sobol_without_scipy(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="needs SciPy: pip install scipy"):
        fastnn.quasirandom.SobolEngine(2)


def test_flop_counter(capsys):
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    with fastnn.utils.flop_counter.FlopCounterMode() as counter:
        model(fastnn.ones(16, 8)).sum().backward()
    # Forward 2 (16 8 4 + 16 4 3), the weights' gradients as many, the hidden layer's gradient 2 16 4 3.
    assert counter.get_total_flops() == 1408 + 1408 + 384
    assert sum(counter.get_flop_counts()["Global"].values()) == 3200
    assert "3,200" in capsys.readouterr().out
    by_module = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    assert by_module == {"Global": 3200, "Sequential": 1408, "Sequential.0": 1024, "Sequential.2": 384}
    with counter:
        fastnn.ones(2, 3, 4) @ fastnn.ones(2, 4, 5)
    assert counter.get_total_flops() == 240


def test_profiler(tmp_path):
    profiler = fastnn.profiler
    ready: list[Any] = []
    model = nn.Linear(8, 4)
    with profiler.profile(
        activities=[profiler.ProfilerActivity.CPU],
        schedule=profiler.schedule(wait=1, warmup=1, active=2, repeat=2),
        on_trace_ready=lambda prof: ready.append({row.key: row.count for row in prof.key_averages()}),
        record_shapes=True,
    ) as prof:
        for _ in range(10):
            with profiler.record_function("forward"):
                model(fastnn.zeros(16, 8))
            prof.step()
    assert ready == [{"gemm.float32": 2, "forward": 2}] * 2
    assert fastnn.autograd.profiler.active_profiles() == []
    assert not fastnn.autograd._profiler_enabled()
    rows = prof.key_averages()
    assert isinstance(rows, fastnn.autograd.profiler.EventList)
    [gemm, forward] = rows
    assert 0 < gemm.cpu_time_total <= forward.cpu_time_total
    assert gemm.flops == 2 * 2 * 16 * 8 * 4
    assert rows.total_average().count == 2
    table = rows.table(sort_by="cpu_time_total", row_limit=1)
    assert re.search(r"^forward .* 2$", table, re.MULTILINE)
    assert "gemm" not in table
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    names = [event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert names == ["forward", "forward", "gemm.float32"]
    # Without a schedule, the whole block; a function as a named block.
    write = profiler.tensorboard_trace_handler(str(tmp_path / "logs"))
    with profiler.profile(on_trace_ready=write) as prof:
        assert profiler.record_function("loss")(abs)(-1) == 1
    assert [row.key for row in prof.key_averages()] == ["loss"]
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_schedule():
    def actions(count: int, **options: int) -> str:
        plan = fastnn.profiler.schedule(**options)
        return "".join({"RECORD_AND_SAVE": "S"}.get(plan(i).name, plan(i).name[0]) for i in range(count))

    assert actions(12, wait=1, warmup=1, active=2, repeat=2, skip_first=2) == "NNNWRSNWRSNN"
    assert actions(12, wait=2, warmup=1, active=1, skip_first=1, skip_first_wait=1) == "NWSNNWSNNWSN"
    with pytest.raises(ValueError, match="at least"):
        fastnn.profiler.schedule(wait=0, warmup=0, active=0)


def test_distributed():
    dist = fastnn.distributed
    assert (dist.is_initialized(), dist.get_rank(), dist.get_world_size()) == (False, 0, 1)
    assert dist.is_available() == (importlib.util.find_spec("mpi4py") is not None)
    assert dist.ReduceOp.SUM.name == "SUM"
    assert dist.group.WORLD is None
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        dist.all_reduce(fastnn.ones(1))
    with pytest.raises(NotImplementedError, match=r"torch\.distributed\.init_device_mesh cannot be used"):
        dist.init_device_mesh("cpu", (1,))
    model = nn.Linear(2, 1)
    assert not isinstance(model, nn.parallel.DistributedDataParallel)
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        nn.parallel.DistributedDataParallel(model)
    assert nn.parallel.DataParallel is nn.DataParallel
    assert nn.parallel.data_parallel(model, fastnn.ones(1, 2)).shape == (1, 1)


def test_modules_below_distributed():
    def module(name: str) -> Any:
        return importlib.import_module(f"fastnn.{name}")

    sharded = module("distributed.fsdp.fully_sharded_data_parallel").FullyShardedDataParallel
    assert sharded is module("distributed.fsdp").FullyShardedDataParallel
    assert module("distributed.distributed_c10d").ReduceOp is fastnn.distributed.ReduceOp
    assert not isinstance(nn.Linear(1, 1), sharded)
    with pytest.raises(NotImplementedError, match=r"torch\.distributed\.fsdp\.FullyShardedDataParallel cannot be"):
        sharded(nn.Linear(1, 1))
    with pytest.raises(NotImplementedError, match=r" torchvision\.models\.resnet18 cannot be used"):
        module("torchvision.models").resnet18()
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = module("distributed.tensor.parallel").nonesuch
    states = module("distributed.checkpoint.state_dict")
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    model.bias.requires_grad = False
    found = states.get_model_state_dict(model, options=states.StateDictOptions(ignore_frozen_params=True))
    assert list(found) == ["weight"]
    states.set_model_state_dict(other, found, options=states.StateDictOptions(strict=False))
    assert fastnn.equal(model.weight, other.weight)


def test_distributed_sampler():
    sampler = fastnn.utils.data.DistributedSampler

    def parts(count: int, ranks: int, **options: Any) -> list[list[int]]:
        return [list(sampler(range(count), ranks, rank, **options)) for rank in range(ranks)]

    assert parts(7, 3, shuffle=False) == [[0, 3, 6], [1, 4, 0], [2, 5, 1]]
    assert parts(7, 3, shuffle=False, drop_last=True) == [[0, 3], [1, 4], [2, 5]]
    assert parts(1, 3, shuffle=False) == [[0], [0], [0]]
    shuffled = parts(8, 2, seed=3)
    assert sorted([*shuffled[0], *shuffled[1]]) == list(range(8))
    assert shuffled == parts(8, 2, seed=3) != parts(8, 2, seed=4)
    one = sampler(range(8), 2, 0, seed=3)
    one.set_epoch(1)
    assert list(one) == parts(8, 2, seed=4)[0]
    assert len(one) == 4
    loader = fastnn.utils.data.DataLoader(fastnn.arange(8), 2, sampler=sampler(range(8), shuffle=False))
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(ValueError, match=r"Invalid rank 2.*\[0, 1\]"):
        sampler(range(8), 2, 2)


class Numbers(fastnn.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        return iter(range(3))


def test_collate():
    collate = fastnn.utils.data._utils.collate
    assert collate.default_collate is fastnn.utils.data.default_collate
    assert collate.default_convert is fastnn.utils.data.default_convert
    items = [{"a": 1, "b": (fastnn.ones(2), "x")}, {"a": 2, "b": (fastnn.zeros(2), "y")}]
    both = [collate.collate(items), collate.collate(items, collate_fn_map=collate.default_collate_fn_map)]
    for found in both:
        assert found["a"].tolist() == [1, 2]
        assert found["b"][0].tolist() == [[1, 1], [0, 0]]
        assert list(found["b"][1]) == ["x", "y"]
    own = {Point: lambda batch, collate_fn_map: "points", **collate.default_collate_fn_map}
    assert collate.collate([(Point(1, 2), 1.0)], collate_fn_map=own)[0] == "points"
    assert fastnn.utils.data._utils.pin_memory.pin_memory(items) is items
    assert fastnn.utils.data._utils.worker.get_worker_info() is None
    dataloader = importlib.import_module("fastnn.utils.data.dataloader")
    loader = dataloader.DataLoader([1])
    assert isinstance(iter(loader), dataloader._BaseDataLoaderIter)
    assert not isinstance(iter(loader), dataloader._MultiProcessingDataLoaderIter)
    assert loader._dataset_kind == dataloader._DatasetKind.Map
    assert dataloader.DataLoader(Numbers())._dataset_kind == dataloader._DatasetKind.Iterable


def test_helpers():
    utils = importlib.import_module("fastnn._utils")
    assert utils._get_device_index("cpu", allow_cpu=True) == -1
    assert utils._get_device_index(3) == 3
    assert utils._get_device_index(None, optional=True) is None
    with pytest.raises(ValueError, match="non cpu device"):
        utils._get_device_index(fastnn.device("cpu"))
    with pytest.raises(ValueError, match="specified index"):
        utils._get_device_index(None)
    tensors = [fastnn.arange(4.0).reshape(2, 2), fastnn.ones(1)]
    flat = utils._flatten_dense_tensors(tensors)
    assert flat.tolist() == [0, 1, 2, 3, 1]
    assert [t.tolist() for t in utils._unflatten_dense_tensors(flat, tensors)] == [[[0, 1], [2, 3]], [1]]
    try:
        {}["key"]
    except KeyError:
        wrapper = utils.ExceptionWrapper(where="in a worker")
    with pytest.raises(KeyError, match="Caught KeyError in a worker"):
        wrapper.reraise()
    parsed = fastnn._C._nn._parse_to(device="cpu", dtype=fastnn.float64, non_blocking=True)
    assert parsed == (fastnn.device("cpu"), fastnn.float64, True, None)
    assert fastnn._C._nn._parse_to(fastnn.ones(1))[:2] == (None, fastnn.float32)
    assert isinstance(fastnn.Tensor, fastnn._C._TensorMeta)
    assert nn.modules.module._IncompatibleKeys is type(nn.Linear(1, 1).load_state_dict(nn.Linear(1, 1).state_dict()))
    assert fastnn.Future is fastnn.futures.Future
    assert fastnn.ScriptModule is fastnn.jit.ScriptModule
    pair, state = nn.modules.utils._pair, OrderedDict({"module.w": 1, "module.b": 2, "c": 3})
    state._metadata = OrderedDict({"": {"version": 1}, "module": {"version": 2}, "module.l": {"version": 3}})  # type: ignore[attr-defined]
    assert (pair(3), pair([1, 2]), nn.modules.utils._triple("a")) == ((3, 3), (1, 2), ("a",))
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert state == {"c": 3, "w": 1, "b": 2}
    assert state._metadata == {"": {"version": 2}, "l": {"version": 3}}  # type: ignore[attr-defined]


def test_benchmark():
    benchmark = fastnn.utils.benchmark
    timer = benchmark.Timer("f(x)", "x = 3", globals={"f": abs}, label="abs", num_threads=1)
    threads = fastnn.get_num_threads()
    once = timer.timeit(50)
    assert (once.number_per_run, len(once.times)) == (50, 1)
    assert 0 < once.median == once.mean < 1e-3
    many = timer.blocked_autorange(min_run_time=0.002)
    assert sum(many.raw_times) >= 0.002
    assert "abs\n" in repr(many)
    assert len(timer.adaptive_autorange(min_run_time=0.001, max_run_time=0.01).times) >= 4
    assert fastnn.get_num_threads() == threads
    with pytest.raises(NotImplementedError, match="Python only"):
        benchmark.Timer("f();", language="c++")


def test_collect_env(capsys):
    fastnn.utils.collect_env.main()
    text = capsys.readouterr().out
    assert f"NumPy version: {np.__version__}" in text
    assert "Is CUDA available: False" in text


# -- Names that raise ------------------------------------------------------------------------

RAISING = {
    "fx.symbolic_trace": "fastnn has no graphs", "fx.Tracer": "fastnn has no graphs", "fx.GraphModule": "no graphs",
    "export.export": "does not export programs",
    "sparse.addmm": "sparse tensors", "sparse.sparse_csr_tensor": "no such sparse tensors",
    "_C.PyTorchFileReader": "does not compute",
    "masked.masked_tensor": "no masked tensors", "masked.sum": "no masked tensors",
    "library.Library": "no registry of operators", "utils.model_zoo.load_url": "downloads nothing",
    "nn.parallel.scatter": "one device", "_dynamo.OptimizedModule": "returns the module itself",
}  # fmt: skip


@pytest.mark.parametrize("name", RAISING)
def test_what_only_exists_says_so(name):
    module, _, last = name.rpartition(".")
    with pytest.raises(NotImplementedError, match=RAISING[name]) as caught:
        getattr(importlib.import_module(f"fastnn.{module}"), last)()
    assert "\n" not in str(caught.value)
    assert caught.value.name.startswith("torch.")


def test_names_are_for_isinstance():
    model = nn.Linear(1, 1)
    assert not isinstance(model, (fastnn.fx.GraphModule, fastnn.fx.Node, fastnn.masked.MaskedTensor))
    assert issubclass(fastnn.fx.GraphModule, nn.Module)
    assert fastnn.onnx.is_in_onnx_export() is False
    assert fastnn.masked.is_masked_tensor(model) is False
    assert fastnn.cpu.current_device() == "cpu"
    with fastnn.cpu.stream(fastnn.cpu.current_stream()), nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        fastnn.cpu.synchronize()


def test_operators_of_users():
    @fastnn.library.custom_op("mine::double", mutates_args=())
    def double(x: Any) -> Any:
        return 2 * x

    @double.register_fake
    def _(x: Any) -> Any:
        return x

    assert double(fastnn.ones(1)).tolist() == [2]
    x = fastnn.ones(2, requires_grad=True)
    double(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]

    # Computed by NumPy, with a formula for the gradient.
    @fastnn.library.custom_op("mine::scaled_square", mutates_args=())
    def scaled_square(x: Any, scale: float = 1.0) -> Any:
        return fastnn.from_numpy(scale * x.detach().numpy() ** 2)

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    def backward(ctx: Any, grad: Any) -> Any:
        return 2 * ctx.scale * ctx.saved_tensors[0] * grad, None

    fastnn.library.register_autograd(scaled_square, backward, setup_context=keep)
    x = fastnn.tensor([1.0, 3.0], requires_grad=True)
    y = scaled_square(x, scale=2.0)
    y.sum().backward()
    assert x.grad is not None
    assert (y.tolist(), x.grad.tolist()) == ([2, 18], [4, 12])
    scaled_square.register_kernel("cuda")(abs)
    assert scaled_square(x).tolist() == [1, 9]
    scaled_square.register_kernel("cpu")(lambda x, scale: x.detach() * scale)
    assert scaled_square(x, 5.0).tolist() == [5, 15]


def test_modules_under_pytorchs_names(tmp_path):
    names = [f"torch.{name}" for name in MODULES] + [f"torch.nn.modules.{name}" for name in not_computed.LAYERS]
    code = "import importlib, torch, fastnn\n"
    code += f"for name in {names!r}:\n"
    code += "    assert importlib.import_module(name).__name__.startswith('fastnn.'), name\n"
    code += "from torch.nn.modules.conv import _ConvNd\nfrom torch.nn import Conv2d, LSTM\n"
    code += "from torch._dynamo.eval_frame import OptimizedModule\n"
    code += "from torch.nn.parallel.distributed import DistributedDataParallel\n"
    code += "assert issubclass(Conv2d, _ConvNd) and isinstance(Conv2d, type)\nprint('done')\n"
    (tmp_path / "script.py").write_text(code)
    ran = subprocess.run(
        [sys.executable, "-m", "fastnn", "run", str(tmp_path / "script.py")], cwd=ROOT, capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")
