"""Use of an optimizer: writing its state, subclassing it, hooks of its steps, names of its parameters."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn

RULES = [
    "ASGD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop",
]  # fmt: skip


def one(lib: Any, value: Any = (1.0, 2.0)) -> Any:
    p = lib.nn.Parameter(lib.tensor(value))
    p.grad = lib.ones(len(value))
    return p


def with_momentum(lib: Any, p: Any) -> Any:
    return lib.optim.SGD([p], lr=1.0, momentum=0.5)


# -- Assigned state --------------------------------------------------------------------------------


def test_state_is_a_dictionary_of_dictionaries(lib):
    p = one(lib)
    optimizer = lib.optim.Adam([p])
    assert isinstance(optimizer.state, defaultdict)
    assert len(optimizer.state) == 0
    assert optimizer.state[p] == {}
    optimizer.step()
    assert list(optimizer.state) == [p]
    assert isinstance(optimizer.state[p], dict)
    assert optimizer.state[p] is optimizer.state[p]
    assert list(optimizer.state[p]) == ["step", "exp_avg", "exp_avg_sq"]
    step = optimizer.state[p]["step"]
    optimizer.step()
    assert step is optimizer.state[p]["step"]
    assert (step.item(), step.dtype, tuple(step.shape)) == (2.0, lib.float32, ())


def test_state_tensor_replaced(lib):
    """The next step continues from the new one."""
    p = one(lib)
    optimizer = with_momentum(lib, p)
    optimizer.step()
    optimizer.state[p]["momentum_buffer"] = lib.tensor([4.0, 8.0])
    optimizer.step()
    assert p.tolist() == [-3.0, -4.0]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [3.0, 5.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda o, p: o.state.clear(),
        lambda o, p: o.state.pop(p),
        lambda o, p: o.state[p].clear(),
        lambda o, p: o.state.__delitem__(p),
        lambda o, p: o.state.__setitem__(p, {}),
        lambda o, p: o.state.update({p: {}}),
        lambda o, p: setattr(o, "state", defaultdict(dict)),
    ],
)
def test_state_cleared(lib, change):
    """The next step is a first one."""
    p = one(lib)
    optimizer = with_momentum(lib, p)
    optimizer.step()
    change(optimizer, p)
    optimizer.step()
    assert p.tolist() == [-1.0, 0.0]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1.0, 1.0]


def test_count_of_steps_changed_in_place_and_replaced(lib):
    """Adam's bias correction then restarts: the step has the size of the learning rate."""
    for change in (lambda entry: entry["step"].zero_(), lambda entry: entry.update(step=lib.tensor(0.0))):
        p = one(lib)
        optimizer = lib.optim.Adam([p], lr=0.25, betas=(0.0, 0.0))
        optimizer.step()
        change(optimizer.state[p])
        optimizer.step()
        assert optimizer.state[p]["step"].item() == 1.0
        np.testing.assert_allclose(as_array(p), [0.5, 1.5], rtol=1e-6)


def test_own_entries_in_the_state_of_a_rule(lib):
    """Extra entries, such as Lookahead's slow weights, are kept, saved and loaded with the rest."""
    p = one(lib)
    optimizer = with_momentum(lib, p)
    optimizer.step()
    optimizer.state[p]["slow"] = p.detach().clone()
    optimizer.state["everything"] = {"rounds": 3}
    optimizer.step()
    slow = optimizer.state[p]["slow"]
    assert slow.tolist() == [0.0, 1.0]
    saved = copy.deepcopy(optimizer.state_dict())
    assert sorted(saved["state"][0]) == ["momentum_buffer", "slow"]
    q = one(lib)
    other = with_momentum(lib, q)
    other.load_state_dict(saved)
    assert other.state[q]["slow"].tolist() == [0.0, 1.0]
    assert other.state["everything"] == {"rounds": 3}
    other.step()
    assert q.tolist() == [-0.75, 0.25]


