"""``torch.fx.node``: the name ``Node``."""

from fastnn.fx import Node

__all__ = ["Node"]
