"""Saving and loading the state of a module as a dictionary."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastnn._autograd.engine import RemovableHandle
from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.nn.parameter import Parameter, UninitializedParameter

_EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """The missing and unexpected keys of ``load_state_dict``."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


# PyTorch's private name, which programs import.
_IncompatibleKeys = IncompatibleKeys


class _WithModule:
    """A hook that also gets the module it is registered on, which may be a copy."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self.hook = hook


class Stateful:
    """The state methods of :class:`Module`."""

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    # The version of the state's format; a subclass that changes the format increases it.
    _version = 1

    def get_extra_state(self) -> Any:
        """Extra state of a subclass for ``state_dict``, besides tensors."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called.")

    def set_extra_state(self, state: Any) -> None:
        """Restore the result of ``get_extra_state``."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called.")

    # -- Hooks --------------------------------------------------------------------------------

    def _add_state_hook(self, kind: str, hook: Any) -> RemovableHandle:
        table = self.__dict__.setdefault(kind, {})
        handle = RemovableHandle(table)
        table[handle.id] = hook
        return handle

    def _state_hooks(self, kind: str) -> list[Any]:
        return list(self.__dict__.get(kind, {}).values())

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the state is written."""
        return self._add_state_hook("_state_dict_pre_hooks", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after the state was written."""
        return self._add_state_hook("_state_dict_hooks", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``

        before the state of this module is loaded.
        """
        return self._add_state_hook("_load_state_dict_pre_hooks", _WithModule(hook))

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)
        return self._add_state_hook("_load_state_dict_pre_hooks", hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after the state of this module was loaded."""
        return self._add_state_hook("_load_state_dict_post_hooks", hook)

    # -- Out ----------------------------------------------------------------------------------

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in itertools.chain(self._parameters.items(), self._buffers.items()):
            if tensor is not None and name not in self._non_persistent_buffers_set:
                yield name, tensor

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Write the state of this module without its children."""
        for name, tensor in self._own_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Every parameter and persistent buffer by dotted name, sharing memory with the module.

        Args:
            destination: a dictionary to write to, and to return.
            prefix: the prefix of the names.
            keep_vars: the tensors themselves rather than detached ones.
        """
        if args:
            # Positional arguments are deprecated but still accepted, as in PyTorch.
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead: destination, prefix and keep_vars",
                FutureWarning, stacklevel=2,
            )  # fmt: skip
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination, prefix = given.get("destination", destination), given.get("prefix", prefix)
            keep_vars = given.get("keep_vars", keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_hooks("_state_dict_pre_hooks"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_hooks("_state_dict_hooks"):
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        return destination

    # -- In -----------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load the state of this module without its children; a subclass may override this.

        Args:
            state_dict: the state of this module and its children, in a separate dictionary.
            prefix: the prefix of this module's names.
            local_metadata: the metadata from ``state_dict()`` for this module, and "assign_to_params_buffers".
            strict: whether to add unknown names to ``unexpected_keys``.
            missing_keys, unexpected_keys, error_msgs: lists to add to.
        """
        for hook in self._state_hooks("_load_state_dict_pre_hooks"):
            args = state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
            _ = hook.hook(self, *args) if isinstance(hook, _WithModule) else hook(*args)
        own = dict(self._own_state())
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, tensor in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_tensor(state_dict, key, name, tensor, assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra = prefix + _EXTRA_STATE
        if type(self).set_extra_state is not Stateful.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, _, rest = key[len(prefix) :].partition(".")
                    if (name not in self._modules) if rest else (name not in own):
                        unexpected_keys.append(key)

    def _load_tensor(
        self, state_dict: Any, key: str, name: str, tensor: Tensor, assign: bool, error_msgs: list[str]
    ) -> None:
        source = state_dict[key]
        if not isinstance(source, Tensor):
            error_msgs.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(source)}"
            )
            return
        array = source._data
        if isinstance(tensor, UninitializedParameter):
            tensor.materialize(tuple(array.shape), dtype=source.dtype)
        if array.shape == (1,) and tensor._data.shape == ():
            array = array[0, ...]
        if array.shape != tensor._data.shape:
            error_msgs.append(
                f"size mismatch for {key}: copying a param with shape {source.shape} from checkpoint, the shape in "
                f"current model is {tensor.shape}."
            )
            return
        if assign:
            table = self._parameters if name in self._parameters else self._buffers
            if isinstance(tensor, Parameter):
                if not isinstance(source, Parameter):
                    given = source if array is source._data else source.detach().reshape(())
                    source = Parameter(given, tensor._requires_grad)
                source.requires_grad_(tensor._requires_grad)
            table[name] = source
            return
        _write(tensor, array)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy tensors by name into the parameters and buffers.

        Args:
            strict: whether a missing or unexpected name is an error.
            assign: replace the module's tensors by the given ones, with their dtype. A tensor that is not a
                Parameter becomes one that shares its memory.

        Raises: RuntimeError naming every missing or unexpected key (if ``strict``) and every tensor with the
            wrong shape, after all others have been loaded, as in PyTorch.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None) or {}

        def load(module: Any, state: Any, prefix: str) -> None:
            local = dict(metadata.get(prefix[:-1], {}))
            if assign:
                local["assign_to_params_buffers"] = True
            module._load_from_state_dict(state, prefix, local, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    # Each child gets its own dictionary, which hooks and overrides may change.
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in state.items() if k.startswith(inner)}, inner)
            keys = IncompatibleKeys(missing, unexpected)
            for hook in module._state_hooks("_load_state_dict_post_hooks"):
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                        "values, if incompatible_keys need to be modified, it should be done inplace."
                    )

        with no_grad():
            load(self, OrderedDict(state_dict), "")
        if strict:
            for label, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    errors.insert(0, f"{label} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys) + ". ")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        return IncompatibleKeys(missing, unexpected)


def _write(tensor: Tensor, values: np.ndarray) -> None:
    tensor._memory.version += 1
    with np.errstate(all="ignore"):
        tensor._data[...] = values
