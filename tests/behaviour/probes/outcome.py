"""The outcome of an expression as a line of text, and the comparison of two such lines."""

from __future__ import annotations

import ast
import functools
import re
import types
import warnings
from typing import Any

import numpy as np
from expressions import described, same_kind

from probes.helpers import helpers
from probes.inputs import NAMES, make

# Allowed error of a tensor's numbers, in roundings of its largest one: for a sum of a few terms, a function and its
# derivative. Both libraries compute functions of float16 in float32 and round once.
ROUNDINGS = {"float64": 64, "float32": 64, "float16": 4}
DIGITS = {"float64": 16, "float32": 9, "float16": 5}
_PARTS = {"complex64": "float32", "complex128": "float64"}
# Python floats are mostly read from float32 tensors.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "float": 2.0**-23}
MOST_TERMS = 32.0
# The number of elements compared per tensor.
MOST = 48
# Warnings about PyTorch itself, and advice to rewrite code: docs/differences.md lists them.
_OF_PYTORCH = re.compile(
    r"is in beta|__array_wrap__ must accept|requires_grad=True to a scalar|To copy construct from a tensor|"
    r"on tensors of dimension other than 2|is deprecated on 0-D|list of numpy.ndarrays is extremely slow|chain_matmul is deprecated|weight_norm. is deprecated|"
    r"create a reference cycle|zero-element tensors|Anomaly Detection has been enabled|tensor is non-contiguous|Error detected in|"
    r"the use_reentrant parameter should be passed|should not be instantiated|Mismatch dtype between input and weight|treating a string as a sequence|"
    r"non-tuple sequence for multidimensional|Casting complex values to real"
)
_NUMBER = re.compile(r"-?(?:\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|nan|inf)")
_TOKEN = re.compile(r"([\s,()\[\]{}]+)")
_DTYPE = re.compile(r"(float\d*|complex\d*)")


@functools.cache
def _compiled(probe: str) -> tuple[types.CodeType, types.CodeType, tuple[str, ...]]:
    """The code of a probe's statements and of its last expression, and the inputs that they use."""
    statements = ast.parse(probe)
    last = statements.body.pop()
    assert isinstance(last, ast.Expr), probe
    before, code = compile(statements, "<probe>", "exec"), compile(ast.Expression(last.value), "<probe>", "eval")
    names: set[str] = set()
    rest = [before, code]
    while rest:
        part = rest.pop()
        names.update(NAMES.intersection(part.co_names))
        rest += [c for c in part.co_consts if isinstance(c, types.CodeType)]
    return before, code, tuple(sorted(names))


def outcome(lib: Any, expression: str) -> str:
    """The value of an expression, or the classes of its error, and the categories of its warnings.

    Statements may come before the expression, separated by semicolons.
    """
    before, code, names = _compiled(expression)
    scope = dict(helpers(lib))
    for name in names:
        scope[name] = make(lib, name)
    lib.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(before, scope)
            text = describe(lib, eval(code, scope))
        except Exception as error:
            text = described(error)
    kinds = sorted({w.category.__name__ for w in caught if not _OF_PYTORCH.search(str(w.message))})
    return f"{text} ~{','.join(kinds)}" if kinds else text


def _number(value: float, digits: int) -> str:
    return repr(float(f"{value:.{digits}g}"))


def _numbers(array: np.ndarray) -> str:
    flat = array.reshape(-1)[:MOST].tolist()
    if array.dtype.kind == "f":
        digits = DIGITS[array.dtype.name]
        return " ".join([_number(v, digits) for v in flat])
    return " ".join([str(v) for v in flat])


def describe(lib: Any, value: Any) -> str:
    """A value as text: for a tensor its dtype, shape, whether it requires a gradient, and its numbers."""
    if isinstance(value, lib.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        grad = "g" if value.requires_grad else ""
        plain = value.detach()
        if dtype == "bfloat16":
            plain = plain.float()
        elif dtype.startswith("complex"):
            parts = lib.view_as_real(plain.resolve_conj()).numpy()
            return f"{dtype}{list(value.shape)}{grad} {_numbers(parts)}"
        return f"{dtype}{list(value.shape)}{grad} {_numbers(plain.numpy(force=True))}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype.name}{list(value.shape)} {_numbers(value)}"
    if isinstance(value, np.generic):
        return f"numpy {value.dtype.name}[] {_numbers(np.asarray(value))}"
    if isinstance(value, str):
        return repr(value).replace(" ", "_")
    if value is None or isinstance(value, (bool, int, bytes, range)):
        return repr(value)
    if isinstance(value, float):
        return f"float {_number(value, 9)}"
    if isinstance(value, lib.Size):
        return f"Size{list(value)}"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{describe(lib, k)}: {describe(lib, v)}" for k, v in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        parts = ", ".join([describe(lib, v) for v in value])
        if isinstance(value, list):
            return f"[{parts}]"
        name = type(value).__name__
        return f"({parts})" if name == "tuple" else f"{name.strip('_').removesuffix('_out').removeprefix('linalg_')}({parts})"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted([describe(lib, v) for v in value])) + "}"
    if isinstance(value, (lib.dtype, lib.device)):
        return str(value)
    return type(value).__name__


def agrees(found: str, expected: str) -> bool:
    """Whether outcomes agree: numbers up to rounding, errors in a class that ``except`` may name, the rest exactly."""
    if found == expected:
        return True
    found, _, found_warnings = found.partition(" ~")
    expected, _, expected_warnings = expected.partition(" ~")
    if found_warnings != expected_warnings:
        return False
    if expected.startswith("!") or found.startswith("!"):
        return found.startswith("!") and expected.startswith("!") and same_kind(found, expected)
    ours, theirs = _TOKEN.split(found), _TOKEN.split(expected)
    if len(ours) != len(theirs):
        return False
    dtype, run = "float32", []
    for f, e in zip(ours, theirs, strict=True):
        if _NUMBER.fullmatch(e):
            if not _NUMBER.fullmatch(f):
                return False
            run.append((float(f), float(e)))
        elif f != e:
            return False
        elif match := _DTYPE.match(e):
            if not _near(run, dtype):
                return False
            dtype, run = _PARTS.get(match[1], match[1]), []
    return _near(run, dtype)


def _near(run: list[tuple[float, float]], dtype: str) -> bool:
    """Whether numbers of a tensor agree up to rounding errors of themselves and of terms that cancelled in them."""
    finite = [abs(e) for _, e in run if np.isfinite(e)]
    roundings = ROUNDINGS.get(dtype, 64) * EPS.get(dtype, EPS["float"])
    # The terms are about as large as the largest number of the tensor, except for an outlier among edge cases.
    terms = min(max(finite, default=0.0), MOST_TERMS)
    # float16 rounds small numbers to multiples of this.
    least = max(roundings * terms, 2.0**-24 if dtype == "float16" else 2 * EPS.get(dtype, EPS["float"]))
    for f, e in run:
        if f == e or (f != f and e != e):
            continue
        if not (np.isfinite(f) and np.isfinite(e) and abs(f - e) <= max(least, roundings * abs(e))):
            return False
    return True
