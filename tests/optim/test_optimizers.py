"""Optimizers: groups, missing and user-supplied gradients, saving, copying and resuming state."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS
from comparison import as_array

import fastnn
from fastnn.kernels.runtime import compiler, launcher

SHAPES = [(3, 4), (5,), (256, 2), ()]


def parameters(lib: Any, seed: int = 0) -> list[Any]:
    """Neighbours in fastnn's buffer."""
    rng = np.random.default_rng(seed)
    made = [lib.nn.Parameter(lib.tensor(rng.standard_normal(s).astype("f4"))) for s in SHAPES]
    layer = lib.nn.Linear(2, 256)
    layer.load_state_dict({n: lib.tensor(rng.standard_normal(p.shape).astype("f4"))
                           for n, p in layer.named_parameters()})  # fmt: skip
    return [*made, *layer.parameters()]


def set_gradients(lib: Any, params: list[Any], step: int) -> None:
    rng = np.random.default_rng(100 + step)
    for p in params:
        p.grad = lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4"))


def make(lib: Any, name: str, params: Any) -> Any:
    kind, options = OPTIMIZERS[name]
    return getattr(lib.optim, kind)(params, **options)


def run(lib: Any, optimizer: Any, params: list[Any], steps: range) -> None:
    for step in steps:
        set_gradients(lib, params, step)
        optimizer.step()


def values(params: Any) -> list[np.ndarray]:
    return [as_array(p) for p in params]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f, e)


def trained(lib: Any, name: str, steps: int) -> list[np.ndarray]:
    params = parameters(lib)
    run(lib, make(lib, name, params), params, range(steps))
    return values(params)


# -- Which parameters, which gradients -----------------------------------------------------------


def test_first_steps_by_hand(lib):
    p = lib.nn.Parameter(lib.tensor([1.0, 2.0]))
    optimizer = lib.optim.SGD([p], lr=0.5, momentum=0.5)
    for expected in ([0.5, 1.0], [-0.25, -0.5], [-1.125, -2.25]):
        p.grad = lib.tensor([1.0, 2.0])
        optimizer.step()
        assert p.tolist() == expected
    # The first step of Adam is lr, whatever the gradient's size.
    q = lib.nn.Parameter(lib.tensor([1.0, -1.0]))
    q.grad = lib.tensor([1e-3, -1e3])
    lib.optim.Adam([q], lr=0.25).step()
    np.testing.assert_allclose(as_array(q), [0.75, -0.75], rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "sgd_dampening", "adam", "adam_amsgrad"])
def test_parameter_without_gradient_is_skipped(lib, name):
    """Its numbers, its state and its count of steps do not change."""
    params = parameters(lib)
    optimizer = make(lib, name, params)
    schedule = [{0, 1, 2, 3, 4, 5}, {1, 4}, {0, 1, 2, 4, 5}, {0, 5}, {2, 3}, {0, 1, 2, 3, 4, 5}]
    seen: list[list[int]] = [[] for _ in params]
    for step, present in enumerate(schedule):
        before = values(params)
        set_gradients(lib, params, step)
        for i, p in enumerate(params):
            if i in present:
                seen[i].append(step)
            else:
                p.grad = None
        optimizer.step()
        for i, p in enumerate(params):
            assert np.array_equal(as_array(p), before[i]) == (i not in present)
    # Each has the value of a parameter trained alone, with the same steps.
    for i, steps in enumerate(seen):
        alone = parameters(lib)
        lonely = make(lib, name, [alone[i]])
        for step in steps:
            set_gradients(lib, alone, step)
            lonely.step()
        np.testing.assert_array_equal(as_array(alone[i]), as_array(params[i]))
        if name.startswith("adam"):
            assert int(optimizer.state[params[i]]["step"]) == len(steps)


def test_no_gradient_at_all(lib):
    params = parameters(lib)
    optimizer = make(lib, "adam", params)
    before = values(params)
    optimizer.step()
    assert_equal(values(params), before)
    assert optimizer.state_dict()["state"] == {}


