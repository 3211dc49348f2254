"""``torch.sparse`` as names: fastnn's tensors are dense."""

from __future__ import annotations

from fastnn._core.absent import absent_class, absent_function

__all__ = ["addmm", "log_softmax", "mm", "softmax", "spsolve", "sum"]

_WHY = "torch.sparse.{} is about sparse tensors, which fastnn does not have; its tensors are dense"

addmm = absent_function("torch.sparse.addmm", _WHY.format("addmm"))
log_softmax = absent_function("torch.sparse.log_softmax", _WHY.format("log_softmax"))
mm = absent_function("torch.sparse.mm", _WHY.format("mm"))
softmax = absent_function("torch.sparse.softmax", _WHY.format("softmax"))
spsolve = absent_function("torch.sparse.spsolve", _WHY.format("spsolve"))
sum = absent_function("torch.sparse.sum", _WHY.format("sum"))
_MAKES = "fastnn has no sparse tensors, so torch.{} cannot make one; its tensors are dense"
for _name in ("bsc", "bsr", "compressed", "coo", "csc", "csr"):
    _full = f"sparse_{_name}_tensor"
    globals()[_full] = absent_function(f"torch.{_full}", _MAKES.format(_full))
# The old constructors, for `isinstance`.
FloatTensor = absent_class("torch.sparse.FloatTensor", (), _WHY.format("FloatTensor"))
DoubleTensor = absent_class("torch.sparse.DoubleTensor", (), _WHY.format("DoubleTensor"))
SparseSemiStructuredTensor = absent_class(
    "torch.sparse.SparseSemiStructuredTensor", (), _WHY.format("SparseSemiStructuredTensor")
)
