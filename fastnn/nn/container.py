"""Sequential: modules in order, linear layers and normalisations fused with the layers that follow.

Also the list and the dictionary of modules.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, overload

from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.activation import _Activation
from fastnn.nn.dropout import Dropout
from fastnn.nn.hooks import EVERYWHERE
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, LayerNorm

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class Sequential(Module):
    """Modules in order, each called on the result of the one before.

    Args:
        args: modules, or one OrderedDict of names and modules.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model(fastnn.zeros(1, 4)).shape, len(model)
    (torch.Size([1, 2]), 3)
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """The result of the last module."""
        modules = list(self._modules.values())
        position, last = 0, len(modules) - 1
        while position <= last:
            module = modules[position]
            follower = modules[position + 1] if position < last else None
            if (
                isinstance(module, Linear)
                and isinstance(follower, _Activation)
                and _runs(module, _LINEAR)
                and _runs(follower, _ACTIVATION)
            ):
                position += 2
                # The caller owns the result of the last module.
                may_change = position > last and not follower.inplace
                input = functional.linear_activation(input, module.weight, module.bias, *follower.fused(), may_change)
            elif (
                isinstance(follower, _Activation)
                and module is not None
                and (activated := getattr(type(module), "_forward_activated", None)) is not None
                and _runs(module, activated.unfused)
                and _runs(follower, _ACTIVATION)
            ):
                # A quantized layer, whose class this file does not know.
                position += 2
                input = activated(module, input, *follower.fused())
            elif follower is not None and isinstance(module, _NORMS) and _runs(module, *_NORMS_RUN):
                input, position = _normalized(module, input, modules, position + 1)
            else:
                input = module(input)  # type: ignore[misc]  # a None comes from the user, and fails as in PyTorch
                position += 1
        return input

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]  # a None comes from the user

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[_key(self, index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, _key(self, index), module)

    def __delitem__(self, index: Any) -> None:
        keys = list(self._modules)
        for key in keys[index] if isinstance(index, slice) else [_key(self, index)]:
            delattr(self, key)
        # Numeric names are renumbered, as in PyTorch.
        _renumber(self, list(self._modules.values()))

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return self.extend(list(other))

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(list(self) * (_times(times) - 1))

    def append(self, module: Module) -> Sequential:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, sequential: Iterable[Module]) -> Sequential:
        """Add modules at the end."""
        for module in sequential:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Sequential:
        """Insert a module before the one at ``index``."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        modules = list(self._modules.values())
        modules.insert(index, module)
        _renumber(self, modules)
        return self

    def pop(self, key: int | slice) -> Module:
        """Remove the module at ``key`` and return it."""
        module = self[key]
        del self[key]
        return module


def _times(times: Any) -> int:
    if isinstance(times, bool) or not isinstance(times, int):
        raise TypeError(f"unsupported operand type(s) for *: {Sequential} and {type(times)}")
    if times <= 0:
        raise ValueError(f"Non-positive multiplication factor {times} for {Sequential}")
    return times


def _key(holder: Module, index: Any) -> str:
    """The name of the module at a position."""
    position, size = operator.index(index), len(holder._modules)
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of range for {size} modules")
    return list(holder._modules)[position]


def _renumber(holder: Module, modules: Iterable[Module | None]) -> None:
    holder._modules = dict(zip(map(str, range(1 << 62)), modules, strict=False))


def _normalized(norm: Any, input: Any, modules: list[Any], position: int) -> tuple[Any, int]:
    """A normalisation fused with the activation and dropout that start at ``position``, and where those end."""
    activation, slope, p = "none", 0.01, 0.0
    follower = modules[position]
    if isinstance(follower, _Activation) and _runs(follower, _ACTIVATION):
        activation, slope = follower.fused()
        position += 1
        follower = modules[position] if position < len(modules) else None
    if (
        type(follower) is Dropout
        and _runs(follower, _DROPOUT)
        and isinstance(input, Tensor)
        # In more dimensions batch normalisation moves the channels, and would move the mask with them.
        and (input._data.ndim == 2 or isinstance(norm, LayerNorm))
    ):
        p = follower.p if follower.training else 0.0
        position += 1
    if activation == "none" and not p:
        return norm(input), position
    return norm._fused(input, activation, slope, p), position


def _runs(module: Module, *forward: Callable[..., Any]) -> bool:
    """Whether calling the module runs one of these functions, and the user has not replaced it."""
    kind = type(module)
    return (
        kind.forward in forward
        and kind.__call__ is _CALL
        and "forward" not in module.__dict__
        and not module._has_hooks()
        and not EVERYWHERE
    )


# Recorded at import: a program may replace a class's methods later.
_CALL, _LINEAR, _ACTIVATION, _DROPOUT = Module.__call__, Linear.forward, _Activation.forward, Dropout.forward
_NORMS = (BatchNorm1d, LayerNorm)
_NORMS_RUN = BatchNorm1d.forward, LayerNorm.forward


class ModuleList(Module):
    """A list of modules, whose parameters belong to the module that holds it.

    Args:
        modules: an iterable of modules.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._modules.values())[index])  # type: ignore[arg-type]  # a None comes from the user
        return self._modules[_key(self, index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, _key(self, index), module)

    def __delitem__(self, index: Any) -> None:
        keys = list(self._modules)
        for key in keys[index] if isinstance(index, slice) else [_key(self, index)]:
            delattr(self, key)
        _renumber(self, list(self._modules.values()))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]  # a None comes from the user

    def __contains__(self, module: Any) -> bool:
        return any(m is module for m in self._modules.values())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return type(self)(list(chain(self, other)))

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"ModuleList.extend should be called with an iterable, but got {type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Insert a module before the one at ``index``."""
        modules = list(self._modules.values())
        modules.insert(index, module)
        _renumber(self, modules)

    def pop(self, key: int | slice) -> Module:
        """Remove the module at ``key`` and return it."""
        module = self[key]
        del self[key]
        return module

    def __repr__(self) -> str:
        texts = [repr(module).replace("\n", "\n  ") for module in self]
        lines, first = [], 0
        for i, text in enumerate(texts):
            # Equal neighbours are written once, as in PyTorch.
            if i + 1 == len(texts) or texts[i + 1] != text:
                lines.append(f"({first}): {text}" if i == first else f"({first}-{i}): {i - first + 1} x {text}")
                first = i + 1
        name = self._get_name()
        return f"{name}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{name}()"


