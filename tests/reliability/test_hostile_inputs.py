"""Hostile operands at public entry points: the right result or an exception, with nothing changed and no crash.

Hypothesis chooses rows of the table of operations (``benchmarks/operations``), layers, losses, optimizers and training
functions, and operands that are not what they should be. The kernels themselves are tested with guard pages and with
arguments they must refuse in ``kernels/``; scikit-learn's estimators by its own checks in ``sklearn/``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from counts import count
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operations import OPERATIONS, PLAIN, Operation

import fastnn
from fastnn import nn

# What users of NumPy and PyTorch expect; AssertionError only where PyTorch has it.
ERRORS = (TypeError, ValueError, RuntimeError, IndexError, AssertionError, OverflowError, MemoryError)
hostile = settings(
    max_examples=count(40, 500, 8000), deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """NumPy and PyTorch warn of NaN and of casts; that is not what is tested here."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


# -- Arrays -----------------------------------------------------------------------------------


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    copy = raw[1:].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def _read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


# The same numbers in another form.
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda a: a.copy(),
    "Fortran order": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
    "gaps": lambda a: np.repeat(a, 2, -1)[..., ::2] if a.ndim else a,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": _read_only,
    "misaligned": _misaligned,
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape))[0] if a.ndim else a,
    # A list has no shape beyond an empty one.
    "list": lambda a: a.tolist() if a.size else a,
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a,
}
# Other numbers, or none.
CONTENTS: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": lambda a: np.full_like(a, np.nan),
    "infinity": lambda a: np.where(np.arange(a.size).reshape(a.shape) % 2, np.inf, -np.inf).astype(a.dtype),
    "huge": lambda a: np.full_like(a, np.finfo(a.dtype).max if a.dtype.kind == "f" else 1),
    "tiny": lambda a: np.full_like(a, np.finfo(a.dtype).smallest_subnormal if a.dtype.kind == "f" else 0),
    "int64": lambda a: np.nan_to_num(a).astype(np.int64),
    "uint8": lambda a: np.abs(a).astype(np.uint8),
    "bool": lambda a: a > 0,
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "complex": lambda a: a.astype(np.complex64),
    "objects": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "longer": lambda a: np.concatenate([a, a[:1]]) if a.ndim and len(a) else np.ones((7,), a.dtype),
    "shorter": lambda a: a[1:] if a.ndim else np.ones((0,), a.dtype),
    "empty": lambda a: a[:0] if a.ndim else np.ones((0, 3), a.dtype),
    "wider": lambda a: np.concatenate([a, a], -1) if a.ndim else a,
    "an axis more": lambda a: a[None],
    "flat": lambda a: a.reshape(-1),
    "scalar": lambda a: a.dtype.type(1),
    "None": lambda a: None,
    "a string": lambda a: "array",
}


def as_tensor(value: Any) -> Any:
    """A tensor that shares the array's memory if it can, else of a copy, else the value itself."""
    for make in (fastnn.from_numpy, fastnn.tensor):
        try:
            with quiet():
                return make(value)
        except ERRORS:
            continue
    return value


def content(value: Any) -> Any:
    """A copy of the bytes of a tensor or an array."""
    if isinstance(value, fastnn.Tensor):
        array = value.detach().numpy()
        return array.dtype, array.shape, array.tobytes()
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else None


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """The kind of result, and its bytes or the exception."""
    with quiet():
        try:
            found = call()
        except ERRORS as error:
            if not str(error):
                raise AssertionError("the exception has no text") from error
            return "error", error
    return "result", found


def flat(found: Any) -> list[Any]:
    """The contents of the tensors of a result."""
    if isinstance(found, (list, tuple)):
        return [c for value in found for c in flat(value)]
    return [content(found)]


@pytest.mark.parametrize("make", [fastnn.tensor, fastnn.as_tensor, fastnn.from_numpy, fastnn.Tensor])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (4,), ()], ids=str)
def test_arrays_of_every_form_become_tensors_of_their_numbers(make: Any, kind: Any, shape: tuple[int, ...]) -> None:
    a = np.arange(int(np.prod(shape))).reshape(shape).astype(kind)
    for name, form in FORMS.items():
        given_ = form(a)
        before = content(given_)
        if make is fastnn.Tensor and np.ndim(given_) == 0:
            continue  # A number is a size there.
        is_found, found = outcome(lambda make=make, given_=given_: make(given_))
        assert content(given_) == before, name
        if is_found == "result":
            expected = np.asarray(given_, kind)
            assert np.array_equal(found.numpy().astype(kind), expected), name
            assert found.numpy().dtype.isnative, name


