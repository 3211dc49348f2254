"""Reference normalisation and its gradient: plain, slow and obvious, in float64 NumPy. The mask is given."""

from __future__ import annotations

import naive
import numpy as np


def normalised(
    x: np.ndarray, eps: float, axis: int, mean: np.ndarray | None = None, var: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The normalised input, mean and variance, along ``axis`` unless these are given."""
    x = x.astype(np.float64)
    mean = x.mean(axis, keepdims=True) if mean is None else mean.astype(np.float64)
    var = ((x - mean) ** 2).mean(axis, keepdims=True) if var is None else var.astype(np.float64)
    return (x - mean) / np.sqrt(var + eps), mean, var


def following(z: np.ndarray, activation: str, slope: float, factors: np.ndarray | float) -> np.ndarray:
    """Activation and dropout; dropout multiplies by ``factors``."""
    return naive.activation(z, activation, slope) * factors


def gradient_before(
    dy: np.ndarray, z: np.ndarray, activation: str, slope: float, factors: np.ndarray | float
) -> np.ndarray:
    """The gradient before activation and dropout."""
    saved = z if activation.startswith("gelu") or activation == "leaky_relu" else naive.activation(z, activation, slope)
    return naive.activation_backward(dy.astype(np.float64) * factors, saved, activation, slope)


def through_statistics(g: np.ndarray, xhat: np.ndarray, var: np.ndarray, eps: float, axis: int) -> np.ndarray:
    """The gradient of the input, from that of the normalised input."""
    along = g.mean(axis, keepdims=True) + xhat * (g * xhat).mean(axis, keepdims=True)
    return (g - along) / np.sqrt(var + eps)
