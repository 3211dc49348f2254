"""Reverse-mode automatic differentiation: the tape and the walk back along it.

A :class:`Node` is written by each operation whose result needs a gradient. It keeps the edges to
what the operation read (the node that made it, or the leaf itself) and a function from the
gradient of the result to the gradients of the operands. Imports nothing of fastnn: tensors come
in as arguments.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.tensor import Tensor


class _Mode(threading.local):
    enabled = True


_mode = _Mode()
_sequence = itertools.count()


def is_grad_enabled() -> bool:
    """Whether operations in this thread are recorded for a backward pass."""
    return _mode.enabled


class set_grad_enabled:
    """Switch recording on or off at once; as a context manager, until the end of the block.

    >>> import fastnn
    >>> with fastnn.set_grad_enabled(False):
    ...     fastnn.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self.mode, self.before = bool(mode), _mode.enabled
        _mode.enabled = self.mode

    def __enter__(self) -> None:
        _mode.enabled = self.mode

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _mode.enabled = self.before


class _ModeBlock:
    """Base of ``no_grad`` and ``enable_grad``: a context manager and a decorator."""

    enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        block = super().__new__(cls)
        if function is None:
            return block
        block.before = []
        return block(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        # A stack, so that one object may be entered again inside its own block.
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(_mode.enabled)
        _mode.enabled = self.enabled

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _mode.enabled = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_ModeBlock):
    """Do not record operations: a context manager or a decorator, with or without parentheses.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0], requires_grad=True)
    >>> with fastnn.no_grad():
    ...     (x * 2).requires_grad
    False
    """


class enable_grad(_ModeBlock):
    """Record operations, inside a ``no_grad`` block too: a context manager or a decorator.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0], requires_grad=True)
    >>> with fastnn.no_grad(), fastnn.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    enabled = True


class Node:
    """One recorded operation.

    Args:
        name: of the operation, for messages.
        operands: the tensors that it read, in order.
        run: from the gradient of the result to a tuple of gradients, one per operand; None for an
            operand that needs none, or whose gradient ``run`` has stored itself.
        saved: those operands (and others) whose values ``run`` reads: they must not have changed.
    """

    __slots__ = ("edges", "name", "result", "run", "saved", "sequence")

    def __init__(
        self,
        name: str,
        operands: tuple[Tensor, ...],
        run: Callable[[Tensor], tuple[Tensor | None, ...]],
        saved: tuple[Tensor, ...] = (),
    ) -> None:
        self.name = name
        self.run: Callable[[Tensor], tuple[Tensor | None, ...]] | None = run
        # A leaf is its own edge; everything else is reached through the node that made it.
        self.edges = tuple([(t._node or t) if t.requires_grad else None for t in operands])
        self.saved = [(t, t._version) for t in saved]
        self.result: tuple[weakref.ref[Tensor], int] | None = None
        self.sequence = next(_sequence)

    def guard(self, result: Tensor) -> Tensor:
        """Note that ``run`` reads the result itself, which then must not change either; return it."""
        # Weakly: the result holds this node, and a cycle would keep both until the garbage collector comes.
        self.result = weakref.ref(result), result._version
        return result

    def __repr__(self) -> str:
        return f"<{self.name}Backward>"

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the operands, from that of the result."""
        if self.run is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Specify retain_graph=True if you need to backward through the graph twice."
            )
        saved = self.saved
        if self.result is not None and (result := self.result[0]()) is not None:
            saved = [*saved, (result, self.result[1])]
        for tensor, version in saved:
            if tensor._version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor of shape {tuple(tensor.shape)}, read by {self.name}, is at version "
                    f"{tensor._version}; expected version {version} instead"
                )
        return self.run(grad)


def backward(root: Tensor, grad: Tensor, retain_graph: bool = False) -> None:
    """Accumulate the gradients of the leaves that ``root`` was computed from.

    Nodes run in the reverse of the order in which they were recorded: each one after all that read
    its result.
    """
    start = root._node
    if start is None:
        root._accumulate_grad(grad)
        return
    waiting = {start: grad}
    queue = [(-start.sequence, start)]
    with no_grad():
        while queue:
            _, node = heapq.heappop(queue)
            grads = node.backward(waiting.pop(node))
            for edge, g in zip(node.edges, grads, strict=True):
                if edge is None or g is None:
                    continue
                if not isinstance(edge, Node):
                    edge._accumulate_grad(g)
                elif edge in waiting:
                    waiting[edge] = waiting[edge] + g
                else:
                    waiting[edge] = g
                    heapq.heappush(queue, (-edge.sequence, edge))
            if not retain_graph:
                # Frees what the operation saved, even while the result is kept.
                node.run, node.saved = None, []
