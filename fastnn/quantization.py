"""``torch.quantization``: the old name of ``torch.ao.quantization``."""

from fastnn.ao.quantization import *  # noqa: F403  # defines the names
from fastnn.ao.quantization import __all__ as __all__
