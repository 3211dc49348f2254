"""bfloat16, which no kernel takes: operations get float32 and their results are rounded, all of them here.

The operations call :func:`call` from the first use of bfloat16 or of ``torch.autocast`` on. They get other code then,
as for subclasses of ``Tensor`` (:mod:`fastnn._tensor.torch_function`); until then it costs nothing. The page
``docs/architecture/low-precision.md`` describes what is rounded where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn._autograd.engine import Memory
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._core.autocast import state
from fastnn._core.dtypes import bfloat16, dtype, finfo, float32
from fastnn._core.errors import DTypeError
from fastnn._core.errstate import quiet
from fastnn._tensor import precision_lists as lists
from fastnn._tensor import torch_function
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import mapped
from fastnn.ops import gamma_sampling as gamma
from fastnn.ops.core import into

_FLOAT32 = np.dtype(np.float32)
_MOST = finfo(bfloat16).max
_SEQUENCES = (list, tuple)

# -- Casts -----------------------------------------------------------------------------------------


def is_low(t: Tensor) -> bool:
    """Whether the numbers of a tensor are bfloat16."""
    return t._data.dtype.kind == "V"


def widened(t: Tensor) -> Tensor:
    """A bfloat16 tensor in float32, recorded."""
    return mapped("ToCopy", t, np.asarray(t._data.astype(_FLOAT32)), rounded)


def rounded(t: Tensor) -> Tensor:
    """A tensor rounded to bfloat16, recorded under the name of the operation that made it."""
    node = t._node
    name = "ToCopy" if node is None else node.title
    return mapped(name, t, np.asarray(quiet(t._data.astype, bfloat16.numpy)), lambda grad: grad.to(float32))


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in _SEQUENCES:
            yield from _tensors(value)


def _each(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """An argument or a result with ``change`` of each tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, _SEQUENCES) and type(value).__name__ != "Size":
        parts = [_each(v, change) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


# -- Calls -----------------------------------------------------------------------------------------


def call(original: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Call an operation: under autocast with tensors of its dtypes, and computed in float32 instead of bfloat16.

    Args:
        original: the operation.
        name: PyTorch's name of it.
    """
    if state.enabled and name in lists.LISTED and kwargs.get("out") is None:
        return _cast_for(original, name, args, kwargs)
    for a in args:
        if isinstance(a, Tensor):
            if a._data.dtype.kind == "V":
                break
        elif type(a) in _SEQUENCES and any(t._data.dtype.kind == "V" for t in _tensors(a)):
            break
    else:
        if not kwargs:
            return original(*args)
        if kwargs.get("dtype") is not bfloat16 and not any(map(is_low, _tensors(kwargs.values()))):
            return original(*args, **kwargs)
    return _computed(original, name, args, kwargs)


def _computed(original: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """An operation with bfloat16 tensors, or with a bfloat16 result."""
    capture_state.stop("bfloat16 is computed outside the kernels")
    kwargs = dict(kwargs)
    out, kind = kwargs.pop("out", None), kwargs.get("dtype")
    given = list(_tensors((*args, *kwargs.values())))
    _check_dtypes(name, args, kwargs, given)
    is_low_result = _is_result_low(name, given)
    rounds = kind is bfloat16 if isinstance(kind, dtype) else is_low_result
    rounds_numbers = name in lists.ROUNDED and is_low_result
    # Of a tensor that is given twice, too, one copy.
    wide: dict[int, tuple[Tensor, Tensor, Any]] = {}

    def widen(t: Tensor) -> Tensor:
        if not is_low(t):
            if kind is bfloat16 and t.is_floating_point():
                # As PyTorch, which converts the operand first.
                return widened(rounded(t))
            if rounds_numbers and not t._data.ndim and t._data.dtype.kind != "b":
                return widened(rounded(t))
            return t
        found = wide.get(id(t))
        if found is None:
            copy = widened(t)
            if copy._memory.inference:
                # Those of `inference_mode` count no versions.
                copy._memory = Memory()
            found = wide[id(t)] = t, copy, copy._node
        return found[1]

    if kind is bfloat16:
        kwargs["dtype"] = float32
    operands, options = [_each(a, widen) for a in args], {k: _each(v, widen) for k, v in kwargs.items()}
    if name.startswith("nan_to_num"):
        # By default the largest number of the dtype.
        for place, key, most in ((2, "posinf", _MOST), (3, "neginf", -_MOST)):
            if len(operands) <= place and options.get(key) is None:
                options[key] = most
    if rounds_numbers:
        operands = [_rounded_number(a) for a in operands]
        options = {k: _rounded_number(v) if k in lists.NUMBERS else v for k, v in options.items()}
    result = original(*operands, **options)
    if result is NotImplemented:
        return result
    for t, copy, node in wide.values():
        if copy._memory.version:
            # It was changed in place.
            if copy._node is node:
                t._write(..., quiet(copy._data.astype, t._data.dtype))
            else:
                t._in_place(rounded(copy))
    originals = {id(copy): t for t, copy, _ in wide.values()}
    saved = {id(copy._memory): t for t, copy, _ in wide.values()} if _mode.enabled else {}

    def finish(t: Tensor) -> Tensor:
        if id(t) in originals:
            return originals[id(t)]
        if not rounds or t._data.dtype != _FLOAT32:
            return t
        node = t._node
        if node is None:
            return _wrap(np.asarray(quiet(t._data.astype, bfloat16.numpy)))
        made = rounded(t)
        # What the derivative reads of the copies, or of the result, must not change in the tensors themselves.
        read = {**saved, id(t._memory): made}
        made._node.saved += [  # type: ignore[union-attr]  # it is recorded
            (read[key]._memory, read[key]._memory.version, shape)
            for memory, _, shape in node.saved
            if (key := id(memory)) in read
        ]
        return made

    result = _each(result, finish)
    if out is None:
        return result
    return into(out, result)


def _rounded_number(value: Any) -> Any:
    """A number of Python in bfloat16; anything else as it is."""
    if type(value) is not float and type(value) is not int:
        return value
    # Small integers stay integers: the derivative of a power has a case for them.
    return value if type(value) is int and abs(value) <= 256 else float(quiet(_to_bfloat16, value))


def _to_bfloat16(value: float) -> Any:
    return np.float64(value).astype(_FLOAT32).astype(bfloat16.numpy)


def _is_result_low(name: str, tensors: list[Tensor]) -> bool:
    """Whether the result of an operation on these, some of them bfloat16, is bfloat16 by PyTorch's promotion."""
    floats = [t for t in tensors if t._data.dtype.kind in "fV"]
    if name in lists.OF_FIRST:
        return bool(floats) and is_low(floats[0])
    # A tensor without dimensions counts only if there is no other.
    counted = [t for t in floats if t._data.ndim] or floats
    return bool(counted) and all(map(is_low, counted))


def _check_dtypes(name: str, args: Any, kwargs: Any, tensors: list[Tensor]) -> None:
    """DTypeError for an operation that takes tensors of one dtype, or weights of the dtype of its input only."""
    if name in ("cross_entropy", "nll_loss"):
        # Probabilities as the target may have another one.
        weight = kwargs.get("weight", args[2] if len(args) > 2 else None)
        tensors = [t for t in (args[0] if args else kwargs["input"], weight) if t is not None]
    elif name in lists.OF_FIRST:
        if not tensors or is_low(tensors[0]):
            return
    elif name not in lists.STRICT:
        return
    kinds = list(dict.fromkeys([t.dtype for t in tensors if t.is_floating_point()]))
    if len(kinds) > 1:
        name = name.removesuffix("_activation")
        raise DTypeError(f"{name}() expected tensors of the same dtype, but got: {kinds[0]} != {kinds[1]}")


# -- Autocast --------------------------------------------------------------------------------------


def _cast_for(original: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """An operation of PyTorch's lists, with autocast off while it runs."""
    capture_state.stop("autocast converts tensors outside the kernels")
    target = _dtype_for(name, args, kwargs)

    def cast(t: Tensor) -> Tensor:
        return _cast(t, target) if target is not None and _is_eligible(t) else t

    operands, options = [_each(a, cast) for a in args], {k: _each(v, cast) for k, v in kwargs.items()}
    state.enabled = False
    try:
        return call(original, name, operands, options)
    finally:
        state.enabled = True


def _dtype_for(name: str, args: Any, kwargs: Any) -> dtype | None:
    """The dtype to which an operation of the lists converts its tensors; None if it takes them as they are."""
    if name in lists.AS_GIVEN:
        return None
    tensors = list(_tensors((*args, *kwargs.values())))
    if name in lists.FLOAT32:
        if name == "pad" and kwargs.get("mode", args[2] if len(args) > 2 else "constant") in ("constant", "circular"):
            return None
        return float32
    if name in lists.WIDEST:
        wide = any(t._data.dtype == _FLOAT32 for t in tensors)
        return float32 if wide else state.dtype
    if name == "inner" and max([t._data.ndim for t in tensors], default=0) < 2:
        return None
    if name == "einsum" and args and isinstance(args[0], str) and not _is_contracted(args[0]):
        return None
    return state.dtype


def _is_contracted(equation: str) -> bool:
    """Whether ``einsum`` sums over an index of two operands, for which PyTorch takes a matrix product."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [set(term) for term in left.split(",")]
    shared = {letter for i, term in enumerate(terms) for other in terms[i + 1 :] for letter in term & other} - {"."}
    # Without an arrow the result has the indices that occur once.
    return bool(shared - set(right) if arrow else shared)


def _is_eligible(t: Tensor) -> bool:
    kind = t._data.dtype
    return kind.kind == "V" or (kind.kind == "f" and kind.itemsize < 8)


def _cast(t: Tensor, target: dtype) -> Tensor:
    kind = t._data.dtype
    if kind == target.numpy:
        return t
    is_weight = kind == _FLOAT32 and t._requires_grad and t._node is None and t._view is None
    if not is_weight or not state.cache_enabled or target is not state.dtype:
        return t.to(target)
    found = state.casts.get(id(t))
    if found is not None and found[0] is t and found[1:3] == (t._memory.version, _mode.enabled):
        return found[3]
    made = t.to(target)
    state.casts[id(t)] = t, t._memory.version, _mode.enabled, made
    return made


# -- The first use -----------------------------------------------------------------------------------


def activate() -> None:
    """Make operations call :func:`call`, until the end of the program."""
    if torch_function.convert_with(call):
        # Distributions call these by names that are not PyTorch's public ones.
        draws: tuple[Any, ...] = (gamma._standard_gamma, gamma._sample_dirichlet)
        for function in draws:
            torch_function.change(function, _lowered)


def _lowered(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda args, kwargs: call(original, original.__name__, args, kwargs)