class ModuleDict(Module):
    """Modules by name, whose parameters belong to the module that holds it.

    Args:
        modules: a dictionary of modules, or pairs of names and modules.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.ReLU()})
    >>> list(heads), "a" in heads
    (['a', 'b'], True)
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]  # type: ignore[return-value]  # likewise

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove all."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove a module and return it."""
        return self._modules.pop(key)  # type: ignore[return-value]  # likewise

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._modules.items()  # type: ignore[return-value]  # likewise

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()  # type: ignore[return-value]  # likewise

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, or replace those of the same names."""
        for key, module in _pairs("ModuleDict", modules):
            self[key] = module


def _pairs(name: str, source: Any) -> list[tuple[str, Any]]:
    if not isinstance(source, Iterable):
        raise TypeError(
            f"{name}.update should be called with an iterable of key/value pairs, but got {type(source).__name__}"
        )
    if isinstance(source, Mapping) or hasattr(source, "items"):
        return list(source.items())
    pairs = []
    for i, pair in enumerate(source):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{name} update sequence element #{i} should be Iterable; is {type(pair).__name__}")
        pair = tuple(pair)
        if len(pair) != 2:
            raise ValueError(f"{name} update sequence element #{i} has length {len(pair)}; 2 is required")
        pairs.append(pair)
    return pairs
