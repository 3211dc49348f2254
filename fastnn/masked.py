"""``torch.masked`` as names: fastnn has no masked tensors."""

from __future__ import annotations

from typing import Any

from fastnn._core.absent import absent_class, absent_function

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]

_WHY = "fastnn has no masked tensors, so torch.masked.{} cannot be used; see Tensor.masked_fill and torch.where"

MaskedTensor = absent_class("torch.masked.MaskedTensor", (), _WHY.format("MaskedTensor"))
masked_tensor = absent_function("torch.masked.masked_tensor", _WHY.format("masked_tensor"))
as_masked_tensor = absent_function("torch.masked.as_masked_tensor", _WHY.format("as_masked_tensor"))
for _name in ("amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean",
              "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var"):  # fmt: skip
    globals()[_name] = absent_function(f"torch.masked.{_name}", _WHY.format(_name))


def is_masked_tensor(obj: Any) -> bool:
    """False.

    >>> is_masked_tensor(1)
    False
    """
    return False
