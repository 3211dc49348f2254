"""Conversion of models, tensors and state dicts to and from PyTorch, if PyTorch is installed.

A module is rebuilt from the name of its class and the arguments of its constructor, which its attributes hold; then
the state dict is copied. The result shares no memory with the source.
"""

from __future__ import annotations

import importlib
import inspect
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np

import fastnn
from fastnn._core.absent import is_only_a_name

# Containers, which are filled after construction.
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
# Arguments that are not attributes: older spellings of `reduction`, and the place of the parameters.
_NOT_KEPT = {"size_average", "reduce", "device", "dtype", "args", "kwargs", "init", "bias"}


def from_torch(obj: Any, into: Any = None) -> Any:
    """Convert a module, a tensor, or a state dict (or list, tuple) of tensors from PyTorch to fastnn.

    Args:
        obj: a module of ``torch.nn``, with only modules of ``torch.nn`` in it; a tensor or parameter; or
            dictionaries, lists and tuples of those, of numbers and of strings.
        into: a fastnn module that receives the values; for user-defined modules, whose state dict has the same
            names on both sides. ``obj`` may be its state dict.

    Returns:
        A new object with copies of all values, or ``into``. Shared parameters stay shared; ``requires_grad`` and
        ``training`` are kept; hooks are not.

    Raises: ImportError without PyTorch; TypeError for objects that fastnn does not have; RuntimeError, from
        ``load_state_dict``, if ``into`` has other names or shapes.

    ::

        model = fastnn.convert.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    """
    return _Conversion(_torch(), fastnn).run(obj, into)


def to_torch(obj: Any, into: Any = None) -> Any:
    """Convert from fastnn to PyTorch: the reverse of :func:`from_torch`, with the same arguments.

    Raises: as :func:`from_torch`.

    ::

        model = fastnn.convert.to_torch(fastnn.nn.Sequential(fastnn.nn.Linear(4, 3), fastnn.nn.ReLU()))
    """
    return _Conversion(fastnn, _torch()).run(obj, into)


def _torch() -> ModuleType:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("fastnn.convert needs PyTorch, which is not installed: pip install torch") from error
    if torch is fastnn:
        raise ImportError("fastnn.convert needs PyTorch, and under fastnn run that name is fastnn's own")
    return torch


class _Conversion:
    """One conversion between the libraries; each parameter and module is converted once."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source, self.target = source, target
        self.made: dict[int, Any] = {}

    def run(self, obj: Any, into: Any) -> Any:
        if into is None:
            return self.module(obj) if isinstance(obj, self.source.nn.Module) else self.value(obj)
        if not isinstance(into, self.target.nn.Module):
            raise TypeError(f"into must be a {self.target.__name__} module, found {type(into).__name__}")
        state = obj.state_dict() if isinstance(obj, self.source.nn.Module) else obj
        if not isinstance(state, dict):
            raise TypeError(f"obj must be a module or a state dict to go into a module, found {type(obj).__name__}")
        into.load_state_dict(self.value(state))
        return into

    # -- Values -------------------------------------------------------------------------------

    def value(self, value: Any) -> Any:
        if isinstance(value, self.source.Tensor):
            return self.tensor(value)
        if isinstance(value, dict):
            kind = OrderedDict if isinstance(value, OrderedDict) else dict
            return kind((key, self.value(item)) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            # A named tuple and a torch.Size become plain tuples.
            return (list if isinstance(value, list) else tuple)(self.value(item) for item in value)
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        raise TypeError(f"{self.target.__name__} has no equal of an object of type {_full_name(type(value))}")

    def tensor(self, tensor: Any) -> Any:
        if id(tensor) in self.made:
            return self.made[id(tensor)][1]
        try:
            array = np.array(tensor.detach().cpu().numpy())
        except (TypeError, RuntimeError) as error:
            raise TypeError(f"a tensor of dtype {tensor.dtype} cannot be converted: {error}") from error
        made = self.target.from_numpy(array)
        if isinstance(tensor, self.source.nn.Parameter):
            made = self.target.nn.Parameter(made, requires_grad=tensor.requires_grad)
        elif tensor.requires_grad:
            made.requires_grad_()
        self.made[id(tensor)] = tensor, made
        return made

    # -- Modules ------------------------------------------------------------------------------

    def module(self, module: Any) -> Any:
        made = self.built(module)
        made.load_state_dict(self.value(module.state_dict()))
        self.share(module, made)
        for old, new in zip(module.parameters(), made.parameters(), strict=True):
            new.requires_grad_(old.requires_grad)
        for old, new in zip(module.modules(), made.modules(), strict=True):
            new.training = old.training
        return made

    def built(self, module: Any) -> Any:
        """A new module of the same class and arguments, with its own initial values."""
        if id(module) in self.made:
            return self.made[id(module)][1]
        kind = type(module)
        if getattr(self.source.nn, kind.__name__, None) is not kind:
            raise TypeError(
                f"{_full_name(kind)} is no class of {self.source.__name__}.nn: make the "
                f"{self.target.__name__} module yourself, and give it as into="
            )
        target = getattr(self.target.nn, kind.__name__, None)
        if target is None or is_only_a_name(target):
            raise TypeError(f"{self.target.__name__} has no nn.{kind.__name__}")
        if kind.__name__ in _CONTAINERS:
            made = target()
            # Not `named_children`, which yields a duplicate child only once.
            for name, child in module._modules.items():
                made.add_module(name, None if child is None else self.built(child))
        elif kind.__name__ in ("ParameterList", "ParameterDict"):
            items = dict(module.items()) if kind.__name__ == "ParameterDict" else list(module)
            made = target(self.value(items))
        else:
            made = target(**self.arguments(module, target))
        self.made[id(module)] = module, made
        return made

    def arguments(self, module: Any, target: type) -> dict[str, Any]:
        """The arguments of ``target``'s constructor: the attributes of ``module`` with the same names."""
        given: dict[str, Any] = {}
        parameters = inspect.signature(target).parameters
        for name, parameter in parameters.items():
            if name in _NOT_KEPT or name.startswith("_") or parameter.kind in _VARIABLE:
                continue
            if hasattr(module, name):
                given[name] = self.argument(getattr(module, name))
            elif parameter.default is inspect.Parameter.empty:
                raise TypeError(f"{type(module).__name__} has no attribute {name}, which its constructor needs")
        if "bias" in parameters:
            given["bias"] = getattr(module, "bias", None) is not None
        dtype = next((p.dtype for p in module.parameters(recurse=False) if p.is_floating_point()), None)
        if "dtype" in parameters and dtype is not None:
            given["dtype"] = getattr(self.target, str(dtype).rpartition(".")[2])
        return given

    def argument(self, value: Any) -> Any:
        return self.built(value) if isinstance(value, self.source.nn.Module) else self.value(value)

    def share(self, module: Any, made: Any) -> None:
        """Share each parameter that ``module`` has under several names."""
        first: dict[int, Any] = {}
        owners = dict(made.named_modules(remove_duplicate=False))
        for name, parameter in module.named_parameters(remove_duplicate=False):
            owner, _, last = name.rpartition(".")
            new = getattr(owners[owner], last)
            if first.setdefault(id(parameter), new) is not new:
                setattr(owners[owner], last, first[id(parameter)])


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
