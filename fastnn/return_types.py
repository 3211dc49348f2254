"""What operations with several results return: tuples with names, printed as PyTorch prints them."""

from __future__ import annotations

import collections
from typing import Any


def _named(name: str, fields: str) -> Any:
    make: Any = collections.namedtuple
    base = make(name, fields)

    def text(self: Any) -> str:
        lines = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{name}(\n{lines})"

    # The module's own name, so that pickle finds the class.
    return type(name, (base,), {"__slots__": (), "__repr__": text, "__module__": __name__, "__doc__": base.__doc__})


max, min, sort, topk, median, nanmedian, mode, kthvalue, cummax, cummin = [
    _named(name, "values indices")
    for name in ("max", "min", "sort", "topk", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin")
]
aminmax = _named("aminmax", "min max")
linalg_eigh = _named("linalg_eigh", "eigenvalues eigenvectors")
linalg_qr, linalg_svd = _named("linalg_qr", "Q R"), _named("linalg_svd", "U S Vh")
linalg_slogdet, linalg_lstsq = (
    _named("linalg_slogdet", "sign logabsdet"),
    _named("linalg_lstsq", "solution residuals rank singular_values"),
)
svd, qr, slogdet = _named("svd", "U S V"), _named("qr", "Q R"), _named("slogdet", "sign logabsdet")
histogram = _named("histogram", "hist bin_edges")
