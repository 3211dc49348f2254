"""``torch.nn.utils.prune``: sets some numbers of parameters to 0 and keeps them 0.

The parameter ``weight`` of a pruned module becomes ``weight_orig``, the buffer ``weight_mask`` has 0 where a number is
pruned, and a hook sets the attribute ``weight`` to their product before each ``forward``.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module
from fastnn.ops.creation import ones_like, zeros_like
from fastnn.ops.joining import cat
from fastnn.ops.norms import norm
from fastnn.ops.sampling import rand, rand_like

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip


# -- Methods --------------------------------------------------------------------------------------------


class BasePruningMethod(ABC):
    """A way to choose numbers of a parameter to prune. Subclasses define ``compute_mask`` and ``PRUNING_TYPE``.

    ``PRUNING_TYPE`` is 'unstructured' (single numbers), 'structured' (whole channels) or 'global'; it says what is left
    to choose from for a method that is applied after others.
    """

    PRUNING_TYPE: str
    _tensor_name: Any

    def __call__(self, module: Module, inputs: Any) -> None:
        """The hook before ``forward``."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """A mask for ``t``, 0 for what is pruned; ``default_mask`` is the one of former methods."""

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter times its mask."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, original = getattr(module, f"{self._tensor_name}_mask"), getattr(module, f"{self._tensor_name}_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune a parameter of a module, and prune it again before each ``forward``.

        Args:
            module: it is changed.
            name: of its parameter.
            args, kwargs: of the method.
            importance_scores: a tensor of the parameter's shape, in place of its numbers.

        Returns: the method; a :class:`PruningContainer` of all of them if the parameter was pruned before.
        """
        found = [(k, hook) for k, hook in _methods(module) if hook._tensor_name == name]
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        if len(found) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. Use a "
                "PruningContainer."
            )
        tensor = getattr(module, name)
        if importance_scores is None:
            importance_scores = tensor
        elif importance_scores.shape != tensor.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}: expected "
                f"{tuple(tensor.shape)}, found {tuple(importance_scores.shape)}"
            )
        if found:
            key, former = found[0]
            default = getattr(module, f"{name}_mask").detach().clone()
            chain = former if isinstance(former, PruningContainer) else PruningContainer(former)
            chain.add_pruning_method(method)
            method = chain
        else:
            default = ones_like(tensor)
        with no_grad():
            # All errors come from here, before the module is changed.
            mask = method.compute_mask(importance_scores.detach(), default)
        if found:
            del module._forward_pre_hooks[key]
            setattr(module, f"{name}_mask", mask)
        else:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", tensor)
            module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None
    ) -> Tensor:
        """A pruned tensor, which is not changed itself.

        Args:
            t: any shape.
            default_mask: of former methods; None for none.
            importance_scores: in place of the numbers of ``t``.
        """
        if importance_scores is None:
            importance_scores = t
        elif importance_scores.shape != t.shape:
            raise AssertionError(
                "importance_scores should have the same shape as tensor t: expected "
                f"{tuple(t.shape)}, found {tuple(importance_scores.shape)}"
            )
        return t * self.compute_mask(importance_scores, ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Make the pruned numbers the parameter itself. The hook stays: :func:`remove` takes that away, too."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        pruned = self.apply_mask(module).detach()
        original = module._parameters[f"{name}_orig"]
        assert original is not None
        if hasattr(module, name):
            delattr(module, name)
        with no_grad():
            original.copy_(pruned)
        del module._parameters[f"{name}_orig"]
        del module._buffers[f"{name}_mask"]
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several methods for one parameter, applied one after another.

    Args:
        args: the methods, for a parameter of one name; one method, or a tuple of methods as well.
    """

    # Before the first method.
    _tensor_name: Any = None

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[Any, ...] = ()
        given = tuple(args[0]) if len(args) == 1 and isinstance(args[0], Iterable) else args
        for method in given:
            if len(given) == 1:
                self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Add a method for the same parameter."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods = (*self._pruning_methods, method)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method, which chooses from what the others have left, and of these."""
        method, mask = self._pruning_methods[-1], default_mask
        kind = method.PRUNING_TYPE
        made = mask.clone()
        if kind == "unstructured":
            left = mask == 1
            made[left] = method.compute_mask(t[left], mask[left])
        elif kind == "structured":
            dim = getattr(method, "dim", 0)
            dim = dim % t.ndim
            # Channels that are not pruned as a whole.
            kept = (mask != 0).movedim(dim, 0).flatten(1).any(1).nonzero().reshape(-1)
            part = method.compute_mask(t.index_select(dim, kept), mask.index_select(dim, kept))
            made.index_copy_(dim, kept, part)
        elif kind == "global":
            made = method.compute_mask(t, mask)
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {kind}")
        return made.to(dtype=mask.dtype)


class Identity(BasePruningMethod):
    """Prunes nothing, and makes the names of a pruned parameter."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask itself."""
        return default_mask

    @classmethod
    def apply(cls, module: Module, name: str) -> BasePruningMethod:  # type: ignore[override]  # no options
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name)


