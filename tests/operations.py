"""How the tests run a row of the table of operations (``benchmarks/operations``)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from comparison import as_array

# The benchmarks are not part of the distribution. The import follows this line, which makes it possible (E402).
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.operations import ACTIVATIONS, OPERATIONS, PLAIN, Operation

__all__ = ["ACTIVATIONS", "OPERATIONS", "PLAIN", "Operation", "everything", "operands"]


def operands(lib: Any, arrays: list[np.ndarray], grad: bool, layout: str) -> tuple[list[Any], list[Any]]:
    """Leaves, and tensors of the same values: themselves, or views with gaps, or with dimensions in another order."""
    leaves, used = [], []
    for a in arrays:
        if layout == "transposed" and a.ndim > 1:
            leaf = lib.tensor(np.ascontiguousarray(a.T), requires_grad=grad)
            x = leaf.permute(*range(a.ndim - 1, -1, -1))
        elif layout == "gaps" and a.ndim:
            leaf = lib.tensor(np.repeat(a, 2, axis=-1), requires_grad=grad)
            x = leaf[..., ::2]
        else:
            leaf = x = lib.tensor(a, requires_grad=grad)
        leaves.append(leaf)
        used.append(x)
    return leaves, used


def everything(operation: Operation, arrays: list[np.ndarray], grad: bool, layout: str) -> Callable[[Any], Any]:
    """The operation's value and its gradients."""

    def run(lib: Any) -> Any:
        leaves, tensors = operands(lib, arrays, grad, layout)
        out = operation.run(lib, *tensors)
        found = {"out": out}
        if grad and out.requires_grad:
            weights = np.random.default_rng(7).uniform(0.5, 2, tuple(out.shape))
            out.backward(lib.tensor(weights.astype(as_array(out).dtype)))
            found["grads"] = [leaf.grad for leaf in leaves if leaf.grad is not None]
        return found

    return run
