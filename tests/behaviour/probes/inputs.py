"""The inputs that expressions name. Each expression gets new ones, made from the same NumPy numbers for both libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from probes.tables import DTYPES

F4 = np.float32
_rng = np.random.RandomState(0)


def _normal(*shape: int) -> np.ndarray:
    return np.round(_rng.standard_normal(shape), 3).astype(F4)


def _uniform(*shape: int) -> np.ndarray:
    return np.round(_rng.uniform(0.1, 0.9, shape), 3).astype(F4)


EDGES = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.0, 1e-6, -1e-6, 20.0, -20.0, 100.0, -100.0,
     1e30, -1e30, 1e-40], F4,
)  # fmt: skip
ARRAYS: dict[str, np.ndarray] = {
    "matrix": _normal(2, 3), "other": _normal(2, 3), "positive": _uniform(2, 3) * F4(4), "unit": _uniform(2, 3),
    "vector": _normal(3), "row": _normal(1, 3), "column": _normal(2, 1), "scalar": np.array(0.75, F4),
    "one": np.array([1.25], F4), "cube": _normal(2, 3, 4), "square": _normal(3, 3) + 2 * np.eye(3, dtype=F4), "tall": _normal(5, 3),
    "batches": _normal(2, 4, 3), "long": _normal(7),
    "empty": np.zeros((0, 3), F4), "narrow": np.zeros((3, 0), F4), "nothing": np.zeros((0,), F4),
    "edges": EDGES, "tied": np.array([[1, 2, 2], [2, 0, 2], [0, 0, 0]], F4),
    "holes": np.array([[np.nan, 1, -2], [3, np.nan, np.inf], [-np.inf, 0.5, -0.0]], F4),
    "mask": np.array([[True, False, True], [False, False, True]]), "rows": np.array([True, False]),
    "labels": np.array([2, 0]), "targets": np.array([[0, 2, 1], [1, 1, 0]]), "index": np.array([1, 0, 1]),
    "label": np.array(1), "classes": np.array([0, 2, 1, 0, 2]), "signs": np.array([1, -1], F4),
    "double_matrix": _normal(2, 3).astype(np.float64), "half_matrix": _normal(2, 3).astype(np.float16),
    "spd": np.array([[4, 1, 0.5], [1, 3, 0.25], [0.5, 0.25, 2]], F4), "singular": np.ones((3, 3), F4),
    **{f"bumps_{i}": _normal(4, 3) for i in range(3)},
    "z64": np.array([[1 + 2j, -3.5j, 0.5], [2, 0.25 - 1j, -1.5 + 0.75j]], np.complex64),
    "z128": np.array([2j, -1.25, 3 - 1j]),
}  # fmt: skip
NUMBERS = [[0, 1, 2], [3, 7, 100]]
OTHERS = [[2, 1, 3], [5, 2, 7]]
for _name in DTYPES:
    _dtype = np.dtype(_name)
    ARRAYS[f"a_{_name}"] = np.array(NUMBERS, _dtype)
    ARRAYS[f"b_{_name}"] = np.array(OTHERS, _dtype)
    ARRAYS[f"zero_{_name}"] = np.array(1, _dtype)
    ARRAYS[f"z_{_name}"] = np.array([0, 0, 1], _dtype)
    if _dtype.kind == "f":
        ARRAYS[f"special_{_name}"] = np.clip(EDGES, -6e4, 6e4).astype(_dtype)
        ARRAYS[f"special_{_name}"][1:3] = np.inf, -np.inf
    elif _dtype.kind == "b":
        ARRAYS[f"special_{_name}"] = np.array([True, False])
    else:
        _info = np.iinfo(_dtype)
        _least = [_info.min, -7, -2, -1] if _dtype.kind == "i" else []
        ARRAYS[f"special_{_name}"] = np.array([*_least, 0, 1, 2, 5, 100, _info.max], _dtype)

# Views of the array with the same numbers.
VIEWS: dict[str, tuple[np.ndarray, Callable[[Any], Any]]] = {
    "transposed": (np.ascontiguousarray(ARRAYS["matrix"].T), lambda t: t.t()),
    "strided": (np.repeat(ARRAYS["matrix"], 2, 1), lambda t: t[:, ::2]),
    "expanded": (ARRAYS["vector"], lambda t: t.expand(2, 3)),
    "offset": (np.concatenate([ARRAYS["other"][:1], ARRAYS["matrix"]]), lambda t: t[1:]),
    "permuted": (ARRAYS["cube"], lambda t: t.permute(2, 0, 1)),
}


def make(lib: Any, name: str) -> Any:
    """The input of this name as a tensor of the library."""
    if name in VIEWS:
        array, view = VIEWS[name]
        return view(lib.from_numpy(array.copy()))
    return lib.from_numpy(ARRAYS[name].copy())


NAMES = frozenset([*ARRAYS, *VIEWS])
