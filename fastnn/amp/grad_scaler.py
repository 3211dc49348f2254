"""``torch.amp.grad_scaler``: PyTorch's path to GradScaler."""

from fastnn.amp import GradScaler

__all__ = ["GradScaler"]
