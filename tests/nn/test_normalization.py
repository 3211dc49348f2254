"""Normalisation and dropout layers: state, modes, errors, fusion in Sequential, second derivatives, random draws."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from comparison import as_array, check_gradient
from helpers import no_launch

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import launcher

F = nn.functional


def numbers(*shape: int, seed: int = 0, kind: Any = np.float32) -> np.ndarray:
    return (2 * np.random.default_rng([seed, *shape]).standard_normal(shape) + 0.5).astype(kind)


# -- Both libraries ---------------------------------------------------------------------------


def test_state(lib):
    layer = lib.nn.BatchNorm1d(3)
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.num_batches_tracked.dtype is lib.int64
    assert layer.num_batches_tracked.shape == ()
    layer(lib.tensor(numbers(4, 3)))
    layer(lib.tensor(numbers(4, 3)))
    assert layer.num_batches_tracked.item() == 2
    layer.eval()(lib.tensor(numbers(4, 3)))
    assert layer.num_batches_tracked.item() == 2
    other = lib.nn.BatchNorm1d(3)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(as_array(other.running_var), as_array(layer.running_var))
    assert other.num_batches_tracked.item() == 2
    layer.reset_running_stats()
    assert (layer.num_batches_tracked.item(), layer.running_var.tolist()) == (0, [1.0] * 3)
    plain = lib.nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    assert list(plain.state_dict()) == []
    assert plain.running_mean is plain.weight is plain.num_batches_tracked is None
    assert list(lib.nn.LayerNorm((2, 3)).state_dict()) == ["weight", "bias"]
    assert list(lib.nn.RMSNorm(3).state_dict()) == ["weight"]
    assert list(lib.nn.GroupNorm(1, 3, affine=False).state_dict()) == []
    assert list(lib.nn.InstanceNorm1d(3).state_dict()) == []


def test_copies():
    for made in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        layer = nn.BatchNorm1d(3)
        twin = made(layer)
        layer(fastnn.tensor(numbers(4, 3)))
        assert twin.num_batches_tracked.item() == 0
        assert twin.running_mean.tolist() == [0, 0, 0]


def test_texts(lib):
    n = lib.nn
    assert [repr(m) for m in (
        n.BatchNorm1d(4), n.BatchNorm1d(4, momentum=None, affine=False), n.LayerNorm(3),
        n.LayerNorm([2, 3], bias=False), n.RMSNorm(3), n.GroupNorm(2, 4), n.InstanceNorm1d(2), n.Dropout(),
        n.AlphaDropout(0.2, inplace=True),
        n.FeatureAlphaDropout(), n.Dropout1d(0.1),
    )] == [
        "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        "BatchNorm1d(4, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=True)",
        "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)",
        "LayerNorm((2, 3), eps=1e-05, elementwise_affine=True, bias=False)",
        "RMSNorm((3,), eps=None, elementwise_affine=True)",
        "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)",
        "InstanceNorm1d(2, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)",
        "Dropout(p=0.5, inplace=False)",
        "AlphaDropout(p=0.2, inplace=True)",
        "FeatureAlphaDropout(p=0.5, inplace=False)",
        "Dropout1d(p=0.1, inplace=False)",
    ]  # fmt: skip


ERRORS: dict[str, tuple[type, Any]] = {
    "one row": (ValueError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(1, 3))),
    "one row and position": (ValueError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(1, 3, 1))),
    "one row, function": (
        ValueError, lambda lib: lib.nn.functional.batch_norm(lib.zeros(1, 3), None, None, training=True)
    ),
    "one dimension": (ValueError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(3))),
    "four dimensions": (ValueError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(2, 3, 2, 2))),
    "features": (RuntimeError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(2, 4))),
    "features, evaluation": (RuntimeError, lambda lib: lib.nn.BatchNorm1d(3).eval()(lib.zeros(2, 4))),
    "features, not affine": (RuntimeError, lambda lib: lib.nn.BatchNorm1d(3, affine=False)(lib.zeros(2, 4))),
    "integers": (RuntimeError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(2, 3, dtype=lib.int64))),
    "float64": (RuntimeError, lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(2, 3, dtype=lib.float64))),
    "no statistics": (RuntimeError, lambda lib: lib.nn.functional.batch_norm(lib.zeros(2, 3), None, None)),
    "eps 0": (ValueError, lambda lib: lib.nn.functional.batch_norm(lib.zeros(2, 3), None, None, training=True, eps=0)),
    "eps": (ValueError, lambda lib: lib.nn.BatchNorm1d(3, eps=-1).eval()(lib.zeros(2, 3))),
    "normalized shape": (RuntimeError, lambda lib: lib.nn.LayerNorm(3)(lib.zeros(2, 4))),
    "normalized shape, too long": (RuntimeError, lambda lib: lib.nn.LayerNorm((2, 3))(lib.zeros(3))),
    "no normalized shape": (RuntimeError, lambda lib: lib.nn.functional.layer_norm(lib.zeros(3), ())),
    "weight": (RuntimeError, lambda lib: lib.nn.functional.layer_norm(lib.zeros(2, 3), (3,), lib.zeros(2))),
    "layer norm of integers": (RuntimeError, lambda lib: lib.nn.LayerNorm(3)(lib.zeros(2, 3, dtype=lib.int64))),
    "rms norm": (RuntimeError, lambda lib: lib.nn.RMSNorm(3)(lib.zeros(2, 4))),
    "groups": (ValueError, lambda lib: lib.nn.GroupNorm(2, 3)),
    "group norm": (RuntimeError, lambda lib: lib.nn.functional.group_norm(lib.zeros(2, 3), 2)),
    "group norm of one number": (ValueError, lambda lib: lib.nn.functional.group_norm(lib.zeros(1, 2), 2)),
    "group norm, one dimension": (RuntimeError, lambda lib: lib.nn.functional.group_norm(lib.zeros(4), 2)),
    "instance norm of one position": (ValueError, lambda lib: lib.nn.InstanceNorm1d(3)(lib.zeros(2, 3, 1))),
    "instance norm, dimensions": (ValueError, lambda lib: lib.nn.InstanceNorm1d(3)(lib.zeros(3))),
    "instance norm, features": (ValueError, lambda lib: lib.nn.InstanceNorm1d(3, affine=True)(lib.zeros(2, 4, 5))),
    "probability": (ValueError, lambda lib: lib.nn.Dropout(1.1)),
    "probability below 0": (ValueError, lambda lib: lib.nn.AlphaDropout(-0.1)),
    "probability, function": (ValueError, lambda lib: lib.nn.functional.dropout(lib.zeros(2), 1.1, training=False)),
    "dropout1d": (RuntimeError, lambda lib: lib.nn.Dropout1d()(lib.zeros(2))),
    "feature dropout": (RuntimeError, lambda lib: lib.nn.FeatureAlphaDropout()(lib.ones(2))),
    "dropout of integers": (RuntimeError, lambda lib: lib.nn.Dropout()(lib.zeros(2, dtype=lib.int64))),
    "in place on a leaf": (RuntimeError, lambda lib: lib.nn.Dropout(inplace=True)(lib.ones(2, requires_grad=True))),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(lib, name):
    kind, call = ERRORS[name]
    with pytest.raises(kind):
        call(lib)


def test_only_the_count_changes_before_an_error(lib):
    layer = lib.nn.BatchNorm1d(3)
    for wrong in (lib.zeros(1, 3), lib.zeros(2, 4), lib.zeros(2, 3).double(), lib.zeros(2, 3).long()):
        with no_launch(), pytest.raises((ValueError, TypeError, RuntimeError)):
            layer(wrong)
    assert layer.num_batches_tracked.item() == 4
    with pytest.raises(ValueError, match="2D or 3D"):
        layer(lib.zeros(3))
    layer.eval()
    with pytest.raises((ValueError, RuntimeError)):
        layer(lib.zeros(2, 4))
    assert layer.num_batches_tracked.item() == 4
    assert layer.running_var.tolist() == [1, 1, 1]


def test_empty_batches(lib):
    layer = lib.nn.BatchNorm1d(3)
    x = lib.zeros(0, 3, requires_grad=True)
    assert layer.eval()(x).shape == (0, 3)
    out = layer.train()(x)
    assert out.shape == (0, 3)
    out.sum().backward()
    assert x.grad.shape == (0, 3)
    assert layer.weight.grad.tolist() == [0, 0, 0]
    assert lib.nn.LayerNorm(3)(lib.zeros(0, 3)).shape == (0, 3)
    assert lib.nn.Dropout()(lib.zeros(0)).shape == (0,)


def test_dropout_is_the_identity(lib):
    x = lib.ones(5, 3)
    for kind in ("Dropout", "AlphaDropout", "FeatureAlphaDropout"):
        assert getattr(lib.nn, kind)().eval()(x) is x
        assert getattr(lib.nn, kind)(0.0)(x) is x
    assert lib.nn.functional.dropout(x, training=False) is x
    assert lib.nn.functional.alpha_dropout(x) is x
    assert lib.nn.functional.dropout(x, 1.0).tolist() == lib.zeros(5, 3).tolist()


def test_frozen_and_in_evaluation(lib):
    """A layer in evaluation mode during training, as in fine-tuning; one with frozen parameters."""
    layer = lib.nn.BatchNorm1d(3).eval()
    x = lib.tensor(numbers(4, 3), requires_grad=True)
    layer.running_mean.fill_(0.5)
    out = layer(x)
    out.sum().backward()
    np.testing.assert_allclose(as_array(x.grad), 1 / np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(as_array(layer.weight.grad), as_array((x - 0.5).sum(0)), rtol=1e-5)
    layer.weight.requires_grad_(False)
    layer.zero_grad()
    layer.train()(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [4, 4, 4]


def test_statistics_without_tracking(lib):
    layer = lib.nn.BatchNorm1d(3)
    layer.track_running_stats = False
    layer(lib.tensor(numbers(4, 3)))
    assert (layer.num_batches_tracked.item(), layer.running_mean.tolist()) == (0, [0, 0, 0])
    x = lib.tensor(numbers(4, 3))
    mean, var = lib.zeros(3), lib.ones(3)
    out = lib.nn.functional.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(as_array(mean), as_array(x.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(as_array(out).std(0), 1, rtol=1e-4)


def test_import_paths(lib):
    for path, name in (("batchnorm", "BatchNorm1d"), ("dropout", "AlphaDropout"), ("normalization", "LayerNorm"),
                       ("instancenorm", "InstanceNorm1d")):  # fmt: skip
        assert getattr(getattr(lib.nn.modules, path), name) is getattr(lib.nn, name)


# -- fastnn -----------------------------------------------------------------------------------


def launches(call: Any) -> list[str]:
    found: list[str] = []
    with launcher.recording(lambda kernel, *_: found.append(kernel.name.split(".")[0])):
        call()
    return found


def sequence(*layers: Any) -> nn.Sequential:
    return nn.Sequential(*layers)


FUSED = {
    "batch_norm": lambda: [nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3)],
    "batch_norm_gelu": lambda: [nn.BatchNorm1d(6), nn.GELU(), nn.Dropout(0.3)],
    "batch_norm_alone": lambda: [nn.BatchNorm1d(6), nn.Dropout(0.3)],
    "layer_norm": lambda: [nn.LayerNorm(6), nn.ReLU(), nn.Dropout(0.3)],
    "layer_norm_tanh": lambda: [nn.LayerNorm(6), nn.Tanh()],
}


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_fused_gives_what_one_after_the_other_gives(name, mode):
    layers = FUSED[name]()
    for layer in layers:
        getattr(layer, mode)()
    x = [fastnn.tensor(numbers(50, 6), requires_grad=True) for _ in range(2)]
    twins = copy.deepcopy(layers)
    model = sequence(*layers)
    fastnn.manual_seed(3)
    assert len(launches(lambda: model(x[0]))) == 1
    model = sequence(*copy.deepcopy(twins))
    fastnn.manual_seed(3)
    fused = model(x[0])
    fastnn.manual_seed(3)
    out = x[1]
    for layer in twins:
        out = layer(out)
    rounding = {"rtol": 2e-6, "atol": 2e-6}
    np.testing.assert_array_equal(as_array(fused) == 0, as_array(out) == 0)
    np.testing.assert_allclose(as_array(fused), as_array(out), **rounding)
    for result in (fused, out):
        result.backward(fastnn.tensor(numbers(50, 6, seed=1)))
    np.testing.assert_allclose(as_array(x[0].grad), as_array(x[1].grad), **rounding)
    for ours, theirs in zip(model[0].parameters(), twins[0].parameters(), strict=True):
        np.testing.assert_allclose(as_array(ours.grad), as_array(theirs.grad), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(model[0].buffers(), twins[0].buffers(), strict=True):
        np.testing.assert_array_equal(as_array(ours), as_array(theirs))


def test_what_is_not_fused():
    x = fastnn.tensor(numbers(8, 6))

    class Loud(nn.ReLU):
        def forward(self, input: Any) -> Any:
            return super().forward(input) + 100

    class Mine(nn.BatchNorm1d):
        def forward(self, input: Any) -> Any:
            return super().forward(input) - 100

    assert as_array(sequence(nn.BatchNorm1d(6), Loud())(x)).min() >= 100
    assert as_array(sequence(Mine(6), nn.ReLU())(x)).max() == 0
    seen: list[str] = []
    for at in range(3):
        model = sequence(nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        model[at].register_forward_hook(lambda module, args, out: seen.append(type(module).__name__))
        model(x)
    assert seen == ["BatchNorm1d", "ReLU", "Dropout"]
    # A subclass without a forward of its own is fused as its base.
    class Same(nn.BatchNorm1d):
        pass

    assert launches(lambda: sequence(Same(6), nn.ReLU())(x)) == ["batch_norm_forward"]


def test_more_dimensions_are_fused_without_dropout():
    x = fastnn.tensor(numbers(8, 6, 3))
    model = sequence(nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
    assert launches(lambda: model(x)) == ["batch_norm_forward", "dropout"]
    assert model(x).shape == x.shape
    assert launches(lambda: sequence(nn.LayerNorm(3), nn.ReLU(), nn.Dropout(0.5))(x)) == ["layer_norm_forward"]


def test_evaluation_is_one_pass():
    model = sequence(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5)).eval()
    found = launches(lambda: model(fastnn.tensor(numbers(8, 5))))
    assert [name for name in found if "norm" in name] == ["batch_norm_forward"]
    assert "dropout" not in found


def test_two_forwards_before_one_backward():
    model = sequence(nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
    x = [fastnn.tensor(numbers(8, 6, seed=s), requires_grad=True) for s in range(2)]
    fastnn.manual_seed(0)
    first = model(x[0])
    (first.sum() + model(x[1]).sum()).backward()
    alone = copy.deepcopy(x[0].detach()).requires_grad_()
    fastnn.manual_seed(0)
    model(alone).sum().backward()
    np.testing.assert_array_equal(as_array(x[0].grad), as_array(alone.grad))


def test_input_changed_in_place():
    layer = nn.BatchNorm1d(3)
    x = fastnn.tensor(numbers(4, 3), requires_grad=True) * 1
    out = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("build", [
    lambda: nn.BatchNorm1d(3, dtype=fastnn.float64), lambda: nn.BatchNorm1d(3, dtype=fastnn.float64).eval(),
    lambda: nn.LayerNorm(3, dtype=fastnn.float64), lambda: nn.RMSNorm(3, dtype=fastnn.float64),
    lambda: nn.GroupNorm(1, 3, dtype=fastnn.float64), lambda: nn.Dropout(0.4), lambda: nn.AlphaDropout(0.4),
    lambda: sequence(nn.BatchNorm1d(3, dtype=fastnn.float64), nn.Tanh(), nn.Dropout(0.4)),
    lambda: sequence(nn.LayerNorm(3, dtype=fastnn.float64), nn.GELU(), nn.Dropout(0.4)),
])  # fmt: skip
def test_first_and_second_derivatives(build):
    module = build()
    x = numbers(7, 3, kind=np.float64)

    def seeded(t: Any) -> Any:
        fastnn.manual_seed(5)
        return module(t)

    check_gradient(seeded, x)
    weights = fastnn.tensor(numbers(7, 3, seed=9, kind=np.float64))

    def gradient(t: Any) -> Any:
        t = t if t.requires_grad else t.requires_grad_()
        return fastnn.autograd.grad((seeded(t) ** 2 * weights).sum(), t, create_graph=True)[0]

    check_gradient(gradient, x)


def test_first_derivative_agrees_with_and_without_create_graph():
    model = sequence(nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.4))
    x = fastnn.tensor(numbers(7, 3), requires_grad=True)
    out = (model(x) ** 2).sum()
    with_graph = fastnn.autograd.grad(out, [x, *model.parameters()], create_graph=True)
    without = fastnn.autograd.grad(out, [x, *model.parameters()])
    for a, b in zip(with_graph, without, strict=True):
        np.testing.assert_allclose(as_array(a), as_array(b), rtol=1e-4, atol=1e-5)


def test_not_contiguous():
    wide = fastnn.tensor(numbers(6, 10).T.copy()).t()
    for module in (nn.BatchNorm1d(10), nn.LayerNorm(10), nn.GroupNorm(2, 10)):
        expected = copy.deepcopy(module)(wide.contiguous())
        np.testing.assert_array_equal(as_array(module(wide)), as_array(expected))
    fastnn.manual_seed(0)
    expected = nn.Dropout()(wide.contiguous())
    fastnn.manual_seed(0)
    np.testing.assert_array_equal(as_array(nn.Dropout()(wide)), as_array(expected))


# -- Random draws -----------------------------------------------------------------------------


def test_seeds_name_the_draws():
    x = fastnn.ones(1000)
    fastnn.manual_seed(1)
    first, second = nn.Dropout()(x), nn.Dropout()(x)
    assert first.tolist() != second.tolist()
    fastnn.manual_seed(1)
    assert nn.Dropout()(x).tolist() == first.tolist()
    state = fastnn.get_rng_state()
    assert nn.Dropout()(x).tolist() == second.tolist()
    fastnn.set_rng_state(state)
    assert nn.Dropout()(x).tolist() == second.tolist()
    fastnn.manual_seed(2)
    assert nn.Dropout()(x).tolist() != first.tolist()


def test_evaluation_draws_nothing():
    fastnn.manual_seed(1)
    expected = nn.Dropout()(fastnn.ones(100)).tolist()
    fastnn.manual_seed(1)
    model = sequence(nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout()).eval()
    model(fastnn.ones(2, 3))
    nn.Dropout(0.0)(fastnn.ones(2, 3))
    assert nn.Dropout()(fastnn.ones(100)).tolist() == expected


@pytest.mark.parametrize("kind", ["Dropout", "AlphaDropout"])
def test_mean_and_variance(kind):
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    out = as_array(getattr(nn, kind)(0.3)(fastnn.tensor(x))).astype(np.float64)
    # The standard errors of the mean and the variance are 0.004 and 0.006.
    assert abs(out.mean()) < 0.02
    assert abs(out.var() - (1 / 0.7 if kind == "Dropout" else 1)) < 0.04


@pytest.mark.parametrize("kind", ["Dropout1d", "FeatureAlphaDropout"])
def test_channels_are_dropped_as_a_whole(kind):
    out = as_array(getattr(nn, kind)(0.5)(fastnn.ones(20, 10, 4)))
    assert (out == out[..., :1]).all()
    assert 60 < (out[..., 0] == out.max()).sum() < 140
    single = as_array(nn.Dropout1d(0.5)(fastnn.ones(200, 4)))
    assert (single == single[:, :1]).all()


def test_in_place():
    x = fastnn.ones(100)
    leaf = fastnn.ones(100, requires_grad=True)
    held = leaf * 1
    out = nn.Dropout(inplace=True)(held)
    assert out is held
    out.sum().backward()
    np.testing.assert_array_equal(as_array(leaf.grad), as_array(out))
    assert F.alpha_dropout(x, 0.5, True, True) is x
    assert len(set(x.tolist())) == 2


def test_gradient_of_dropout_is_its_mask():
    x = fastnn.ones(10, 7, requires_grad=True)
    out = F.dropout(x, 0.3)
    out.sum().backward()
    np.testing.assert_array_equal(as_array(x.grad), as_array(out))


def test_other_shapes_are_dropped_by_position():
    fastnn.manual_seed(4)
    flat = as_array(F.dropout(fastnn.ones(24), 0.3))
    fastnn.manual_seed(4)
    np.testing.assert_array_equal(as_array(F.dropout(fastnn.ones(2, 3, 4), 0.3)).reshape(-1), flat)


def test_two_and_three_dimensions_warn_as_pytorch_does(lib):
    with pytest.warns(UserWarning, match="dropout2d"):
        lib.nn.functional.dropout2d(lib.ones(2, 3))
    with pytest.warns(UserWarning, match="dropout3d"):
        lib.nn.functional.dropout3d(lib.ones(2, 3))
    assert lib.nn.Dropout2d(0.5)(lib.ones(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    assert lib.nn.Dropout3d(0.5)(lib.ones(3, 2, 4, 4)).shape == (3, 2, 4, 4)


def test_parameters_and_statistics_have_the_default_dtype(lib):
    before = lib.get_default_dtype()
    lib.set_default_dtype(lib.float64)
    try:
        layers = [lib.nn.BatchNorm1d(2), lib.nn.LayerNorm(2), lib.nn.RMSNorm(2), lib.nn.GroupNorm(1, 2)]
    finally:
        lib.set_default_dtype(before)
    for layer in layers:
        assert all(p.dtype == lib.float64 for p in layer.parameters())
    assert layers[0].running_mean.dtype == lib.float64