# -- Operations -------------------------------------------------------------------------------

ROWS: list[Operation] = [*OPERATIONS, *PLAIN]
# Their results depend on where the numbers lie in memory.
OF_MEMORY = ("as_strided",)


@hostile
@given(
    st.integers(0, len(ROWS) - 1), st.integers(0, 99), st.sampled_from([np.float32, np.float64]),
    st.sampled_from(sorted(FORMS)),
)  # fmt: skip
def test_operations_on_every_form(row: int, shape: int, kind: Any, form: str) -> None:
    """The same bits for any form of the operands, which stay as they are."""
    operation = ROWS[row]
    if any(word in operation.name for word in OF_MEMORY):
        return
    arrays = operation.arrays(operation.shapes[shape % len(operation.shapes)], kind)
    plain = [fastnn.tensor(a) for a in arrays]
    hostile_ = [as_tensor(FORMS[form](a)) for a in arrays]
    if form == "list":
        # A list of numbers has PyTorch's own dtype.
        hostile_ = [as_tensor(np.asarray(FORMS[form](a), kind)) for a in arrays]
    if not all(isinstance(x, fastnn.Tensor) for x in hostile_):
        return  # No tensor is made of that form, as in PyTorch.
    before = [content(x) for x in hostile_]
    expected, found = (outcome(lambda xs=xs: operation.run(fastnn, *xs)) for xs in (plain, hostile_))
    assert [content(x) for x in hostile_] == before
    assert found[0] == expected[0], (operation.name, form, found)
    if found[0] == "result":
        for one, other in zip(flat(found[1]), flat(expected[1]), strict=True):
            assert one == other or np.allclose(*numbers(one, other), rtol=1e-5, atol=1e-6, equal_nan=True)


def numbers(*contents: Any) -> list[np.ndarray]:
    # A sum of numbers with other strides may be made in another order, as in NumPy.
    return [np.frombuffer(raw, dtype).reshape(shape).astype(np.float64) for dtype, shape, raw in contents]


@hostile
@given(
    st.integers(0, len(ROWS) - 1), st.integers(0, 99), st.sampled_from([np.float32, np.float64]),
    st.sampled_from(sorted(CONTENTS)), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_operations_on_wrong_operands(row: int, shape: int, kind: Any, wrong: str, place: int, as_array: bool) -> None:
    """A result or an exception, the operands as they were, and right results afterwards."""
    operation = ROWS[row]
    arrays = operation.arrays(operation.shapes[shape % len(operation.shapes)], kind)
    plain = [fastnn.tensor(a) for a in arrays]
    expected = [flat(outcome(lambda: operation.run(fastnn, *plain))[1])]
    operands: list[Any] = [fastnn.tensor(a) for a in arrays]
    place %= len(operands)
    bad = make(wrong, arrays[place])
    operands[place] = bad if as_array else as_tensor(bad)
    # A row may call a method of NumPy's on an array, such as sort(), which works in place.
    tensors = [x for x in operands if isinstance(x, fastnn.Tensor)]
    before = [content(x) for x in tensors]
    try:
        outcome(lambda: operation.run(fastnn, *operands))
    except AttributeError:
        # A method of tensors, called on what is none.
        assert as_array or not isinstance(operands[place], fastnn.Tensor)
    assert [content(x) for x in tensors] == before, (operation.name, wrong)
    assert [flat(outcome(lambda: operation.run(fastnn, *plain))[1])] == expected


# -- Layers and losses ------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(4, 3), (6, 4)),
    "Bilinear": (lambda: nn.Bilinear(4, 4, 3), (6, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (6, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (6, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (6, 4)),
    "RMSNorm": (lambda: nn.RMSNorm(4), (6, 4)),
    "PReLU": (lambda: nn.PReLU(4), (6, 4)),
    "GELU": (nn.GELU, (6, 4)), "Softmax": (lambda: nn.Softmax(1), (6, 4)), "ELU": (nn.ELU, (6, 4)),
    "Dropout": (lambda: nn.Dropout(0.5), (6, 4)),
    "Flatten": (nn.Flatten, (6, 2, 2)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), (2, 3, 4)),
    "network": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)), (6, 4)),
}  # fmt: skip
ANY = sorted({**FORMS, **CONTENTS})


