"""PyTorch's path to the functions of ``torch.func``."""

from __future__ import annotations

from fastnn.func import grad, grad_and_value, vmap

__all__ = ["grad", "grad_and_value", "vmap"]