def test_option_that_needs_more_state_switched_on(lib):
    p = one(lib)
    optimizer = lib.optim.SGD([p], lr=1.0)
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    for _ in range(2):
        optimizer.step()
    assert p.tolist() == [-2.5, -1.5]
    optimizer.param_groups[0]["momentum"] = 0.0
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    assert p.tolist() == [-5.25, -4.25]


def test_amsgrad_switched_off_and_on():
    """The largest moment is kept meanwhile, even if memory moves in between."""
    p = one(fastnn)
    optimizer = fastnn.optim.Adam([p], lr=0.1, amsgrad=True)
    group = optimizer.param_groups[0]
    optimizer.step()
    before = optimizer.state[p]["max_exp_avg_sq"].tolist()
    group["amsgrad"] = False
    p.grad = None
    p.data = p.data.double()
    p.grad = fastnn.zeros(2).double()
    optimizer.step()
    group["amsgrad"] = True
    optimizer.step()
    np.testing.assert_allclose(optimizer.state[p]["max_exp_avg_sq"].tolist(), before)
    assert optimizer.state[p]["max_exp_avg_sq"].dtype is fastnn.float64


def test_state_of_another_shape_is_refused_by_the_step():
    p = one(fastnn)
    optimizer = with_momentum(fastnn, p)
    optimizer.step()
    optimizer.state[p]["momentum_buffer"] = fastnn.zeros(3)
    with pytest.raises(RuntimeError, match="momentum_buffer"):
        optimizer.step()


def test_adagrad_has_state_from_the_start(lib):
    p = one(lib)
    optimizer = lib.optim.Adagrad([p], initial_accumulator_value=0.5)
    assert optimizer.state[p]["step"].item() == 0
    assert optimizer.state[p]["sum"].tolist() == [0.5, 0.5]
    sums = optimizer.state[p]["sum"]
    optimizer.step()
    assert sums.tolist() == [1.5, 1.5]


@pytest.mark.parametrize("rule", RULES)
def test_state_moved_by_hand(lib, rule):
    """The loop with which scripts move loaded state to a device changes nothing."""
    p, q = one(lib), one(lib)
    optimizers = [getattr(lib.optim, rule)([r], lr=0.1) for r in (p, q)]
    for optimizer in optimizers:
        optimizer.step()
    for entry in optimizers[0].state.values():
        for name, value in entry.items():
            if isinstance(value, lib.Tensor):
                entry[name] = value.to(value.dtype)
    for optimizer in optimizers:
        optimizer.step()
    assert p.tolist() == q.tolist()


@pytest.mark.parametrize("transport", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("rule", RULES)
def test_copies_and_saved_states_continue(lib, rule, transport):
    p = one(lib)
    optimizer = getattr(lib.optim, rule)([p], lr=0.1)
    for _ in range(3):
        optimizer.step()
    q, other = transport((p, optimizer))
    r = one(lib, p.tolist())
    third = getattr(lib.optim, rule)([r])
    third.load_state_dict(transport(optimizer.state_dict()))
    for target, rule_of in ((p, optimizer), (q, other), (r, third)):
        for step in (1.0, -2.0):
            target.grad = lib.tensor([step, 0.5])
            rule_of.step()
    assert p.tolist() == q.tolist() == r.tolist()
    assert [type(value) for value in other.state[q].values()] == [type(v) for v in optimizer.state[p].values()]


def test_a_shallow_copy_has_state_of_its_own_memory():
    p = one(fastnn)
    optimizer = with_momentum(fastnn, p)
    optimizer.step()
    other = copy.copy(optimizer)
    other.state[p]["momentum_buffer"].zero_()
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1.0, 1.0]
    assert copy.copy(optimizer.state)[p].keys() == {"momentum_buffer"}


