"""Sequential: modules one after the other, linear layers and normalisations fused with what stands behind them.

May import ``activation``, ``dropout``, ``functional``, ``linear``, ``normalization`` and ``module``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, overload

from fastnn.nn import functional
from fastnn.nn.activation import _Activation
from fastnn.nn.dropout import Dropout
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, LayerNorm
from fastnn.tensor import Tensor


class Sequential(Module):
    """Modules in order, each called on the result of the one before.

    Args:
        args: modules, or one OrderedDict of names and modules.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model(fastnn.zeros(1, 4)).shape, len(model)
    (fastnn.Size([1, 2]), 3)
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
                input = functional.linear_activation(input, module.weight, module.bias, *follower.fused())
                position += 2
            elif follower is not None and isinstance(module, _NORMS) and _runs(module, *_NORMS_RUN):
                input, position = _normalized(module, input, modules, position + 1)
            else:
                input = module(input)  # type: ignore[misc]  # a None in here is the user's, and fails as in PyTorch
                position += 1
        return input

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: Any) -> None:
        keys = list(self._modules)
        for key in keys[index] if isinstance(index, slice) else [self._key(index)]:
            del self._modules[key]
        # Numbered names close up, as in PyTorch.
        self._modules = dict(zip(map(str, range(len(self._modules))), self._modules.values(), strict=True))

    def append(self, module: Module) -> Sequential:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def _key(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]


def _normalized(norm: Any, input: Any, modules: list[Any], position: int) -> tuple[Any, int]:
    """A normalisation with the activation and the dropout that stand from ``position`` on; where those end."""
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
        # In more dimensions the channels of batch normalisation are moved, and with them would be the mask.
        and (input._data.ndim == 2 or isinstance(norm, LayerNorm))
    ):
        p = follower.p if follower.training else 0.0
        position += 1
    if activation == "none" and not p:
        return norm(input), position
    return norm._fused(input, activation, slope, p), position


def _runs(module: Module, *forward: Callable[..., Any]) -> bool:
    """Whether calling the module runs one of these functions, and none that the user has put in its place."""
    kind = type(module)
    return kind.forward in forward and kind.__call__ is _CALL and "forward" not in module.__dict__


# Taken down at import: a program may replace those of a class later.
_CALL, _LINEAR, _ACTIVATION, _DROPOUT = Module.__call__, Linear.forward, _Activation.forward, Dropout.forward
_NORMS = (BatchNorm1d, LayerNorm)
_NORMS_RUN = BatchNorm1d.forward, LayerNorm.forward