def test_frozen_and_thawed(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Linear(3, 1))
    model[0].requires_grad_(False)
    optimizer = lib.optim.Adam(model.parameters(), lr=0.1)
    before = values(model.parameters())
    model(lib.ones(1, 2)).sum().backward()
    optimizer.step()
    after = values(model.parameters())
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    model[0].requires_grad_(True)
    optimizer.zero_grad()
    model(lib.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not np.array_equal(values(model.parameters())[0], before[0])
    assert [int(s["step"]) for s in optimizer.state_dict()["state"].values()] in ([2, 2, 1, 1], [1, 1, 2, 2])


def test_groups(lib):
    a, b, c = (lib.nn.Parameter(lib.ones(2)) for _ in range(3))
    optimizer = lib.optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": iter([c]), "weight_decay": 1.0})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.1]
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 1, 1]
    for p in (a, b, c):
        p.grad = lib.tensor([1.0, 1.0])
    optimizer.step()
    np.testing.assert_allclose([p[0].item() for p in (a, b, c)], [0.9, 0.5, 0.8], rtol=1e-6)
    optimizer.param_groups[0]["lr"] = 0.9
    optimizer.step()
    np.testing.assert_allclose([p[0].item() for p in (a, b, c)], [0.0, 0.0, 0.62], atol=1e-6)


def test_a_group_is_the_users_dictionary(lib):
    group = {"params": lib.nn.Parameter(lib.zeros(1))}
    optimizer = lib.optim.SGD([group], lr=0.5)
    assert optimizer.param_groups[0] is group
    group["lr"] = 0.25
    group["params"][0].grad = lib.ones(1)
    optimizer.step()
    assert group["params"][0].item() == -0.25


def test_group_added_in_training(lib):
    params = parameters(lib)
    optimizer = make(lib, "adam_lr", params[:2])
    run(lib, optimizer, params, range(3))
    optimizer.add_param_group({"params": params[2:]})
    run(lib, optimizer, params, range(3, 5))
    early, late = parameters(lib), parameters(lib)
    run(lib, make(lib, "adam_lr", early), early, range(5))
    run(lib, make(lib, "adam_lr", late), late, range(3, 5))
    assert_equal(values(params), values(early)[:2] + values(late)[2:])


def test_parameter_appended_to_a_group(lib):
    params = parameters(lib)
    optimizer = make(lib, "sgd_momentum", params[:1])
    run(lib, optimizer, params, range(2))
    optimizer.param_groups[0]["params"].append(params[1])
    run(lib, optimizer, params, range(2, 4))
    early, late = parameters(lib), parameters(lib)
    run(lib, make(lib, "sgd_momentum", early), early, range(4))
    run(lib, make(lib, "sgd_momentum", late), late, range(2, 4))
    assert_equal(values(params)[:2], [values(early)[0], values(late)[1]])


def test_options_changed_in_training(lib):
    """As a learning rate schedule does."""
    p = lib.nn.Parameter(lib.zeros(1))
    optimizer = lib.optim.SGD([p], lr=1.0)
    for lr in (1.0, 0.5, 0.25):
        for group in optimizer.param_groups:
            group["lr"] = lr
        p.grad = lib.ones(1)
        optimizer.step()
    assert p.item() == -1.75


def test_momentum_switched_on_later(lib):
    """The first step with momentum initialises it, with or without dampening."""
    p = lib.nn.Parameter(lib.zeros(1))
    optimizer = lib.optim.SGD([p], lr=1.0, dampening=0.5)
    for momentum, expected in ((0.0, -1.0), (0.5, -2.0), (0.5, -3.0)):
        optimizer.param_groups[0]["momentum"] = momentum
        p.grad = lib.ones(1)
        optimizer.step()
        assert p.item() == expected


def test_closure(lib):
    p = lib.nn.Parameter(lib.tensor([2.0]))
    optimizer = lib.optim.SGD([p], lr=0.25)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with lib.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0
    assert optimizer.step() is None


def test_step_is_not_recorded(lib):
    p = lib.nn.Parameter(lib.ones(2))
    (p * p).sum().backward()
    lib.optim.SGD([p], lr=0.1).step()
    assert p.requires_grad
    assert p.is_leaf


