"""fastnn: multi-layer perceptrons on the CPU with PyTorch's API, every hot loop a Numba kernel.

``import fastnn as torch`` and train. Upstairs of ``fastnn.kernels``: names, shapes, errors,
autograd and state are here, arithmetic is there.
"""

from pathlib import Path as _Path

if not (_Path(__file__).parent / "kernels").is_dir():
    # Imported from a checkout, where the kernels lie beside this folder.
    __path__.append(str(_Path(__file__).parent.parent))

from fastnn import nn, optim, utils
from fastnn.autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from fastnn.devices import device, get_default_device, set_default_device
from fastnn.dtypes import bool_ as bool
from fastnn.dtypes import dtype, float32, float64, int8, int16, int32, int64, uint8
from fastnn.errors import DTypeError, ShapeError
from fastnn.functions import argmax, from_numpy, max, ones, tensor, zeros
from fastnn.kernels.jit import get_num_threads, set_num_threads
from fastnn.nn.functional import matmul, relu, sigmoid, tanh
from fastnn.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from fastnn.tensor import Size, Tensor

__version__ = "0.1.0"

__all__ = [
    "DTypeError",
    "Generator",
    "ShapeError",
    "Size",
    "Tensor",
    "argmax",
    "bool",
    "device",
    "dtype",
    "enable_grad",
    "float32",
    "float64",
    "from_numpy",
    "get_default_device",
    "get_num_threads",
    "get_rng_state",
    "initial_seed",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "manual_seed",
    "matmul",
    "max",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "relu",
    "seed",
    "set_default_device",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "tanh",
    "tensor",
    "uint8",
    "utils",
    "zeros",
]