def call_layer(layer: nn.Module, x: Any) -> Any:
    if isinstance(layer, nn.MultiheadAttention):
        return layer(x, x, x)[0]
    return layer(x, x) if isinstance(layer, nn.Bilinear) else layer(x)


def floats(layer: nn.Module) -> list[Any]:
    """The numbers of a layer; not the count of batches, in which PyTorch counts those that it refuses."""
    return [content(t) for t in layer.state_dict().values() if t.is_floating_point()]


def make(name: str, value: np.ndarray) -> Any:
    """The array in another form, or with other contents."""
    with quiet():
        return {**FORMS, **CONTENTS, **LABELS}[name](value)


@hostile
@given(st.sampled_from(sorted(LAYERS)), st.lists(st.sampled_from(ANY), min_size=1, max_size=6), st.booleans())
def test_layers(name: str, inputs: list[str], grad: bool) -> None:
    """A sequence of inputs, which a module may have recorded: the results of a module that records nothing."""
    build, shape = LAYERS[name]
    a = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    layers = []
    for captures in (True, False):
        fastnn.manual_seed(0)
        layers.append((build(), captures))
    # Often enough to be recorded.
    for wrong in ["plain"] * 3 + inputs + ["plain"]:
        results = []
        x = as_tensor(make(wrong, a))
        before = content(x)
        for layer, captures in layers:
            fastnn.manual_seed(1)
            state = floats(layer)
            fastnn.set_capture(captures)
            try:
                with fastnn.set_grad_enabled(grad):
                    try:
                        found = outcome(lambda layer=layer, x=x: call_layer(layer, x))
                    except AttributeError as error:
                        # PyTorch has it, too, for what is no tensor.
                        assert not isinstance(x, fastnn.Tensor)
                        found = "error", error
            finally:
                fastnn.set_capture(True)
            if found[0] == "error":
                assert floats(layer) == state, (wrong, found)
            results.append((found[0], type(found[1]) if found[0] == "error" else flat(found[1])))
        assert content(x) == before
        assert results[0] == results[1], (name, wrong)
        one, other = ([content(t) for t in layer.state_dict().values()] for layer, _ in layers)
        assert one == other


LOSSES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    **{name: (getattr(nn, name), "numbers") for name in (
        "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss", "SoftMarginLoss", "KLDivLoss",
        "PoissonNLLLoss", "HingeEmbeddingLoss", "MultiLabelSoftMarginLoss",
    )},
    "BCELoss": (nn.BCELoss, "probabilities"),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, "labels"), "NLLLoss": (nn.NLLLoss, "labels"),
    "weighted": (lambda: nn.CrossEntropyLoss(weight=fastnn.ones(4), label_smoothing=0.1), "labels"),
    "MultiMarginLoss": (nn.MultiMarginLoss, "labels"),
    "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, "matrix of labels"),
}  # fmt: skip
LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "too large": lambda y: y + 100, "negative": lambda y: -1 - y, "far": lambda y: y + 2**62,
    "least": lambda y: np.full_like(y, -(2**63)), "ignored": lambda y: np.full_like(y, -100),
    "int32": lambda y: y.astype(np.int32), "floats": lambda y: y.astype(np.float32),
}  # fmt: skip


@hostile
@given(st.sampled_from(sorted(LOSSES)), st.sampled_from(ANY), st.sampled_from([*ANY, *LABELS]))
def test_losses(name: str, inputs: str, targets: str) -> None:
    build, kind = LOSSES[name]
    x = np.linspace(0.1, 0.9, 24, dtype=np.float32).reshape(6, 4)
    y = {
        "numbers": x[::-1].copy(), "probabilities": x[::-1].copy(), "labels": np.arange(6) % 4,
        "matrix of labels": np.arange(24).reshape(6, 4) % 4,
    }[kind]  # fmt: skip
    criterion = build()
    leaf, target = as_tensor(make(inputs, x)), as_tensor(make(targets, y))
    if isinstance(leaf, fastnn.Tensor) and leaf.is_floating_point():
        leaf.requires_grad_()
    before = [content(leaf), content(target)]
    try:
        kind_, found = outcome(lambda: criterion(leaf, target))
    except AttributeError:
        assert not (isinstance(leaf, fastnn.Tensor) and isinstance(target, fastnn.Tensor))
        return
    if kind_ == "result" and found.requires_grad:
        outcome(found.backward)
    assert [content(leaf), content(target)] == before


