"""Reverse-mode automatic differentiation: the tape and the walk back along it.

A :class:`Node` is written by each operation whose result needs a gradient. It keeps the edges to
what the operation read (the node that made it, or the leaf itself) and a function from the
gradient of the result to the gradients of the operands. Imports nothing of fastnn: tensors come
in as arguments.
"""

from __future__ import annotations

import functools
import heapq
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastnn.tensor import Tensor


class _Mode(threading.local):
    enabled = True


_mode = _Mode()
_sequence = itertools.count()


def is_grad_enabled() -> bool:
    """Whether operations in this thread are recorded for a backward pass."""
    return _mode.enabled


def _inside(block: Callable[[], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with each call inside a block of its own."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        # The mode is for the generator while it runs, not for whoever consumes it.
        items = function(*args, **kwargs)
        while True:
            with block():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    return generator if inspect.isgeneratorfunction(function) else wrapped


class set_grad_enabled:
    """Switch recording on or off at once; as a context manager or decorator, for that block only.

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _mode.enabled = self.before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _mode.enabled = self.before
        return _inside(lambda: set_grad_enabled(self.mode), function)


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _mode.enabled = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _inside(type(self), function)


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


class Memory:
    """What tensors over the same memory share: how often it was written to, and by whom its history.

    Class attributes are the values at the start; most tensors never write to this object.
    """

    # Counts in-place operations.
    version = 0
    # Counts those that gave the memory a new history, so that older views of it are out of date.
    history = 0
    # Whether it is that of a leaf which needs a gradient, and there are views of it.
    leaf = False


class Node:
    """One recorded operation.

    Args:
        name: of the operation, for messages.
        operands: the tensors that it read, in order.
        run: from the gradient of the result to a tuple of gradients, one per operand; None for an
            operand that needs none, or whose gradient ``run`` has stored itself.
        saved: those operands (and others) whose values ``run`` reads: they must not have changed.
        keeps: whether ``run`` holds other arrays, which are given up after the first backward pass.
    """

    __slots__ = ("again", "edges", "keeps", "name", "run", "saved", "sequence")

    def __init__(
        self,
        name: str,
        operands: tuple[Tensor, ...],
        run: Callable[[Tensor], tuple[Tensor | None, ...]],
        saved: tuple[Tensor, ...] = (),
        keeps: bool = False,
        again: Callable[[], Tensor] | None = None,
    ) -> None:
        self.name, self.keeps, self.again = name, keeps, again
        self.run: Callable[[Tensor], tuple[Tensor | None, ...]] | None = run
        # A leaf is its own edge; everything else is reached through the node that made it.
        self.edges = tuple([(t._node or t) if t._requires_grad else None for t in operands])
        # The memory, not the tensor: the result may be saved too, and it holds this node.
        self.saved = [(t._memory, t._memory.version, t._data.shape) for t in saved]
        self.sequence = next(_sequence)

    def guard(self, result: Tensor) -> Tensor:
        """Note that ``run`` reads the result itself, which then must not change either; return it."""
        self.saved.append((result._memory, result._memory.version, result._data.shape))
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
        for memory, version, shape in self.saved:
            if memory.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor of shape {shape}, read by {self.name}, is at version {memory.version}; expected "
                    f"version {version} instead"
                )
        return self.run(grad)

    def release(self) -> None:
        """Free what the operation saved, even while its result is kept. Where that is nothing, it may run again."""
        if self.saved or self.keeps:
            self.run, self.saved = None, []


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
    # Overflow and division by zero show in the numbers, as in the kernels, not as warnings.
    with no_grad(), np.errstate(all="ignore"):
        while queue:
            _, node = heapq.heappop(queue)
            grads = node.backward(waiting.pop(node))
            for edge, g in zip(node.edges, grads, strict=True):
                if edge is None or g is None:
                    continue
                if not isinstance(edge, Node):
                    # A leaf may have been frozen since it was read.
                    if edge._requires_grad:
                        edge._accumulate_grad(g)
                elif edge in waiting:
                    waiting[edge] = waiting[edge] + g
                else:
                    waiting[edge] = g
                    heapq.heappush(queue, (-edge.sequence, edge))
            if not retain_graph:
                node.release()
