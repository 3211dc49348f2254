"""``torch.backends.quantized``: fastnn's own kernels have the numbers of PyTorch's x86 engine."""

from __future__ import annotations

engine = "x86"
supported_engines: list[str] = ["x86"]