def test_zero_grad(lib):
    params = parameters(lib)
    optimizer = make(lib, "sgd", params)
    set_gradients(lib, params, 0)
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad.abs().sum().item() == 0 for p in params)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


# -- Tensors that are not parameters --------------------------------------------------------------


def plain_tensors(lib: Any) -> list[Any]:
    rng = np.random.default_rng(3)
    made = [
        lib.tensor(rng.standard_normal((3, 4)).astype("f4")),
        lib.tensor(rng.standard_normal((3, 4)).astype("f4")).t(),
        lib.tensor(rng.standard_normal((4, 6)).astype("f4"))[::2, 1::2],
        lib.tensor(rng.standard_normal((2, 3, 4)).astype("f4")).permute(2, 0, 1),
        lib.tensor(1.5),
        lib.zeros(0),
        lib.from_numpy(rng.standard_normal(5).astype("f4")),
        lib.tensor(rng.standard_normal(3)),
    ]
    return [t.detach().requires_grad_() for t in made]


@pytest.mark.parametrize("name", ["sgd", "sgd_everything", "adam_everything"])
def test_tensors_that_are_no_parameters(lib, name):
    """Contiguous or not, of several dtypes, among parameters: each is updated like a parameter, in its own memory."""
    tensors = plain_tensors(lib)
    twins = [lib.nn.Parameter(t.detach().clone()) for t in tensors]
    arrays = [t.detach().numpy() for t in tensors]
    neighbour = lib.nn.Parameter(lib.ones(2))
    ours, theirs = make(lib, name, [*tensors[:3], neighbour, *tensors[3:]]), make(lib, name, twins)
    for step in range(4):
        for pair in zip(tensors, twins, strict=True):
            rng = np.random.default_rng(step)
            for t in pair:
                t.grad = lib.tensor(rng.standard_normal(tuple(t.shape))).to(t.dtype)
                rng = np.random.default_rng(step)
        ours.step()
        theirs.step()
        if step == 1:
            # Changes by the user in between have an effect.
            with lib.no_grad():
                for pair in zip(tensors, twins, strict=True):
                    for t in pair:
                        t.mul_(2)
    for t, twin, a in zip(tensors, twins, arrays, strict=True):
        np.testing.assert_allclose(as_array(t), as_array(twin), rtol=2e-6)
        assert np.shares_memory(t.detach().numpy(), a) or not a.size
    assert neighbour.tolist() == [1.0, 1.0]


def test_gaps_of_a_tensor_are_not_touched(lib):
    base = lib.ones(4, 6)
    view = base[::2, 1::2].detach().requires_grad_()
    view.grad = lib.ones(2, 3)
    lib.optim.SGD([view], lr=1.0).step()
    assert base.sum().item() == 24 - 6


# -- Memory that is replaced ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd_momentum", "adam"])
def test_data_assigned_in_training(lib, name):
    """The state stays with the parameter."""
    params = parameters(lib)
    optimizer = make(lib, name, params)
    run(lib, optimizer, params, range(2))
    params[0].data = params[0].data.clone()
    params[4].data = lib.zeros(256, 2)
    run(lib, optimizer, params, range(2, 4))
    twins = parameters(lib)
    other = make(lib, name, twins)
    run(lib, other, twins, range(2))
    with lib.no_grad():
        twins[4].zero_()
    run(lib, other, twins, range(2, 4))
    assert_equal(values(params), values(twins))


def test_dtype_changed_in_training(lib):
    """Momentum continues as well, in the wider type."""
    p = lib.nn.Parameter(lib.zeros(2))
    optimizer = lib.optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = lib.ones(2)
    optimizer.step()
    p.data = p.data.double()
    p.grad = None
    p.grad = lib.ones(2).double()
    optimizer.step()
    assert p.dtype == lib.float64
    assert p.tolist() == [-2.5, -2.5]


