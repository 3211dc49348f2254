"""``torch.ao.nn.quantized.dynamic``: the linear layer with an 8-bit weight, whose input is quantized in each call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._core import capture_state
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.quantized_dtypes import QuantizedDtype, qint8
from fastnn._tensor.quantized import QuantizedTensor, quantized_integers, wrap_quantized
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.matmul.int8 import int8_units, pack_int8
from fastnn.kernels.runtime import allocation
from fastnn.nn.linear import Linear as FloatLinear
from fastnn.nn.module import Module

__all__ = ["Linear", "LinearPackedParams"]


class _Packed:
    """A weight and a bias as the kernel reads them; they do not change.

    Args:
        weight: of qint8, with zero points of 0.
        bias: float32, or None.
    """

    def __init__(self, weight: QuantizedTensor, bias: Tensor | None) -> None:
        if not isinstance(weight, QuantizedTensor) or weight.dtype is not qint8:
            found = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
            raise DTypeError(f"weight must be a tensor of torch.qint8, found {found}")
        if weight.ndim != 2 or weight._axis not in (None, 0):
            raise ShapeError(
                "weight must have shape (out_features, in_features), with channels along dimension 0, found shape "
                f"{tuple(weight.shape)} and channels along {weight._axis}"
            )
        if np.any(weight._zero_point):
            raise RuntimeError(f"weight must have zero points of 0, found {weight._zero_point}")
        if bias is not None and tuple(bias.shape) != (weight.shape[0],):
            raise ShapeError(f"bias must have shape ({weight.shape[0]},), found {tuple(bias.shape)}")
        self.weight, self.bias = weight, bias
        scale: Any = np.float32(weight._scale) if weight._axis is None else weight._scale.astype(np.float32)
        numbers = None if bias is None else np.ascontiguousarray(bias._data, np.float32)
        self.packed = pack_int8(weight._integers, scale, numbers)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Packed:
        return self

    def __reduce__(self) -> Any:
        # Another CPU may need another order.
        return _Packed, (self.weight, self.bias)


def _dynamic_linear(
    input: Any, packed: _Packed, by_rows: bool, activation: str = "none", slope: float = 0.01
) -> Tensor:
    """``activation(input @ weight.T + bias)`` with ``input`` quantized to 7 bits; no gradient."""
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
    x, found = input._data, packed.packed
    if x.ndim < 2:
        raise ShapeError(f"input must have at least 2 dimensions, found shape {tuple(input.shape)}")
    if x.dtype != np.float32:
        raise DTypeError(f"expected scalar type Float but found {input.dtype}")
    if x.shape[-1] != found.depth:
        raise ShapeError(
            f"input must have {found.depth} features in its last dimension, found shape {tuple(input.shape)}"
        )
    rows = math.prod(x.shape[:-1])
    x2 = np.ascontiguousarray(x).reshape(rows, found.depth)
    for array in (found.weight, found.fits, found.sums, found.scale, found.bias):
        capture_state.constant(array)
    out, ranges = allocation.empty((rows, found.columns), np.float32), None
    # A batch of one row has the range of that row.
    if not by_rows and rows > 1:
        ranges = allocation.empty((int8_units(rows, found.depth), 2), np.float32)
        kernels.int8_range(ranges, x2)
    kernels.int8_linear(out, x2, found, ranges, activation, slope)
    return _wrap(out.reshape(*x.shape[:-1], found.columns))


class LinearPackedParams(Module):
    """Holds a quantized weight and a bias, and writes them to the state of a module."""

    _version = 3

    def __init__(self, dtype: QuantizedDtype = qint8) -> None:
        super().__init__()
        _check_dtype(dtype)
        self.dtype = dtype
        self.set_weight_bias(_zeros(1, 1), None)

    def set_weight_bias(self, weight: QuantizedTensor, bias: Tensor | None) -> None:
        """Replace both."""
        self._packed_params = _Packed(weight, bias)

    def _weight_bias(self) -> tuple[QuantizedTensor, Tensor | None]:
        return self._packed_params.weight, self._packed_params.bias

    def forward(self, x: Any) -> Any:
        """The argument itself."""
        return x

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_params"] = self._weight_bias()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
                              *lists: list[str]) -> None:  # fmt: skip
        version = local_metadata.get("version")
        if version is None or version < 2:
            self.dtype = qint8
        else:
            self.dtype = state_dict.pop(prefix + "dtype")
        if version == 3:
            self.set_weight_bias(*state_dict.pop(prefix + "_packed_params"))
        elif version is None or version < 3:
            self.set_weight_bias(state_dict.pop(prefix + "weight"), state_dict.pop(prefix + "bias"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def __repr__(self) -> str:
        return repr(self._weight_bias())


def _check_dtype(dtype: Any) -> None:
    if dtype is not qint8:
        raise RuntimeError(f"dtype must be torch.qint8 for a quantized linear layer, found {dtype}")


def _zeros(out_features: int, in_features: int) -> QuantizedTensor:
    return wrap_quantized(np.zeros((out_features, in_features), np.int8), 1.0, 0)


class Linear(Module):
    """A linear layer with an 8-bit weight, for inference; ``quantize_dynamic`` makes it of a ``nn.Linear``.

    Each call quantizes its input to 7 bits, with a scale from the smallest and the largest number of the batch (and
    0), multiplies integers with exact sums, and returns float32. The numbers are those of PyTorch on x86, except for a
    batch with NaN: its output is NaN. There is no gradient.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        bias_: whether there is a bias; both start as zeros.
        dtype: qint8.
        by_rows: each row of the input has a scale of its own. It is then computed as it would be alone.

    >>> import fastnn
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(3, 2))
    >>> fastnn.ao.quantization.quantize_dynamic(model, {fastnn.nn.Linear})[0]
    DynamicQuantizedLinear(in_features=3, out_features=2, dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    """

    _version = 4

    def __init__(
        self, in_features: int, out_features: int, bias_: bool = True, dtype: QuantizedDtype = qint8,
        by_rows: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_dtype(dtype)
        self.in_features, self.out_features, self.by_rows = in_features, out_features, by_rows
        self._packed_params = LinearPackedParams(dtype)
        bias = _wrap(np.zeros(out_features, np.float32)) if bias_ else None
        self._packed_params.set_weight_bias(_zeros(out_features, in_features), bias)
        # Of the output, for files: this layer returns real numbers.
        self.scale, self.zero_point, self.version = 1.0, 0, 4

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features), both float32, of at least 2 dimensions."""
        return _dynamic_linear(x, self._packed_params._packed_params, self.by_rows)

    def _forward_activated(self, x: Tensor, activation: str, slope: float) -> Tensor:
        """The layer and the activation after it, in one kernel."""
        return _dynamic_linear(x, self._packed_params._packed_params, self.by_rows, activation, slope)

    # Recorded at import, as a program may replace the method later; a Sequential compares it.
    _forward_activated.unfused = forward  # type: ignore[attr-defined]  # an attribute of a function

    def weight(self) -> QuantizedTensor:
        """The quantized weight, (out_features, in_features)."""
        return self._weight_bias()[0]

    def bias(self) -> Tensor | None:
        """The bias, (out_features,), or None."""
        return self._weight_bias()[1]

    def set_weight_bias(self, w: QuantizedTensor, b: Tensor | None) -> None:
        """Replace both.

        Args:
            w: (out_features, in_features) of qint8, with zero points of 0, and a scale for all of it or for each row.
            b: (out_features,) float32, or None.

        Raises: DTypeError and ShapeError for others; RuntimeError for other zero points.
        """
        self._packed_params.set_weight_bias(w, b)

    def _weight_bias(self) -> tuple[QuantizedTensor, Tensor | None]:
        return self._packed_params._weight_bias()

    def _get_name(self) -> str:
        return "DynamicQuantizedLinear"

    def extra_repr(self) -> str:
        """The sizes, the dtype and the scheme of the weight."""
        rows = ", by_rows=True" if self.by_rows else ""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, dtype={self._packed_params.dtype}, "
            f"qscheme={self.weight().qscheme()}{rows}"
        )

    def __repr__(self) -> str:
        return f"{self._get_name()}({self.extra_repr()})"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = _wrap(np.array(self.scale, np.float32))
        destination[prefix + "zero_point"] = _wrap(np.array(self.zero_point, np.int64))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
                              *lists: list[str]) -> None:  # fmt: skip
        self.version = local_metadata.get("version")
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    @classmethod
    def from_float(cls, mod: Module, use_precomputed_fake_quant: bool = False) -> Linear:
        """The quantized layer of a ``nn.Linear`` that has a ``qconfig``.

        Raises: AssertionError for other modules, without a ``qconfig``, or for another dtype of its weight.
        """
        if type(mod) is not FloatLinear:
            raise AssertionError(f"from_float() takes a {FloatLinear.__name__}, found {type(mod).__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        from fastnn.ao.quantization.qconfig import default_dynamic_qconfig

        config = mod.qconfig
        observer = (default_dynamic_qconfig if config is None or config.weight is None else config).weight()
        if observer.dtype is not qint8:
            raise AssertionError(f"the weight must be quantized to torch.qint8, found {observer.dtype}")
        weight = mod.weight.detach().float()
        observer(weight)
        made = cls(mod.in_features, mod.out_features, dtype=observer.dtype)
        made.set_weight_bias(_quantized_weight(weight._data, observer), mod.bias)
        return made


def _quantized_weight(weight: np.ndarray, observer: Any) -> QuantizedTensor:
    """The weight with the scale that an observer has found, within the observer's limits."""
    scales, zeros = [t._data for t in observer.calculate_qparams()]
    if observer.qscheme.name.startswith("per_channel"):
        made = wrap_quantized(weight, scales.astype(np.float64), zeros.astype(np.int64), observer.ch_axis)
        scale, zero = made._by_channel(made._scale), made._by_channel(made._zero_point)
    else:
        scale, zero = float(scales[0]), int(zeros[0])
        made = wrap_quantized(weight, scale, zero)
    integers = quantized_integers(weight, scale, zero, observer.dtype)
    made._integers = np.clip(integers, observer.quant_min, observer.quant_max)
    return made