def test_steps_saved_as_plain_numbers(lib):
    """State saved by PyTorch before 1.12, and momentum that was None."""
    p, q = one(lib), one(lib)
    optimizer = lib.optim.Adam([p], lr=0.1)
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["step"] = 1
    other = lib.optim.Adam([q])
    other.load_state_dict(saved)
    optimizer.step()
    q.data.copy_(lib.tensor([0.9, 1.9]))
    other.step()
    np.testing.assert_allclose(as_array(q), as_array(p), rtol=1e-6)
    assert other.state[q]["step"].item() == 2
    sgd = with_momentum(lib, p)
    sgd.load_state_dict({"state": {0: {"momentum_buffer": None}}, "param_groups": sgd.state_dict()["param_groups"]})
    sgd.step()
    assert sgd.state[p]["momentum_buffer"].tolist() == [1.0, 1.0]


def test_options_that_a_saved_group_lacks_are_the_defaults(lib):
    p = one(lib)
    optimizer = lib.optim.AdamW([p], lr=0.5)
    saved = optimizer.state_dict()
    for name in ("maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        del saved["param_groups"][0][name]
    optimizer.load_state_dict(saved)
    group = optimizer.param_groups[0]
    assert (group["maximize"], group["foreach"], group["decoupled_weight_decay"]) == (False, None, True)
    optimizer.step()


# -- Custom optimizers -------------------------------------------------------------------------------


def make_lion(lib: Any) -> Any:
    """Lion, as users write it for PyTorch."""

    class Lion(lib.optim.Optimizer):
        def __init__(self, params: Any, lr: float = 1e-4, betas: Any = (0.9, 0.99), weight_decay: float = 0.0) -> None:
            if lr <= 0:
                raise ValueError(f"Invalid learning rate: {lr}")
            super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

        def __setstate__(self, state: Any) -> None:
            super().__setstate__(state)
            for group in self.param_groups:
                group.setdefault("nesterov", False)

        @lib.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None
            if closure is not None:
                with lib.enable_grad():
                    loss = closure()
            for group in self.param_groups:
                beta1, beta2 = group["betas"]
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    state = self.state[p]
                    if len(state) == 0:
                        state["step"] = 0
                        state["exp_avg"] = lib.zeros(*p.shape)
                    state["step"] += 1
                    average = state["exp_avg"]
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    update = average * beta1 + p.grad * (1 - beta1)
                    p.sub_(((update > 0).float() - (update < 0).float()) * group["lr"])
                    average.mul_(beta2).add_(p.grad * (1 - beta2))
            return loss

    return Lion


def test_own_optimizer(lib):
    p, q = one(lib), one(lib, (3.0,))
    optimizer = make_lion(lib)([{"params": [p], "lr": 0.5}, {"params": q}], lr=0.25)
    for _ in range(2):
        optimizer.step()
    assert (p.tolist(), q.tolist()) == ([0.0, 1.0], [2.5])
    assert optimizer.state[p]["step"] == 2
    np.testing.assert_allclose(as_array(optimizer.state[q]["exp_avg"]), [0.0199], rtol=1e-5)
    saved = copy.deepcopy(optimizer.state_dict())
    assert saved["state"][1]["step"] == 2
    assert [group["params"] for group in saved["param_groups"]] == [[0], [1]]
    r, s = one(lib), one(lib, (3.0,))
    other = make_lion(lib)([{"params": [r]}, {"params": [s]}])
    other.load_state_dict(saved)
    assert [group["lr"] for group in other.param_groups] == [0.5, 0.25]
    assert other.param_groups[0]["nesterov"] is False
    assert other.state[r]["step"] == 2
    assert other.state[r]["exp_avg"] is not saved["state"][0]["exp_avg"] or lib is not fastnn
    s.grad = lib.tensor([-1.0])
    other.step()
    assert s.tolist() == [3.25]


def test_own_optimizer_with_closure_and_schedule(lib):
    p = lib.nn.Parameter(lib.tensor([2.0]))
    optimizer = make_lion(lib)([p], lr=0.5)
    schedule = lib.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    losses = []
    for _ in range(3):
        losses.append(optimizer.step(closure).item())
        schedule.step()
    assert losses == [4.0, 2.25, 1.5625]
    assert p.item() == 1.125


def test_subclass_of_a_rule(lib):
    """A subclass that calls the base step; its hooks run once, in PyTorch twice if an SGD was created before."""

    class Clipped(lib.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.mul_(0.5)
            return super().step(closure)

    p = one(lib)
    optimizer, calls = Clipped([p], lr=1.0), []
    optimizer.register_step_post_hook(lambda *arguments: calls.append(len(arguments)))
    optimizer.step()
    assert p.tolist() == [0.5, 1.5]
    assert calls == [3] or lib is not fastnn
    assert repr(optimizer).startswith("Clipped (\nParameter Group 0\n")


def test_required_option(lib):
    optimizer_module = __import__(f"{lib.__name__}.optim.optimizer", fromlist=["required"])
    optimizer = optimizer_module.Optimizer
    required = optimizer_module.required
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        optimizer([one(lib)], {"lr": required})
    assert optimizer([{"params": [one(lib)], "lr": 3}], {"lr": required}).param_groups[0]["lr"] == 3
    assert repr(required) == "<required parameter>"


def test_step_of_the_base_is_not_there(lib):
    with pytest.raises(NotImplementedError):
        lib.optim.Optimizer([one(lib)], {}).step()


# -- Hooks -----------------------------------------------------------------------------------------


def test_hooks_around_a_step(lib):
    p = one(lib)
    optimizer, seen = lib.optim.SGD([p], lr=1.0), []
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is optimizer, kwargs)))
    with optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", args[0] is o, kwargs))):
        optimizer.step(closure=None)
    assert seen == [("before", True, {"closure": None}), ("after", True, {"closure": None})]
    before.remove()
    before.remove()
    optimizer.step()
    assert len(seen) == 2
    assert p.tolist() == [-1.0, 0.0]


