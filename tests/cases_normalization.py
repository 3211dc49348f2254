"""Normalisation and dropout layers for the registry of ``cases.py``; dropout only where it is deterministic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CASES, Arrays, Case
from comparison import as_array


def _layer(
    name: str, build: Callable[[Any, Any], Any], shape: tuple[int, ...], *, kind: Any = np.float32, batches: int = 1,
    roundings: float = 24, least: float | None = None,
) -> None:
    """Batches in training, with all gradients of the last; then evaluation, if it differs; and the state."""
    modes = ("train", "eval") if name.startswith("batch_norm") or batches > 1 else ("train",)

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"x": 2 * rng.standard_normal((batches, *shape)) + 0.5, "dy": rng.standard_normal(shape)}
        made |= {"weight": rng.uniform(0.5, 2, 16), "bias": rng.standard_normal(16)}
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        module = build(lib, lib.float64 if kind is np.float64 else lib.float32)
        for part, parameter in module.named_parameters():
            values = inputs["weight" if part.endswith("weight") else "bias"]
            parameter.data.copy_(lib.tensor(np.resize(values, tuple(parameter.shape))))
        found: Arrays = {}
        for mode in modes:
            getattr(module, mode)()
            for batch in inputs["x"] if mode == "train" else inputs["x"][:1]:
                module.zero_grad()
                x = lib.tensor(batch, requires_grad=True)
                out = module(x * 1)
                out.backward(lib.tensor(inputs["dy"]))
            found |= {f"{mode}.out": as_array(out), f"{mode}.dx": as_array(x.grad)}
            found |= {f"{mode}.d.{n}": as_array(p.grad) for n, p in module.named_parameters()}
        # The number of batches is an integer and is compared exactly.
        return found | {f"state.{n}": as_array(b) for n, b in module.named_buffers()}

    CASES.append(Case("normalization", name, inputs, run, roundings, least))


def _in_sequence(first: Callable[[Any, Any], Any], *behind: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda lib, dtype: lib.nn.Sequential(first(lib, dtype), *[make(lib.nn) for make in behind])


def _batch_norm(features: int, **options: Any) -> Callable[[Any, Any], Any]:
    return lambda lib, dtype: lib.nn.BatchNorm1d(features, dtype=dtype, **options)


def _layer_norm(shape: Any, **options: Any) -> Callable[[Any, Any], Any]:
    return lambda lib, dtype: lib.nn.LayerNorm(shape, dtype=dtype, **options)


_layer("batch_norm", _batch_norm(5), (4, 5))
_layer("batch_norm_float64", _batch_norm(5), (4, 5), kind=np.float64)
_layer("batch_norm_two_rows", _batch_norm(5), (2, 5), least=1.0)
_layer("batch_norm_many_rows", _batch_norm(1), (131, 1))
_layer("batch_norm_3d", _batch_norm(3), (4, 3, 5))
_layer("batch_norm_one_sample_3d", _batch_norm(3), (1, 3, 5))
_layer("batch_norm_momentum", _batch_norm(5, momentum=0.7), (4, 5), batches=3)
_layer("batch_norm_momentum_0", _batch_norm(5, momentum=0.0), (4, 5), batches=2)
_layer("batch_norm_cumulative", _batch_norm(5, momentum=None), (4, 5), batches=3)
_layer("batch_norm_eps", _batch_norm(5, eps=0.5), (4, 5))
_layer("batch_norm_not_affine", _batch_norm(5, affine=False), (4, 5))
_layer("batch_norm_no_bias", _batch_norm(5, bias=False), (4, 5))
_layer("batch_norm_no_statistics", _batch_norm(5, track_running_stats=False), (4, 5))
for _name, _act in (("relu", lambda nn: nn.ReLU()), ("gelu", lambda nn: nn.GELU()), ("tanh", lambda nn: nn.Tanh()),
                    ("leaky", lambda nn: nn.LeakyReLU(0.2)), ("leaky_negative", lambda nn: nn.LeakyReLU(-0.2)),
                    ("sigmoid", lambda nn: nn.Sigmoid()), ("elu", lambda nn: nn.ELU())):  # fmt: skip
    _layer(f"batch_norm_{_name}", _in_sequence(_batch_norm(7), _act), (4, 7), roundings=40)
    if _name in ("relu", "gelu"):
        _layer(f"layer_norm_{_name}", _in_sequence(_layer_norm(7), _act), (4, 7), roundings=40)
_layer("batch_norm_dropout_0", _in_sequence(_batch_norm(7), lambda nn: nn.ReLU(), lambda nn: nn.Dropout(0.0)), (4, 7))
_layer("batch_norm_dropout_1", _in_sequence(_batch_norm(7), lambda nn: nn.ReLU(), lambda nn: nn.Dropout(1.0)), (4, 7))
_layer("batch_norm_relu_3d", _in_sequence(_batch_norm(3), lambda nn: nn.ReLU(), lambda nn: nn.Dropout(0)), (4, 3, 5))
_layer("layer_norm", _layer_norm(7), (3, 7))
_layer("layer_norm_float64", _layer_norm(7), (3, 7), kind=np.float64)
_layer("layer_norm_1d", _layer_norm(7), (7,))
_layer("layer_norm_two_dimensions", _layer_norm((3, 4)), (2, 3, 4))
_layer("layer_norm_many_rows", _layer_norm(2), (5, 14, 2), least=1.0)
_layer("layer_norm_not_affine", _layer_norm(7, elementwise_affine=False), (3, 7))
_layer("layer_norm_no_bias", _layer_norm([7], bias=False), (3, 7))
_layer("layer_norm_eps", _layer_norm(7, eps=0.5), (3, 7))
_layer("rms_norm", lambda lib, dtype: lib.nn.RMSNorm(7, dtype=dtype), (3, 7))
_layer("rms_norm_eps", lambda lib, dtype: lib.nn.RMSNorm([3, 4], eps=0.1, dtype=dtype), (2, 3, 4), kind=np.float64)
_layer("rms_norm_not_affine", lambda lib, dtype: lib.nn.RMSNorm(7, elementwise_affine=False), (3, 7))
_layer("group_norm", lambda lib, dtype: lib.nn.GroupNorm(2, 8, dtype=dtype), (2, 8))
_layer("group_norm_float64", lambda lib, dtype: lib.nn.GroupNorm(3, 12, dtype=dtype), (2, 12), kind=np.float64)
_layer("group_norm_3d", lambda lib, dtype: lib.nn.GroupNorm(2, 4, dtype=dtype), (3, 4, 5))
_layer("group_norm_one_group", lambda lib, dtype: lib.nn.GroupNorm(1, 6, dtype=dtype), (2, 6))
_layer("group_norm_not_affine", lambda lib, dtype: lib.nn.GroupNorm(2, 4, affine=False), (3, 4, 5))
_layer("group_norm_no_bias", lambda lib, dtype: lib.nn.GroupNorm(2, 8, bias=False), (3, 8))
_layer("instance_norm", lambda lib, dtype: lib.nn.InstanceNorm1d(3), (4, 3, 5))
_layer("instance_norm_affine", lambda lib, dtype: lib.nn.InstanceNorm1d(3, affine=True, dtype=dtype), (4, 3, 5))
_layer("instance_norm_one_sample", lambda lib, dtype: lib.nn.InstanceNorm1d(3), (3, 5))
_layer("instance_norm_statistics", lambda lib, dtype: lib.nn.InstanceNorm1d(3, track_running_stats=True), (4, 3, 5),
       batches=2)  # fmt: skip
for _kind in ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "Dropout1d"):
    for _p in (0.0, 1.0):
        _layer(f"{_kind.lower()}_{int(_p)}", lambda lib, dtype, k=_kind, p=_p: getattr(lib.nn, k)(p), (4, 3, 2))
