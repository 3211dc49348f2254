"""CartPole: gymnasium's environment, or the same one in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_GRAVITY, _CART, _POLE, _HALF_LENGTH, _FORCE, _SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
_MOST_ANGLE, _MOST_PLACE, _MOST_STEPS = 12 * math.pi / 180, 2.4, 500


class CartPole:
    """A pole on a cart, by Barto, Sutton and Anderson (1983), with gymnasium's interface and first states."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()
        self.state = (0.0, 0.0, 0.0, 0.0)
        self.steps = 0

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.state, self.steps = tuple(self.rng.uniform(-0.05, 0.05, 4).tolist()), 0
        return np.array(self.state, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Push the cart to the left (0) or right (1) for a fiftieth of a second."""
        place, speed, angle, turning = self.state
        force = _FORCE if action == 1 else -_FORCE
        cosine, sine, mass = math.cos(angle), math.sin(angle), _CART + _POLE
        push = (force + _POLE * _HALF_LENGTH * turning * turning * sine) / mass
        swing = (_GRAVITY * sine - cosine * push) / (_HALF_LENGTH * (4 / 3 - _POLE * cosine * cosine / mass))
        drive = push - _POLE * _HALF_LENGTH * swing * cosine / mass
        place, speed = place + _SECONDS * speed, speed + _SECONDS * drive
        angle, turning = angle + _SECONDS * turning, turning + _SECONDS * swing
        self.state, self.steps = (place, speed, angle, turning), self.steps + 1
        has_fallen = abs(place) > _MOST_PLACE or abs(angle) > _MOST_ANGLE
        return np.array(self.state, np.float32), 1.0, has_fallen, self.steps >= _MOST_STEPS, {}


def make() -> tuple[Any, str]:
    """gymnasium's environment if it is installed, otherwise that of this file; and which one it is."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        return CartPole(), "own CartPole"
    return gymnasium.make("CartPole-v1"), "gymnasium's CartPole"