def test_hooks_of_all_optimizers(lib):
    module = __import__(f"{lib.__name__}.optim.optimizer", fromlist=["optimizer"])
    seen: list[str] = []
    handles = [
        module.register_optimizer_step_pre_hook(lambda *_: seen.append("before all")),
        module.register_optimizer_step_post_hook(lambda *_: seen.append("after all")),
    ]
    try:
        optimizer = lib.optim.SGD([one(lib)], lr=1.0)
        optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
        optimizer.register_step_post_hook(lambda *_: seen.append("after"))
        optimizer.step()
        lib.optim.Adam([one(lib)]).step()
    finally:
        for handle in handles:
            handle.remove()
    optimizer.step()
    assert seen == ["before all", "before", "after", "after all", "before all", "after all", "before", "after"]


def test_hook_changes_the_arguments(lib):
    p = one(lib)
    optimizer = lib.optim.SGD([p], lr=1.0)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o,), {"closure": lambda: 5}))
    assert optimizer.step() == 5
    optimizer.register_step_pre_hook(lambda *_: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_hooks_of_the_state(lib):
    p = one(lib)
    optimizer, seen = lib.optim.Adam([p]), []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
    optimizer.register_state_dict_post_hook(lambda o, state: seen.append(sorted(state)), prepend=True)
    optimizer.register_load_state_dict_pre_hook(lambda o, state: {**state, "state": {}})
    optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(len(state["state"])), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.step()
    saved = optimizer.state_dict()
    assert saved["more"] == 1
    optimizer.load_state_dict(saved)
    assert seen == ["saving", ["param_groups", "state"], 1, "first", "loaded"]
    assert len(optimizer.state) == 0


def test_a_copy_has_no_hooks(lib):
    p = one(lib)
    optimizer, seen = lib.optim.SGD([p], lr=1.0), []
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    copy.deepcopy(optimizer).step()
    assert seen == []


# -- Groups ----------------------------------------------------------------------------------------


def test_named_parameters(lib):
    model = lib.nn.Linear(2, 1)
    optimizer = lib.optim.Adam(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][1] is model.bias
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["weight", "bias"]
    del saved["param_groups"][0]["param_names"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [one(lib)]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        lib.optim.SGD([("a", one(lib)), one(lib)])


def test_groups_with_names(lib):
    p, q = one(lib), one(lib)
    optimizer = lib.optim.SGD([{"params": [("p", p)]}, {"params": [("q", q)], "lr": 0.5}], lr=1.0)
    assert [group["param_names"] for group in optimizer.param_groups] == [["p"], ["q"]]
    optimizer.step()
    assert (p.tolist(), q.tolist()) == ([0.0, 1.0], [0.5, 1.5])


def test_a_set_has_no_order(lib):
    with pytest.raises(TypeError, match="ordered collections"):
        lib.optim.SGD([{"params": {one(lib)}}])


def test_group_refused_is_not_added(lib):
    p = one(lib)
    optimizer = lib.optim.SGD([p], lr=1.0)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [one(lib), p]})
    assert len(optimizer.param_groups) == 1
    optimizer.step()