class _Unstructured(BasePruningMethod):
    """Prunes a number or a share of the numbers.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).
    """

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def _scores(self, t: Tensor) -> Tensor:
        """The smallest of these are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """A mask with as many zeros more."""
        count = _count(self.amount, t.nelement())
        mask = default_mask.clone()
        if count:
            chosen = self._scores(t).reshape(-1).topk(count, largest=False)[1]
            flat = mask.reshape(-1)
            flat[chosen] = 0
            mask = flat.reshape(mask.shape)
        return mask

    @classmethod
    def apply(cls, module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Any:  # type: ignore[override]  # its own options
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class RandomUnstructured(_Unstructured):
    """Prunes numbers at random.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).
    """

    def _scores(self, t: Tensor) -> Tensor:
        return rand_like(t)

    @classmethod
    def apply(cls, module: Module, name: str, amount: float) -> Any:  # type: ignore[override]  # its own options
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name, amount)


class L1Unstructured(_Unstructured):
    """Prunes the numbers with the smallest absolute value.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).

    >>> import fastnn
    >>> prune = fastnn.nn.utils.prune
    >>> prune.L1Unstructured(amount=0.5).prune(fastnn.tensor([0.1, -3.0, 2.0, 0.2]))
    tensor([ 0., -3.,  2.,  0.])
    """

    def _scores(self, t: Tensor) -> Tensor:
        return t.abs()


class _Structured(BasePruningMethod):
    """Prunes whole channels.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).
        dim: the dimension of the channels.
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def _scores(self, t: Tensor) -> Tensor:
        """One for each channel; those with the smallest are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """A mask with as many channels of zeros more."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{tuple(t.shape)} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {tuple(t.shape)}")
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        kept = self._scores(t).topk(size - count)[1]
        mask = zeros_like(t).index_fill(self.dim, kept, 1)
        return (mask * default_mask).to(dtype=default_mask.dtype)


class RandomStructured(_Structured):
    """Prunes channels at random.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).
        dim: the dimension of the channels.
    """

    def _scores(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])

    @classmethod
    def apply(cls, module: Module, name: str, amount: float, dim: int = -1) -> Any:  # type: ignore[override]  # its own options
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(_Structured):
    """Prunes the channels with the smallest norm.

    Args:
        amount: how many (int), or which share of them (float in [0, 1]).
        n: of the norm, as ``p`` of ``torch.norm``.
        dim: the dimension of the channels.
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        dims = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        return norm(t, p=self.n, dim=dims)

    @classmethod
    def apply(  # type: ignore[override]  # its own options
        cls, module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
    ) -> Any:
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)


class CustomFromMask(BasePruningMethod):
    """Prunes where a mask is 0.

    Args:
        mask: of the parameter's shape.
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"mask must have the shape of the parameter, {tuple(default_mask.shape)}, found "
                f"{tuple(self.mask.shape)}"
            )
        return default_mask * self.mask.to(dtype=default_mask.dtype)

    @classmethod
    def apply(cls, module: Module, name: str, mask: Tensor) -> Any:  # type: ignore[override]  # its own options
        """See :meth:`BasePruningMethod.apply`."""
        return super().apply(module, name, mask=mask)


# -- Functions ------------------------------------------------------------------------------------------


def identity(module: Module, name: str) -> Module:
    """Prune nothing: the parameter gets the names of a pruned one. Returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune numbers of a parameter at random: so many (int) or a share of them (float). Returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the smallest numbers of a parameter: so many (int) or a share of them (float). Returns the module.

    >>> import fastnn
    >>> layer = fastnn.nn.utils.prune.l1_unstructured(fastnn.nn.Linear(4, 2), "weight", amount=3)
    >>> sorted(layer.state_dict()), int((layer.weight == 0).sum())
    (['bias', 'weight_mask', 'weight_orig'], 3)
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune channels of a parameter at random: so many (int) or a share of them (float). Returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the channels of a parameter with the smallest ``n``-norm, along ``dim``. Returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune the numbers of a parameter where a mask is 0. Returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Any, pruning_method: Any, importance_scores: dict[Any, Tensor] | None = None, **kwargs: Any
) -> None:
    """Prune single numbers of several parameters, chosen among those of all.

    Args:
        parameters: pairs of a module and the name of its parameter.
        pruning_method: a class of type 'unstructured'.
        importance_scores: for some pairs, tensors in place of their numbers.
        kwargs: of the class, such as ``amount``.

    Raises: TypeError for other parameters and methods.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError(f"global_unstructured(): parameters is not an Iterable, found {type(parameters).__name__}")
    pairs = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError(
            f"global_unstructured(): importance_scores must be of type dict, found {type(scores).__name__}"
        )
    numbers_of = cat([scores.get((m, n), getattr(m, n)).detach().reshape(-1) for m, n in pairs])
    masks = cat([getattr(m, f"{n}_mask", ones_like(getattr(m, n))).detach().reshape(-1) for m, n in pairs])
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
            f"{pruning_method} of type {method.PRUNING_TYPE}"
        )
    found = PruningContainer(method).compute_mask(numbers_of, masks)
    start = 0
    for module, name in pairs:
        parameter = getattr(module, name)
        count = parameter.numel()
        custom_from_mask(module, name, found[start : start + count].reshape(parameter.shape))
        start += count


def remove(module: Module, name: str) -> Module:
    """Make the pruned numbers the parameter itself, which training then changes as any other. Returns the module.

    Raises: ValueError for a parameter that is not pruned.
    """
    for key, method in _methods(module):
        if method._tensor_name == name:
            method.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module, or of a module in it, is pruned."""
    return any(_methods(part) for part in module.modules())


def _methods(module: Module) -> list[tuple[Any, BasePruningMethod]]:
    """The methods among the hooks of a module, with their keys."""
    return [(k, hook) for k, hook in module._forward_pre_hooks.items() if isinstance(hook, BasePruningMethod)]


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if (isinstance(amount, numbers.Integral) and int(amount) < 0) or (
        not isinstance(amount, numbers.Integral) and not 0 <= float(amount) <= 1
    ):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of ``size`` are pruned."""
    if isinstance(amount, numbers.Integral):
        if int(amount) > size:
            raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
        return int(amount)
    return round(amount * size)

