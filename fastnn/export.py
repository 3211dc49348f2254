"""``torch.export``: the names of dimensions, for ``torch.onnx.export``; the rest are only names."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._core.absent import absent_class, absent_function

__all__ = ["Dim", "ExportedProgram", "export", "load", "save"]

_WHY = "fastnn does not export programs, so torch.export.{} cannot be used; fastnn.save keeps a model's state_dict"

ExportedProgram = absent_class("torch.export.ExportedProgram", (), _WHY.format("ExportedProgram"))
export = absent_function("torch.export.export", _WHY.format("export"))
load = absent_function("torch.export.load", _WHY.format("load"))
save = absent_function("torch.export.save", _WHY.format("save"))
register_dataclass = absent_function("torch.export.register_dataclass", _WHY.format("register_dataclass"))


class _Hint:
    """A dimension without a name: whether its size may change."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"DimHint.{self.name}"


class Dim:
    """A dimension whose size may change, in ``dynamic_shapes`` of ``torch.onnx.export``.

    Args:
        name: an identifier.
        min, max: the sizes that it may have; nothing checks them.

    >>> Dim("batch"), Dim.DYNAMIC
    (Dim('batch'), DimHint.DYNAMIC)
    """

    AUTO: ClassVar[Any] = _Hint("AUTO")
    DYNAMIC: ClassVar[Any] = _Hint("DYNAMIC")
    STATIC: ClassVar[Any] = _Hint("STATIC")

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        self.__name__, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        return f"Dim({self.__name__!r})"
