"""Operations with a user-defined backward: ``autograd.Function``."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node, Parts, part_node
from fastnn._autograd.modes import _ask, _mode, is_grad_enabled, no_grad
from fastnn._autograd.saved_hooks import pack, saving_on
from fastnn._autograd.saved_hooks import state as saving
from fastnn._core.dtypes import from_numpy_dtype
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap


class Context:
    """State passed from ``forward`` to ``backward``: saved tensors, marks, and any attribute."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Any, ...] | None = ()
        self._saved: list[Any] | None = None
        self._dirty: tuple[Any, ...] = ()
        self._plain: tuple[Any, ...] = ()
        self._materialize = True
        # The node, which holds this context; set only while `backward` runs.
        self._node: Node | None = None

    def save_for_backward(self, *tensors: Any) -> None:
        """Save operands or results (or None) for ``saved_tensors``; they must not change until then."""
        for t in tensors:
            if t is not None and not hasattr(t, "_data"):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """For forward mode, which there is not: nothing is saved."""

    @property
    def to_save(self) -> tuple[Any, ...] | None:
        """The arguments of ``save_for_backward``, until ``forward`` has returned."""
        return self._to_save

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The arguments of ``save_for_backward``."""
        if self._to_save is not None:
            return self._to_save
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Specify retain_graph=True if you need to backward through the graph twice."
            )
        return tuple([entry(self._node) for entry in self._saved])

    saved_variables = saved_tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Mark operands that ``forward`` changes in place and returns."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Mark results that have no gradient."""
        self._plain = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros instead of None for a result without a gradient."""
        self._materialize = bool(value)


class _FunctionNode(Node):
    """Holds the context, and releases its saved tensors with the rest of the graph."""

    __slots__ = ("context",)

    context: Context

    def backward(self, grad: Any) -> tuple[Any, ...]:
        self.context._node = self
        try:
            return super().backward(grad)
        finally:
            self.context._node = None

    def release(self) -> None:
        self.context._saved = None
        super().release()


class Function:
    """An operation with a custom gradient: a subclass defines ``forward`` and ``backward``.

    ``forward(ctx, *args)`` computes the results without recording, ``backward(ctx, *grads)`` returns a
    gradient, or None, for each argument. ``setup_context(ctx, inputs, output)`` may fill the context
    instead; ``forward(*args)`` then takes no context. Call ``apply``.

    >>> import fastnn
    >>> class Square(fastnn.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * grad
    >>> x = fastnn.tensor([3.0], requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor([6.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke them on the class itself.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. "
            "Please use new-style autograd function with static forward method."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results from the context and the arguments."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Fill the context, if ``forward`` does not take it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run and record the operation."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        recorded = bool(tensors) and _recorded(*tensors)
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and a._requires_grad for a in args])
        versions = {id(t): 0 if t._memory.inference else t._memory.version for t in tensors} if recorded else {}
        # As `no_grad`, in a third of its time.
        before = is_grad_enabled()
        _ask(False)
        try:
            if cls.setup_context is Function.setup_context:
                output = cls.forward(ctx, *args, **kwargs)
            else:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
        finally:
            _ask(before)
        several = isinstance(output, (tuple, list))
        outputs = list(output) if several else [output]
        if not recorded:
            return _returned(outputs, several, output)
        node = _FunctionNode(f"{cls.__name__}Backward", tuple(tensors), _runner(cls, ctx, args, outputs), keeps=True)
        node.context = ctx
        # Counts results without a gradient too: hooks get None for them.
        node.width = len(outputs)
        dirty, plain = {id(t) for t in ctx._dirty}, {id(t) for t in ctx._plain}
        if not dirty <= {id(out) for out in outputs}:
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output. The inputs that "
                "are modified inplace must all be outputs of the Function."
            )
        made: list[Any] = []
        for i, out in enumerate(outputs):
            if not isinstance(out, Tensor) or id(out) in plain or out._data.dtype.kind not in "fV":
                made.append(out)
                continue
            mine = part_node(node, i) if len(outputs) > 1 else node
            if id(out) in dirty:
                if out._memory.version == versions.get(id(out), -1):
                    out._memory.version += 1
                out._adopt(mine)
            elif id(out) in versions or out._requires_grad:
                # An input is returned unchanged: make another tensor over the same memory.
                alias = type(out)._remade(out._data, out._memory, mine)
                made.append(alias)
                continue
            else:
                out._node, out._requires_grad = mine, True
            made.append(out)
        ctx._saved, ctx._to_save = [_saver(t, outputs, made) for t in ctx._to_save or ()], None
        return _returned(made, several, output)


def _returned(outputs: list[Any], several: bool, output: Any) -> Any:
    return (tuple(outputs) if isinstance(output, tuple) else outputs) if several else outputs[0]


def _saver(tensor: Any, outputs: list[Any], made: list[Any]) -> Callable[[Node | None], Any]:
    """A function that checks a saved tensor's version and returns it."""
    if tensor is None:
        return lambda node: None
    if saving_on and saving.pairs:
        unpacked = pack(saving.pairs[-1], tensor)
        return lambda node: unpacked()
    memory, version, shape = tensor._memory, tensor._memory.version, tensor._data.shape

    def check() -> None:
        if memory.version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: a "
                f"saved tensor of shape {shape} is at version {memory.version}; expected version {version} instead"
            )

    for i, (before, after) in enumerate(zip(outputs, made, strict=True)):
        if tensor is before and after._node is not None:
            # Not the result itself: its node holds this, and the cycle would delay its release.
            return _remaker(check, type(after), after._data, memory, i if len(outputs) > 1 else None)

    def itself(node: Node | None) -> Any:
        check()
        return tensor

    return itself


