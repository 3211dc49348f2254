"""``torch.amp.autocast_mode``: PyTorch's path to autocast and what belongs to it."""

from fastnn.amp import autocast, custom_bwd, custom_fwd, is_autocast_available

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
