"""nn.utils: clipping, vectors of parameters, normalised weights, parametrisations; the same as in PyTorch."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from comparison import as_array, assert_matches

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import launcher


def net(lib: Any, kind: str = "float32") -> Any:
    """Layers with gaps in memory, fixed weights, and gradients."""
    model = lib.nn.Sequential(lib.nn.Linear(3, 256), lib.nn.ReLU(), lib.nn.Linear(256, 2)).to(getattr(lib, kind))
    rng = np.random.default_rng(0)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype(kind)))
    model(lib.tensor(rng.standard_normal((5, 3)).astype(kind))).pow(2).sum().backward()
    return model


def grads(model: Any) -> list[np.ndarray]:
    return [as_array(p.grad) for p in model.parameters()]


# -- Clipping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("p", [2.0, 1, math.inf, 3.0, 0.5, 0])
@pytest.mark.parametrize("factor", [0.3, 1.5])
def test_clip_grad_norm(lib, kind, p, factor):
    model = net(lib, kind)
    before = grads(model)
    flat = np.abs(np.concatenate([g.ravel() for g in before]).astype("f8"))
    expected = {math.inf: flat.max(), 0: 4.0}.get(p) or (flat**p).sum() ** (1 / p)
    limit = expected * factor
    total = lib.nn.utils.clip_grad_norm_(model.parameters(), limit, norm_type=p)
    assert total.dtype == getattr(lib, kind)
    assert total.item() == pytest.approx(expected, rel=1e-4 if kind == "float32" else 1e-12)
    scale = min(1.0, limit / (expected + 1e-6))
    for found, g in zip(grads(model), before, strict=True):
        np.testing.assert_allclose(found, g * scale, rtol=1e-4 if kind == "float32" else 1e-12, atol=1e-30)


def test_clip_is_two_passes_over_all_parameters():
    model = net(fastnn)
    launched: list[str] = []
    with launcher.recording(lambda kernel, *_: launched.append(kernel.name)):
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert launched == ["block_norms.float32", "scale.float32"]


def test_clip_of_gradients_in_any_order(lib):
    p, q, r = (lib.nn.Parameter(lib.zeros(2, 3)) for _ in range(3))
    p.grad = lib.tensor(np.arange(6, dtype="f4").reshape(3, 2)).t()
    q.grad = lib.ones(4, 6)[::2, ::2]
    total = lib.nn.utils.clip_grad_norm_([p, q, r], 1.0)
    assert total.item() == pytest.approx(math.sqrt(55 + 6), rel=1e-6)
    np.testing.assert_allclose(as_array(p.grad), np.arange(6).reshape(3, 2).T / math.sqrt(61), rtol=1e-5)
    np.testing.assert_allclose(as_array(q.grad), np.full((2, 3), 1 / math.sqrt(61)), rtol=1e-5)
    assert r.grad is None


def test_clip_of_one_tensor_and_of_none(lib):
    p = lib.nn.Parameter(lib.zeros(2))
    assert lib.nn.utils.clip_grad_norm_([p], 1.0).item() == 0.0
    assert lib.nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    p.grad = lib.tensor([3.0, 4.0])
    version = p.grad._version
    lib.nn.utils.clip_grad_norm_(p, 1.0, foreach=True)
    assert p.grad._version > version
    np.testing.assert_allclose(as_array(p.grad), [0.6, 0.8], rtol=1e-5)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_clip_of_what_is_not_finite(lib, wrong):
    p = lib.nn.Parameter(lib.zeros(2))
    p.grad = lib.tensor([wrong, 4.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        lib.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad[1].item() == 4.0
    total = lib.nn.utils.clip_grad_norm_(p, 1.0)
    np.testing.assert_array_equal(total.item(), wrong)
    np.testing.assert_array_equal(as_array(p.grad), [math.nan, math.nan if math.isnan(wrong) else 0.0])


def test_clip_grad_value(lib):
    model = net(lib)
    before = grads(model)
    lib.nn.utils.clip_grad_value_(model.parameters(), 0.5)
    for found, g in zip(grads(model), before, strict=True):
        np.testing.assert_array_equal(found, g.clip(-0.5, 0.5))
    p = lib.nn.Parameter(lib.zeros(2))
    p.grad = lib.tensor([math.nan, -math.inf])
    lib.nn.utils.clip_grad_value_(p, 2)
    np.testing.assert_array_equal(as_array(p.grad), [math.nan, -2])


def test_total_norm(lib):
    tensors = [lib.tensor([3.0]), lib.tensor([[4.0, 12.0]]).t()]
    assert lib.nn.utils.get_total_norm(tensors).item() == 13.0
    assert lib.nn.utils.get_total_norm(tensors, math.inf).item() == 12.0
    p = lib.nn.Parameter(lib.zeros(1))
    p.grad = lib.tensor([26.0])
    lib.nn.utils.clip_grads_with_norm_([p], 1.0, lib.tensor(13.0))
    assert p.grad.item() == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_gradient_that_is_not_finite_does_not_stay_in_the_norms(lib, value):
    """Parameters are neighbours in memory with zeros between them, which NaN must not replace."""
    model = lib.nn.Linear(3, 2)

    def norm():
        model.zero_grad()
        model(lib.ones(4, 3)).sum().backward()
        return lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()

    before = norm()
    model.zero_grad()
    model(lib.ones(4, 3)).sum().backward()
    model.weight.grad[0, 0] = value
    lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert np.isnan(model.weight.grad[0, 0].item())
    assert np.isnan(model.bias.grad[0].item()) == np.isnan(value)
    assert norm() == before


def test_old_name_of_clip(lib):
    p = lib.nn.Parameter(lib.zeros(1))
    with pytest.warns(FutureWarning, match="deprecated"):
        lib.nn.utils.clip_grad_norm(p, 1.0)


def test_training_goes_on_after_clipping():
    """The gradients keep their memory, and the next step accumulates there."""
    model = net(fastnn)
    optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert all(p.grad._data is p._grad_place for p in model.parameters())
    before = [as_array(p) for p in model.parameters()]
    held = grads(model)
    optimizer.step()
    for p, b, g in zip(model.parameters(), before, held, strict=True):
        np.testing.assert_allclose(as_array(p), b - np.float32(0.1) * g, rtol=1e-6, atol=1e-7)


# -- Vectors ----------------------------------------------------------------------------------


def test_parameters_as_a_vector(lib):
    model = net(lib)
    vector = lib.nn.utils.parameters_to_vector(model.parameters())
    np.testing.assert_array_equal(as_array(vector), np.concatenate([as_array(p).ravel() for p in model.parameters()]))
    for p in model.parameters():
        p.grad = None
    (vector * vector).sum().backward()
    np.testing.assert_allclose(as_array(model[0].weight.grad), 2 * as_array(model[0].weight), rtol=1e-6)
    held = model[2].bias
    lib.nn.utils.vector_to_parameters(vector.detach() * 2, model.parameters())
    assert model[2].bias is held
    again = lib.nn.utils.parameters_to_vector(model.parameters())
    np.testing.assert_array_equal(as_array(again), 2 * as_array(vector))
    with pytest.raises(TypeError):
        lib.nn.utils.vector_to_parameters([1.0], model.parameters())
    with pytest.raises(RuntimeError):
        lib.nn.utils.vector_to_parameters(vector.detach()[:-1], model.parameters())


# -- Normalised weights -------------------------------------------------------------------------


def same_layer(lib: Any, fan_in: int = 4, fan_out: int = 3) -> Any:
    layer = lib.nn.Linear(fan_in, fan_out)
    rng = np.random.default_rng(0)
    layer.load_state_dict({n: lib.tensor(rng.standard_normal(tuple(t.shape)).astype("f4"))
                           for n, t in layer.state_dict().items()})  # fmt: skip
    return layer


def gradients(lib: Any, layer: Any) -> dict[str, np.ndarray]:
    x = lib.tensor(np.random.default_rng(1).standard_normal((5, 4)).astype("f4"))
    layer.zero_grad()
    out = layer(x)
    (out * out).sum().backward()
    return {"out": as_array(out)} | {n: as_array(p.grad) for n, p in layer.named_parameters()}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(lib, dim):
    layer = same_layer(lib)
    w, expected = as_array(layer.weight), gradients(lib, layer)
    assert lib.nn.utils.weight_norm(layer, dim=dim) is layer
    assert sorted(n for n, _ in layer.named_parameters()) == ["bias", "weight_g", "weight_v"]
    assert not isinstance(layer.weight, lib.nn.Parameter)
    found = gradients(lib, layer)
    np.testing.assert_allclose(found["out"], expected["out"], rtol=1e-5)
    # The gradient by the formula of the paper.
    axis = {0: 1, 1: 0}.get(dim)
    norm = np.sqrt((w * w).sum(axis, keepdims=axis is not None))
    dg = (expected["weight"] * w / norm).sum(axis, keepdims=axis is not None)
    np.testing.assert_allclose(found["weight_g"], dg, rtol=1e-4)
    np.testing.assert_allclose(found["weight_v"], expected["weight"] - dg * w / norm, rtol=1e-4, atol=1e-4)
    with lib.no_grad():
        layer.weight_g *= 2
    out = layer(lib.zeros(1, 4))
    np.testing.assert_allclose(as_array(layer.weight), 2 * w, rtol=1e-5)
    assert out.shape == (1, 3)
    with pytest.raises(RuntimeError, match="two weight_norm hooks"):
        lib.nn.utils.weight_norm(layer)
    lib.nn.utils.remove_weight_norm(layer)
    assert isinstance(layer.weight, lib.nn.Parameter)
    np.testing.assert_allclose(as_array(layer.weight), 2 * w, rtol=1e-5)
    with pytest.raises(ValueError, match="not found"):
        lib.nn.utils.remove_weight_norm(layer)


def test_spectral_norm(lib):
    layer = same_layer(lib)
    w = as_array(layer.weight)
    lib.nn.utils.spectral_norm(layer, n_power_iterations=30)
    assert sorted(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    gradients(lib, layer)
    sigma = np.linalg.svd(w)[1][0]
    np.testing.assert_allclose(as_array(layer.weight), w / sigma, rtol=1e-3)
    assert layer.weight_orig.grad is not None
    layer.eval()
    u = as_array(layer.weight_u)
    layer(lib.zeros(1, 4))
    np.testing.assert_array_equal(as_array(layer.weight_u), u)
    with pytest.raises(RuntimeError, match="two spectral_norm hooks"):
        lib.nn.utils.spectral_norm(layer)
    lib.nn.utils.remove_spectral_norm(layer)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="not found"):
        lib.nn.utils.remove_spectral_norm(layer)
    with pytest.raises(ValueError, match="n_power_iterations"):
        lib.nn.utils.spectral_norm(layer, n_power_iterations=0)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_parametrized_weight_norm(lib, dim):
    layer = same_layer(lib)
    w, expected = as_array(layer.weight), gradients(lib, layer)
    lib.nn.utils.parametrizations.weight_norm(layer, dim=dim)
    assert [n for n, _ in layer.named_parameters()] == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1"
    ]  # fmt: skip
    found = gradients(lib, layer)
    np.testing.assert_allclose(found["out"], expected["out"], rtol=1e-5)
    assert found["parametrizations.weight.original1"].shape == w.shape
    lib.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    np.testing.assert_allclose(as_array(layer.weight), w, rtol=1e-5)
    assert type(layer) is lib.nn.Linear


def test_parametrized_spectral_norm(lib):
    layer = same_layer(lib)
    w = as_array(layer.weight)
    lib.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=5)
    gradients(lib, layer)
    np.testing.assert_allclose(np.linalg.svd(as_array(layer.weight))[1][0], 1, rtol=1e-3)
    assert sorted(layer.state_dict()) == [
        "bias", "parametrizations.weight.0._u", "parametrizations.weight.0._v", "parametrizations.weight.original"
    ]  # fmt: skip
    layer.eval()
    np.testing.assert_array_equal(as_array(layer.weight), as_array(layer.weight))
    lib.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    np.testing.assert_array_equal(as_array(layer.weight), w)


@pytest.mark.parametrize("fan_out", [3, 4, 6])
def test_orthogonal(lib, fan_out):
    layer = same_layer(lib, 4, fan_out)
    lib.nn.utils.parametrizations.orthogonal(layer)
    optimizer = lib.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(3):
        gradients(lib, layer)
        optimizer.step()
        w = as_array(layer.weight)
        product = w @ w.T if fan_out <= 4 else w.T @ w
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


def test_gradient_of_the_orthogonal_weight():
    from comparison import check_gradient

    from fastnn.nn.utils.parametrizations import _gram_schmidt

    x = np.random.default_rng(0).standard_normal((5, 3))
    check_gradient(_gram_schmidt, x)


def test_gradients_of_normalised_weights_are_pytorchs(lib):
    """The norms of the gradients by each part of a weight are the recorded ones, in both libraries."""
    layer = same_layer(lib)
    lib.nn.utils.parametrizations.weight_norm(layer)
    found = gradients(lib, layer)
    w, g = as_array(layer.parametrizations.weight.original1), found["parametrizations.weight.original1"]
    # The gradient by the direction is orthogonal to it.
    np.testing.assert_allclose((w * g).sum(1), 0, atol=1e-4)
    assert_matches(as_array(layer.parametrizations.weight.original0)[:, 0], np.linalg.norm(w, axis=1), 4)


# -- Parametrisations ---------------------------------------------------------------------------


def symmetric_of(lib: Any) -> Any:
    class Symmetric(lib.nn.Module):
        def forward(self, w: Any) -> Any:
            return w.triu() + w.triu(1).t()

        def right_inverse(self, w: Any) -> Any:
            return w.triu()

    return Symmetric()


def test_parametrization(lib):
    P = lib.nn.utils.parametrize
    layer = lib.nn.Linear(3, 3)
    assert not P.is_parametrized(layer)
    P.register_parametrization(layer, "weight", symmetric_of(lib))
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, lib.nn.Linear)
    assert P.is_parametrized(layer)
    assert P.is_parametrized(layer, "weight")
    assert not P.is_parametrized(layer, "bias")
    assert P.type_before_parametrizations(layer) is lib.nn.Linear
    w = as_array(layer.weight)
    np.testing.assert_array_equal(w, w.T)
    layer(lib.ones(2, 3)).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None
    new = np.random.default_rng(0).standard_normal((3, 3)).astype("f4")
    with pytest.raises(KeyError, match="already exists"):
        layer.weight = lib.nn.Parameter(lib.tensor(new))
    layer.weight = lib.tensor(new + new.T)
    np.testing.assert_array_equal(as_array(layer.weight), new + new.T)
    twin = copy.deepcopy(layer)
    np.testing.assert_array_equal(as_array(twin.weight), new + new.T)
    assert twin.parametrizations.weight.original is not layer.parametrizations.weight.original
    twin.load_state_dict(layer.state_dict())
    model = lib.nn.Sequential(layer, lib.nn.ReLU())
    expected = np.maximum((new + new.T).sum(1) + as_array(layer.bias), 0)
    np.testing.assert_allclose(as_array(model(lib.ones(1, 3)))[0], expected, rtol=1e-4, atol=1e-5)
    P.remove_parametrizations(layer, "weight")
    assert type(layer) is lib.nn.Linear
    assert isinstance(layer.weight, lib.nn.Parameter)
    np.testing.assert_array_equal(as_array(layer.weight), new + new.T)


def test_chain_of_parametrizations(lib):
    class Doubled(lib.nn.Module):
        def forward(self, w: Any) -> Any:
            return 2 * w

        def right_inverse(self, w: Any) -> Any:
            return w / 2

    P = lib.nn.utils.parametrize
    layer = lib.nn.Linear(3, 3)
    w = as_array(layer.weight)
    upper = np.triu(w) + np.triu(w, 1).T
    P.register_parametrization(layer, "weight", Doubled())
    np.testing.assert_array_equal(as_array(layer.weight), w)
    P.register_parametrization(layer, "weight", symmetric_of(lib))
    assert len(layer.parametrizations.weight) == 2
    np.testing.assert_array_equal(as_array(layer.weight), upper)
    with P.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    P.remove_parametrizations(layer, "weight", leave_parametrized=False)
    np.testing.assert_allclose(as_array(layer.weight), w / 2, rtol=1e-6)


def test_parametrized_buffer(lib):
    P, module = lib.nn.utils.parametrize, lib.nn.Module()
    module.register_buffer("table", lib.ones(2, 2))
    P.register_parametrization(module, "table", symmetric_of(lib))
    assert module.table.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert [n for n, _ in module.named_buffers()] == ["parametrizations.table.original"]
    P.remove_parametrizations(module, "table")
    assert module.table.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_wrong_parametrizations(lib):
    class Row(lib.nn.Module):
        def forward(self, w: Any) -> Any:
            return w[0]

    P, layer = lib.nn.utils.parametrize, lib.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="may not change the"):
        P.register_parametrization(layer, "weight", Row())
    assert type(layer) is lib.nn.Linear
    assert isinstance(layer.weight, lib.nn.Parameter)
    with pytest.raises(ValueError, match="does not have a parameter"):
        P.register_parametrization(layer, "nothing", Row())
    with pytest.raises(ValueError, match="does not have a parametrization"):
        P.remove_parametrizations(layer, "weight")
    P.register_parametrization(layer, "weight", Row(), unsafe=True)
    assert layer.weight.shape == (2,)


def test_a_parametrized_module_is_not_pickled(lib):
    import pickle

    layer = lib.nn.utils.parametrizations.weight_norm(lib.nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)


# -- Fusion -----------------------------------------------------------------------------------


def test_weights_of_a_layer_and_its_normalisation(lib):
    from importlib import import_module

    fusion = import_module(f"{lib.__name__}.nn.utils.fusion")
    rng = np.random.default_rng(0)
    w, b, mean, scale, shift = (lib.tensor(rng.standard_normal(s).astype("f4")) for s in ((3, 4), 3, 3, 3, 3))
    variance = lib.tensor(rng.uniform(0.5, 2, 3).astype("f4"))
    weight, bias = fusion.fuse_linear_bn_weights(w, b, mean, variance, 1e-5, scale, shift)
    x = lib.tensor(rng.standard_normal((5, 4)).astype("f4"))
    expected = (lib.nn.functional.linear(x, w, b) - mean) / (variance + 1e-5).sqrt() * scale + shift
    found = lib.nn.functional.linear(x, weight, bias)
    np.testing.assert_allclose(as_array(found), as_array(expected), rtol=1e-4, atol=1e-5)


def test_skip_init(lib):
    assert lib.nn.utils.skip_init(lib.nn.Linear, 2, 3).weight.shape == (3, 2)