def test_layer_replaced_in_a_model(lib):
    """An optimizer of the old parameters does not touch the new ones."""
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 1))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    model[1] = lib.nn.Linear(2, 1)
    before = values(model[1].parameters())
    model(lib.ones(1, 2)).sum().backward()
    optimizer.step()
    assert_equal(values(model[1].parameters()), before)


@pytest.mark.parametrize("name", ["sgd_everything", "adam_everything"])
def test_models_made_alternately(lib, name):
    """Their parameters are interleaved in memory."""
    first, second = [], []
    for p in parameters(lib):
        first.append(lib.nn.Parameter(p.detach().clone()))
        second.append(lib.nn.Parameter(p.detach().clone() * -1))
    pairs = [first, second]
    optimizers = [make(lib, name, pair) for pair in pairs]
    for step in range(4):
        for pair, optimizer in zip(pairs, optimizers, strict=True):
            set_gradients(lib, pair, step)
            optimizer.step()
    assert_equal(values(first), trained(lib, name, 4))
    assert not any(np.array_equal(a, b) for a, b in zip(values(first), values(second), strict=True))


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [0, 2, 4, 1, 3, 5], [3, 4]])
def test_parameters_in_another_order(lib, order):
    params = parameters(lib)
    chosen = [params[i] for i in order]
    optimizer = make(lib, "adam_everything", chosen)
    for step in range(3):
        set_gradients(lib, params, step)
        optimizer.step()
    expected, untouched = trained(lib, "adam_everything", 3), values(parameters(lib))
    assert_equal(values(params), [expected[i] if i in order else untouched[i] for i in range(len(params))])


# -- Launches ---------------------------------------------------------------------------------


def updates(optimizer: Any) -> list[int]:
    """The number of elements that each launch of a step updates."""
    seen: list[int] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(arrays[0].size)):
        optimizer.step()
    return seen


def test_one_launch_for_a_model():
    model = fastnn.nn.Sequential(fastnn.nn.Linear(3, 256), fastnn.nn.ReLU(), fastnn.nn.Linear(256, 2))
    optimizer = fastnn.optim.Adam(model.parameters())
    model(fastnn.ones(1, 3)).sum().backward()
    # The bias of 2 is followed by 14 numbers.
    assert updates(optimizer) == [3 * 256 + 256 + 256 * 2 + 16]
    model[0].bias.grad = None
    assert updates(optimizer) == [3 * 256, 256 * 2 + 16]
    # Their counts of steps differ from now on.
    model(fastnn.ones(1, 3)).sum().backward()
    assert updates(optimizer) == [3 * 256, 256, 256 * 2 + 16]


def test_padding_stays_zero():
    model = fastnn.nn.Linear(3, 5)
    optimizer = fastnn.optim.Adam(model.parameters(), weight_decay=0.1, amsgrad=True)
    for _ in range(3):
        optimizer.zero_grad()
        model(fastnn.ones(2, 3)).sum().backward()
        optimizer.step()
    (flat,) = optimizer._layouts[0].runs
    for array in (flat.values, flat.grads, *flat.state.values()):
        assert array[:15].any()
        assert not array[15:16].any()
        assert array[16:21].any()
        assert not array[21:].any()


# -- State ------------------------------------------------------------------------------------


def check_state(lib: Any, name: str, optimizer: Any, params: list[Any]) -> None:
    state, options = optimizer.state_dict()["state"], OPTIMIZERS[name][1]
    keys = {"SGD": ["momentum_buffer"] if options.get("momentum") else [], "Adam": ["step", "exp_avg", "exp_avg_sq"]}
    expected = keys[OPTIMIZERS[name][0]] + (["max_exp_avg_sq"] if options.get("amsgrad") else [])
    assert list(state) == (list(range(len(params))) if expected else [])
    for i, entry in state.items():
        assert list(entry) == expected
        for key, value in entry.items():
            assert tuple(value.shape) == (() if key == "step" else tuple(params[i].shape))
            assert value.dtype == lib.float32


