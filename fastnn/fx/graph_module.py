"""``torch.fx.graph_module``: the name ``GraphModule``."""

from fastnn.fx import GraphModule

__all__ = ["GraphModule"]
