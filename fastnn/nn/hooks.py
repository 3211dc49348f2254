"""Hooks of modules: their registration, and calls of modules that have hooks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fastnn._autograd.engine import RemovableHandle
from fastnn._tensor.tensor import Tensor
from fastnn.autograd import Function
from fastnn.nn.module_members import changes, writes

Hook = Callable[..., Any]

# Global hooks: number -> (kind, hook, with_kwargs, always_call). Kinds are the names of Module's tables.
EVERYWHERE: dict[int, tuple[str, Hook, bool, bool]] = {}


def _everywhere(kind: str, hook: Hook, with_kwargs: bool = False, always_call: bool = False) -> RemovableHandle:
    handle = RemovableHandle(EVERYWHERE)
    EVERYWHERE[handle.id] = (kind, hook, with_kwargs, always_call)
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module."""
    return _everywhere("_forward_pre_hooks", hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module."""
    return _everywhere("_forward_hooks", hook, with_kwargs, always_call)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return _everywhere("_backward_pre_hooks", hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    if any(kind == "_last_operation_hooks" for kind, *_ in EVERYWHERE.values()):
        _refuse_both("regular ones", "as global hooks")
    return _everywhere("_backward_hooks", hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the last operation of every module.

    PyTorch recommends :func:`register_module_full_backward_hook`; see :meth:`Module.register_backward_hook`.
    """
    if any(kind == "_backward_hooks" for kind, *_ in EVERYWHERE.values()):
        _refuse_both("full ones", "as global hooks")
    return _everywhere("_last_operation_hooks", hook)


def _refuse_both(kind: str, place: str) -> None:
    raise RuntimeError(
        f"Cannot use both regular backward hooks and full backward hooks {place}: {kind} are there already. Please use "
        "only one of them."
    )


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` when one is registered; it may return another parameter."""
    return _everywhere("parameter", hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` when one is registered; it may return another buffer."""
    return _everywhere("buffer", hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, child)`` when one is registered; it may return another module."""
    return _everywhere("module", hook)


def registered(kind: str, module: Any, name: str, value: Any) -> Any:
    """The value to register in place of ``value``, from the registration hooks."""
    for found, hook, *_ in list(EVERYWHERE.values()):
        if found == kind:
            replaced = hook(module, name, value)
            value = value if replaced is None else replaced
    return value


class Hooked:
    """The hook methods of :class:`Module`.

    ``_hooked`` is False until the first hook is registered, so a call checks only this. It becomes False again at
    the first check after the last hook was removed.
    """

    _hooked = False
    # The kind of the hooks in `_backward_hooks`: False for those of the last operation.
    _is_full_backward_hook: bool | None = None
    _forward_pre_hooks: dict[int, Hook]
    _forward_hooks: dict[int, Hook]
    _backward_pre_hooks: dict[int, Hook]
    _backward_hooks: dict[int, Hook]
    # Options of forward hooks by number: with_kwargs, always_call.
    _hook_options: dict[int, tuple[bool, bool]]

    def _add_hook(
        self, kind: str, hook: Hook, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        table = getattr(self, kind)
        handle = RemovableHandle(table)
        before = dict(table) if prepend else {}
        if prepend:
            table.clear()
        table[handle.id] = hook
        table.update(before)
        self._hook_options[handle.id] = with_kwargs, always_call
        object.__setattr__(self, "_hooked", True)
        changes[0] += 1
        writes[0] += 1
        return handle

    def _has_hooks(self) -> bool:
        if self._hooked and not (
            self._forward_pre_hooks or self._forward_hooks or self._backward_pre_hooks or self._backward_hooks
        ):
            self.__dict__.pop("_hooked", None)
        return self._hooked

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward; it may return other arguments.

        Args:
            prepend: run before the existing hooks.
            with_kwargs: call ``hook(module, args, kwargs)``, which may return new values of both.

        Returns: a handle whose ``remove()`` removes the hook.
        """
        return self._add_hook("_forward_pre_hooks", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward; it may return another output.

        Args:
            prepend: run before the existing hooks.
            with_kwargs: call ``hook(module, args, kwargs, output)``.
            always_call: also call it if the forward raises, with the output None.

        >>> import fastnn
        >>> layer = fastnn.nn.Linear(2, 3)
        >>> handle = layer.register_forward_hook(lambda module, args, output: print(output.shape))
        >>> y = layer(fastnn.zeros(4, 2))
        torch.Size([4, 3])
        >>> handle.remove()
        """
        return self._add_hook("_forward_hooks", hook, prepend, with_kwargs, always_call)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before each backward of the module; it may return another tuple."""
        return self._add_hook("_backward_pre_hooks", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` after each backward; it may return another ``grad_input``.

        Both are tuples with a gradient, or None, for each positional argument and each output.
        """
        if self._is_full_backward_hook is False:
            _refuse_both("regular ones", "on a single Module")
        object.__setattr__(self, "_is_full_backward_hook", True)
        return self._add_hook("_backward_hooks", hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` after the backward of the last operation in the forward.

        ``grad_input`` has the gradients of that operation's operands, ``(bias, input, weight)`` for a linear layer.
        PyTorch recommends :meth:`register_full_backward_hook` instead.
        """
        if self._is_full_backward_hook:
            _refuse_both("full ones", "on a single Module")
        object.__setattr__(self, "_is_full_backward_hook", False)
        return self._add_hook("_backward_hooks", hook)

    def _backward_hooks_of(self, full: bool) -> list[Hook]:
        kind = "_backward_hooks" if full else "_last_operation_hooks"
        found = [hook for there, hook, *_ in EVERYWHERE.values() if there == kind]
        own = (self._is_full_backward_hook is not False) == full
        return found + list(self._backward_hooks.values()) if own else found

    def _hooks_of(self, kind: str) -> list[tuple[int, Hook, bool, bool]]:
        found = [
            (number, hook, with_kwargs, always)
            for number, (there, hook, with_kwargs, always) in EVERYWHERE.items()
            if there == kind
        ]
        options = self._hook_options
        return found + [(n, hook, *options.get(n, (False, False))) for n, hook in getattr(self, kind).items()]


def call_hooked(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``module.forward(*args, **kwargs)`` with all hooks."""
    for _, hook, with_kwargs, _ in module._hooks_of("_forward_pre_hooks"):
        if with_kwargs:
            replaced = hook(module, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                        f"{replaced!r}."
                    )
                args, kwargs = replaced
        else:
            replaced = hook(module, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
    after, last = module._backward_hooks_of(True), module._backward_hooks_of(False)
    before = [hook for _, hook, *_ in module._hooks_of("_backward_pre_hooks")]
    watch = _Backward(module, before, after) if before or after else None
    if watch is not None:
        args = watch.inputs(args)
    called: set[int] = set()
    try:
        result = module.forward(*args, **kwargs)
        for number, hook, with_kwargs, _ in module._hooks_of("_forward_hooks"):
            called.add(number)
            replaced = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
            result = result if replaced is None else replaced
    except Exception:
        for number, hook, with_kwargs, always in module._hooks_of("_forward_hooks"):
            if always and number not in called:
                try:
                    _ = hook(module, args, kwargs, None) if with_kwargs else hook(module, args, None)
                except Exception as error:
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that was silenced as "
                        f"another error was raised in forward: {error}",
                        stacklevel=3,
                    )
        raise
    if last:
        _watch_last(module, last, args, result)
    if watch is None:
        return result
    if not isinstance(result, (Tensor, tuple)):
        warnings.warn(
            "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
            f"{type(result)}",
            stacklevel=3,
        )
        return result
    return watch.outputs(result)


def _watch_last(module: Any, hooks: list[Hook], args: tuple[Any, ...], result: Any) -> None:
    """Hook the operation that made the first tensor of ``result``; warn if it is not the whole module."""
    first = result
    while not isinstance(first, Tensor):
        first = next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict) else first[0]
    node = first.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(lambda inputs, outputs, hook=hook: hook(module, inputs, outputs))
    results = result if isinstance(result, tuple) else (result,)
    alone = all(isinstance(t, Tensor) for t in (*results, *args)) and {t.grad_fn for t in results} - {None} == {node}
    if not alone or set(node.edges) != {t.grad_fn for t in args} - {None}:
        warnings.warn(
            "Using a non-full backward hook when the forward contains multiple autograd Nodes, or takes or returns "
            "other than tensors, is deprecated. This hook will be missing some grad_input. Please use "
            "register_full_backward_hook to get the documented behavior.",
            FutureWarning,
            stacklevel=4,
        )


class _Passage(Function):
    """An identity in the forward; in the backward the gradients pass through a function."""

    @staticmethod
    def forward(ctx: Any, change: Callable[..., Any], fills: bool, *tensors: Any) -> Any:
        ctx.change = change
        # As in PyTorch an unused output of a module has the gradient None, an unused input zeros.
        ctx.set_materialize_grads(fills)
        return tuple([t.view_as(t) for t in tensors])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *ctx.change(grads)


class _Backward:
    """Backward hooks of one call: one ``_Passage`` before the module and one after it."""

    def __init__(self, module: Any, before: list[Hook], after: list[Hook]) -> None:
        self.module, self.before, self.after = module, before, after
        self.grad_outputs: tuple[Any, ...] | None = None
        self.count = 0
        self.places: list[int] = []

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.count = len(args)
        return self._pass(args, self._leave, True, self.places)

    def outputs(self, result: Any) -> Any:
        single = isinstance(result, Tensor)
        results = (result,) if single else tuple(result)
        places: list[int] = []
        passed = self._pass(results, lambda grads: self._enter(grads, places, len(results)), False, places)
        return passed[0] if single else passed

    def _pass(self, values: tuple[Any, ...], change: Hook, fills: bool, places: list[int]) -> tuple[Any, ...]:
        places += [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not places:
            return values
        passed = _Passage.apply(change, fills, *[values[i] for i in places])
        replaced = list(values)
        for i, tensor in zip(places, passed, strict=True):
            # As in PyTorch it may not change in place: its gradient would bypass the hooks.
            tensor._view, tensor._of_many = (values[i], ()), True
            replaced[i] = tensor
        return tuple(replaced)

    def _enter(self, grads: tuple[Any, ...], places: list[int], count: int) -> Any:
        full = _placed(grads, places, count)
        for hook in self.before:
            replaced = hook(self.module, full)
            if replaced is not None:
                full = _as_many(replaced, full, "pre hook", "grad_output")
        self.grad_outputs = full
        if not self.places:
            # No argument needs a gradient: the hooks still get those of the outputs.
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs since no "
                "inputs require gradients.",
                UserWarning,
                stacklevel=2,
            )
            for hook in self.after:
                replaced = hook(self.module, (None,) * self.count, full)
                if replaced is not None and not (isinstance(replaced, tuple) and all(g is None for g in replaced)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
            self.grad_outputs = None
        return tuple([full[i] for i in places])

    def _leave(self, grads: tuple[Any, ...]) -> Any:
        if self.grad_outputs is None:
            # It bypassed the outputs: they are not tensors, or this is a backward of a backward pass.
            return grads
        full = _placed(grads, self.places, self.count)
        for hook in self.after:
            replaced = hook(self.module, full, self.grad_outputs)
            if replaced is not None:
                full = _as_many(replaced, full, "hook", "grad_input")
        self.grad_outputs = None
        return tuple([full[i] for i in self.places])


def _as_many(replaced: Any, full: tuple[Any, ...], kind: str, what: str) -> tuple[Any, ...]:
    """The gradients that a hook returned in place of others.

    Raises: RuntimeError if their number differs; TypeError for something else than tensors and None.
    """
    # The length of a tensor is that of its first dimension: it has to be inside a tuple.
    if len(replaced) != len(full):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of {what}, got {len(replaced)}, but expected {len(full)}"
        )
    gradients = tuple(replaced)
    for g in gradients:
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"expected Variable, but hook returned '{type(g).__name__}'")
    return gradients


def _placed(grads: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    full: list[Any] = [None] * count
    for i, g in zip(places, grads, strict=True):
        full[i] = g
    return tuple(full)