# -- Training ---------------------------------------------------------------------------------


def network() -> nn.Module:
    fastnn.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))


def state_of(model: nn.Module, optimizer: Any) -> list[Any]:
    tensors = [*model.state_dict().values()]
    for state in optimizer.state_dict()["state"].values():
        tensors += [value for value in state.values() if isinstance(value, fastnn.Tensor)]
    return [content(t) for t in tensors]


@hostile
@given(
    st.lists(st.tuples(st.sampled_from(ANY), st.sampled_from([*FORMS, *LABELS, "None", "shorter", "empty", "float64"])),
             min_size=1, max_size=5),
    st.sampled_from(["SGD", "Adam", "RMSprop"]),
)  # fmt: skip
def test_compiled_steps(batches: list[tuple[str, str]], rule: str) -> None:
    """A compiled step does with any batch what an eager one does, to the bit, or fails and changes nothing."""
    x, y = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4), np.arange(8) % 4
    criterion = nn.CrossEntropyLoss()
    runs = []
    for _ in range(2):
        model = network()
        runs.append((model, getattr(fastnn.optim, rule)(model.parameters(), lr=0.01)))
    step = fastnn.compile_step(runs[0][0], criterion, runs[0][1])

    def eager(a: Any, b: Any) -> Any:
        model, optimizer = runs[1]
        optimizer.zero_grad()
        loss = criterion(model(a), b)
        loss.backward()
        optimizer.step()
        return loss

    for inputs, targets in [("plain", "plain")] * 3 + batches + [("plain", "plain")]:
        a, b = as_tensor(make(inputs, x)), as_tensor(make(targets, y))
        if inputs == "misaligned" or not isinstance(a, fastnn.Tensor) or not isinstance(b, fastnn.Tensor):
            continue
        before = [state_of(*run) for run in runs]
        found = outcome(lambda a=a, b=b: step(a, b))
        fastnn.set_capture(False)
        try:
            expected = outcome(lambda a=a, b=b: eager(a, b))
        finally:
            fastnn.set_capture(True)
        assert found[0] == expected[0], (inputs, targets, found, expected)
        if found[0] == "error":
            assert type(found[1]) is type(expected[1]), (inputs, targets, found, expected)
            assert [state_of(*run) for run in runs] == before
        assert state_of(*runs[0]) == state_of(*runs[1]), (inputs, targets)


@hostile
@given(st.sampled_from(ANY), st.sampled_from([*ANY, *LABELS]))
def test_fit(inputs: str, targets: str) -> None:
    """Any form of the rows gives the bits of plain ones; wrong ones are an error, and the model is as it was."""
    x, y = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4), np.arange(8) % 4

    def train(a: Any, b: Any) -> tuple[tuple[str, Any], list[Any], list[Any]]:
        model = network()
        before = [content(t) for t in model.state_dict().values()]
        options: dict[str, Any] = {"batch_size": 3, "generator": fastnn.Generator(), "check_finite": False}
        found = outcome(lambda: fastnn.fit(model, a, b, epochs=2, **options))
        return found, before, [content(t) for t in model.state_dict().values()]

    a, b = make(inputs, x), make(targets, y)
    copies = content(a), content(b)
    found, before, after = train(a, b)
    assert (content(a), content(b)) == copies
    if found[0] == "error":
        assert after == before, (inputs, targets, found)
    elif inputs in FORMS and targets in FORMS:
        assert after == train(x, y)[2], (inputs, targets)


RULES = [
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
]  # fmt: skip


