"""The graph under PyTorch's names: nodes, edges, and hooks on the gradients of several tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastnn._autograd.engine import Node
from fastnn._autograd.hooks import RemovableHandle
from fastnn._autograd.modes import _mode

__all__ = ["GradientEdge", "Node", "get_gradient_edge", "increment_version", "register_multi_grad_hook"]


class GradientEdge(NamedTuple):
    """The place of a tensor in the graph: the node that computed it, and the number of its result there."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The edge of a tensor that requires a gradient; the node of a leaf is the one that accumulates its gradient.

    >>> import fastnn
    >>> x = fastnn.ones(2, requires_grad=True)
    >>> fastnn.autograd.graph.get_gradient_edge(x * 2).node.name()
    'MulBackward0'
    """
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    node = tensor.grad_fn
    if node is None:
        node = tensor.view_as(tensor).grad_fn.next_functions[0][0]
    return GradientEdge(node, getattr(tensor, "output_nr", 0))


def increment_version(tensor: Any) -> None:
    """Count a change of one or several tensors in place, which autograd then knows of."""
    for t in [tensor] if hasattr(tensor, "_data") else tensor:
        t._memory.version = t._memory.version_to_write() + 1


class _Handle:
    """Removes the hooks of several tensors."""

    def __init__(self, handles: tuple[RemovableHandle, ...]) -> None:
        self.handles = handles

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


class _Collected:
    """The gradients of several tensors in one pass. Calls ``fn`` with all of them, or at the end of the pass."""

    def __init__(self, count: int, fn: Callable[..., Any]) -> None:
        self.grads: list[Any] = [None] * count
        self.missing: set[int] = set(range(count))
        self.fn: Callable[..., Any] | None = fn

    def add(self, k: int, grad: Any) -> None:
        self.grads[k] = grad
        self.missing.discard(k)
        if not self.missing:
            self()

    def __call__(self) -> None:
        fn, self.fn = self.fn, None
        if fn is not None:
            fn(self.grads)


def _nothing() -> None:
    pass


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all") -> _Handle:
    """Call ``fn`` with the gradients of several tensors in each backward pass.

    Args:
        tensors: tensors that require gradients.
        fn: called with the list of all gradients once they are all computed, or with the first one that is.
        mode: ``"all"`` or ``"any"``. With ``"all"``, a pass that reaches only some of the tensors calls ``fn`` at its
            end, with None for the others.

    >>> import fastnn
    >>> a, b = fastnn.ones(1, requires_grad=True), fastnn.ones(1, requires_grad=True)
    >>> seen = []
    >>> handle = fastnn.autograd.graph.register_multi_grad_hook([a, b], seen.append)
    >>> (2 * a + 3 * b).sum().backward()
    >>> seen
    [[tensor([2.]), tensor([3.])]]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    key = object()

    def all_hook(k: int, grad: Any) -> None:
        passes = _mode.at_end
        call: Any = None if passes is None else passes.get(key)
        if call is None:
            call = _Collected(len(tensors), fn)
            if passes is not None:
                passes[key] = call
        call.add(k, grad)

    def any_hook(k: int, grad: Any) -> None:
        passes = _mode.at_end
        if passes is not None:
            if key in passes:
                return
            passes[key] = _nothing
        fn(grad)

    hook = all_hook if mode == "all" else any_hook
    return _Handle(tuple([t.register_hook(functools.partial(hook, k)) for k, t in enumerate(tensors)]))
