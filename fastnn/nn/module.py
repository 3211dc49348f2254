"""Module: the base of every layer and model."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from fastnn._autograd.modes import no_grad
from fastnn._core.devices import as_device, check_device, device
from fastnn._core.dtypes import as_numpy_dtype, dtype, from_numpy_dtype
from fastnn._tensor.tensor import Tensor
from fastnn.nn.hooks import EVERYWHERE, Hooked, call_hooked, registered
from fastnn.nn.module_members import Registry, changes, writes
from fastnn.nn.parameter import Buffer, Parameter, settle
from fastnn.nn.state import IncompatibleKeys, Stateful

__all__ = ["IncompatibleKeys", "Module"]

Self = TypeVar("Self", bound="Module")

# Key in the state of a module in files of older versions: the names of parameters that were stored by columns.
_COLUMNS = "_columns"


# Calls a module that has children; set by ``capture``, which can replay them.
runner: list[Callable[[Any, tuple[Any, ...]], Any]] = []
# Its value before the first of the blocks that run without it, and the number of these blocks.
_set_aside: list[Callable[[Any, tuple[Any, ...]], Any]] = []
_blocks, _lock = [0], threading.Lock()


def _run_eagerly(module: Any, args: tuple[Any, ...]) -> Any:
    return module.forward(*args)


@contextmanager
def without_recordings() -> Iterator[None]:
    """A block in which calls of modules run eagerly, in all threads."""
    with _lock:
        if not _blocks[0]:
            _set_aside[:] = runner
            # Not empty if it was not: another thread may have looked.
            runner[:] = [_run_eagerly] if runner else []
        _blocks[0] += 1
    try:
        yield
    finally:
        with _lock:
            _blocks[0] -= 1
            if not _blocks[0]:
                runner[:] = _set_aside


def _parameters_of(module: Module) -> Iterable[tuple[str, Any]]:
    return module.__dict__["_parameters"].items()


def _buffers_of(module: Module) -> Iterable[tuple[str, Any]]:
    return module.__dict__["_buffers"].items()


class Module(Hooked, Stateful):
    """A part of a model: parameters, buffers and other modules, and a ``forward`` that uses them.

    Assigning a :class:`Parameter` or a Module to an attribute registers it.

    >>> import fastnn
    >>> class Doubled(fastnn.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = fastnn.nn.Linear(2, 1)
    ...     def forward(self, x):
    ...         return 2 * self.linear(x)
    >>> [name for name, _ in Doubled().named_parameters()]
    ['linear.weight', 'linear.bias']
    """

    training: bool
    # Attributes whose changes a captured step need not notice.
    _unguarded: ClassVar[frozenset[str]] = frozenset()
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        # Bypasses __setattr__, which needs these to exist.
        self.__dict__.update(
            _parameters=Registry(),
            _buffers=Registry(),
            _modules=Registry(),
            _non_persistent_buffers_set=set(),
            _forward_pre_hooks={},
            _forward_hooks={},
            _backward_pre_hooks={},
            _backward_hooks={},
            _hook_options={},
            training=True,
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation of the module; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if EVERYWHERE or (self._hooked and self._has_hooks()):
            return call_hooked(self, args, kwargs)
        if self._modules and runner and not kwargs:
            return runner[0](self, args)
        return self.forward(*args, **kwargs)

    # -- Attributes ---------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        registries = self.__dict__
        if "_parameters" not in registries:
            for kind, label in ((Parameter, "parameters"), (Module, "module"), (Buffer, "buffer")):
                if isinstance(value, kind):
                    raise AttributeError(f"cannot assign {label} before Module.__init__() call")
            object.__setattr__(self, name, value)
            changes[0] += 1
            writes[0] += 1
        elif isinstance(value, Parameter):
            if name not in registries["_parameters"] and hasattr(type(self), name):
                # A class attribute, such as a property, would hide it.
                raise KeyError(f"attribute '{name}' already exists")
            self._forget(name, but=self._parameters)
            if value._data is not value._slot.array:
                settle([value], is_new=True)
            self._parameters[name] = registered("parameter", self, name, value) if EVERYWHERE else value
        elif name in registries["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self._parameters[name] = None
        elif isinstance(value, Module):
            self._forget(name, but=self._modules)
            self._modules[name] = registered("module", self, name, value) if EVERYWHERE else value
        elif name in registries["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif name in registries["_buffers"] or isinstance(value, Buffer):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as buffer '{name}' "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            if name not in registries["_buffers"] and hasattr(self, name):
                raise KeyError(f"attribute '{name}' already exists")
            if isinstance(value, Buffer):
                change = self._non_persistent_buffers_set.discard if value.persistent else None
                (change or self._non_persistent_buffers_set.add)(name)
            self._buffers[name] = registered("buffer", self, name, value) if EVERYWHERE else value
        else:
            held, before = registries["_parameters"], registries.get(name, registries)
            object.__setattr__(self, name, value)
            writes[0] += 1
            # Looked up after the assignment, so that no thread misses it. A value that is not in the dictionary now
            # went elsewhere: to a property, a slot or the class.
            if registries.get(name, registries) is not value or (
                before is not value and (type(held) is not Registry or name in held.compared)
            ):
                changes[0] += 1

    def __getattr__(self, name: str) -> Any:
        # Called only if normal lookup has failed.
        held = self.__dict__
        if "_parameters" in held:
            if name in held["_parameters"]:
                return held["_parameters"][name]
            if name in held["_modules"]:
                return held["_modules"][name]
            if name in held["_buffers"]:
                return held["_buffers"][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        if any(name in held for held in (self._parameters, self._modules, self._buffers)):
            self._forget(name)
        else:
            object.__delattr__(self, name)
            changes[0] += 1
            writes[0] += 1

    def __getstate__(self) -> Any:
        """State for ``copy``, ``pickle`` and ``save``, without recordings of calls, which hold this module's memory."""
        state: Any = object.__getstate__(self)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        attributes = {name: value for name, value in attributes.items() if name != "_replays"}
        return attributes if slots is None else (attributes, slots)

    def __setstate__(self, state: Any) -> None:
        """Restore the result of ``__getstate__``."""
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        if "_forward_hooks_with_kwargs" in (attributes or {}):
            raise pickle.UnpicklingError(
                f"the file holds a whole {type(self).__name__} of PyTorch, which fastnn does not read; save "
                "model.state_dict()"
            )
        self.__dict__.update(attributes or {})
        # Only files of older versions have this.
        self.__dict__.pop(_COLUMNS, None)
        for name, value in (slots or {}).items():
            object.__setattr__(self, name, value)
        for name in ("_parameters", "_buffers", "_modules"):
            held = self.__dict__.get(name)
            # A file contains plain dictionaries, which do not count changes.
            if type(held) is dict:
                self.__dict__[name] = Registry(held)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._modules, *self._buffers}
        return sorted(name for name in names if not name[:1].isdigit())

    def _forget(self, name: str, but: Mapping[str, Any] | None = None) -> None:
        # A reassigned name keeps its position in its registry.
        for held in (self.__dict__, self._parameters, self._modules, self._buffers):
            if held is not but:
                held.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a parameter, or None for an absent one."""
        self._check_new_name("parameter", name, "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param is not None:
            settle([param], is_new=True)
        self._parameters[name] = None if param is None else registered("parameter", self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that is state but not trained; in ``state_dict`` if ``persistent``."""
        self._check_new_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = registered("buffer", self, name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a child module."""
        self._check_new_name("module", name, "_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._modules[name] = registered("module", self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of :meth:`add_module`."""
        self.add_module(name, module)

    def _check_new_name(self, kind: str, name: str, registry: str) -> None:
        if registry not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f"{kind} name can't contain \".\", found {name!r}")
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[registry]:
            raise KeyError(f"attribute '{name}' already exists")

    # -- Traversal ----------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their dotted names; each once unless ``remove_duplicate`` is False."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once unless ``remove_duplicate`` is False."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules registered here, each once, with their names."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules registered here, each once."""
        return (module for _, module in self.named_children())

    def _named_members(
        self,
        get_members_fn: Callable[[Module], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        """The members that the function finds in each module, with dotted names."""
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, member in get_members_fn(module):
                if member is not None and id(member) not in seen:
                    if remove_duplicate:
                        seen.add(id(member))
                    yield (f"{path}.{name}" if path else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, each once unless ``remove_duplicate`` is False."""
        return self._named_members(_parameters_of, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once unless ``remove_duplicate`` is False."""
        return self._named_members(_buffers_of, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name; this one for the empty name.

        Raises: AttributeError if no module has this name.
        """
        module: Any = self
        for name in target.split(".") if target else []:
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at this dotted name; ``strict``: only if one is there already."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with this dotted name; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = self._member(path, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with this dotted name; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = self._member(path, name)
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    def _member(self, path: str, name: str) -> Any:
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return getattr(module, name)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module below this one, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- Conversions --------------------------------------------------------------------------

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply ``fn`` to every parameter, gradient and buffer."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                if parameter is not None:
                    converted = fn(parameter)
                    if converted is not parameter:
                        grad, parameter.grad = parameter.grad, None
                        parameter.data = converted
                        del converted
                        settle([parameter])
                        parameter.grad = None if grad is None else fn(grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Convert parameters and buffers in place; integer buffers keep their dtype. Returns the module itself.

        The forms are ``to(device)``, ``to(dtype)``, ``to(device, dtype)`` and ``to(tensor)``.

        Args:
            device: the CPU.
            dtype: float32 or float64.
            non_blocking, copy, memory_format: accepted and ignored.

        >>> import fastnn
        >>> fastnn.nn.Linear(2, 1).to("cpu", fastnn.float64).weight.dtype
        torch.float64
        """
        place, kind = _parse_to(args, kwargs)
        if kind is not None and not kind.is_floating_point:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={kind}"
            )

        def convert(tensor: Tensor) -> Tensor:
            check_device(place)
            is_converted = kind is not None and (tensor.is_floating_point() or tensor.is_complex())
            return tensor.to(kind) if is_converted else tensor

        return self._apply(convert)

    def _cast(self: Self, method: str) -> Self:
        return self._apply(lambda t: getattr(t, method)() if t.is_floating_point() else t)

    def float(self: Self) -> Self:
        """Convert floating point parameters and buffers to float32."""
        return self._cast("float")

    def double(self: Self) -> Self:
        """Convert floating point parameters and buffers to float64."""
        return self._cast("double")

    def half(self: Self) -> Self:
        """Convert floating point parameters and buffers to float16."""
        return self._cast("half")

    def bfloat16(self: Self) -> Self:
        """Convert floating point parameters and buffers to bfloat16."""
        return self._cast("bfloat16")

    def type(self: Self, dst_type: Any) -> Self:
        """Convert parameters and buffers to a dtype, or to a type by PyTorch's name for it."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self: Self) -> Self:
        """The module itself, which is already on the CPU."""
        return self

    def cuda(self: Self, device: Any = None) -> Self:
        """Raises PyTorch's error for a build without CUDA, unless the module has no tensors."""
        return self.to(as_device("cuda") if device is None or isinstance(device, int) else device)

    def xpu(self: Self, device: Any = None) -> Self:
        """As :meth:`cuda`."""
        return self.to("xpu")

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Parameters and buffers on a device, with undefined values: here they keep theirs."""
        check_device(device)
        return self

    def share_memory(self: Self) -> Self:
        """The module itself: threads share its memory; processes do not, and a warning says so."""
        import warnings

        warnings.warn(
            "share_memory() has no effect: the threads of this process share a module's memory, other processes "
            "get copies",
            UserWarning,
            stacklevel=2,
        )
        return self

    def compile(self: Self, *args: Any, **kwargs: Any) -> Self:
        """The module itself: its kernels are compiled already."""
        return self

    # -- Modes --------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Switch this module and all below it to training mode."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be boolean, found {mode!r}")
        self.training = mode
        # Calls their methods: a module may keep a child in evaluation mode.
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Switch this module and all below it to evaluation mode."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                if parameter.grad.requires_grad:
                    parameter.grad = parameter.grad.detach().clone()
                parameter.grad.zero_()

    # -- Printing -----------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """The text that ``repr`` shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [
            f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()
        ]  # fmt: skip
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        if not children and len(extra) < 2:
            return f"{self._get_name()}({''.join(extra)})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*extra, *children]) + "\n)"


def _addindent(s_: str, numSpaces: int) -> str:
    """The text with its lines indented, but not the first and empty ones.

    Under PyTorch's name, for a ``__repr__`` of a user's module.
    """
    first, *others = s_.split("\n")
    return "\n".join([first, *[" " * numSpaces + line if line.strip() else "" for line in others]])


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dtype | None]:
    """The device and dtype given to ``to``, in any of its forms."""
    wrong = TypeError(f"to() received an invalid combination of arguments - got {(*args, *kwargs)!r}")
    options = dict(kwargs)
    for name in ("non_blocking", "copy", "memory_format"):
        options.pop(name, None)
    # After the device, dtype or tensor only flags follow, except a dtype after a device.
    rest = list(args)
    while rest and isinstance(rest[-1], bool):
        rest.pop()
    if len(rest) > 2 or set(options) - {"device", "dtype", "tensor", "other"}:
        raise wrong
    place, kind = options.get("device"), options.get("dtype")
    first = options.get("tensor", options.get("other"))
    if rest:
        first = rest[0]
    if isinstance(first, Tensor):
        if len(rest) > 1 or kind is not None:
            raise wrong
        return None, first.dtype
    if isinstance(first, (str, device)) or (isinstance(first, int) and not isinstance(first, bool)):
        place = first
    elif first is not None:
        if len(rest) > 1 or not (isinstance(first, dtype) or first in (float, int, bool)):
            raise wrong
        kind = first
    if len(rest) > 1:
        kind = rest[1]
    if kind is not None:
        kind = from_numpy_dtype(as_numpy_dtype(kind))
    return (None if place is None else as_device(place)), kind
