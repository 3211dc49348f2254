"""The output of the programs: numbers by which two libraries are compared, and the time of the training.

The programs import it beside ``torch``, which is fastnn or PyTorch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

RELATIVE = 1e-3


def probe(name: str, value: Any, tolerance: float = RELATIVE) -> None:
    """Print a number, or a word without spaces, under a name without spaces.

    Args:
        name: what it is.
        value: a number, a tensor of one number, or a text.
        tolerance: how far two libraries may differ, relative to the larger of 1 and the number.
    """
    if isinstance(value, str):
        print(name, value, 0, flush=True)
    else:
        print(name, f"{float(value):.9g}", f"{tolerance:.3g}", flush=True)


@contextlib.contextmanager
def timed() -> Iterator[None]:
    """Measure the block, which trains; the times of several blocks are added up."""
    begin = time.perf_counter()
    yield
    print("seconds", f"{time.perf_counter() - begin:.4f}", flush=True)


def initialize(module: Any, seed: int = 0) -> Any:
    """Set all weights from NumPy's generator, as the libraries draw other random numbers; return the module.

    Vectors keep their values (zeros or ones), but for biases of linear layers, which are set to zero.
    """
    import torch

    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                bound = (6 / (parameter.shape[0] + parameter.shape[1])) ** 0.5
                drawn = generator.uniform(-bound, bound, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn).to(parameter.dtype))
            elif name.endswith("bias"):
                parameter.zero_()
    return module


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The digits of scikit-learn: 1500 images to train on and 297 to test, of 64 numbers from 0 to 1, and labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    return x[:1500], y[:1500], x[1500:], y[1500:]


def regression(rows: int = 2000, columns: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and a smooth function of them with noise, float32; targets have one column."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, columns))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] / 2 + 0.1 * generator.normal(size=rows)
    return x.astype(np.float32), y[:, None].astype(np.float32)
