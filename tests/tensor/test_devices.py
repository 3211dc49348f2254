"""Devices, and functions that report no other device than the CPU: the same as in PyTorch built for the CPU."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from comparison import same_kind_of_error

import fastnn


def part(lib: Any, name: str) -> Any:
    return importlib.import_module(f"{lib.__name__}.{name}")


def test_device(lib):
    d = lib.device
    assert repr(d("cuda:0")) == "device(type='cuda', index=0)"
    assert (str(d("cpu")), str(d("cuda", 1)), d("cpu", 0).index, d("cpu").index) == ("cpu", "cuda:1", 0, None)
    assert d("cpu") == d(d("cpu"))
    assert d(type="cuda", index=1) == d("cuda:1")
    assert d("cpu") != d("cpu:0")
    assert (d("cpu") == "cpu") is False
    assert len({d("cpu"), d("cpu"), d("cuda")}) == 2
    for again in (copy.deepcopy(d("cuda:1")), pickle.loads(pickle.dumps(d("cuda:1")))):
        assert again == d("cuda:1")


DEVICES = ["foo", "cpu:x", "cuda:-1", "cuda:01", "", "cpu:", None, 1.5, "CPU"]


@pytest.mark.parametrize("value", DEVICES, ids=repr)
def test_no_device(lib, value):
    with pytest.raises((RuntimeError, TypeError)) as caught:
        lib.device(value)
    if lib is not fastnn:
        with pytest.raises(Exception) as ours:  # noqa: PT011  # of the same kind as PyTorch's
            fastnn.device(value)
        assert same_kind_of_error(ours.value, caught.value)


def test_index_twice(lib):
    with pytest.raises(RuntimeError, match="index"):
        lib.device("cuda:0", 1)


@pytest.mark.parametrize(
    ("device", "error"), [("cuda", AssertionError), ("cuda:1", AssertionError), ("xpu", AssertionError),
                          ("mps", RuntimeError)]
)  # fmt: skip
def test_an_absent_device(lib, device, error):
    for chosen in (device, lib.device(device)):
        with pytest.raises(error):
            lib.rand(2, device=chosen)


def test_default_device(lib):
    assert lib.get_default_device() == lib.device("cpu")
    lib.set_default_device("cuda")
    try:
        with pytest.raises(AssertionError):
            lib.rand(2)
        with lib.device("cpu"):
            assert lib.rand(2).shape == (2,)
    finally:
        lib.set_default_device(None)
    with lib.device("cuda"), pytest.raises(AssertionError):
        lib.rand(2)
    assert lib.rand(2, device="cpu").shape == (2,)


QUESTIONS = [
    ("cuda", "is_available"), ("cuda", "device_count"), ("cuda", "is_initialized"), ("cuda", "memory_allocated"),
    ("cuda", "max_memory_allocated"), ("cuda", "memory_reserved"), ("cuda", "empty_cache"),
    ("cuda", "is_bf16_supported"), ("cuda", "get_arch_list"), ("cuda", "current_device"), ("cuda", "synchronize"),
    ("cuda", "get_device_name"), ("cuda", "get_device_properties"), ("cuda", "get_device_capability"),
    ("cuda", "current_stream"), ("cuda", "mem_get_info"), ("cuda", "init"), ("cuda", "Event"), ("cuda", "Stream"),
    ("cuda", "FloatTensor"), ("cuda", "LongTensor"), ("cuda", "get_rng_state"), ("backends.cudnn", "is_available"),
    ("backends.cudnn", "version"), ("backends.mps", "is_available"), ("backends.mps", "is_built"),
    ("backends.cuda", "is_built"), ("mps", "is_available"), ("xpu", "is_available"), ("xpu", "device_count"),
    ("accelerator", "is_available"), ("accelerator", "current_accelerator"), ("accelerator", "device_count"),
    ("jit", "is_scripting"),
]  # fmt: skip


def answer(lib: Any, module: str, name: str) -> Any:
    try:
        return getattr(part(lib, module), name)()
    except Exception as error:
        return error


@pytest.mark.parametrize(("module", "name"), QUESTIONS, ids="-".join)
def test_questions_and_answers(module, name):
    found = answer(fastnn, module, name)
    assert isinstance(found, Exception) or found in (False, 0, None, [])
    if "torch" in sys.modules:
        expected = answer(sys.modules["torch"], module, name)
        assert same_kind_of_error(found, expected) if isinstance(expected, Exception) else found == expected


def test_seeds_of_no_device(lib):
    lib.cuda.manual_seed(1)
    lib.cuda.manual_seed_all(1)
    with pytest.raises(ValueError, match="invalid literal"):
        lib.cuda.manual_seed("a")


def test_switches(lib):
    cudnn = part(lib, "backends.cudnn")
    before = cudnn.deterministic, cudnn.benchmark, cudnn.enabled
    assert before == (False, False, True)
    try:
        cudnn.deterministic, cudnn.benchmark = True, True
        assert lib.backends.cudnn.deterministic is True
        lib.backends.cuda.matmul.allow_tf32 = True
        assert lib.backends.cuda.matmul.allow_tf32 is True
    finally:
        cudnn.deterministic, cudnn.benchmark = False, False
        lib.backends.cuda.matmul.allow_tf32 = False
    with cudnn.flags(enabled=False):
        assert cudnn.enabled is False
    assert cudnn.enabled is True


def test_settings(lib):
    assert lib.are_deterministic_algorithms_enabled() is False
    lib.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert lib.are_deterministic_algorithms_enabled() is True
        assert lib.is_deterministic_algorithms_warn_only_enabled() is True
    finally:
        lib.use_deterministic_algorithms(False)
    with pytest.raises(TypeError):
        lib.use_deterministic_algorithms(1)
    lib.set_float32_matmul_precision("high")
    assert lib.get_float32_matmul_precision() == "high"
    lib.set_float32_matmul_precision("highest")
    with pytest.warns(UserWarning, match="highest"):
        lib.set_float32_matmul_precision("low")
    assert lib.get_num_interop_threads() >= 1
    for wrong in (0, -1, 1.5):
        with pytest.raises(RuntimeError, match="expects a"):
            lib.set_num_interop_threads(wrong)


def test_compile():
    model = fastnn.nn.Linear(2, 1)
    assert fastnn.compile(model) is model
    assert fastnn.compile(model, mode="reduce-overhead", fullgraph=True) is model

    @fastnn.compile(dynamic=True)
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
    with pytest.raises(RuntimeError, match="mode or options"):
        fastnn.compile(model, mode="default", options={})
    with pytest.raises(TypeError, match="module or function"):
        fastnn.compile(3)


def test_runtime(tmp_path):
    from fastnn import jit

    model = fastnn.nn.Linear(2, 1)
    x = fastnn.ones(1, 2)
    assert jit.script(model) is jit.trace(model, x) is jit.freeze(model) is jit.optimize_for_inference(model) is model
    assert jit.ignore(abs) is jit.ignore(drop=True)(abs) is jit.export(abs) is abs
    jit.save(model, tmp_path / "m.pt")
    assert jit.load(tmp_path / "m.pt")(x).tolist() == model(x).tolist()
    # Libraries take another way for scripted modules.
    assert not isinstance(model, jit.ScriptModule)
    assert jit.is_tracing() is False


# -- Mixed precision --------------------------------------------------------------------------


def train(lib: Any, scaler: Any, autocast: Any) -> list[float]:
    model = lib.nn.Linear(2, 1)
    with lib.no_grad():
        model.weight.copy_(lib.tensor([[1.0, 2.0]]))
        model.bias.copy_(lib.tensor([0.5]))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        with autocast:
            loss = (model(lib.ones(4, 2)) ** 2).mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return model.weight.detach().reshape(-1).tolist()


def test_amp(lib):
    with warnings.catch_warnings():
        # PyTorch itself calls functions that it has renamed.
        warnings.simplefilter("ignore" if lib is not fastnn else "error")
        scaler = lib.amp.GradScaler("cuda", enabled=False)
        found = train(lib, scaler, lib.amp.autocast("cpu", enabled=False))
    expected = train(fastnn, fastnn.amp.GradScaler("cpu"), fastnn.autocast("cpu", enabled=False))
    # The library's sums may be rounded in another order.
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert (scaler.is_enabled(), scaler.get_scale(), scaler.state_dict()) == (False, 1.0, {})
    scaler.load_state_dict({})
    with pytest.raises(ValueError, match="device_type"):
        lib.amp.autocast(3)


def scaled_step(lib, scaler, optimizer, factor):
    """One iteration with the gradient ``factor``; the scale afterwards."""
    optimizer.zero_grad()
    p = optimizer.param_groups[0]["params"][0]
    scaler.scale((p * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale()


def test_a_scaler_leaves_out_infinite_gradients(lib):
    p = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.SGD([p], lr=1.0)
    scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    assert (scaler.is_enabled(), scaler.get_scale()) == (True, 8.0)
    assert scaled_step(lib, scaler, optimizer, 0.5) == 8.0
    assert p.tolist() == [0.5, 0.5]
    for bad in (float("nan"), float("inf")):
        before = scaler.get_scale()
        assert scaled_step(lib, scaler, optimizer, bad) == before / 2
        assert p.tolist() == [0.5, 0.5]
    assert [scaled_step(lib, scaler, optimizer, 0.5) for _ in range(3)] == [2.0, 4.0, 4.0]
    assert p.tolist() == [-1.0, -1.0]


def test_the_state_of_a_scaler(lib):
    p = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.SGD([p], lr=1.0)
    scaler = lib.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    scaled_step(lib, scaler, optimizer, 1.0)
    state = scaler.state_dict()
    assert state == {
        "scale": 4.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2, "_growth_tracker": 1
    }  # fmt: skip
    again = lib.amp.GradScaler("cpu")
    again.load_state_dict(state)
    for other in (again, pickle.loads(pickle.dumps(scaler))):
        assert other.state_dict() == state
        assert scaled_step(lib, other, optimizer, 1.0) == 8.0
    optimizer.zero_grad()
    scaler.scale(p.sum() * 2).backward()
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled"):
        pickle.dumps(scaler)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="since the last update"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: 0.0)


def test_amp_of_an_absent_device(lib):
    with pytest.warns(UserWarning, match="not available"):
        lib.amp.GradScaler()
    with pytest.warns(UserWarning, match="not available"), lib.autocast("cuda"):
        assert (lib.ones(1) + 1).item() == 2
    for make in (lib.cuda.amp.GradScaler, lib.cuda.amp.autocast):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            make()
        assert any("vailable" in str(w.message) for w in seen)


# -- Tools ------------------------------------------------------------------------------------


def test_checkpoint(lib):
    checkpoint = part(lib, "utils.checkpoint")
    x = lib.ones(2, requires_grad=True)
    checkpoint.checkpoint(lambda a, b: (a * b).sum(), x, x, use_reentrant=False).backward()
    assert x.grad.tolist() == [2.0, 2.0]
    out = checkpoint.checkpoint_sequential([lambda a: a * 3, lambda a: a + 1], 1, lib.ones(2), use_reentrant=False)
    assert out.tolist() == [4.0, 4.0]


def test_summary_writer_without_a_package(monkeypatch):
    for name in ("tensorboardX", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        fastnn.utils.tensorboard.SummaryWriter()


def test_summaries_of_hyperparameters(monkeypatch):
    """Stable-Baselines3 makes them itself and writes them through ``file_writer``."""
    from fastnn.utils.tensorboard import summary, writer

    assert writer.SummaryWriter is fastnn.utils.tensorboard.SummaryWriter
    made, written = ModuleType("tensorboardX.summary"), []
    made.hparams = lambda hparam_dict, metric_dict: (hparam_dict, metric_dict, "end")
    module = ModuleType("tensorboardX")
    module.SummaryWriter = lambda **options: SimpleNamespace(file_writer=SimpleNamespace(add_summary=written.append))
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.setitem(sys.modules, "tensorboardX.summary", made)
    parts = summary.hparams({"lr": 0.1}, metric_dict={"loss": 1.0})
    assert parts == ({"lr": 0.1}, {"loss": 1.0}, "end")
    fastnn.utils.tensorboard.SummaryWriter("runs/x").file_writer.add_summary(parts[0])
    assert written == [{"lr": 0.1}]
    with pytest.raises(TypeError, match="metric_dict should be a dictionary, found NoneType"):
        summary.hparams({})
    for name in ("tensorboardX.summary", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        summary.hparams({}, {})


def test_summary_writer(monkeypatch):
    calls: list[Any] = []

    class Recorder:
        logdir = "runs/x"

        def __init__(self, **options: Any) -> None:
            calls.append(("init", options["log_dir"]))

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: calls.append((name, args, kwargs))

    module = ModuleType("tensorboardX")
    module.SummaryWriter = Recorder
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    with fastnn.utils.tensorboard.SummaryWriter("runs/x", comment="c") as writer:
        writer.add_scalar("loss", fastnn.tensor(2.0, requires_grad=True), 3)
        writer.add_scalars("m", {"a": fastnn.tensor(1)}, global_step=fastnn.tensor(4))
        writer.add_histogram("w", fastnn.tensor([1.0, 2.0]))
        writer.add_graph(None, fastnn.ones(1))
        assert writer.get_logdir() == writer.log_dir
    assert calls[0] == ("init", "runs/x")
    assert calls[1] == ("add_scalar", ("loss", 2.0, 3), {})
    assert calls[2] == ("add_scalars", ("m", {"a": 1}), {"global_step": 4})
    assert calls[3][1][1].tolist() == [1.0, 2.0]
    assert calls[-1][0] == "close"
    with pytest.raises(AttributeError):
        writer._missing  # noqa: B018  # the access raises


def test_summary_writer_of_tensorboard_alone(monkeypatch):
    events: list[Any] = []

    def record(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    summary = SimpleNamespace(Value=record)
    writer = SimpleNamespace(add_event=events.append, flush=lambda: None, close=lambda: events.append("closed"))
    for name, members in {
        "tensorboard": {}, "tensorboard.compat": {}, "tensorboard.summary": {}, "tensorboard.summary.writer": {},
        "tensorboard.compat.proto": {
            "event_pb2": SimpleNamespace(Event=record),
            "summary_pb2": SimpleNamespace(Summary=type("Summary", (SimpleNamespace,), {"Value": summary.Value})),
        },
        "tensorboard.summary.writer.event_file_writer": {"EventFileWriter": lambda folder: writer},
        "tensorboard.plugins": {}, "tensorboard.plugins.text": {},
        "tensorboard.plugins.text.summary": {
            "text_pb": lambda tag, text: SimpleNamespace(value=[record(metadata="m", tensor=text)])
        },
    }.items():  # fmt: skip
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with fastnn.utils.tensorboard.SummaryWriter("runs/x") as w:
        w.add_scalar("loss", fastnn.tensor(2.0), 3)
        w.add_scalars("m", {"a": fastnn.tensor(1.0), "b": 2})
        w.add_text("t", "hello", 1)
        w.add_histogram("w", fastnn.tensor([0.0, 1.0, 1.0]), bins=2)
        w.flush()
        assert w.log_dir == "runs/x"
    assert events.pop() == "closed"
    values = [e.summary.value[0] for e in events]
    assert [v.tag for v in values] == ["loss", "m/a", "m/b", "t/text_summary", "w"]
    assert [e.step for e in events] == [3, 0, 0, 1, 0]
    assert (values[0].simple_value, values[3].tensor) == (2.0, "hello")
    assert values[4].histo["bucket"] == [1, 2]
    assert (values[4].histo["num"], values[4].histo["sum"], values[4].histo["sum_squares"]) == (3, 2.0, 2.0)


def test_versions():
    assert fastnn.version.__version__ == fastnn.__version__
    assert fastnn.version.cuda is None
    for name in ("cuda", "backends", "torchvision", "serialization"):
        assert getattr(fastnn, name).__name__ == f"fastnn.{name}"
    with pytest.raises(AttributeError, match="stft"):
        fastnn.stft  # noqa: B018  # the access raises
    with pytest.raises(AttributeError, match="nothing"):
        fastnn.utils.nothing  # noqa: B018  # the access raises
