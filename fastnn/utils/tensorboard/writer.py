"""``torch.utils.tensorboard.writer``: where PyTorch defines ``SummaryWriter``."""

from fastnn.utils.tensorboard import SummaryWriter

__all__ = ["SummaryWriter"]