def test_groups_swapped_and_taken_out(lib):
    p, q = one(lib), one(lib)
    optimizer = lib.optim.SGD([{"params": [p]}, {"params": [q]}], lr=1.0, momentum=0.5)
    optimizer.step()
    optimizer.param_groups.reverse()
    optimizer.step()
    out = optimizer.param_groups.pop(0)
    optimizer.step()
    optimizer.param_groups.append(out)
    optimizer.step()
    assert p.tolist() == [1.0 - 1 - 1.5 - 1.75 - 1.875, 2.0 - 1 - 1.5 - 1.75 - 1.875]
    assert q.tolist() == [1.0 - 1 - 1.5 - 1.75, 2.0 - 1 - 1.5 - 1.75]


def test_zero_grad_of_a_gradient_with_history(lib):
    p = lib.nn.Parameter(lib.ones(2))
    p.grad = lib.ones(2)
    optimizer = lib.optim.SGD([p], lr=1.0)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    assert not p.grad.requires_grad


@pytest.mark.parametrize("rule", RULES)
def test_learning_rate_in_a_tensor(lib, rule):
    p, q = one(lib), one(lib)
    lr = lib.tensor(0.25)
    optimizers = [getattr(lib.optim, rule)([p], lr=lr), getattr(lib.optim, rule)([q], lr=0.25)]
    for optimizer in optimizers:
        optimizer.step()
    assert p.tolist() == q.tolist()
    assert optimizers[0].param_groups[0]["lr"] is lr
    schedule = lib.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.5)
    optimizers[0].step()
    schedule.step()
    assert lr.item() == 0.125
    assert schedule.get_last_lr()[0].item() == 0.125
    assert schedule.base_lrs[0].item() == 0.25


@pytest.mark.parametrize("rule", RULES)
def test_nothing_to_update(lib, rule):
    """Empty parameters, and ones without dimensions."""
    params = [lib.nn.Parameter(lib.zeros(0)), lib.nn.Parameter(lib.tensor(1.0))]
    optimizer = getattr(lib.optim, rule)(params, lr=0.1)
    for p in params:
        p.grad = p.detach() * 0 + 1
    optimizer.step()
    assert params[1].item() < 1.0
    assert tuple(params[0].shape) == (0,)


def test_unknown_names_of_the_package():
    with pytest.raises(AttributeError, match="no attribute 'Adamm'"):
        fastnn.optim.Adamm  # noqa: B018  # the access raises
    assert set(fastnn.optim.__all__) <= set(dir(fastnn.optim))
    for name in fastnn.optim.__all__:
        assert getattr(fastnn.optim, name).__name__.rpartition(".")[2] == name


def test_state_dict_entries_are_plain():
    """For checkpoint writers that support only dictionaries, lists, tensors and numbers."""
    p = one(fastnn)
    optimizer = fastnn.optim.NAdam([p])
    optimizer.step()
    state = optimizer.state_dict()
    assert [type(state), type(state["state"]), type(state["state"][0]), type(state["param_groups"][0])] == [dict] * 4
    assert {type(value) for value in state["state"][0].values()} == {fastnn.Tensor}
    loaded = OrderedDict(state)
    optimizer.load_state_dict(loaded)
    assert optimizer.state[p]["mu_product"].item() == pytest.approx(state["state"][0]["mu_product"].item())
