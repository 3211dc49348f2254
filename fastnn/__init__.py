"""fastnn: multi-layer perceptrons on the CPU with PyTorch's API, every hot loop a Numba kernel.

``import fastnn as torch`` and train. This package has the names, shapes, errors, autograd and state;
``fastnn.kernels`` has the arithmetic.
"""

# ruff: noqa: F403  The star imports define the package's names.

import math as _math
from importlib import import_module as _import_module
from pathlib import Path as _Path

if not (_Path(__file__).parent / "kernels").is_dir():
    # A checkout, where the kernels are next to this folder.
    __path__.append(str(_Path(__file__).parent.parent))

# First: it adds the operations to `Tensor`.
from fastnn import ops as _ops  # noqa: I001
from fastnn import autograd, linalg, nn, optim, return_types, utils
from fastnn.autograd import (
    enable_grad,
    inference_mode,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from fastnn.capture.auto import explain, set_capture
from fastnn.kernels.runtime import allocation as _alloc
from fastnn.capture.step import CompiledStep, compile_step
from fastnn._core.devices import device, get_default_device, set_default_device
from fastnn._core.dtypes import (
    bfloat16,
    can_cast,
    channels_last,
    complex64,
    complex128,
    contiguous_format,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    layout,
    memory_format,
    preserve_format,
    promote_types,
    set_default_dtype,
    set_default_tensor_type,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)
from fastnn._core.dtypes import bool_ as bool
from fastnn._core.errors import DTypeError, OutOfMemoryError, ShapeError
from fastnn.ops.creation import *
from fastnn._tensor.legacy_constructors import LEGACY as _LEGACY
from fastnn.kernels.runtime.thread_count import get_num_threads, set_num_threads
from fastnn.linalg import det, inverse, inv_ex, logdet, matrix_power, pinv as pinverse, qr, slogdet
from fastnn.linalg import cholesky, cholesky_inverse, cholesky_solve, matrix_exp
from fastnn.linalg import svd_classic as svd
from fastnn.ops.decompositions import lu_unpack
from fastnn.nn.functional.torch_names import *
from fastnn.ops.arithmetic import *
from fastnn.ops.comparison import *
from fastnn.ops.conversion import *
from fastnn.ops.counting import *
from fastnn.ops.einsum import *
from fastnn.ops.elementwise import *
from fastnn.ops.factorizations import *
from fastnn.ops.indexing import *
from fastnn.ops.joining import *
from fastnn.ops.norms import *
from fastnn.ops.extrema import *
from fastnn.ops.permute import *
from fastnn.ops.binary_math import *
from fastnn.ops.slicing import *
from fastnn.ops.powers import *
from fastnn.ops.products import *
from fastnn.ops.reductions import *
from fastnn.ops.scatter import *
from fastnn.ops.selection import *
from fastnn.ops.shapes import *
from fastnn.ops.sorting import *
from fastnn.ops.vectors import *
from fastnn._tensor.printing import set_printoptions
from fastnn.training.profiling import profile
from fastnn.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from fastnn.ops.gamma_sampling import (
    _dirichlet_grad,
    _sample_dirichlet,
    _standard_gamma,
    _standard_gamma_grad,
    binomial,
)
from fastnn.ops.sampling import (
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
from fastnn._core.settings import (
    are_deterministic_algorithms_enabled,
    compile,
    get_float32_matmul_precision,
    get_num_interop_threads,
    is_deterministic_algorithms_warn_only_enabled,
    set_float32_matmul_precision,
    set_num_interop_threads,
    use_deterministic_algorithms,
)
from fastnn._core.size import Size
from fastnn._tensor.tensor import Tensor
from fastnn.training.history import Epoch, History
from fastnn.training.loop import fit

__version__ = "0.2.0"

float, double, half = float32, float64, float16
long, int, short = int64, int32, int16
cfloat, cdouble = complex64, complex128
globals().update(_LEGACY)
for _name in (*_ops.elementwise.IN_PLACE, "fill", "index_put", "squeeze", "unsqueeze", "zero"):
    globals()[f"{_name}_"] = getattr(Tensor, f"{_name}_")
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
newaxis = None

if _alloc.IS_POISONED:
    from fastnn._debug import ownership as _ownership

    _ownership.install()

# Imported on first use: most scripts need few of them, and imports take time.
_ON_USE = (
    "_C", "_dynamo", "_jit_internal", "_utils", "accelerator", "amp", "ao", "backends", "callbacks", "classic",
    "compiler", "convert", "cpu", "cuda", "distributed", "distributions", "export", "fft", "func", "functional",
    "futures", "fx", "hub", "jit", "library", "masked", "mps", "multiprocessing", "onnx", "overrides", "profiler",
    "quantization", "quasirandom", "report", "safetensors", "serialization", "sparse", "special", "storage", "tabular",
    "testing", "torch_version", "torchvision", "types", "version", "xpu",
)  # fmt: skip

_QUANTIZED_DTYPES = (
    "per_channel_affine", "per_channel_symmetric", "per_tensor_affine", "per_tensor_symmetric", "qint8", "qint32",
    "qscheme", "quint8",
)  # fmt: skip
_QUANTIZED = (
    "dequantize", "int_repr", "q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points", "q_scale",
    "q_zero_point", "quantize_per_channel", "quantize_per_tensor",
)  # fmt: skip

# Functions that are imported on first use, and their modules.
_IN_CAPTURE = {"CompiledInference": "inference", "compile_inference": "inference"}
_IN_TRAINING = {"find_lr": "lr_range", "summary": "model_summary"}


def __getattr__(name: str) -> object:
    if name in _ON_USE:
        return _import_module(f"fastnn.{name}")
    if name in ("load", "save"):
        return getattr(_import_module("fastnn.serialization"), name)
    if name in _IN_CAPTURE:
        return getattr(_import_module(f"fastnn.capture.{_IN_CAPTURE[name]}"), name)
    if name in _IN_TRAINING:
        return getattr(_import_module(f"fastnn.training.{_IN_TRAINING[name]}"), name)
    if name in ("angle", "complex", "imag", "polar", "view_as_complex", "view_as_real"):
        return getattr(_import_module("fastnn.ops.complex_numbers"), name)
    if name in _QUANTIZED_DTYPES:
        return getattr(_import_module("fastnn._core.quantized_dtypes"), name)
    if name in _QUANTIZED:
        return getattr(_import_module("fastnn.ops.quantized"), name)
    if name == "vmap":
        return _import_module("fastnn.func").vmap
    if name == "ScriptModule":
        return _import_module("fastnn.jit").ScriptModule
    if name == "Future":
        return _import_module("fastnn.futures").Future
    if name == "autocast":
        return _import_module("fastnn.amp").autocast
    if "autocast" in name and name in (mode := _import_module("fastnn.amp.autocast_mode")).SETTINGS:
        return getattr(mode, name)
    if name in ("PyTorchFileReader", "PyTorchFileWriter"):
        return getattr(_import_module("fastnn._C"), name)
    if name.startswith("sparse_") and hasattr(tensors := _import_module("fastnn.sparse"), name):
        return getattr(tensors, name)
    if name == "dsmm":
        return _import_module("fastnn.sparse").mm
    if name == "default_generator":
        return _import_module("fastnn.random").default_generator()
    if name.endswith("Storage") and hasattr(storages := _import_module("fastnn.storage"), name):
        return getattr(storages, name)
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
