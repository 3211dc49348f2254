"""The graph under PyTorch's names: nodes, edges, and hooks on the gradients of several tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from fastnn._autograd.engine import Node
from fastnn._autograd.hooks import RemovableHandle
from fastnn._autograd.modes import _mode
from fastnn._autograd.saved_hooks import saving_on, state
from fastnn._tensor.hooked_operations import call
from fastnn._tensor.torch_function import activate_for_a_while, release
from fastnn.random import default_generator

__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


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
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients: found one of "
            f"shape {tuple(tensor.shape)}"
        )
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


_CALL = functools.partial(call, default_generator())


class saved_tensors_hooks:  # PyTorch's name
    """A block in which tensors that operations save for the backward pass go through two functions.

    The backward pass of such an operation calls it again, with the tensors that ``unpack_hook`` returns. Operations
    with several results, in place and on views save without hooks; recordings of modules are not used in the block.

    Args:
        pack_hook: called with each saved tensor; returns anything.
        unpack_hook: called with that in the backward pass; returns a tensor with the same numbers.

    >>> import fastnn
    >>> x = fastnn.tensor([3.0], requires_grad=True)
    >>> with fastnn.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), fastnn.tensor):
    ...     y = x * x
    >>> y.backward()
    >>> x.grad
    tensor([6.])
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if state.disabled is not None:
            raise RuntimeError(state.disabled)
        activate_for_a_while()
        saving_on.append(_CALL)
        state.pairs = [*state.pairs, (self.pack_hook, self.unpack_hook)]

    def __exit__(self, *error: Any) -> None:
        state.pairs = state.pairs[:-1]
        saving_on.pop()
        release()


class save_on_cpu(saved_tensors_hooks):  # PyTorch's name
    """A block in which saved tensors are kept in the memory of the CPU, where all of them are anyway.

    Args:
        pin_memory: accepted, without effect.
        device_type: accepted, without effect.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(_itself, _itself)


def _itself(tensor: Any) -> Any:
    return tensor


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """A block in which ``saved_tensors_hooks`` is a RuntimeError with this message; as is the block inside of hooks."""
    if state.pairs:
        raise RuntimeError(error_message)
    before, state.disabled = state.disabled, error_message
    try:
        yield
    finally:
        state.disabled = before
