"""PyTorch's path to the class of ``torch.__version__``."""

from __future__ import annotations

from fastnn.version import TorchVersion

__all__ = ["TorchVersion"]
