"""PyTorch's path to the derivatives of ``torch.func``."""

from __future__ import annotations

from fastnn.func import functionalize, hessian, jacfwd, jacrev, jvp, linearize, vjp

__all__ = ["functionalize", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]
