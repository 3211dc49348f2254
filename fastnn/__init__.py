"""fastnn: multi-layer perceptrons on the CPU with PyTorch's API, every hot loop a Numba kernel.

``import fastnn as torch`` and train. Upstairs of ``fastnn.kernels``: names, shapes, errors,
autograd and state are here, arithmetic is there.
"""

from importlib import import_module as _import_module
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
from fastnn.sampling import (
    bernoulli,
    multinomial,
    normal,
    poisson,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from fastnn.serialization import load, save
from fastnn.settings import (
    are_deterministic_algorithms_enabled,
    compile,
    get_float32_matmul_precision,
    get_num_interop_threads,
    is_deterministic_algorithms_warn_only_enabled,
    set_float32_matmul_precision,
    set_num_interop_threads,
    use_deterministic_algorithms,
)
from fastnn.tensor import Size, Tensor

__version__ = "0.1.0"

# Imported on first use: most scripts need few of them, and every import takes time.
_ON_USE = (
    "accelerator", "amp", "backends", "cuda", "distributions", "jit", "mps", "serialization", "torchvision", "version",
    "xpu",
)  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _ON_USE:
        return _import_module(f"fastnn.{name}")
    if name == "autocast":
        return _import_module("fastnn.amp").autocast
    if name == "default_generator":
        return _import_module("fastnn.random").default_generator()
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


__all__ = [
    "DTypeError",
    "Generator",
    "ShapeError",
    "Size",
    "Tensor",
    "are_deterministic_algorithms_enabled",
    "argmax",
    "bernoulli",
    "bool",
    "compile",
    "device",
    "dtype",
    "enable_grad",
    "float32",
    "float64",
    "from_numpy",
    "get_default_device",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "get_rng_state",
    "initial_seed",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_grad_enabled",
    "load",
    "manual_seed",
    "matmul",
    "max",
    "multinomial",
    "nn",
    "no_grad",
    "normal",
    "ones",
    "optim",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "relu",
    "save",
    "seed",
    "set_default_device",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "set_num_interop_threads",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "tanh",
    "tensor",
    "uint8",
    "use_deterministic_algorithms",
    "utils",
    "zeros",
]
