"""``torch.onnx.errors``: the errors of an export, and of reading a file."""

from __future__ import annotations

from types import ModuleType

__all__ = ["OnnxExporterError", "SymbolicValueError", "UnsupportedOperatorError"]


class OnnxExporterError(RuntimeError):
    """A model cannot be exported."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operation has no equal in ONNX, or in fastnn."""


class SymbolicValueError(OnnxExporterError):
    """A number that depends on the input was read as a Python number."""


def package() -> ModuleType:
    """The package onnx.

    Raises: ImportError if it is not installed.
    """
    try:
        # `import onnx.helper` would bind the name of this package.
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("fastnn.onnx needs the package onnx: pip install 'fastnn[onnx]'") from error
    module: ModuleType = onnx
    return module
