"""Small behaviours of PyTorch that libraries on top of it rely on; those with ``lib`` are compared with PyTorch."""

from __future__ import annotations

import base64
import copy
import importlib
import inspect
import os
import pickle
import subprocess
import sys
import typing
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn.ops import core

ROOT = Path(__file__).resolve().parents[2]


# -- Tensors ----------------------------------------------------------------------------------------


def test_numpy_of_parameters_without_recording(lib):
    weight = lib.nn.Linear(3, 2).weight
    result = weight * 2
    with pytest.raises(RuntimeError, match="requires grad"):
        weight.numpy()
    with lib.no_grad():
        assert weight.numpy().shape == (2, 3)
        assert np.shares_memory(weight.numpy(), weight.detach().numpy())
        assert np.asarray(weight).tolist() == weight.tolist()
        assert result.numpy().tolist() == result.tolist()
    with lib.inference_mode():
        assert weight.numpy().shape == (2, 3)


OLD = {
    "add_": lambda lib, a, b: a.add_(2, b), "add": lambda lib, a, b: a.add(2, b),
    "torch.add": lambda lib, a, b: lib.add(a, 2, b), "sub_": lambda lib, a, b: a.sub_(2, b),
    "sub": lambda lib, a, b: a.sub(2, b), "torch.sub": lambda lib, a, b: lib.sub(a, 2, b),
    "addcmul_": lambda lib, a, b: a.addcmul_(2, b, b), "addcmul": lambda lib, a, b: a.addcmul(2, b, b),
    "torch.addcmul": lambda lib, a, b: lib.addcmul(a, 2, b, b),
    "addcdiv_": lambda lib, a, b: a.addcdiv_(-0.1, b, b + 3),
    "torch.addcdiv": lambda lib, a, b: lib.addcdiv(a, 2, b, b),
    "addmm": lambda lib, a, b: lib.addmm(2, a, 3, a, b), "addmm of beta": lambda lib, a, b: lib.addmm(2, a, a, b),
    "addmm method": lambda lib, a, b: a.addmm(2, 3, a, b), "addmv": lambda lib, a, b: lib.addmv(2, b[0], 3, a, b[1]),
    "addr": lambda lib, a, b: a.addr(2, 3, b[0], b[1]),
    "baddbmm": lambda lib, a, b: a[None].baddbmm(2, a[None], b[None]),
    "addbmm": lambda lib, a, b: lib.addbmm(2, a, 3, a[None], b[None]),
    "recorded": lambda lib, a, b: lib.add(a.requires_grad_(), 2, b).sum().backward() or a.grad,
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
@pytest.mark.filterwarnings("ignore:This overload of")
def test_old_order_of_arguments(lib, name):
    call = OLD[name]
    found = call(lib, lib.tensor([[1.0, 2.0], [3.0, 4.0]]), lib.tensor([[0.5, -1.0], [2.0, 8.0]]))
    other = "add" if name == "recorded" else name.removeprefix("torch.").split(" ")[0].removesuffix("_")
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([[0.5, -1.0], [2.0, 8.0]], np.float32)
    if name == "recorded":
        expected = np.ones((2, 2))
    elif name.startswith("addcdiv_"):
        expected = a - np.float32(0.1) * b / (b + 3)
    else:
        expected = {
            "add": a + 2 * b, "sub": a - 2 * b, "addcmul": a + 2 * b * b, "addcdiv": a + 2,
            "addmm": 2 * a + (1 if name.endswith("beta") else 3) * a @ b, "addmv": 2 * b[0] + 3 * a @ b[1],
            "addr": 2 * a + 3 * np.outer(b[0], b[1]),
    "baddbmm": (2 * a + a @ b)[None], "addbmm": 2 * a + 3 * a @ b,
        }[other]  # fmt: skip
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=4 * np.finfo(np.float32).eps)


