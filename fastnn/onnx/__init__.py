"""``torch.onnx``: models to and from files of ONNX. The extra ``onnx`` installs the package that it needs.

See docs/files.md for the use, and docs/architecture/onnx.md for how it works.
"""

from __future__ import annotations

from fastnn.onnx import errors
from fastnn.onnx.errors import OnnxExporterError
from fastnn.onnx.exporting import ONNXProgram, OperatorExportTypes, TrainingMode, export, is_in_onnx_export
from fastnn.onnx.importing import ONNXModule, load

__all__ = [
    "ONNXModule", "ONNXProgram", "OnnxExporterError", "OperatorExportTypes", "TrainingMode", "errors", "export",
    "is_in_onnx_export", "load",
]  # fmt: skip
