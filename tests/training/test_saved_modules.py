"""Whole modules, optimizers and other objects in checkpoints and copies."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import enum
import fractions
import functools
import io
import pathlib
import pickle
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import as_array
from serialization_helpers import GOLDEN, again, assert_equal, written

import fastnn
from fastnn import serialization

# -- Whole modules and other objects ----------------------------------------------------------


class Net(fastnn.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = fastnn.nn.Linear(3, 2)
        self.act = fastnn.nn.functional.relu
        self.register_buffer("scale", fastnn.tensor([2.0]))

    def forward(self, x: Any) -> Any:
        return self.act(self.layer(x)) * self.scale


def test_a_whole_module():
    model, x = Net(), fastnn.ones(4, 3)
    file = written({"model": model, "same": model.layer})
    found = fastnn.load(file, weights_only=False)
    assert type(found["model"]) is Net
    assert found["same"] is found["model"].layer
    np.testing.assert_array_equal(as_array(found["model"](x)), as_array(model(x)))
    found["model"](x).sum().backward()
    assert found["model"].layer.weight.grad is not None
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False"):
        fastnn.load(file)


@pytest.mark.torch
def test_a_whole_module_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    file = written(torch.nn.Linear(2, 1), torch)
    for trusted in (False, True):
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=r"state_dict|weights_only"):
            fastnn.load(file, weights_only=not trusted)


def test_a_class_that_is_gone(monkeypatch):
    file = written(Net())
    monkeypatch.delattr(sys.modules[__name__], "Net")
    with pytest.raises(AttributeError, match="Net"):
        fastnn.load(file, weights_only=False)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        fastnn.load(io.BytesIO(_legacy(b"cno_such_module\nKind\n.")), weights_only=False)


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self) -> None:
        self.rate = 0.1


class Slotted:
    __slots__ = ("a",)


def test_classes_of_the_main_program(monkeypatch):
    main = types.ModuleType("__main__")
    for kind in (Settings, Colour, Slotted):
        monkeypatch.setattr(kind, "__module__", "__main__")
        setattr(main, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "__main__", main)
    slotted = Slotted()
    slotted.a = 3
    settings, colour, found = again([Settings(), Colour.RED, slotted], weights_only=False)
    assert (settings.rate, colour, found.a) == (0.1, Colour.RED, 3)
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        again(Settings())


def test_safe_globals(lib):
    s = lib.serialization
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib))
    with s.safe_globals([Settings]):
        assert Settings in s.get_safe_globals()
        assert lib.load(written(Settings(), lib)).rate == 0.1
    assert Settings not in s.get_safe_globals()
    with s.safe_globals([(Settings, f"{__name__}.Settings")]):
        assert lib.load(written(Settings(), lib)).rate == 0.1
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib))


def test_safe_globals_until_they_are_cleared():
    serialization.add_safe_globals([Settings])
    assert again(Settings()).rate == 0.1
    serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []


def test_safe_globals_of_what_does_not_fit():
    for wrong, error in (((Settings,), ValueError), ((Settings, 3), TypeError)):
        with pytest.raises(error):
            serialization.add_safe_globals([wrong])


class Other:
    """Pickled as a class of another library: by a call, with a state, with items."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __reduce__(self) -> Any:
        return Other, (self.a,), {"b": self.a}


@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_of_any_class_if_the_file_is_trusted(lib, protocol):
    weight = lib.ones(2)
    saved = {"other": Other([weight]), "again": weight, "frozen": frozenset([1]), "made": functools.partial(max, 3)}
    file = written(saved, lib, pickle_protocol=protocol)
    for options in ({"weights_only": False}, {"pickle_module": pickle}):
        file.seek(0)
        found = lib.load(file, **options)
        # Tensors that are shared are shared afterwards.
        assert found["other"].b is found["other"].a
        assert found["other"].a[0] is found["again"]
        assert found["made"](5) == 5
        assert found["frozen"] == {1}
    # PyTorch does not read protocol 4 here, and fastnn warns that it does not.
    if protocol == 2:
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match="weights_only"):
            lib.load(file)
        file.seek(0)
        assert sorted(lib.serialization.get_unsafe_globals_in_checkpoint(file)) == [
            "builtins.frozenset", "builtins.max", "functools.partial", f"{__name__}.Other",
        ]  # fmt: skip


def test_unsafe_globals_are_found_without_loading(lib):
    names = lib.serialization.get_unsafe_globals_in_checkpoint
    file = written({"x": lib.ones(2), "y": collections.OrderedDict(a=1), "s": Settings(), "t": Settings()}, lib)
    assert names(file) == [f"{__name__}.Settings"]
    with lib.serialization.safe_globals([Settings]):
        file.seek(0)
        assert names(file) == []
    with pytest.raises(ValueError, match=r"torch\.save"):
        names(io.BytesIO(b"nothing"))


def test_unsafe_globals_of_other_protocols():
    # Strings that are written again are read from the memo.
    file = written([Settings, "Settings", Settings(), Colour.RED, Other], pickle_protocol=4)
    expected = [f"{__name__}.{name}" for name in ("Settings", "Colour", "Other")]
    assert serialization.get_unsafe_globals_in_checkpoint(file) == expected


