"""Parametrisations: a parameter computed from others each time it is read.

A parametrised module gets its own class, in which the parameter's name is a property.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.nn.container import ModuleDict, ModuleList
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

# The number of open `cached()` blocks, and the values computed inside them.
_open = [0]
_cache: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrised tensor only once inside this block."""
    _open[0] += 1
    try:
        yield
    finally:
        _open[0] -= 1
        if not _open[0]:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, in order, and the tensors they start from.

    These are ``original``, or ``original0``, ``original1`` ... if ``right_inverse`` returns several tensors.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            start: Any = original
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    start = module.right_inverse(start)
        self.is_tensor = isinstance(start, Tensor)
        self.ntensors = 1 if self.is_tensor else len(start)
        parts = [start] if self.is_tensor else list(start)
        for i, part in enumerate(parts):
            if not isinstance(part, Tensor):
                raise ValueError(
                    "right_inverse must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                    f"{type(part).__name__}"
                )
            name = "original" if self.is_tensor else f"original{i}"
            if isinstance(original, Parameter):
                made = part if part is original else Parameter._of(part.detach()._data)
                made.requires_grad_(original.requires_grad)
                self.register_parameter(name, made)
            else:
                self.register_buffer(name, part)
        if not unsafe:
            self._check(original)

    def _check(self, original: Tensor) -> None:
        with no_grad():
            result = self()
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        if result.dtype != original.dtype or result.shape != original.shape:
            raise ValueError(
                "Registering a parametrization may not change the dtype or shape of the tensor, unless `unsafe` flag "
                f"is enabled: found {result.dtype} {tuple(result.shape)}, expected {original.dtype} "
                f"{tuple(original.shape)}."
            )

    def originals(self) -> list[Tensor]:
        """The tensors that are trained."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the trained tensors so that the parametrised one is ``value``, by the modules' ``right_inverse``."""
        with no_grad():
            start: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                start = module.right_inverse(start)
            for old, new in zip(self.originals(), [start] if self.is_tensor else start, strict=True):
                old.data = new.detach()

    def forward(self) -> Tensor:
        """The parametrised tensor."""
        modules = list(self)
        value: Any = modules[0](*self.originals())
        for module in modules[1:]:
            value = module(value)
        return value


def _read(module: Module, name: str) -> Tensor:
    made = module.parametrizations[name]
    if not _open[0]:
        return made()
    key = id(module), name
    if key not in _cache:
        _cache[key] = made()
    return _cache[key]


def _property(name: str) -> property:
    def get(self: Module) -> Tensor:
        return _read(self, name)

    def set(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, set)


def _change_class(module: Module) -> None:
    kind = type(module)

    def refuse(self: Module) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See the documentation of "
            "fastnn.save."
        )

    def duplicate(self: Module, memo: dict[int, Any]) -> Module:
        # Bypasses `refuse`; the class is shared, because its properties find everything in the module.
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made

    contents = {"__getstate__": refuse, "__deepcopy__": duplicate, "_parametrized": kind}
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), contents)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by ``parametrization`` of the tensors trained instead.

    Args:
        module: the owner of the tensor.
        tensor_name: of the tensor; it moves to ``module.parametrizations.<name>.original``.
        parametrization: its forward takes that and returns the tensor; its ``right_inverse``, if any, turns
            the tensor's current value into the trained one or several. A second parametrisation of the same
            tensor takes the result of the first.
        unsafe: allow another shape and dtype.

    >>> import fastnn
    >>> class Symmetric(fastnn.nn.Module):
    ...     def forward(self, w):
    ...         return (w + w.t()) / 2
    >>> layer = fastnn.nn.utils.parametrize.register_parametrization(fastnn.nn.Linear(2, 2), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.t()).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        held: Any = module.parametrizations[tensor_name]
        if not unsafe:
            with no_grad():
                before = getattr(module, tensor_name)
                after = parametrization(before)
            if not isinstance(after, Tensor) or after.shape != before.shape or after.dtype != before.dtype:
                raise ValueError(
                    "Registering a parametrization may not change the dtype or shape of the tensor, unless `unsafe` "
                    f"flag is enabled: {tensor_name} has {before.dtype} and shape {tuple(before.shape)}, found "
                    + (f"{after.dtype} and {tuple(after.shape)}" if isinstance(after, Tensor) else type(after).__name__)
                )
        held.append(parametrization)
        held.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        made = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _change_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        held = module.parametrizations
        held[tensor_name] = made
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrisation, or one of this tensor."""
    held = module._modules.get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make the tensor an ordinary one again.

    Args:
        leave_parametrized: keep the computed value; otherwise the one it was computed from.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held: Any = module.parametrizations
    made = held[tensor_name]
    originals = made.originals()
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if isinstance(originals[0], Parameter):
            kept = originals[0]
            if kept._data.shape == value._data.shape and made.is_tensor:
                kept.data = value
            else:
                requires_grad = any(p.requires_grad for p in originals)
                kept = Parameter._of(value._data) if isinstance(originals[-1], Parameter) else Parameter(value)
                kept.requires_grad_(requires_grad)
            tensor: Tensor = kept
        else:
            tensor = value.detach()
    elif not made.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    else:
        tensor = originals[0]
    delattr(type(module), tensor_name)
    del held[tensor_name]
    if isinstance(tensor, Parameter):
        module.register_parameter(tensor_name, tensor)
    else:
        module.register_buffer(tensor_name, tensor)
    if not len(held):
        delattr(module, "parametrizations")
        kind: Any = type(module)
        module.__class__ = kind._parametrized
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before its first parametrisation."""
    kind: Any = type(module)
    return kind._parametrized if is_parametrized(module) else kind
