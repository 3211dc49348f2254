"""Reference implementations of the kernels: plain, slow and obvious, in float64 NumPy.

Every function takes arrays of any dtype, computes in float64 and returns float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special


def _double(*arrays: np.ndarray) -> Iterator[np.ndarray]:
    return (np.asarray(a, np.float64) for a in arrays)


def gemm(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias``."""
    a, b = _double(a, b)
    # NumPy's product may use BLAS or not; infinities and NaN are the same in both.
    with np.errstate(invalid="ignore", over="ignore"):
        product = a @ b
        return product if bias is None else product + np.asarray(bias, np.float64)


def gemm_magnitude(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """``|a| @ |b| + |bias|``: the rounding errors of the product are proportional to it."""
    return gemm(np.abs(a), np.abs(b), None if bias is None else np.abs(bias))


def _gelu_tanh_inner(z: np.ndarray) -> np.ndarray:
    return np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)


def activation(z: np.ndarray, name: str, slope: float = 0.01) -> np.ndarray:
    """An activation function, by the kernels' name."""
    (z,) = _double(z)
    with np.errstate(all="ignore"):
        if name == "relu":
            return np.where(z <= 0, 0, z)
        if name == "leaky_relu":
            return np.where(z > 0, z, slope * z)
        if name == "sigmoid":
            return special.expit(z)
        if name == "tanh":
            return np.tanh(z)
        if name == "gelu":
            return z * special.ndtr(z)
        if name == "gelu_tanh":
            # 0.5 * (1 + tanh(u)) is expit(2 u), without cancellation.
            return z * special.expit(2 * _gelu_tanh_inner(z))
        assert name == "none"
        return z.copy()


def activation_backward(dy: np.ndarray, saved: np.ndarray, name: str, slope: float = 0.01) -> np.ndarray:
    """``dy * activation'``; ``saved`` is the input for the GELUs and the output for the others."""
    dy, s = _double(dy, saved)
    with np.errstate(all="ignore"):
        if name == "relu":
            return np.where(s <= 0, 0, dy)
        if name == "leaky_relu":
            return np.where(s > 0, dy, slope * dy)
        if name == "sigmoid":
            return dy * s * (1 - s)
        if name == "tanh":
            return dy * (1 - s * s)
        if name == "gelu":
            return dy * (special.ndtr(s) + s * np.exp(-s * s / 2) / np.sqrt(2 * np.pi))
        if name == "gelu_tanh":
            gate = special.expit(2 * _gelu_tanh_inner(s))
            return dy * (gate + s * gate * (1 - gate) * 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * s * s))
        assert name == "none"
        return dy.copy()


def linear_backward(dz: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``dx, dweight, dbias`` of ``x @ weight + bias``."""
    dz, x, weight = _double(dz, x, weight)
    return dz @ weight.T, x.T @ dz, dz.sum(0)


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, mean: bool = False, ignore_index: int = -100
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row, and the gradient of their sum or mean."""
    (logits,) = _double(logits)
    losses, dlogits = np.zeros(len(labels)), np.zeros(logits.shape)
    counted = [row for row, label in enumerate(labels) if label != ignore_index]
    with np.errstate(invalid="ignore", divide="ignore"):
        for row in counted:
            shifted = logits[row] - logits[row].max()
            total = np.exp(shifted).sum()
            losses[row] = np.log(total) - shifted[labels[row]]
            dlogits[row] = np.exp(shifted) / total
            dlogits[row, labels[row]] -= 1
    return losses, dlogits / len(counted) if mean and counted else dlogits


def gather(data: np.ndarray, indices: np.ndarray, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """``data[indices] * scale + shift``."""
    return data[indices].astype(np.float64) * scale + shift