@pytest.mark.parametrize("transport", ["direct", "pickle", "deepcopy"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_continues(lib, name, transport):
    """Five steps give the same bits as two, a restart, and three."""
    params = parameters(lib)
    optimizer = make(lib, name, params)
    run(lib, optimizer, params, range(2))
    check_state(lib, name, optimizer, params)
    state, saved = optimizer.state_dict(), values(params)
    if transport == "pickle":
        state = pickle.loads(pickle.dumps(state))
    elif transport == "deepcopy":
        state = copy.deepcopy(state)
    assert [g["params"] for g in state["param_groups"]] == [list(range(len(params)))]
    fresh = parameters(lib, seed=9)
    for p, a in zip(fresh, saved, strict=True):
        p.data = lib.tensor(a)
    # A different learning rate: the saved one takes effect.
    other = getattr(lib.optim, OPTIMIZERS[name][0])(fresh, lr=123.0)
    other.load_state_dict(state)
    run(lib, other, fresh, range(2, 5))
    assert_equal(values(fresh), trained(lib, name, 5))
    # fastnn loads a copy; PyTorch shares the loaded state with the saved dictionary.
    if lib is fastnn or transport != "direct":
        run(lib, optimizer, params, range(2, 5))
        assert_equal(values(params), values(fresh))


def test_an_optimizer_loads_its_own_state(lib):
    params = parameters(lib)
    optimizer = make(lib, "adam_amsgrad", params)
    run(lib, optimizer, params, range(3))
    optimizer.load_state_dict(optimizer.state_dict())
    run(lib, optimizer, params, range(3, 5))
    assert_equal(values(params), trained(lib, "adam_amsgrad", 5))


def test_state_of_some_parameters(lib):
    params = parameters(lib)
    optimizer = make(lib, "adam", params)
    set_gradients(lib, params[1:3], 0)
    optimizer.step()
    state = optimizer.state_dict()
    assert sorted(state["state"]) == [1, 2]
    twins = parameters(lib)
    other = make(lib, "adam", twins)
    run(lib, other, twins, range(3))
    other.load_state_dict(state)
    assert sorted(other.state_dict()["state"]) == [1, 2]


def test_state_dict_of_groups(lib):
    a, b = (lib.nn.Parameter(lib.ones(2)) for _ in range(2))
    optimizer = lib.optim.Adam([{"params": [a], "lr": 0.1}, {"params": [b]}], lr=0.2, betas=(0.5, 0.6))
    state = optimizer.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in state["param_groups"]] == [0.1, 0.2]
    other = lib.optim.Adam([{"params": [a]}, {"params": [b]}])
    other.load_state_dict(state)
    assert [(g["lr"], g["betas"]) for g in other.param_groups] == [(0.1, (0.5, 0.6)), (0.2, (0.5, 0.6))]
    assert other.param_groups[0]["params"] == [a]


def test_state_shares_memory(lib):
    """Restarting momentum by hand."""
    p = lib.nn.Parameter(lib.zeros(2))
    optimizer = lib.optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = lib.ones(2)
    optimizer.step()
    optimizer.state[p]["momentum_buffer"].zero_()
    optimizer.step()
    assert p.tolist() == [-2.0, -2.0]


def test_state_of_another_shape_is_refused_before_anything_changes():
    params = parameters(fastnn)
    optimizer = make(fastnn, "adam", params)
    run(fastnn, optimizer, params, range(2))
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 55.0
    state["state"][0]["exp_avg"] += 1
    state["state"][5]["exp_avg"] = fastnn.zeros(3)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="shape"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, entry in before["state"].items():
        for key, value in entry.items():
            assert after["state"][i][key].tolist() == value.tolist()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("name", ["sgd_everything", "adam_everything"])
def test_duplicate_of_model_and_optimizer(lib, name, duplicate):
    model = lib.nn.Sequential(lib.nn.Linear(2, 256), lib.nn.ReLU(), lib.nn.Linear(256, 1))
    optimizer = make(lib, name, model.parameters())
    run(lib, optimizer, list(model.parameters()), range(2))
    twin, other = duplicate((model, optimizer))
    assert other.param_groups[0]["params"][0] is twin[0].weight
    assert type(other) is type(optimizer)
    before = values(model.parameters())
    run(lib, other, list(twin.parameters()), range(2, 5))
    assert_equal(values(model.parameters()), before)
    run(lib, optimizer, list(model.parameters()), range(2, 5))
    assert_equal(values(model.parameters()), values(twin.parameters()))


def test_duplicate_of_an_optimizer_alone(lib):
    params = parameters(lib)
    optimizer = make(lib, "adam", params)
    run(lib, optimizer, params, range(2))
    other = copy.deepcopy(optimizer)
    mine = other.param_groups[0]["params"]
    assert not any(p is q for p, q in zip(params, mine, strict=True))
    run(lib, other, mine, range(2, 4))
    assert_equal(values(mine), trained(lib, "adam", 4))
    assert_equal(values(params), trained(lib, "adam", 2))


# -- Options ----------------------------------------------------------------------------------


def test_defaults(lib):
    p = lib.nn.Parameter(lib.ones(1))
    sgd, adam = lib.optim.SGD([p]), lib.optim.Adam([p])
    expected = {"lr": 1e-3, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
    assert {n: sgd.param_groups[0][n] for n in expected} == expected
    expected = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    assert {n: adam.param_groups[0][n] for n in expected} == expected
    assert {n: adam.defaults[n] for n in expected} == expected


def test_options_of_pytorch_that_change_nothing(lib):
    p = lib.nn.Parameter(lib.zeros(1))
    for optimizer in (lib.optim.SGD([p], lr=1.0, foreach=False), lib.optim.Adam([p], lr=1.0, foreach=False)):
        p.grad = lib.ones(1)
        optimizer.step()
    assert p.item() == pytest.approx(-2.0)


def test_differentiable_is_refused():
    p = fastnn.nn.Parameter(fastnn.ones(1))
    for kind in (fastnn.optim.SGD, fastnn.optim.Adam):
        with pytest.raises(ValueError, match="differentiable"):
            kind([p], differentiable=True)


def test_learning_rate_in_a_tensor(lib):
    p = lib.nn.Parameter(lib.zeros(1))
    p.grad = lib.ones(1)
    lib.optim.SGD([p], lr=lib.tensor(0.5)).step()
    assert p.item() == -0.5


def test_unknown_option(lib):
    with pytest.raises(TypeError):
        lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], learning_rate=0.1)


