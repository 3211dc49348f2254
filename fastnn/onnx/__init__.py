"""``torch.onnx``: models to and from files of ONNX. The extra ``onnx`` installs the package that it needs.

See docs/files.md for the use, and docs/architecture/onnx.md for how it works.
"""

from __future__ import annotations

from typing import Any

from fastnn.onnx import errors
from fastnn.onnx.errors import OnnxExporterError
from fastnn.onnx.exporting import ONNXProgram, TrainingMode, export, is_in_onnx_export

__all__ = ["ONNXProgram", "OnnxExporterError", "TrainingMode", "errors", "export", "is_in_onnx_export"]
