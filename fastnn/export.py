"""``torch.export`` as names: fastnn does not export programs."""

from __future__ import annotations

from fastnn._core.absent import absent_class, absent_function

__all__ = ["Dim", "ExportedProgram", "export", "load", "save"]

_WHY = "fastnn does not export programs, so torch.export.{} cannot be used; fastnn.save keeps a model's state_dict"

Dim = absent_class("torch.export.Dim", (), _WHY.format("Dim"))
ExportedProgram = absent_class("torch.export.ExportedProgram", (), _WHY.format("ExportedProgram"))
export = absent_function("torch.export.export", _WHY.format("export"))
load = absent_function("torch.export.load", _WHY.format("load"))
save = absent_function("torch.export.save", _WHY.format("save"))
register_dataclass = absent_function("torch.export.register_dataclass", _WHY.format("register_dataclass"))