def test_the_same_parameter_twice(lib):
    """A warning, and two steps."""
    p = lib.nn.Parameter(lib.ones(1))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = lib.optim.Adam([p, p], lr=0.25, eps=0.0)
    p.grad = lib.ones(1)
    optimizer.step()
    assert p.item() == pytest.approx(0.5, abs=1e-6)
    assert optimizer.state[p]["step"].item() == 2
    assert optimizer.state_dict()["param_groups"][0]["params"] == [1, 1]


def test_integers_cannot_be_optimized():
    with pytest.raises(TypeError, match="floating point"):
        fastnn.optim.SGD([fastnn.tensor([1])])


def test_nothing_is_compiled_twice():
    model = fastnn.nn.Sequential(fastnn.nn.Linear(3, 4), fastnn.nn.Tanh(), fastnn.nn.Linear(4, 2))
    optimizer = fastnn.optim.Adam(model.parameters(), amsgrad=True)

    def step() -> None:
        optimizer.zero_grad()
        fastnn.nn.functional.cross_entropy(model(fastnn.ones(5, 3)), fastnn.tensor([0, 1, 0, 1, 0])).backward()
        optimizer.step()

    step()
    before = len(compiler.compilations)
    step()
    assert len(compiler.compilations) == before


def test_one_nan_gradient_passes_by_in_rprop(lib):
    p = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.Rprop([p])
    for g in (1.0, float("nan"), 1.0, 1.0):
        p.grad = lib.tensor([g, 1.0])
        optimizer.step()
    # Steps of 0.01, none, 0.01 (the previous gradient is unknown), and 0.012.
    np.testing.assert_allclose(as_array(p)[0], 0.968, rtol=1e-6)
