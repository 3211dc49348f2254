"""``nn.utils.prune`` on both libraries: the same code, and the numbers that PyTorch gives."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def prune(lib):
    return importlib.import_module(f"{lib.__name__}.nn.utils.prune")


def layer(lib: Any) -> Any:
    """A Linear with known numbers, whose absolute values differ."""
    made = lib.nn.Linear(4, 3)
    with lib.no_grad():
        made.weight.copy_(lib.tensor([[0.1, -0.2, 0.3, -0.4], [0.5, -0.6, 0.7, -0.8], [0.9, -1.0, 1.1, -1.2]]))
        made.bias.copy_(lib.tensor([0.3, -0.1, 0.2]))
    return made


def test_names_and_hook(lib, prune):
    model = layer(lib)
    weight = model.weight
    assert prune.l1_unstructured(model, "weight", amount=0.25) is model
    assert list(model.state_dict()) == ["bias", "weight_orig", "weight_mask"]
    assert model.weight_orig is weight
    assert model.weight_mask.tolist() == [[0, 0, 0, 1], [1] * 4, [1] * 4]
    assert not isinstance(model.weight, lib.nn.Parameter)
    assert prune.is_pruned(lib.nn.Sequential(model))
    x = lib.ones(2, 4)
    model(x).sum().backward()
    assert model.weight_orig.grad.tolist() == [[0, 0, 0, 2], [2] * 4, [2] * 4]
    with lib.no_grad():
        model.weight_orig.fill_(1.0)
    assert model(x)[0].tolist() == pytest.approx([1.3, 3.9, 4.2])
    assert prune.remove(model, "weight") is model
    assert sorted(model.state_dict()) == ["bias", "weight"]
    assert model.weight is weight
    assert weight.tolist() == [[0, 0, 0, 1], [1] * 4, [1] * 4]
    assert not prune.is_pruned(model)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(model, "weight")


CASES: dict[str, Any] = {
    "identity": lambda p, m: p.identity(m, "weight"),
    "l1": lambda p, m: p.l1_unstructured(m, "weight", 5),
    "l1 share": lambda p, m: p.l1_unstructured(m, "weight", 0.4),
    "l1 of scores": lambda p, m: p.l1_unstructured(m, "weight", 5, importance_scores=-1 / m.weight),
    "l1 of bias": lambda p, m: p.l1_unstructured(m, "bias", 1),
    "l1 twice": lambda p, m: p.l1_unstructured(p.l1_unstructured(m, "weight", 0.5), "weight", 0.5),
    "ln": lambda p, m: p.ln_structured(m, "weight", 1, n=2, dim=0),
    "ln of columns": lambda p, m: p.ln_structured(m, "weight", 0.5, n=1, dim=1),
    "ln max": lambda p, m: p.ln_structured(m, "weight", 2, n=float("inf"), dim=-1),
    "ln after l1": lambda p, m: p.ln_structured(p.l1_unstructured(m, "weight", 6), "weight", 1, n=2, dim=0),
    "l1 after ln": lambda p, m: p.l1_unstructured(p.ln_structured(m, "weight", 1, n=2, dim=1), "weight", 3),
    "mask": lambda p, m: p.custom_from_mask(m, "weight", m.weight.detach() > 0),
    "mask after l1": lambda p, m: p.custom_from_mask(p.l1_unstructured(m, "weight", 3), "weight", m.weight > 0),
    "all random": lambda p, m: p.random_unstructured(m, "weight", 1.0),
    "no random": lambda p, m: p.random_structured(m, "weight", 0, dim=0),
    "nothing": lambda p, m: p.l1_unstructured(m, "weight", 0.0),
}
# PyTorch's masks: 1 where a number stays.
MASKS: dict[str, Any] = {
    "identity": [[1, 1, 1, 1]] * 3,
    "l1": [[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]],
    "l1 share": [[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]],
    "l1 of scores": [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]],
    "l1 of bias": [1, 0, 1],
    "l1 twice": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]],
    "ln": [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],
    "ln of columns": [[0, 0, 1, 1]] * 3,
    "ln max": [[0, 0, 1, 1]] * 3,
    "ln after l1": [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]],
    "l1 after ln": [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]],
    "mask": [[1, 0, 1, 0]] * 3,
    "mask after l1": [[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]],
    "all random": [[0, 0, 0, 0]] * 3,
    "no random": [[1, 1, 1, 1]] * 3,
    "nothing": [[1, 1, 1, 1]] * 3,
}


@pytest.mark.parametrize("name", CASES)
def test_masks(lib, prune, name):
    model = layer(lib)
    CASES[name](prune, model)
    [(key, mask)] = model.named_buffers()
    assert mask.tolist() == MASKS[name]
    parameter = key.removesuffix("_mask")
    assert getattr(model, parameter).equal(getattr(model, f"{parameter}_orig") * mask)
    assert len(model._forward_pre_hooks) == 1


def test_random_amounts(lib, prune):
    model = prune.random_unstructured(layer(lib), "weight", 5)
    assert (model.weight_mask == 0).sum().item() == 5
    model = prune.random_structured(layer(lib), "weight", 0.5, dim=1)
    assert sorted(model.weight_mask.sum(0).tolist()) == [0, 0, 3, 3]
    method = prune.RandomUnstructured(amount=0.5)
    assert (method.prune(lib.ones(10)) == 0).sum().item() == 5


def test_global_and_containers(lib, prune):
    first, second = layer(lib), layer(lib)
    with lib.no_grad():
        second.weight.mul_(0.1)
    pairs = [(first, "weight"), (second, "weight")]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=12)
    assert [int(m.weight_mask.sum()) for m in (first, second)] == [11, 1]
    with pytest.raises(TypeError, match="unstructured"):
        prune.global_unstructured(pairs, pruning_method=prune.LnStructured, amount=1, n=2)
    prune.l1_unstructured(first, "weight", 1)
    [container] = first._forward_pre_hooks.values()
    assert isinstance(container, prune.PruningContainer)
    assert [type(m).__name__ for m in container] == ["CustomFromMask", "L1Unstructured"]
    assert len(container) == 2
    assert container[1].amount == 1


def test_refused(lib, prune):
    model = layer(lib)
    for error, call in (
        (TypeError, lambda: prune.l1_unstructured(model, "weight", "a")),
        (ValueError, lambda: prune.l1_unstructured(model, "weight", 1.5)),
        (ValueError, lambda: prune.l1_unstructured(model, "weight", -1)),
        (ValueError, lambda: prune.l1_unstructured(model, "weight", 13)),
        (ValueError, lambda: prune.ln_structured(model, "bias", 1, n=2, dim=0)),
        (IndexError, lambda: prune.ln_structured(model, "weight", 1, n=2, dim=2)),
        (AttributeError, lambda: prune.identity(model, "none")),
        (AssertionError, lambda: prune.custom_from_mask(model, "weight", lib.ones(2))),
    ):
        with pytest.raises(error):
            call()
    assert sorted(name for name, _ in model.named_parameters()) == ["bias", "weight"]
    assert not model._forward_pre_hooks


def _trained(lib: Any, prune: Any, loops: int) -> list[Any]:
    model = lib.nn.Sequential(layer(lib), lib.nn.ReLU(), lib.nn.Linear(3, 1))
    with lib.no_grad():
        model[2].weight.copy_(lib.tensor([[0.5, -0.25, 0.75]]))
        model[2].bias.zero_()
    prune.l1_unstructured(model[0], "weight", 4)
    prune.ln_structured(model[2], "weight", 1, n=1, dim=1)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = lib.tensor(np.sin(np.arange(32.0)).reshape(8, 4).astype(np.float32))
    for _ in range(loops):
        optimizer.zero_grad()
        (model(x) - x[:, :1]).pow(2).mean().backward()
        optimizer.step()
    prune.remove(model[0], "weight")
    return [p.detach().numpy() for p in model.parameters()]


# The sums of the parameters after eight steps of PyTorch 2.13.
SUMS = [0.27942964, -0.32494497, -0.69071931, 1.10623050]


def test_training(lib, prune):
    """Also with a captured forward: the numbers of PyTorch after some steps."""
    found = _trained(lib, prune, 8)
    assert [float(p.sum()) for p in found] == pytest.approx(SUMS, rel=1e-5)
    shape = [p for p in found if p.shape == (3, 4)]
    assert (shape[0][0] == 0).all()
