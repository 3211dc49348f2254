"""Weight and spectral normalisation by hooks, the older form of those in ``parametrizations``."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.random import default_generator

AnyModule = TypeVar("AnyModule", bound=Module)


def norm_except_dim(v: Tensor, pow: float = 2, dim: int | None = 0) -> Tensor:
    """The norms of the slices of ``v`` along ``dim``, in a broadcastable shape; of all of ``v`` for None or -1."""
    if dim is None or dim == -1:
        return v.norm(pow)
    axes = tuple([d for d in range(v.dim()) if d != dim % v.dim()])
    return v.norm(pow, axes, keepdim=True) if axes else v.abs()


def weighted_direction(v: Tensor, g: Tensor, dim: int | None) -> Tensor:
    """``g * v / |v|`` (arXiv:1602.07868)."""
    return v * (g / norm_except_dim(v, 2, dim))


def spectral_start(weight: np.ndarray, rounds: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Approximate first singular vectors u and v of a matrix, by power iteration from random ones."""
    draws = default_generator().numpy
    u, v = (_unit(np.asarray(draws.standard_normal(n), weight.dtype), eps) for n in weight.shape)
    return power_iteration(weight, u, v, rounds, eps)


def power_iteration(
    weight: np.ndarray, u: np.ndarray, v: np.ndarray, rounds: int, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Iterate ``u = unit(W v)``, ``v = unit(W.T u)`` (arXiv:1802.05957)."""
    for _ in range(rounds):
        u = _unit(weight @ v, eps)
        v = _unit(weight.T @ u, eps)
    return u, v


def _unit(x: np.ndarray, eps: float) -> np.ndarray:
    return x / max(np.linalg.norm(x), eps)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """``weight`` with ``dim`` as rows and all other dimensions as columns."""
    if weight.dim() == 2 and dim % 2 == 0:
        return weight
    order = [dim, *[d for d in range(weight.dim()) if d != dim]]
    return weight.permute(*order).reshape(weight.shape[dim], -1)


class WeightNorm:
    """The hook that recomputes the weight before each forward."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight from its length and its direction."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return weighted_direction(v, g, self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


class SpectralNorm:
    """The hook that divides the weight by its largest singular value before each forward."""

    def __init__(self, name: str, n_power_iterations: int, eps: float, dim: int) -> None:
        self.name, self.n_power_iterations, self.eps, self.dim = name, n_power_iterations, eps, dim

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight divided by its largest singular value, which another power iteration refines."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                found = power_iteration(matrix._data, u._data, v._data, self.n_power_iterations, self.eps)
                u._data[...], v._data[...] = found
        # Copies, because the next forward changes the buffers.
        left, right = _wrap(u._data.copy()), _wrap(v._data.copy())
        sigma = (left * (matrix @ right)).sum()
        return weight / sigma

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def _add(module: Module, name: str, hook: Any) -> None:
    for existing in module._forward_pre_hooks.values():
        if isinstance(existing, type(hook)) and existing.name == name:
            raise RuntimeError(f"Cannot register two {type(hook).__name__} hooks on the same parameter {name}")
    module.register_forward_pre_hook(hook)


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Replace a parameter by its length ``<name>_g`` and its direction ``<name>_v`` (arXiv:1602.07868).

    Args:
        module: the owner of the parameter.
        name: of the parameter.
        dim: each slice along it has its own length; None for one length.

    >>> import fastnn
    >>> layer = fastnn.nn.utils.weight_norm(fastnn.nn.Linear(3, 2))
    >>> layer.weight_g.shape, layer.weight_v.shape
    (torch.Size([2, 1]), torch.Size([2, 3]))
    """
    weight = getattr(module, name)
    hook = WeightNorm(name, dim)
    for existing in module._forward_pre_hooks.values():
        if isinstance(existing, WeightNorm) and existing.name == name:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    del module._parameters[name]
    with no_grad():
        g = norm_except_dim(weight, 2, hook.dim)
    module.register_parameter(f"{name}_g", Parameter(g))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    _add(module, name, hook)
    return module


def _remove(
    module: AnyModule, kind: Any, label: str, name: str, original: str, *others: str, **options: Any
) -> AnyModule:
    """Remove the hook, and make its result an ordinary parameter, as ``original`` was."""
    hooks: Any = module._forward_pre_hooks
    found = [number for number, hook in hooks.items() if isinstance(hook, kind) and hook.name == name]
    if not found:
        raise ValueError(f"{label} of '{name}' not found in {module}")
    with no_grad():
        weight = hooks.pop(found[0]).compute_weight(module, **options)
    for part in (name, original, *others):
        delattr(module, part)
    setattr(module, name, Parameter._of(weight._data))
    return module


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make the weight an ordinary parameter again."""
    return _remove(module, WeightNorm, "weight_norm", name, f"{name}_v", f"{name}_g")


def spectral_norm(
    module: AnyModule, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> AnyModule:
    """Divide a parameter by its largest singular value before each forward (arXiv:1802.05957).

    The value is found by power iteration, which continues with each forward in training.

    Args:
        module: the owner of the parameter.
        name: of the parameter; ``<name>_orig`` is trained instead.
        n_power_iterations: iterations per forward.
        eps: the lower bound of a norm that is divided by.
        dim: the dimension of the outputs, 0 by default.
    """
    for existing in module._forward_pre_hooks.values():
        if isinstance(existing, SpectralNorm) and existing.name == name:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if n_power_iterations <= 0:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    hook = SpectralNorm(name, n_power_iterations, eps, dim or 0)
    u, v = spectral_start(as_matrix(weight.detach(), hook.dim)._data, 0, eps)
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    # A plain attribute until then: a tensor that is not a parameter.
    setattr(module, name, weight.detach().clone())
    module.register_buffer(f"{name}_u", _wrap(u))
    module.register_buffer(f"{name}_v", _wrap(v))
    _add(module, name, hook)
    return module


def remove_spectral_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make the weight an ordinary parameter again."""
    parts = f"{name}_orig", f"{name}_u", f"{name}_v"
    return _remove(module, SpectralNorm, "spectral_norm", name, *parts, do_power_iteration=False)