@hostile
@given(
    st.sampled_from(RULES),
    st.sampled_from(ANY), st.booleans(),
)  # fmt: skip
def test_gradients_given_to_optimizers(rule: str, wrong: str, fused: bool) -> None:
    """A gradient of any form is used as its numbers, or refused; a refused step changes nothing."""
    a = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)

    def run(grad: Any) -> tuple[tuple[str, Any], list[Any], list[Any]]:
        parameters = [nn.Parameter(fastnn.ones(2, 3)), nn.Parameter(fastnn.ones(4))]
        optimizer = getattr(fastnn.optim, rule)(parameters if fused else parameters[:1], lr=0.01)
        parameters[1].grad = fastnn.ones(4)
        before = [content(p) for p in parameters]

        def step() -> None:
            parameters[0].grad = grad
            optimizer.step()

        found = outcome(step)
        return found, before, [content(p) for p in parameters]

    grad = as_tensor(make(wrong, a))
    found, before, after = run(grad)
    if found[0] == "error":
        assert after == before, (rule, wrong, found)
    elif wrong in FORMS and wrong != "list" and isinstance(grad, fastnn.Tensor):
        assert after == run(fastnn.tensor(a))[2]


# -- Sizes ------------------------------------------------------------------------------------

HUGE: dict[str, Callable[[], Any]] = {
    "zeros": lambda: fastnn.zeros(2**40, 2**40), "ones": lambda: fastnn.ones(2**62, 2, 2),
    "empty": lambda: fastnn.empty(2**31, 2**31, 2**31), "full": lambda: fastnn.full((2**60,), 1.0),
    "rand": lambda: fastnn.rand(2**50, 2**20), "randn": lambda: fastnn.randn(2**61), "eye": lambda: fastnn.eye(2**40),
    "randperm": lambda: fastnn.randperm(2**60), "randint": lambda: fastnn.randint(0, 5, (2**60,)),
    "arange": lambda: fastnn.arange(2**62), "linspace": lambda: fastnn.linspace(0, 1, 2**61),
    "repeat": lambda: fastnn.ones(3).repeat(2**40, 2**40), "tile": lambda: fastnn.ones(3).tile((2**62,)),
    "repeat_interleave": lambda: fastnn.ones(3).repeat_interleave(2**61),
    "reshape": lambda: fastnn.ones(3).reshape(2**62, 2**62), "view": lambda: fastnn.ones(4).view(-1, 2**63),
    "Linear": lambda: nn.Linear(2**40, 2**40), "Embedding": lambda: nn.Embedding(2**50, 2**20),
    "BatchNorm1d": lambda: nn.BatchNorm1d(2**60), "one_hot": lambda: nn.functional.one_hot(fastnn.tensor([2**60])),
    "outer": lambda: fastnn.ones(2**20).expand(2**40, 2**20).contiguous(),
    "pad": lambda: nn.functional.pad(fastnn.ones(3), (2**61, 2**61)), "zeros negative": lambda: fastnn.zeros(-1, 3),
    "zeros beyond int64": lambda: fastnn.zeros(2**70), "tri": lambda: fastnn.tril_indices(2**40, 2**40),
    "bincount": lambda: fastnn.bincount(fastnn.tensor([2**58])), "cdist": lambda: fastnn.cdist(
        fastnn.ones(1, 1).expand(2**31, 1), fastnn.ones(1, 1).expand(2**31, 1)),
    "vander": lambda: fastnn.vander(fastnn.ones(3), 2**60), "as_strided": lambda: fastnn.ones(3).as_strided(
        (2**62, 4), (1, 1)),
    "resize": lambda: fastnn.ones(3).resize_(2**62, 2**10),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_sizes_that_no_memory_has(name: str) -> None:
    with quiet(), pytest.raises(ERRORS):
        HUGE[name]()


def test_memory_that_is_not_aligned() -> None:
    """No kernel takes it, so a tensor of it would fail later, in one operation and not in another."""
    a = _misaligned(np.arange(6, dtype=np.float32))
    room = bytearray(9)
    for make_ in (lambda: fastnn.from_numpy(a), lambda: fastnn.frombuffer(room, dtype=fastnn.float32, offset=1)):
        with quiet(), pytest.raises(ValueError, match=r"multiple of the size of its numbers \(4\); give a copy"):
            make_()
    for copied in (fastnn.tensor(a), fastnn.as_tensor(a), fastnn.asarray(a)):
        assert copied.tolist() == [0, 1, 2, 3, 4, 5]
    # Memory that nobody can write is copied.
    a.flags.writeable = False
    with quiet():
        assert fastnn.from_numpy(a).tolist() == [0, 1, 2, 3, 4, 5]
        assert fastnn.frombuffer(bytes(9), dtype=fastnn.float32, offset=1).tolist() == [0, 0]
    assert fastnn.frombuffer(bytearray(8), dtype=fastnn.float32, offset=4).tolist() == [0]
