"""Return types of operations with several results: named tuples, printed as in PyTorch."""

from __future__ import annotations

from operator import itemgetter
from typing import Any


class _Results(tuple[Any, ...]):
    """Base of the return types: made from the results, one by one or as one sequence."""

    __slots__ = ()

    _fields: tuple[str, ...] = ()

    def __new__(cls, *values: Any) -> Any:
        given = tuple(values[0]) if len(values) == 1 and len(cls._fields) > 1 else values
        if len(given) != len(cls._fields):
            raise TypeError(f"{cls.__name__}() takes {len(cls._fields)} results, found {len(given)}")
        return tuple.__new__(cls, given)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        lines = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{lines})"


def _named(name: str, fields: str) -> Any:
    # Not collections.namedtuple, which compiles a function for each: half a millisecond of every import.
    names = tuple(fields.split())
    members = {field: property(itemgetter(i), doc=f"Result number {i}.") for i, field in enumerate(names)}
    return type(name, (_Results,), {"__slots__": (), "_fields": names, "__module__": __name__, **members})


max, min, sort, topk, median, nanmedian, mode, kthvalue, cummax, cummin = [
    _named(name, "values indices")
    for name in ("max", "min", "sort", "topk", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin")
]
aminmax = _named("aminmax", "min max")
linalg_inv_ex = _named("linalg_inv_ex", "inverse info")
linalg_cholesky_ex, linalg_lu = _named("linalg_cholesky_ex", "L info"), _named("linalg_lu", "P L U")
linalg_lu_factor = _named("linalg_lu_factor", "LU pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU pivots info")
linalg_solve_ex, lu_unpack = _named("linalg_solve_ex", "result info"), _named("lu_unpack", "P L U")
triangular_solve = _named("triangular_solve", "solution cloned_coefficient")
linalg_eigh = _named("linalg_eigh", "eigenvalues eigenvectors")
linalg_qr, linalg_svd = _named("linalg_qr", "Q R"), _named("linalg_svd", "U S Vh")
linalg_slogdet, linalg_lstsq = (
    _named("linalg_slogdet", "sign logabsdet"),
    _named("linalg_lstsq", "solution residuals rank singular_values"),
)
linalg_cholesky_ex = _named("linalg_cholesky_ex", "L info")
linalg_lu_factor, linalg_lu_factor_ex = (
    _named("linalg_lu_factor", "LU pivots"),
    _named("linalg_lu_factor_ex", "LU pivots info"),
)
linalg_lu, lu_unpack = _named("linalg_lu", "P L U"), _named("lu_unpack", "P L U")
triangular_solve = _named("triangular_solve", "solution cloned_coefficient")
svd = _named("svd", "U S V")
histogram, histogramdd = [_named(name, "hist bin_edges") for name in ("histogram", "histogramdd")]
