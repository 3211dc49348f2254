"""Layers of ``nn`` in the registry: activations with numbers of every kind, embeddings, bilinear, PReLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import _SPECIAL, Arrays, _add, _gradients
from comparison import as_array
from operations import ACTIVATIONS

import fastnn

# Layer, the roundings allowed, and the special numbers that PyTorch's vectorised code gets wrong.
_LAYERS: dict[str, tuple[Callable[[Any], Any], float]] = {
    **{name: layer for row in ACTIVATIONS for name, layer in row.layers.items()},
    "prelu": (lambda nn: nn.PReLU(init=0.3), 8),
    "prelu_channels": (lambda nn: nn.PReLU(16), 8),
    "glu": (lambda nn: nn.GLU(), 8),
    "rrelu_eval": (lambda nn: nn.RReLU().eval(), 4),
    "softmax": (lambda nn: nn.Softmax(dim=-1), 8),
    "log_softmax": (lambda nn: nn.LogSoftmax(dim=0), 8),
    "softmin": (lambda nn: nn.Softmin(dim=1), 8),
}
# For these PyTorch's backward turns an infinity into another number, by a quotient of infinities.
_FINITE = (
    "softsign", "glu", "softmax", "log_softmax", "softmin", "prelu", "prelu_channels", "softplus", "mish", "silu",
)  # fmt: skip
# PyTorch has two derivatives at NaN: for small tensors the one in tests/expressions/edges.txt, for large ones NaN.
_TWO_AT_NAN = ("elu", "elu_alpha", "elu_inplace", "selu", "celu", "hardswish")


def _layer(name: str, kind: Any) -> None:
    build, roundings = _LAYERS[name]

    def inputs(rng: np.random.Generator) -> Arrays:
        special = [a for a in _SPECIAL if np.isfinite(a) or name not in _FINITE]
        if name in _TWO_AT_NAN:
            special = [0.5 if np.isnan(a) else a for a in special]
        if name in ("softmax", "log_softmax", "softmin"):
            special = [a for a in special if abs(a) < 100]
        x = np.concatenate([3 * rng.standard_normal(64 - len(special)), special]).reshape(4, 16)
        made = {"x": x, "dy": rng.uniform(0.5, 2, (4, 8) if name == "glu" else x.shape)}
        if name.startswith("prelu"):
            made["p.weight"] = rng.uniform(0.1, 0.9, 1 if name == "prelu" else 16)
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        module = build(lib.nn).to(lib.float64 if kind is np.float64 else lib.float32)
        # A copy inside the graph: PyTorch also refuses to change a leaf in place.
        return _gradients(lib, module, inputs, lambda x: module(x * 1))

    # The gradient of PReLU's slope is a sum of all numbers, including 1e4.
    least = 1e5 if name.startswith("prelu") else 1.0
    _add("activations_nn", f"{name}_{np.dtype(kind).name}", inputs, run, roundings, least)


for _name in _LAYERS:
    _layer(_name, np.float32)
# The functions are compared in both.
for _name in ("elu", "mish", "prelu", "log_softmax"):
    _layer(_name, np.float64)


def _bilinear(name: str, lead: tuple[int, ...], *, bias: bool = True, kind: Any = np.float32) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"x": (*lead, 3), "y": (*lead, 4), "dy": (*lead, 5), "p.weight": (5, 3, 4)}
        if bias:
            made["p.bias"] = (5,)
        return {n: rng.standard_normal(shape).astype(kind) for n, shape in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        layer = lib.nn.Bilinear(3, 4, 5, bias=bias, dtype=lib.float64 if kind is np.float64 else lib.float32)
        y = lib.tensor(inputs["y"], requires_grad=True)
        found = _gradients(lib, layer, inputs, lambda x: layer(x, y))
        return found | {"second": as_array(y.grad)}

    _add("layers_nn", name, inputs, run, roundings=16, least=4.0)


_bilinear("bilinear", (6,))
_bilinear("bilinear_1d", ())
_bilinear("bilinear_3d", (2, 3))
_bilinear("bilinear_empty", (0,))
_bilinear("bilinear_no_bias", (6,), bias=False)
_bilinear("bilinear_float64", (6,), kind=np.float64)


def _embedding(name: str, build: Callable[[Any, Any], Any], indices: Any, kind: Any = np.float32) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        numbers = np.array(indices)
        count = len(numbers) if name.startswith("bag") else None
        dy = rng.standard_normal((count, 4) if count else (*numbers.shape, 4))
        return {"p.weight": rng.standard_normal((6, 4)).astype(kind), "x": numbers, "dy": dy.astype(kind)}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        layer = build(lib.nn, lib.float64 if kind is np.float64 else lib.float32)
        layer.load_state_dict({"weight": lib.tensor(inputs["p.weight"])})
        out = layer(lib.tensor(inputs["x"]))
        out.backward(lib.tensor(inputs["dy"]))
        return {"out": as_array(out), "dweight": as_array(layer.weight.grad), "weight": as_array(layer.weight)}

    _add("layers_nn", name, inputs, run, roundings=8, least=4.0)


_ROWS = [[0, 5, 5], [2, 0, 5]]
_embedding("embedding", lambda nn, kind: nn.Embedding(6, 4, dtype=kind), _ROWS)
_embedding("embedding_float64", lambda nn, kind: nn.Embedding(6, 4, dtype=kind), _ROWS, np.float64)
_embedding("embedding_0d", lambda nn, kind: nn.Embedding(6, 4, dtype=kind), 3)
_embedding("embedding_padding", lambda nn, kind: nn.Embedding(6, 4, padding_idx=5, dtype=kind), _ROWS)
_embedding("embedding_max_norm", lambda nn, kind: nn.Embedding(6, 4, max_norm=1.0, dtype=kind), _ROWS)
_embedding("embedding_max_norm_1", lambda nn, kind: nn.Embedding(6, 4, max_norm=1.5, norm_type=1.0, dtype=kind), _ROWS)
_embedding("embedding_by_freq", lambda nn, kind: nn.Embedding(6, 4, scale_grad_by_freq=True, dtype=kind), _ROWS)
for _mode in ("sum", "mean", "max"):
    _embedding(f"bag_{_mode}", lambda nn, kind, mode=_mode: nn.EmbeddingBag(6, 4, mode=mode, dtype=kind), _ROWS)
    _embedding(
        f"bag_{_mode}_padding",
        lambda nn, kind, mode=_mode: nn.EmbeddingBag(6, 4, mode=mode, padding_idx=0, dtype=kind), _ROWS,
    )  # fmt: skip


def _attention(
    name: str, build: Callable[[Any, Any], Any], shape: tuple[int, ...], call: Callable[[Any, Any, Any], Any],
    kind: Any = np.float32,
) -> None:  # fmt: skip
    def inputs(rng: np.random.Generator) -> Arrays:
        layer = build(fastnn.nn, fastnn.float64)
        made = {"x": rng.standard_normal(shape), "dy": rng.standard_normal(shape)}
        made |= {f"p.{n}": 0.5 * rng.standard_normal(tuple(p.shape)) for n, p in layer.state_dict().items()}
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        layer = build(lib.nn, lib.float64 if kind is np.float64 else lib.float32)
        return _gradients(lib, layer, inputs, lambda x: call(lib, layer, x))

    # The gradients are sums over all rows of the results of several layers.
    _add("attention", name, inputs, run, roundings=200, least=4.0)


def _padding(lib: Any) -> Any:
    return lib.tensor(np.arange(12).reshape(3, 4) % 4 > 2)


_attention("layer", lambda nn, kind: nn.MultiheadAttention(8, 2, add_bias_kv=True, dtype=kind), (4, 3, 8),
           lambda lib, layer, x: layer(x, x, x, key_padding_mask=_padding(lib))[0])
_attention("layer_of_other_features", lambda nn, kind: nn.MultiheadAttention(
               8, 4, bias=False, kdim=3, vdim=5, batch_first=True, dtype=kind), (3, 4, 8),
           lambda lib, layer, x: layer(x, x[..., :3], x[..., 3:], need_weights=False)[0], np.float64)
_attention("encoder", lambda nn, kind: nn.TransformerEncoderLayer(
               8, 2, 6, 0.0, "gelu", batch_first=True, norm_first=True, dtype=kind), (3, 4, 8),
           lambda lib, layer, x: layer(x, src_key_padding_mask=_padding(lib)))
_attention("transformer", lambda nn, kind: nn.Transformer(
               4, 2, 1, 1, 6, 0.0, batch_first=True, layer_norm_eps=1e-3, bias=False, dtype=kind,
               custom_encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(
                   4, 2, 6, 0.0, batch_first=True, dtype=kind), 2)), (3, 4, 4),
           lambda lib, layer, x: layer(x, x, tgt_mask=lib.nn.Transformer.generate_square_subsequent_mask(
               4, dtype=x.dtype), memory_key_padding_mask=_padding(lib).to(x.dtype) * -9), np.float64)
