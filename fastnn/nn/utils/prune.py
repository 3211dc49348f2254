"""``torch.nn.utils.prune``: parameters of which some elements are held at zero.

A pruned parameter ``name`` is computed before each forward from ``name_orig``, which is trained, and the buffer
``name_mask``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module
from fastnn.ops.creation import ones_like, zeros_like
from fastnn.ops.joining import cat
from fastnn.ops.sampling import rand, rand_like
from fastnn.ops.sorting import topk


class BasePruningMethod(ABC):
    """A method of pruning: subclasses have ``PRUNING_TYPE`` and ``compute_mask``.

    ``PRUNING_TYPE`` is "unstructured" (single elements), "structured" (slices along ``self.dim``) or "global".
    """

    PRUNING_TYPE: str
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask, 0 where ``default_mask`` or this method prunes.

        Args:
            t: how important each element is.
            default_mask: that of earlier methods.
        """

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter as it is used: the trained one times the mask."""
        if not hasattr(self, "_tensor_name"):
            raise AssertionError(f"Module {module} has to be pruned")
        original = getattr(module, f"{self._tensor_name}_orig")
        result: Tensor = getattr(module, f"{self._tensor_name}_mask").to(original.dtype) * original
        return result

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune a parameter, after the methods that pruned it already, and return the hook that does it."""
        earlier = [
            (key, hook)
            for key, hook in module._forward_pre_hooks.items()
            if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
        ]
        method = cls(*args, **kwargs)
        method._tensor_name = name
        original = getattr(module, f"{name}_orig") if earlier else getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}: "
                f"{tuple(original.shape)}, found {tuple(scores.shape)}"
            )
        mask = getattr(module, f"{name}_mask") if earlier else ones_like(original)
        hook = method
        if earlier:
            container = PruningContainer()
            container._tensor_name = name
            for _, one in earlier:
                for part in one if isinstance(one, PruningContainer) else (one,):
                    container.add_pruning_method(part)
            container.add_pruning_method(method)
            hook = container
        with no_grad():
            # Before anything is changed: it may refuse its arguments.
            new_mask = hook.compute_mask(scores.detach(), mask.detach()).to(mask.dtype)
        for key, _ in earlier:
            del module._forward_pre_hooks[key]
        if not earlier:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
            module.register_buffer(f"{name}_mask", new_mask)
        else:
            setattr(module, f"{name}_mask", new_mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """``t`` with zeros where this method prunes it."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask).to(t.dtype)

    def remove(self, module: Module) -> None:
        """Make the pruned parameter a plain one again; its zeros stay."""
        name = self._tensor_name
        with no_grad():
            weight = self.apply_mask(module)
            original = module._parameters[f"{name}_orig"]
            assert original is not None
            if hasattr(module, name):
                delattr(module, name)
            original.data = weight.detach()
        del module._parameters[f"{name}_orig"]
        del module._buffers[f"{name}_mask"]
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several methods that pruned one parameter, in their order."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod | None) -> None:
        """Add one, for the same parameter."""
        if method is None:
            return
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if getattr(self, "_tensor_name", method._tensor_name) != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to "
                f"PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method, for what the earlier ones left."""
        method: Any = self._pruning_methods[-1]
        mask = default_mask.clone()
        if method.PRUNING_TYPE == "unstructured":
            part: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            if not hasattr(method, "dim"):
                raise AttributeError("Pruning methods of PRUNING_TYPE 'structured' need an attribute 'dim'")
            dim = method.dim % t.dim()
            others = [d for d in range(t.dim()) if d != dim]
            part = (slice(None),) * dim + (mask.abs().sum(others) != 0 if others else mask != 0,)
        elif method.PRUNING_TYPE == "global":
            part = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask[part] = method.compute_mask(t[part], default_mask[part]).to(mask.dtype)
        return mask


class Identity(BasePruningMethod):
    """Prunes nothing, and makes ``name_orig`` and ``name_mask``."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """A copy of the mask."""
        return default_mask.clone()


class _Amount(BasePruningMethod):
    """A method that prunes a share of the elements or slices, or a number of them."""

    amount: Any

    def __init__(self, amount: Any) -> None:
        if not isinstance(amount, (int, float)):
            raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
        if amount < 0 or (not isinstance(amount, int) and amount > 1):
            raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")
        self.amount = amount

    def _count(self, size: int) -> int:
        if isinstance(self.amount, int):
            if self.amount > size:
                raise ValueError(
                    f"amount={self.amount} should be smaller than the number of parameters to prune={size}"
                )
            return int(self.amount)
        return round(self.amount * size)


class RandomUnstructured(_Amount):
    """Prunes elements that are drawn."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without the elements that were drawn."""
        return _without_least(rand_like(t.flatten()), default_mask, self._count(t.nelement()))


class L1Unstructured(_Amount):
    """Prunes the elements of the least magnitude."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without the elements of the least magnitude."""
        return _without_least(t.abs().flatten(), default_mask, self._count(t.nelement()))


def _without_least(scores: Tensor, default_mask: Tensor, count: int) -> Tensor:
    mask = default_mask.clone()
    if count:
        flat = mask.flatten()
        flat[topk(scores, count, largest=False).indices] = 0
        mask = flat.reshape(mask.shape)
    return mask


class _Structured(_Amount):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def _scores(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without some slices along the dimension."""
        if t.dim() <= 1:
            raise ValueError(
                f"Structured pruning can only be applied to multidimensional tensors. Found tensor of shape {t.shape} "
                f"with {t.dim()} dims"
            )
        if not -t.dim() <= self.dim < t.dim():
            raise IndexError(f"Invalid dim {self.dim} for tensor of size {t.shape}")
        count = self._count(t.shape[self.dim])
        if not count:
            return default_mask
        mask = zeros_like(t)
        kept = topk(self._scores(t), t.shape[self.dim] - count, largest=True).indices
        mask[(slice(None),) * (self.dim % t.dim()) + (kept,)] = 1
        return mask * default_mask.to(mask.dtype)


class RandomStructured(_Structured):
    """Prunes slices along a dimension that are drawn."""

    def _scores(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])


class LnStructured(_Structured):
    """Prunes the slices along a dimension whose norm of order ``n`` is the least."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        dims = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        return t.norm(self.n, dims)


class CustomFromMask(BasePruningMethod):
    """Prunes where a mask is 0."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError("default_mask and self.mask must have the same shape")
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Prune nothing, but make ``name_orig`` and ``name_mask``; return the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune a share of the elements, or a number of them, which are drawn; return the module.

    >>> from fastnn import nn
    >>> layer = random_unstructured(nn.Linear(4, 2), "weight", 0.25)
    >>> int(layer.weight_mask.sum()), sorted(name for name, _ in layer.named_parameters())
    (6, ['bias', 'weight_orig'])
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Module, name: str, amount: float, importance_scores: Tensor | None = None
) -> Module:  # fmt: skip
    """Prune the elements of the least magnitude, or of the least importance; return the module."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune slices along a dimension, which are drawn; return the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the slices along a dimension whose norm of order ``n`` is the least; return the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune where the mask is 0; return the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: Any, importance_scores: Any = None, **kwargs: Any
) -> None:
    """Prune elements of several parameters, compared with each other.

    Args:
        parameters: modules and the names of parameters.
        pruning_method: a class whose ``PRUNING_TYPE`` is "unstructured".
        importance_scores: by module and name, how important the elements are; the parameters themselves by default.
        kwargs: the arguments of the method.

    Raises: TypeError for another kind of method.
    """
    chosen = list(parameters)
    importance = {} if importance_scores is None else importance_scores
    if not isinstance(importance, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    found = [
        (module, name, getattr(module, name), getattr(module, f"{name}_mask", None)) for module, name in chosen
    ]  # fmt: skip
    scores = cat([importance.get((module, name), tensor).detach().flatten() for module, name, tensor, _ in found])
    masks = cat([(ones_like(tensor) if mask is None else mask).flatten() for _, _, tensor, mask in found])
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {method.PRUNING_TYPE}"
        )
    container = PruningContainer()
    # One name for all.
    container._tensor_name = method._tensor_name = "temp"
    container.add_pruning_method(method)
    with no_grad():
        final = container.compute_mask(scores, masks)
    start = 0
    for module, name, tensor, _ in found:
        custom_from_mask(module, name, final[start : start + tensor.numel()].reshape(tensor.shape))
        start += tensor.numel()


def remove(module: Module, name: str) -> Module:
    """Make a pruned parameter a plain one again; its zeros stay. Return the module.

    Raises: ValueError if it is not pruned.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether some parameter of the module, or of one below it, is pruned."""
    return any(
        isinstance(hook, BasePruningMethod) for part in module.modules() for hook in part._forward_pre_hooks.values()
    )
