"""``torch.onnx`` as names: models are not exported yet."""

from __future__ import annotations

from fastnn._core.absent import absent_class, absent_function

__all__ = ["ONNXProgram", "OnnxExporterError", "export", "is_in_onnx_export"]

_WHY = "fastnn does not export models to ONNX yet, so torch.onnx.{} cannot be used"

ONNXProgram = absent_class("torch.onnx.ONNXProgram", (), _WHY.format("ONNXProgram"))
export = absent_function("torch.onnx.export", _WHY.format("export"))


class OnnxExporterError(RuntimeError):
    """PyTorch's error of an export, for ``except``."""


def is_in_onnx_export() -> bool:
    """False.

    >>> is_in_onnx_export()
    False
    """
    return False