def test_variables_that_force_a_way(lib, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib), weights_only=False)
    with pytest.raises(RuntimeError, match="pickle_module"):
        lib.load(written(1, lib), pickle_module=pickle)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(RuntimeError, match="both"):
        lib.load(written(1, lib))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        assert lib.load(written(Settings(), lib)).rate == 0.1
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib), weights_only=True)


def test_names_of_pytorch_in_trusted_files():
    """PyTorch's classes and functions are pickled under the modules that define them."""
    names = ["torch.nn.modules.activation ReLU", "torch.optim.adam Adam", "torch.nn.functional relu", "torch float32"]
    program = b"(" + b"".join(b"c%s\n%s\n" % tuple(name.encode().split()) for name in names) + b"l."
    found = fastnn.load(io.BytesIO(_legacy(program)), weights_only=False)
    assert found == [fastnn.nn.ReLU, fastnn.optim.Adam, fastnn.nn.functional.relu, fastnn.float32]
    with pytest.raises(pickle.UnpicklingError, match="PyTorch's own"):
        fastnn.load(io.BytesIO(_legacy(b"ctorch.nested\nx\n.")), weights_only=False)


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint_legacy.pt"])
def test_truncated_files_that_are_trusted(name):
    whole = (GOLDEN / name).read_bytes()
    for n in (1, 50, len(whole) // 2, len(whole) - 30):
        with pytest.raises((pickle.UnpicklingError, RuntimeError, EOFError)):
            fastnn.load(io.BytesIO(whole[:n]), weights_only=False)


PLAIN = [
    np.float64(2.5), np.arange(6.0).reshape(2, 3), np.array(["a"]), np.array([None, 1]), np.dtype("f4"),
    argparse.Namespace(a=1), types.SimpleNamespace(b=2), collections.defaultdict(list, {"a": [1]}),
    collections.deque([1, 2]), datetime.datetime(2020, 1, 2), pathlib.PurePosixPath("a/b"), Path("c"), range(3),
    collections.Counter("aab"), frozenset([1]), bytearray(b"abc"),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: type(v).__name__)
def test_plain_values_of_other_libraries(value):
    found = again([value], weights_only=False)[0]
    assert type(found) is type(value)
    np.testing.assert_array_equal(found, value)


def test_a_generator_and_an_optimizer():
    g = fastnn.Generator().manual_seed(3)
    found = again(g, weights_only=False)
    assert found.permutation(9).tolist() == g.permutation(9).tolist()
    model = fastnn.nn.Linear(2, 2)
    optimizer = fastnn.optim.Adam(model.parameters())
    model(fastnn.ones(1, 2)).sum().backward()
    optimizer.step()
    state = again(optimizer.state_dict())
    optimizer.load_state_dict(state)
    assert_equal(again(optimizer.state_dict()), state, fastnn, fastnn)


# -- Whatever can be saved can be loaded ------------------------------------------------------


def _doubled(x):
    return x * 2


def _see(module, *rest):
    module.seen = getattr(module, "seen", 0) + 1


class _Raises:
    def __setstate__(self, state):
        raise KeyError("mine")


class _Slotted(fastnn.nn.Linear):
    __slots__ = ("mark",)


class _OwnState(fastnn.nn.Sequential):
    def __getstate__(self):
        return self.__dict__.copy()

    def __setstate__(self, state):
        self.__dict__.update(state)


def _with_hooks(obj):
    with serialization.safe_globals([_see]):
        return again(obj, weights_only=False)


COPIES = {
    "save": lambda obj: _with_hooks(obj),
    "pickle": lambda obj: pickle.loads(pickle.dumps(obj)),
    "protocol 2": lambda obj: pickle.loads(pickle.dumps(obj, 2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", [fastnn.nn.Sequential, _OwnState])
def test_models_that_were_called(way, kind):
    nn = fastnn.nn
    model = kind(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), kind(nn.Linear(3, 2)))
    x = fastnn.tensor(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2))
    for _ in range(4):
        model(x).sum().backward()
    assert fastnn.explain(model).startswith("captured")
    model.eval()
    found = COPIES[way](model)
    assert fastnn.equal(found(x), model(x))
    assert "_replays" not in COPIES[way](found).__dict__ or kind is _OwnState
    for a, b in zip(found.parameters(), model.parameters(), strict=True):
        assert a.stride() == b.stride() or kind is _OwnState
    # A loaded model is captured like the original, and detects changes like it.
    found.train()
    for _ in range(4):
        found(x)
    found[3] = nn.Linear(3, 5)
    assert found(x).shape == (4, 5)


@pytest.mark.parametrize("way", COPIES)
def test_hooks_and_slots_are_copied(way):
    model = _Slotted(2, 2)
    model.mark = [1]
    handles = [
        model.register_forward_hook(_see), model.register_load_state_dict_pre_hook(_see),
        model.register_load_state_dict_post_hook(_see),
    ]  # fmt: skip
    found = COPIES[way](model)
    assert found.mark == [1]
    found.load_state_dict(model.state_dict())
    found(fastnn.ones(1, 2))
    assert found.seen == 3
    assert not hasattr(model, "seen")
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", ["Adam", "SGD", "LBFGS", "Rprop", "ASGD", "Adagrad"])
def test_optimizers_with_their_models(name):
    model, x = fastnn.nn.Linear(2, 1), fastnn.ones(3, 2)

    def train(model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = model(x).pow(2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    optimizer = getattr(fastnn.optim, name)(model.parameters(), lr=0.01)
    train(model, optimizer)
    found = again((model, optimizer), weights_only=False)
    assert found[1].param_groups[0]["params"][0] is found[0].weight
    for pair in ((model, optimizer), found):
        train(*pair)
    assert fastnn.equal(found[0].weight, model.weight)


PLAIN = [
    collections.defaultdict(int, a=1), collections.defaultdict(set), int, str, type, type(None), KeyError, ...,
    NotImplemented, len, pow, np.exp, np.float32, np.ndarray, fastnn.relu, fastnn.nn.functional.mse_loss,
    fastnn.nn.Linear, fastnn.utils.data.default_collate, fractions.Fraction(1, 3), uuid.UUID(int=5),
    collections.UserDict(a=1),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: getattr(value, "__qualname__", repr(value)))
@pytest.mark.parametrize("protocol", [2, 4])
def test_types_functions_and_values(value, protocol):
    found = fastnn.load(written({"value": value}, pickle_protocol=protocol), weights_only=False)["value"]
    assert type(found) is type(value)
    assert found == value


def test_functions_of_the_main_program(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "_doubled", _doubled, raising=False)
    monkeypatch.setattr(_doubled, "__module__", "__main__")
    assert again([_doubled], weights_only=False) == [_doubled]
    assert fastnn.load(io.BytesIO(_legacy(b"c__main__\n_doubled\n(I2\ntR.")), weights_only=False) == 4


@pytest.mark.parametrize("made", [np.random.RandomState(3), np.random.default_rng(3)])
def test_numpy_generators(made):
    made.random()
    found = again(made, weights_only=False)
    assert found.random() == made.random()


def _legacy(program):
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*start, program, pickle.dumps([], 2)])


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\ntype\n(S'C'\n)(dtR.", b"cbuiltins\nlen\n(S'a'\ntR.", b"cbuiltins\nobject\n)R.",
        b"cnumpy.random._pickle\n__generator_ctor\n(S'eval'\ncbuiltins\neval\ntR.", b"cmath\nsqrt\n(I4\ntR.",
        b"cnumpy.random._pickle\n__bit_generator_ctor\n(S'eval'\ntR.", b"cnumpy\nload\n.", b"cbuiltins\neval\n.",
        b"cbuiltins\ndict\n((I1\nI2\ntltR.", b"cfastnn.serialization\nsave\n.", b"cmath\n__loader__\n.",
    ],
)  # fmt: skip
def test_nothing_of_the_files_choosing_is_called(program):
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(io.BytesIO(_legacy(program)))


def test_errors_of_the_users_own_code(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["__main__"], "_Raises", _Raises, raising=False)
    monkeypatch.setattr(_Raises, "__module__", "__main__")
    found = _Raises()
    found.a = 1
    with pytest.raises(KeyError, match="mine"):
        again(found, weights_only=False)

    class File(io.BytesIO):
        def read(self, *args):
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        fastnn.load(File(written([1]).getvalue()))


def test_whole_modules_of_version_0_1_load() -> None:
    # Written by fastnn 0.1, whose modules had other paths.
    saved = fastnn.load(GOLDEN / "modules_0_1.pt", weights_only=False)
    # Few rows: other sums of the products of a layer, of 4 and 3 numbers.
    fastnn.testing.assert_close(saved["model"](saved["x"]), saved["y"], rtol=4 * 2**-23, atol=4 * 2**-24)
    nn, F = fastnn.nn, fastnn.nn.functional
    assert [type(loss) for loss in saved["losses"]] == [nn.CrossEntropyLoss, nn.MSELoss, nn.TripletMarginLoss]
    assert saved["functions"] == [
        F.relu, F.cross_entropy, F.batch_norm, F.dropout, F.mse_loss, F.layer_norm, F.softmax, F.normalize,
        F.embedding, fastnn.zeros, fastnn.rand, fastnn.relu, fastnn.sort, fastnn.maximum,
    ]  # fmt: skip
    assert (saved["size"], saved["dtype"], saved["device"]) == (fastnn.Size([2]), fastnn.float64, fastnn.device("cpu"))


def test_methods_of_tensors_are_pickled():
    for method in (fastnn.Tensor.sum, fastnn.Tensor.abs, fastnn.Tensor.max, fastnn.Tensor.relu):
        for protocol in range(2, 6):
            assert pickle.loads(pickle.dumps(method, protocol)) is method
        # A file has the name of the function.
        first, again = fastnn.load(written([method, method]), weights_only=False)
        assert first is again
        assert first(fastnn.tensor([3.0])).tolist() in (3.0, [3.0])