def _remaker(
    check: Callable[[], None], kind: Any, data: Any, memory: Any, position: int | None
) -> Callable[[Node | None], Any]:
    """A function that recreates a saved result with its node."""

    def remade(node: Node | None) -> Any:
        check()
        mine = node if node is None or position is None else part_node(node, position)
        return kind._remade(data, memory, mine)

    return remade


def _runner(cls: Any, ctx: Context, args: tuple[Any, ...], outputs: list[Any]) -> Callable[[Any], Any]:
    """The node's ``run``: calls the user's ``backward`` and checks its gradients."""
    # The shape and the dtype of each argument that is a tensor.
    kinds = [(a._data.shape, a._data.dtype) if isinstance(a, Tensor) else None for a in args]
    likes = [(o._data.shape, o._data.dtype) if isinstance(o, Tensor) else None for o in outputs]

    def run(grad: Any) -> tuple[Any, ...]:
        given = grad.grads if isinstance(grad, Parts) else {0: grad}
        grads: list[Any] = []
        for i, like in enumerate(likes):
            g = given.get(i)
            if g is None and ctx._materialize and like is not None:
                g = _wrap(np.zeros(*like))
            grads.append(g)
        found = cls.backward(ctx, *grads)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) > len(kinds) and all(g is None for g in found[len(kinds) :]):
            found = found[: len(kinds)]
        if len(found) != len(kinds):
            raise RuntimeError(
                f"function {cls.__name__}Backward returned an incorrect number of gradients (expected {len(kinds)}, "
                f"got {len(found)})"
            )
        result = []
        for i, g in enumerate(found):
            kind = kinds[i]
            if kind is None:
                if g is not None:
                    raise RuntimeError(
                        f"function {cls.__name__}Backward returned a gradient different than None at position "
                        f"{i + 1}, but the corresponding forward input was not a Variable"
                    )
                continue
            if g is not None:
                if not isinstance(g, Tensor):
                    raise RuntimeError(f"expected Variable or None (got {type(g).__name__})")
                if g._data.shape != kind[0] or g._data.dtype != kind[1]:
                    g = _fitted(g, *kind, cls, i)
            result.append(g)
        return tuple(result)

    return run


def _fitted(g: Any, shape: Any, dtype: Any, cls: Any, i: int) -> Any:
    if g._data.shape != shape:
        extra = g._data.ndim - len(shape)
        if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g._data.shape[extra:], strict=True)):
            raise RuntimeError(
                f"Function {cls.__name__}Backward returned an invalid gradient at index {i} - got "
                f"{list(g._data.shape)} but expected shape compatible with {list(shape)}"
            )
        g = _unbroadcast(g, shape)
    return g.to(from_numpy_dtype(dtype)) if dtype.kind in "fV" else g


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of ``backward``: differentiating its result raises RuntimeError."""

    @functools.wraps(function)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            found = function(ctx, *grads)
        if not _mode.enabled:
            return found
        if not any(isinstance(g, Tensor) and g._requires_grad for g in grads):
            return found

        def refuse(grad: Any) -> Any:
            raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

        several = isinstance(found, tuple)
        operands = tuple([g for g in grads if isinstance(g, Tensor)])
        marked = [
            _wrap(g._data, Node("NotDifferentiable", operands, refuse)) if isinstance(g, Tensor) else g
            for g in (found if several else (found,))
        ]
        return tuple(marked) if several else marked[0]

    return wrapped


# PyTorch's name of the first argument of ``forward`` and ``backward``.
FunctionCtx = Context
