"""``torch.amp.grad_scaler``: GradScaler, which scales losses and leaves out steps with infinite gradients."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.autograd.grad_mode import no_grad

__all__ = ["GradScaler", "OptState"]


class OptState(enum.Enum):
    """The gradients of an optimizer since the last ``update``: scaled, unscaled, or used by a step."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class GradScaler:
    """Multiplies losses by a scale, and leaves out the steps whose gradients are not finite.

    A step whose gradients are infinite or NaN is not taken, and the next ``update`` multiplies the scale by
    ``backoff_factor``. After ``growth_interval`` steps in a row that were taken, ``update`` multiplies it by
    ``growth_factor``.

    Args:
        device: "cpu", or "cuda": that warns and disables the scaler, as in PyTorch without CUDA.
        init_scale: the first scale.
        growth_factor: greater than 1.
        backoff_factor: less than 1.
        growth_interval: the number of steps after which the scale grows.
        enabled: whether it does anything; if not, ``scale`` returns its argument and ``step`` always steps.

    Raises: AssertionError for other factors.

    >>> import fastnn
    >>> scaler = fastnn.amp.GradScaler("cpu", init_scale=8.0)
    >>> scaler.scale(fastnn.tensor(2.0))
    tensor(16.)
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        self._device, self._enabled = device, enabled
        if device == "cuda" and enabled:
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2
            )
            self._enabled = False
        if not self._enabled:
            return
        if not growth_factor > 1:
            raise AssertionError("The growth factor must be > 1.0.")
        if not backoff_factor < 1:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._growth_factor, self._backoff_factor = init_scale, growth_factor, backoff_factor
        self._growth_interval = growth_interval
        # The scale as float32; None until the first `scale`.
        self._scale: float | None = None
        self._growth_tracker = 0
        # By the id of an optimizer: its state, and whether a gradient was not finite.
        self._per_optimizer_states: dict[int, tuple[OptState, bool]] = {}

    def scale(self, outputs: Any) -> Any:
        """The tensor times the scale; of a list, tuple or other iterable, each tensor in it.

        Raises: ValueError for anything else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._scale = float(np.float32(self._init_scale))
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError(f"outputs must be a Tensor or an iterable of Tensors, found {type(outputs).__name__}")

    def _check_scaled(self, method: str) -> float:
        """The scale. AssertionError if nothing was scaled yet."""
        if self._scale is None:
            raise AssertionError(
                f"Attempted {method} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, for example to clip them.

        Raises: RuntimeError if this was called, or a step taken, since the last ``update``; ValueError for gradients
            of float16.
        """
        if not self._enabled:
            return
        scale = self._check_scaled("unscale_")
        state, _ = self._per_optimizer_states.get(id(optimizer), (OptState.READY, False))
        if state is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g._data.dtype == np.float16 for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients.")
        inverse = float(np.float32(1 / scale))
        infinite = False
        with no_grad():
            for g in grads:
                infinite = infinite or not g.isfinite().all().item()
                if inverse != 1:
                    g.mul_(inverse)
        self._per_optimizer_states[id(optimizer)] = OptState.UNSCALED, infinite

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)`` with unscaled gradients, if all of them are finite.

        Returns: the result of the step, or None without one.
        Raises: RuntimeError for a closure, and for a second step before ``update``.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_scaled("step")
        state, _ = self._per_optimizer_states.get(id(optimizer), (OptState.READY, False))
        if state is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state is OptState.READY:
            self.unscale_(optimizer)
        _, infinite = self._per_optimizer_states[id(optimizer)]
        if not any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None if infinite else optimizer.step(*args, **kwargs)
        self._per_optimizer_states[id(optimizer)] = OptState.STEPPED, infinite
        return result

    def update(self, new_scale: Any = None) -> None:
        """Change the scale after the steps of an iteration.

        Args:
            new_scale: a float or a tensor of one element: the scale from now on.

        Raises: AssertionError if no gradients were looked at since the last ``update``.
        """
        if not self._enabled:
            return
        scale = self._check_scaled("update")
        if new_scale is not None:
            if not isinstance(new_scale, float) and not (
                isinstance(new_scale, Tensor) and new_scale.numel() == 1 and not new_scale.requires_grad
            ):
                raise AssertionError(
                    "new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
                    "requires_grad=False."
                )
            self._scale = float(np.float32(float(new_scale)))
        elif not self._per_optimizer_states:
            raise AssertionError("No inf checks were recorded prior to update.")
        elif any(infinite for _, infinite in self._per_optimizer_states.values()):
            self._scale = float(np.float32(scale * self._backoff_factor))
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = scale * self._growth_factor
                # As float32; beyond its range the scale stays.
                self._scale = float(np.float32(grown)) if grown <= np.finfo(np.float32).max else scale
                self._growth_tracker = 0
        self._per_optimizer_states = {}

    def get_scale(self) -> float:
        """The scale; 1.0 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale

    def get_growth_factor(self) -> float:
        """The factor by which the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor by which the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """The factor of the scale after gradients that are not finite."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor of the scale after gradients that are not finite."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """The number of steps after which the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the number of steps after which the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale, the factors, the interval, and the number of steps since the scale changed; {} if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state.

        Raises: RuntimeError for an empty one, which a disabled scaler has; KeyError for a missing entry.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        scale, growth, backoff, interval, tracker = [state_dict[name] for name in names]
        self._init_scale = scale
        if self._scale is not None:
            self._scale = float(np.float32(scale))
        self._growth_factor, self._backoff_factor = growth, backoff
        self._growth_interval, self._growth_tracker = interval, tracker

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state["_init_scale"], state["_scale"] = self.get_scale(), None
        return state