def test_old_order_warns_once_and_other_calls_fail(monkeypatch):
    monkeypatch.setattr(core, "_warned_of_order", False)
    a, b = fastnn.ones(2), fastnn.ones(2)
    with pytest.warns(UserWarning, match="This overload of add_ is deprecated: pass alpha by keyword"):
        a.add_(2, b)
    a.add_(2, b)
    for call in (
        lambda: a.add(b, b, b), lambda: a.add(2, "3"), lambda: a.add_(b, b), lambda: fastnn.addmm(1, 2, 3, a, b),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call()
    assert a.tolist() == [5.0, 5.0]


def test_bounds_of_randint_like(lib):
    x = lib.zeros(50)
    for found, low, high in (
        (lib.randint_like(x, high=5), 0, 5), (lib.randint_like(x, low=3, high=5), 3, 5), (lib.randint_like(x, 5), 0, 5),
        (lib.randint_like(x, 3, high=5), 3, 5),
    ):  # fmt: skip
        assert low <= found.min() <= found.max() < high
    with pytest.raises(TypeError):
        lib.randint_like(x)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages(lib):
    x = lib.arange(6.0).reshape(2, 3)
    part, memory = x[1], x.untyped_storage()
    assert (memory.nbytes(), memory.size(), len(memory), memory.element_size()) == (24, 24, 24, 1)
    assert memory.data_ptr() == x.data_ptr() == part.untyped_storage().data_ptr() == x.storage().data_ptr()
    assert part.data_ptr() == memory.data_ptr() + part.storage_offset() * 4
    assert memory == part.untyped_storage()
    assert memory != lib.zeros(6).untyped_storage()
    assert memory.device == lib.device("cpu")
    assert lib.ones(1).untyped_storage().tolist() == [0, 0, 128, 63]
    typed = x.storage()
    assert (typed.size(), typed.nbytes(), typed.dtype, typed.element_size()) == (6, 24, lib.float32, 4)
    assert (typed[1], typed.tolist()) == (1.0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert (typed.pickle_storage_type(), x.storage_type()) == ("FloatStorage", lib.FloatStorage)
    typed[0] = 7
    assert x[0, 0] == 7
    typed.fill_(2)
    assert x.sum() == 12
    typed.clone().fill_(9)
    assert x.sum() == 12
    assert isinstance(typed, lib.FloatStorage)
    assert isinstance(typed, lib.storage.TypedStorage)
    assert not isinstance(typed, lib.LongStorage)
    assert isinstance(memory, lib.UntypedStorage)
    assert [lib.is_storage(v) for v in (typed, memory, x)] == [True, True, False]
    assert lib.UntypedStorage(8).nbytes() == 8
    assert lib.FloatStorage([1, 2]).tolist() == [1.0, 2.0]
    assert repr(lib.LongStorage([1])) == " 1\n[torch.storage.TypedStorage(dtype=torch.int64, device=cpu) of size 1]"
    parameter = lib.nn.Linear(3, 2).bias
    assert parameter.untyped_storage().nbytes() == 8
    assert parameter.untyped_storage().data_ptr() == parameter.data_ptr()
    assert lib.zeros(0).untyped_storage().nbytes() == 0


def test_tensor_over_a_storage(lib):
    x = lib.arange(6.0)
    y = lib.empty(0).set_(x.untyped_storage(), 1, (2, 2), (2, 1))
    assert y.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    y[0, 0] = 9
    assert x[1] == 9
    assert lib.empty(0).set_(x.untyped_storage()).tolist() == x.tolist()
    if lib is fastnn:
        # PyTorch makes the storage larger.
        with pytest.raises(RuntimeError, match="out of bounds"):
            lib.empty(0).set_(x.untyped_storage(), 1, (6,), (1,))


# -- Optimizers -------------------------------------------------------------------------------------


def lookahead(lib: Any) -> Any:
    class Lookahead(lib.optim.Optimizer):
        def __init__(self, inner: Any) -> None:
            self.inner, self.param_groups, self.state = inner, inner.param_groups, {}

        def step(self, closure: Any = None) -> Any:
            return self.inner.step(closure)

    w = lib.nn.Parameter(lib.ones(2))
    return Lookahead(lib.optim.SGD([w], lr=0.5)), w


def test_optimizer_that_does_not_call_init():
    optimizer, w = lookahead(fastnn)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *given: seen.append("before"))
    optimizer.register_step_post_hook(lambda *given: seen.append("after"))
    optimizer.register_state_dict_pre_hook(lambda it: seen.append("state"))
    optimizer.register_load_state_dict_post_hook(lambda it: seen.append("load"))
    w.sum().backward()
    optimizer.step()
    assert w.tolist() == [0.5, 0.5]
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["before", "after", "state", "load"]
    optimizer.add_param_group({"params": [fastnn.ones(1, requires_grad=True)], "lr": 1})
    optimizer.zero_grad()
    assert w.grad is None
    assert repr(optimizer).startswith("Lookahead (\nParameter Group 0\n")
    assert optimizer.defaults == {}
    assert [len(o.param_groups) for o in (copy.deepcopy(optimizer), optimizer)] == [2, 2]
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = optimizer.nonesuch


def test_schedule_of_such_an_optimizer(lib):
    optimizer, _ = lookahead(lib)
    schedule = lib.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step() if lib is fastnn else optimizer.inner.step()
    if lib is fastnn:
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_looking_for_optimizers(lib):
    names = {
        "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "NAdam", "Optimizer", "RAdam", "RMSprop",
        "Rprop", "SGD",
    }  # fmt: skip
    for found in (vars(lib.optim), lib.optim.__dict__):
        assert names <= {n for n, v in found.items() if isinstance(v, type) and issubclass(v, lib.optim.Optimizer)}
    schedules = {"StepLR", "LambdaLR", "OneCycleLR", "ReduceLROnPlateau", "CosineAnnealingLR"}
    assert schedules <= vars(lib.optim.lr_scheduler).keys()
    assert {"Linear", "ReLU", "MSELoss"} <= vars(lib.nn).keys()
    assert inspect.ismodule(lib.optim)


# -- Modules ----------------------------------------------------------------------------------------


def test_type_hints_of_modules():
    nn = fastnn.nn
    kinds = [k for k in vars(nn).values() if isinstance(k, type) and issubclass(k, nn.Module)]
    assert len(kinds) > 50
    for kind in (*kinds, *[k for k in vars(fastnn.optim).values() if isinstance(k, type)]):
        for what in (kind, kind.__init__, getattr(kind, "forward", None)):
            if what is not None:
                typing.get_type_hints(what)


def test_ordinary_modules_are_not_compiled(lib):
    model = lib.nn.Linear(2, 2)
    assert not isinstance(model, lib.jit.ScriptModule)
    assert not isinstance(model, lib.jit.ScriptFunction)
    assert issubclass(lib.jit.ScriptModule, lib.nn.Module)


def test_scalars_of_one_element(monkeypatch):
    from fastnn.utils import tensorboard

    class Writer:
        def __init__(self) -> None:
            self.found: list[Any] = []

        def add_scalar(self, tag: str, value: Any, step: Any = None, **options: Any) -> None:
            self.found.append((tag, value, step))

        def add_scalars(self, tag: str, values: dict[str, Any], step: Any = None) -> None:
            self.found.append((tag, values, step))

    monkeypatch.setattr(tensorboard, "_backend", lambda options: Writer())
    writer = tensorboard.SummaryWriter("runs")
    for value in (np.array([1.5]), np.array(1.5), np.float32(1.5), fastnn.tensor([[1.5]]), fastnn.tensor(1.5), 1.5):
        writer.add_scalar("loss", value, 3)
        writer.add_scalars("losses", {"a": value}, 3)
    found = writer._writer.found
    assert found == [("loss", 1.5, 3), ("losses", {"a": 1.5}, 3)] * 6
    assert all(np.ndim(value) == 0 for _, value, _ in found[::2])


# -- Subclasses of Tensor -----------------------------------------------------------------------------

# In a process of its own: from the first instance of a subclass on, operations look for them.
SUBCLASSES = """
import sys
lib = __import__(sys.argv[1])
F, nn = lib.nn.functional, lib.nn
calls = []
table = {lib.mean: "mean", F.mse_loss: "mse", lib.Tensor.add: "add", lib.Tensor.mul: "mul"}
early = F.mse_loss

class Logged(lib.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        calls.append((func.__name__, [t.__name__ for t in types if t is not lib.Tensor], table.get(func)))
        return super().__torch_function__(func, types, args, kwargs or {})

class Plain(lib.Tensor):
    pass

class Named(lib.Tensor):
    @staticmethod
    def __new__(cls, x, name, *args, **kwargs):
        return super().__new__(cls, x, *args, **kwargs)

    def __init__(self, x, name):
        super().__init__()
        self.label = name

class Refusing(lib.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return NotImplemented

a = lib.ones(3)
s = lib.arange(3.0).as_subclass(Logged)
linear = nn.Linear(3, 2)
def show(name, function):
    calls.clear()
    try:
        result = function()
        kind = type(result).__name__
        if isinstance(result, (tuple, list)) and not isinstance(result, lib.Size):
            kind = [type(r).__name__ for r in result]
    except Exception as error:
        kind = type(error).__name__
    print(name, kind, calls[:1])
for name, function in {
    "s+1": lambda: s + 1, "1+s": lambda: 1 + s, "a+s": lambda: a + s, "s+a": lambda: s + a, "-s": lambda: -s,
    "a*s": lambda: a * s, "1-s": lambda: 1 - s, "s/2": lambda: s / 2, "2/s": lambda: 2 / (s + 1), "s@a": lambda: s @ a,
    "s==a": lambda: s == a, "s<a": lambda: s < a, "s//2": lambda: s // 2, "abs": lambda: abs(s),
    "s+=1": lambda: s.__iadd__(0),
    "add": lambda: s.add(1), "a.add": lambda: a.add(s), "lib.add": lambda: lib.add(a, s, alpha=2),
    "exp": lambda: lib.exp(s),
    "mean": lambda: lib.mean(s), "sum": lambda: s.sum(), "get": lambda: s[0], "set": lambda: s.__setitem__(0, 0.0),
    "len": lambda: len(s), "shape": lambda: s.shape, "dtype": lambda: s.dtype, "data": lambda: s.data,
    "T": lambda: s.view(3, 1).T,
    "stack": lambda: lib.stack([s, a]), "cat": lambda: lib.cat((a, s)), "split": lambda: s.split(1),
    "unbind": lambda: lib.unbind(s),
    "max": lambda: lib.max(s.reshape(1, 3), 1), "item": lambda: s.sum().item(), "numpy": lambda: s.numpy(),
    "list": lambda: list(s),
    "linear": lambda: linear(s), "mse": lambda: F.mse_loss(s, a), "early": lambda: early(s, a),
    "loss": lambda: nn.MSELoss()(s, a),
    "net": lambda: nn.Sequential(linear, nn.ReLU(), nn.Linear(2, 2), nn.Tanh())(s), "relu": lambda: nn.ReLU()(s),
    "softmax": lambda: F.softmax(s, dim=0), "detach": lambda: s.detach(), "clone": lambda: s.clone(),
    "view": lambda: s.view(3, 1),
    "to": lambda: s.to(lib.float64), "double": lambda: s.double(), "zeros_like": lambda: lib.zeros_like(s),
    "where": lambda: lib.where(a > 0, s, a), "tensor": lambda: s.as_subclass(lib.Tensor),
    "allclose": lambda: lib.allclose(s, s),
    "made": lambda: Logged([1.0, 2.0]), "no match": lambda: Plain([1.0]) + s, "refused": lambda: Refusing([1.0]) + 1,
    "refused function": lambda: lib.add(Refusing([1.0]), 1), "str": lambda: s + "1",
    "bool": lambda: bool((s >= 0).all()),
}.items():
    show(name, function)
n = Named([1.0, 2.0], "n")
print(n, n.label, type(n * 2).__name__, hasattr(n * 2, "label"), Plain([1.5]), repr(Plain([1.5]) * 2))
w = lib.ones(3, requires_grad=True)
t = w.as_subclass(Plain)
(t * t).sum().backward()
print(t.is_leaf, type(t.grad).__name__, w.grad.tolist(), type(t.grad_fn) is not None)
x = lib.ones(3).as_subclass(Plain).requires_grad_()
(x * 3).sum().backward()
print(x.is_leaf, x.grad.tolist())
shared = a.as_subclass(Plain)
shared[0] = 5
print(a.tolist(), isinstance(shared, lib.Tensor), type(linear.weight + 1).__name__, type(a + a).__name__)
import importlib
internal, overrides = [importlib.import_module(f"{lib.__name__}.{name}") for name in ("_C", "overrides")]

class Aside(lib.Tensor):
    __torch_function__ = internal._disabled_torch_function_impl

print(type(a.as_subclass(Aside) + 1).__name__, type(a.as_subclass(Aside)).__name__)
with internal.DisableTorchFunctionSubclass():
    print(type(s + 1).__name__, overrides.has_torch_function((s,)))

def twice(x):
    if overrides.has_torch_function((x,)):
        return overrides.handle_torch_function(twice, (x,), x)
    return x * 2

print([overrides.has_torch_function((x,)) for x in (s, shared, a, linear.weight, a.as_subclass(Aside))])
print(type(twice(s)).__name__, type(twice(a)).__name__, twice(shared).tolist())
print(lib.Tensor.__torch_function__.__self__ is lib.Tensor, type(nn.Parameter(a) * shared).__name__)
"""


def _run(folder: Path, source: str, *command: str) -> list[str]:
    """What the program prints."""
    (folder / "script.py").write_text(source)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, timeout=120, cwd=folder,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.torch
def test_subclasses_as_in_pytorch(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    found, expected = [_run(tmp_path, SUBCLASSES, "script.py", name) for name in ("fastnn", "torch")]
    # PyTorch's ReLU calls a function with the name, fastnn's a kernel; and a loop begins with `dim`.
    for theirs, ours in (("[('relu', ['Logged'], None)]", "[]"), ("[('dim'", "[('unbind'")):
        expected = [line.replace(theirs, ours) for line in expected]
    assert found == expected


SHORT = """
import fastnn, pickle, copy, inspect

class Kept(fastnn.Tensor):
    pass

before = inspect.signature(fastnn.add), fastnn.Tensor.add, fastnn.nn.functional.linear
k = Kept([1.0, 2.0])
assert (inspect.signature(fastnn.add), fastnn.Tensor.add, fastnn.nn.functional.linear) == before
k.note = [1]
for made in (pickle.loads(pickle.dumps(k)), copy.deepcopy(k)):
    assert type(made) is Kept and made.tolist() == [1.0, 2.0] and made.note == [1] and made.note is not k.note
model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 2), fastnn.nn.ReLU(), fastnn.nn.Linear(2, 1))
optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
for kind in (fastnn.Tensor, Kept) * 3:
    optimizer.zero_grad()
    out = model(fastnn.ones(4, 2).as_subclass(kind))
    assert type(out) is kind, out
    out.sum().backward()
    optimizer.step()
assert type(fastnn.ones(1).as_subclass(fastnn.Tensor) + 1) is fastnn.Tensor
try:
    fastnn.ones(1).as_subclass(int)
except TypeError:
    print("done")
"""


def test_subclasses_are_kept(tmp_path):
    assert _run(tmp_path, SHORT, "script.py") == ["done"]


LIKE_TENSORS = """
import sys
lib = __import__(sys.argv[1])

class Diagonal:
    def __init__(self, values):
        self.values = values

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is lib.matmul and isinstance(args[0], cls):
            return args[0].values[:, None] * args[1]
        if func not in (lib.sum, lib.Tensor.add, lib.add):
            return NotImplemented
        return func.__name__, [t.__name__ for t in types], kwargs or {}

    def __rmatmul__(self, other):
        return "reflected"

d, a = Diagonal(lib.tensor([2.0, 3.0])), lib.ones(2, 2)
for function in (
    lambda: a @ "x", lambda: lib.sum(d, dim=0), lambda: lib.matmul(d, a).tolist(), lambda: lib.add(a, d), lambda: a + d,
    lambda: a.add(d), lambda: lib.mul(d, a), lambda: lib.sum(a).item(), lambda: lib.sum(3, "a"),
    lambda: type(a + 1).__name__,
):
    try:
        print(function())
    except Exception as error:
        print("TypeError" if isinstance(error, TypeError) else type(error).__name__)
"""


@pytest.mark.torch
def test_other_classes_as_in_pytorch(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    found, expected = [_run(tmp_path, LIKE_TENSORS, "script.py", name) for name in ("fastnn", "torch")]
    assert found == expected


# -- `fastnn run` -------------------------------------------------------------------------------------

NAMES = """
import importlib.metadata, importlib.util, torch, torchvision
from torch import nn
print(torch.__name__, importlib.metadata.version("torch") == torch.__version__ == importlib.metadata.version("Torch"))
print([importlib.util.find_spec(n) is not None for n in ("torch", "torch.nn", "torchvision", "torchvision.transforms")])
print([importlib.util.find_spec(n) for n in ("torchaudio", "torchvision.models", "torch.nonesuch", "torch.tensor")])
import gc
print(torch.jit.__name__, gc.get_threshold()[0])
print("torch" in {d.metadata["Name"] for d in importlib.metadata.distributions()})
for name in ("torchvision", "torchaudio"):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        print("no", name)
try:
    import torch.nonesuch
except ModuleNotFoundError as error:
    print(error.name)
"""


def test_what_is_installed(tmp_path):
    assert _run(tmp_path, NAMES, "-m", "fastnn", "run", "script.py") == [
        "torch True", "[True, True, True, True]", "[None, None, None, None]", "torch.jit 7000", "True",
        "no torchvision", "no torchaudio",
        "torch.nonesuch",
    ]  # fmt: skip


# -- Views of memory, files, differences ------------------------------------------------------------


def test_as_strided(lib):
    base = lib.arange(10.0)
    part = base[4:]
    assert part.as_strided((3,), (2,)).tolist() == [4, 6, 8]
    assert part.as_strided((2, 2), (1, 1), 0).tolist() == [[0, 1], [1, 2]]
    part.as_strided((3,), (2,), 0).fill_(-1)
    assert base[:5].tolist() == [-1, 1, -1, 3, -1]
    bad = (((9,), (2,), None), ((2,), (2, 1), 0), ((2,), (-1,), 4), ((2,), (1,), -1), ((-2,), (1,), 0))
    for size, stride, offset in bad:
        with pytest.raises(RuntimeError):
            part.as_strided(size, stride, offset)
    # Of another order, of repeated elements, and written to.
    x = lib.arange(12.0).reshape(3, 4).t().requires_grad_()
    lib.as_strided(x, (3, 2), (2, 1)).square().sum().backward()
    assert x.grad.tolist() == [[0, 8, 0], [2, 10, 0], [4, 0, 0], [6, 0, 0]]
    x = lib.arange(3.0).requires_grad_()
    lib.as_strided(x.expand(2, 3), (3,), (1,)).square().sum().backward()
    assert x.grad.tolist() == [0, 2, 4]
    x = lib.arange(6.0).requires_grad_()
    y = x * 1
    y.as_strided((2,), (3,)).mul_(5.0)
    y.square().sum().backward()
    assert x.grad.tolist() == [0, 2, 4, 150, 8, 10]
    assert lib.as_strided(x, (), ()).item() == 0


def test_memory_of_files(lib, tmp_path):
    path = tmp_path / "numbers"
    np.arange(6, dtype=np.float32).tofile(path)
    x = lib.from_file(str(path), size=4)
    x[0] = 7
    assert x.tolist() == [7, 1, 2, 3]
    assert np.fromfile(path, np.float32)[0] == 0
    lib.from_file(str(path), shared=True, size=8)[7] = 5
    assert np.fromfile(path, np.float32).tolist() == [0, 1, 2, 3, 4, 5, 0, 5]
    memory = lib.UntypedStorage.from_file(str(path), False, 8)
    assert (memory.nbytes(), lib.tensor([], dtype=lib.float32).set_(memory).tolist()) == (8, [0, 1])
    with pytest.raises(RuntimeError):
        lib.from_file(str(path), size=100)
    with pytest.raises(RuntimeError):
        lib.UntypedStorage.from_file(str(path), False, -1)
    with pytest.raises(RuntimeError):
        lib.from_file(str(tmp_path / "nonesuch"), size=1)


def test_gradient(lib):
    x = lib.arange(10.0).reshape(2, 5) ** 2
    rows, columns = lib.gradient(x)
    assert (rows[0].tolist(), columns[0].tolist()) == ([25, 35, 45, 55, 65], [1, 2, 4, 6, 7])
    [uneven] = lib.gradient(x[0], spacing=(lib.tensor([0.0, 1, 3, 4, 8]),), edge_order=2)
    np.testing.assert_allclose(uneven.tolist(), [5 / 6, 7 / 6, 23 / 6, 4.35, -0.85], rtol=1e-6)
    assert lib.gradient(lib.tensor([1, 2, 4]))[0].tolist() == [1, 1.5, 2]
    for options in ({"edge_order": 3}, {"spacing": [1.0]}, {"dim": (0, 0)}, {"edge_order": 2}):
        with pytest.raises(RuntimeError):
            lib.gradient(x, **options)


# -- Modes ------------------------------------------------------------------------------------------


def test_function_modes(lib):
    seen: list[str] = []

    class Names(lib.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    class Ones(lib.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return lib.ones(2) if func is lib.zeros else func(*args, **(kwargs or {}))

    with Names():
        x = lib.zeros(2) + 1
        assert lib.tensor([1.0]).sum() == 1
        with Ones():
            assert lib.zeros(5).tolist() == [1, 1]
    assert seen == ["zeros", "add", "tensor", "sum", "__eq__", "__bool__", "ones", "tolist"]
    assert (x * 2).tolist() == [2, 2]
    assert len(seen) == 8


def test_modules_in_a_function_mode_are_refused():
    class Same(fastnn.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    layer = fastnn.nn.Linear(1, 1)
    with Same(), pytest.raises(NotImplementedError, match="modules cannot be called"):
        layer(fastnn.ones(1))
    assert layer(fastnn.ones(1)).shape == (1,)


# -- Pruning ----------------------------------------------------------------------------------------


def pruned_layer(lib):
    layer = lib.nn.Linear(3, 2)
    with lib.no_grad():
        layer.weight.copy_(lib.tensor([[1.0, -2, 3], [-4, 5, 0.5]]))
    return layer


def test_pruning(lib):
    prune = importlib.import_module(f"{lib.nn.utils.__name__}.prune")
    layer = pruned_layer(lib)
    assert prune.l1_unstructured(layer, "weight", 2) is layer
    assert layer.weight.tolist() == [[0, -2, 3], [-4, 5, 0]]
    assert sorted(layer.state_dict()) == ["bias", "weight_mask", "weight_orig"]
    prune.ln_structured(layer, "weight", 0.5, 2, 0)
    assert layer.weight.tolist() == [[0, 0, 0], [-4, 5, 0]]
    [hook] = layer._forward_pre_hooks.values()
    assert (type(hook).__name__, len(hook), prune.is_pruned(layer)) == ("PruningContainer", 2, True)
    # Training moves what is left.
    layer(lib.ones(1, 3)).sum().backward()
    assert layer.weight_orig.grad.tolist() == [[0, 0, 0], [1, 1, 0]]
    lib.optim.SGD(layer.parameters(), lr=1.0).step()
    layer(lib.ones(1, 3))
    assert layer.weight.tolist() == [[0, 0, 0], [-5, 4, 0]]
    prune.remove(layer, "weight")
    assert (sorted(layer.state_dict()), layer.weight.tolist()) == (["bias", "weight"], [[0, 0, 0], [-5, 4, 0]])
    assert isinstance(layer.weight, lib.nn.Parameter)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(layer, "weight")


@pytest.mark.parametrize("name", ["BatchNorm1d", "LayerNorm"])
def test_normalizations_whose_weight_is_computed(lib, name):
    layer = getattr(lib.nn, name)(3)
    model = lib.nn.Sequential(layer, lib.nn.ReLU())
    x = lib.tensor([[1.0, 2, 4], [3, 1, 1], [0, 5, 2]])
    with lib.no_grad():
        layer.weight.copy_(lib.tensor([1.0, 2.0, 3.0]))
    whole = model(x)
    importlib.import_module(f"{lib.nn.utils.__name__}.prune").l1_unstructured(layer, "weight", 1)
    pruned = model(x)
    assert pruned[:, 0].tolist() == [0, 0, 0]
    assert pruned[:, 1:].tolist() == whole[:, 1:].tolist()
    pruned.sum().backward()
    assert layer.weight_orig.grad[0] == 0
    assert layer.weight_orig.grad[2] != 0


def test_ways_of_pruning(lib):
    prune = importlib.import_module(f"{lib.nn.utils.__name__}.prune")
    one, two = pruned_layer(lib), pruned_layer(lib)
    prune.global_unstructured([(one, "weight"), (two, "weight")], prune.L1Unstructured, amount=0.5)
    assert int(one.weight_mask.sum() + two.weight_mask.sum()) == 6
    layer = prune.custom_from_mask(pruned_layer(lib), "weight", lib.tensor([[1, 0, 1], [0, 1, 0]]))
    assert layer.weight.tolist() == [[1, 0, 3], [0, 5, 0]]
    scores = lib.tensor([[0.0, 1, 2], [3, 4, 5]])
    layer = prune.l1_unstructured(pruned_layer(lib), "weight", 1, importance_scores=scores)
    assert layer.weight.tolist() == [[0, -2, 3], [-4, 5, 0.5]]
    assert int(prune.random_unstructured(pruned_layer(lib), "weight", 0.5).weight_mask.sum()) == 3
    assert int(prune.random_structured(pruned_layer(lib), "weight", 1, 1).weight_mask.sum()) == 4
    assert prune.identity(pruned_layer(lib), "bias").bias_mask.tolist() == [1, 1]
    assert prune.L1Unstructured(1).prune(lib.tensor([3.0, 1.0])).tolist() == [3, 0]
    for amount, error in ((7, ValueError), (1.5, ValueError), (-1, ValueError), ("x", TypeError)):
        with pytest.raises(error):
            prune.l1_unstructured(pruned_layer(lib), "weight", amount)
    layer = pruned_layer(lib)
    with pytest.raises(ValueError, match="multidimensional"):
        prune.ln_structured(layer, "bias", 1, 2, 0)
    assert sorted(layer.state_dict()) == ["bias", "weight"]


# -- Pickles ----------------------------------------------------------------------------------------

# What PyTorch 2.13.0 writes by pickle.dumps, compressed: a parameter, a view of integers, a tensor of bool.
PICKLED = (
    b"c-qyH%Wl&^7=?XJ=s-)kQ?3OH7#2}5sYq8u2z6sF#caGmmSYdKk?YB^$CZjyDVv0rXJEk+9s!A!^J2^-E>a~Tv8`qOXJ&jfp8q>D)b^oR"
    b"o~kIy0BXot9>y)d<Vji(Kd1dNNh5y{<iQT*G$+vJSUAlJmixOlfo|2FLP)SpiJ!6{@;~Nm$M5fPS`ZkaAF_ys1)-T75SZSYI72nms;?xS"
    b"{I0%jPJXR^s(x&(w8Y};$xmJC^sLMBtU2Q>WU0SP^CDpxRB7=R#iumkJf%L(q9n+mRR<mst9)-j{UZ5H3+VeWEYB2+Ma*&z)6qO#%#w_w"
    b";TWDFH(}W}nvPMH^0$`Pl<rwOP-g9sP0<#AU-t;rTN0j)PPc7$?Cw*0ePi9mY~yfHLU$T(IE;64yAM$QWmbb$Lpge?;d4=Y;_b<aEZ;?$"
    b"40~vJ(v}81$)2D&#wiyIBM=v-9mUZceT*}X?x<rd9)<!@N<%IP736Im(VRvvlaLcEJ#ulDW7);IgIG?^f58P87pFIY<5H|!u@Rfzvy+y}"
    b"E8&?FO1smx+ui>Rr8XZ6W%j7GYPIUM8nv3W;&Lp~x#HsL2rDkGIjTrU8{@hdh>&g^PPyOYxaH#ZlzShmN8A@q8uu5BrE|F3-LAOf$GB^A"
    b"xz}dFUHi)$cO=QXF7A!6=HkA*=Oa9D)Da%eC|Vq%J}z5-0P|2)Wd"
)


def test_pickles_that_pytorch_wrote(monkeypatch):
    for name in ("_utils", "storage"):
        monkeypatch.setitem(sys.modules, f"torch.{name}", importlib.import_module(f"fastnn.{name}"))
    monkeypatch.setitem(sys.modules, "torch", fastnn)
    found = pickle.loads(zlib.decompress(base64.b85decode(PICKLED)))
    assert isinstance(found["p"], fastnn.nn.Parameter)
    assert (found["p"].tolist(), found["p"].requires_grad) == ([[1, 2, 3], [4, 5, 6]], True)
    assert (found["t"].tolist(), found["b"].tolist()) == ([[1, 4], [2, 5]], [True, False])
