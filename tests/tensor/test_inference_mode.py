"""Tensors made in ``inference_mode``, and their valid uses outside of it. Also run with PyTorch."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import fastnn


def made_in(lib: Any, make: Any) -> Any:
    with lib.inference_mode():
        return make()


def test_marks(lib):
    plain = lib.ones(2)
    with lib.inference_mode():
        x = lib.ones(2)
        made = [x, x + 1, x[0], x.view(2, 1), x.detach(), plain + 1, lib.tensor([1.0]), lib.from_numpy(np.ones(2))]
        made.append(x.data)
        not_made = [plain, plain[0], plain.view(2), plain.detach(), plain.data, plain.expand(2, 2), plain.float()]
        with lib.inference_mode(False):
            not_made += [lib.ones(2), x + 1]
            made.append(x[0])
        with lib.no_grad():
            made.append(lib.ones(2))
    made += [x[0], x.view(2), x.detach(), x.data, x.float(), x.reshape(2, 1)]
    not_made += [x + 1, x.clone(), lib.stack([x, x]), lib.ones(1)]
    with lib.no_grad():
        not_made.append(lib.ones(2))
    assert [t.is_inference() for t in made] == [True] * len(made)
    assert [t.is_inference() for t in not_made] == [False] * len(not_made)
    assert lib.is_inference(x)
    assert not lib.is_inference(plain)


@pytest.mark.parametrize("change", [
    lambda lib, x: x.add_(1), lambda lib, x: x.mul_(lib.ones(2)), lambda lib, x: x.__iadd__(1),
    lambda lib, x: x.zero_(),
    lambda lib, x: x.__setitem__(0, 5.0), lambda lib, x: x.__setitem__(x > 0, 5.0), lambda lib, x: x.fill_(2),
    lambda lib, x: x.copy_(lib.zeros(2)), lambda lib, x: x[0].add_(1), lambda lib, x: x.uniform_(),
    lambda lib, x: x.masked_fill_(x > 0, 2), lambda lib, x: lib.nn.functional.relu(x, inplace=True),
    lambda lib, x: x.exp_(), lambda lib, x: lib.add(x, 1, out=x), lambda lib, x: lib.nn.init.zeros_(x),
    lambda lib, x: x.set_(lib.zeros(2)), lambda lib, x: x.unsqueeze_(0),
])  # fmt: skip
def test_changed_in_place_outside(lib, change):
    x = made_in(lib, lambda: lib.tensor([-1.0, 2.0]))
    with pytest.raises(RuntimeError, match="place update to inference tensor"):
        change(lib, x)
    with lib.no_grad(), pytest.raises(RuntimeError, match="place update to inference tensor"):
        change(lib, x)
    # PyTorch changes it before it raises.
    assert lib is not fastnn or x.tolist() == [-1.0, 2.0]
    change(lib, x.clone())
    with lib.inference_mode():
        change(lib, x)


def test_changed_in_place_inside(lib):
    plain = lib.ones(2)
    with lib.inference_mode():
        x = lib.ones(2)
        x.add_(1)
        x[0] = 7.0
        x[1:].mul_(3)
        plain.add_(1)
    assert x.tolist() == [7.0, 6.0]
    assert plain.tolist() == [2.0, 2.0]
    assert plain._version == 1
    with pytest.raises(RuntimeError, match="do not track version counter"):
        _ = x._version


def test_gradients_asked_for(lib):
    x = made_in(lib, lambda: lib.ones(2))
    for ask in (lambda: x.requires_grad_(), lambda: setattr(x, "requires_grad", True), lambda: lib.nn.Parameter(x)):
        with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor"):
            ask()
    assert not x.requires_grad_(False).requires_grad
    assert lib.nn.Parameter(x, requires_grad=False).is_inference()
    assert x.clone().requires_grad_().requires_grad
    made = made_in(lib, lambda: lib.ones(2, requires_grad=True))
    assert made.requires_grad
    assert made.is_inference()


@pytest.mark.parametrize("use", [
    lambda lib, x, w: x * w, lambda lib, x, w: x[:1] * w, lambda lib, x, w: x.detach() * w,
    lambda lib, x, w: (w * 1).mul_(x), lambda lib, x, w: lib.nn.functional.mse_loss(w, x),
    lambda lib, x, w: w.reshape(1, 2) @ x.reshape(2, 1), lambda lib, x, w: w / x,
    lambda lib, x, w: lib.nn.functional.linear(x, w.reshape(1, 2)),
    lambda lib, x, w: lib.nn.functional.cross_entropy(w.reshape(1, 2), x[:1].long()),
    lambda lib, x, w: lib.nn.Embedding(2, 2)(made_in(lib, lambda: lib.tensor([0]))),
])  # fmt: skip
def test_saved_for_backward(lib, use):
    x, w = made_in(lib, lambda: lib.ones(2)), lib.ones(2, requires_grad=True)
    if "cross_entropy" in use.__code__.co_names:
        x = made_in(lib, lambda: lib.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        use(lib, x, w)
    use(lib, x.clone(), w) if "Embedding" not in use.__code__.co_names else None
    with lib.no_grad():
        assert not use(lib, x, w).requires_grad


def test_read_in_a_recorded_operation(lib):
    x, w = made_in(lib, lambda: lib.ones(2)), lib.ones(2, requires_grad=True)
    (w + x).sum().backward()
    lib.cat([w, x]).sum().backward()
    lib.where(x > 0, w, x).sum().backward()
    (w * 1).add_(x).sum().backward()
    assert w.grad.tolist() == [4.0, 4.0]


def test_models(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.ReLU(), lib.nn.Linear(2, 2))
    x = lib.ones(3, 2)
    with lib.inference_mode():
        outs = [model(x) for _ in range(5)]
        features = outs[-1]
    assert all(out.is_inference() for out in outs)
    for _ in range(4):
        model(x).sum().backward()
        with pytest.raises(RuntimeError, match="cannot be saved for backward"):
            model(features)
    with pytest.raises(RuntimeError, match="place update"):
        features.add_(1)
    assert model(features.clone()).requires_grad
    norm = lib.nn.BatchNorm1d(2)
    with lib.inference_mode():
        assert norm(x).is_inference()
    assert not norm.running_mean.is_inference()
    assert norm.num_batches_tracked == 1
    norm(x).sum().backward()


def test_a_model_made_in_inference_mode(lib):
    model = made_in(lib, lambda: lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.ReLU(), lib.nn.Linear(2, 2)))
    assert model[0].weight.is_inference()
    assert model[0].weight.requires_grad
    with lib.no_grad():
        assert not model(lib.ones(1, 2)).is_inference()
    with pytest.raises(RuntimeError, match="cannot be saved for backward"):
        model(lib.ones(1, 2))
    optimizer = lib.optim.SGD(model.parameters(), 0.1)
    before = model[0].weight.tolist()
    model[0].weight.grad = lib.ones(2, 2)
    with pytest.raises(RuntimeError, match="place update"):
        optimizer.step()
    assert lib is not fastnn or model[0].weight.tolist() == before
    norm = made_in(lib, lambda: lib.nn.BatchNorm1d(2))
    with pytest.raises(RuntimeError, match="place update"):
        norm(lib.ones(3, 2))
    assert lib is not fastnn or norm.running_mean.tolist() == [0.0, 0.0]


def test_a_parameter_stored_elsewhere_in_inference_mode_stays_one_to_train():
    model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 2), fastnn.nn.ReLU(), fastnn.nn.Linear(2, 2))
    with fastnn.inference_mode():
        optimizer = fastnn.optim.SGD(model.parameters(), 0.1)
        model(fastnn.ones(1, 2))
    model(fastnn.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not any(p.is_inference() for p in model.parameters())


def test_only_the_threads_that_are_in_the_mode_make_marked_tensors():
    found: dict[str, Any] = {}
    inside, leave = threading.Event(), threading.Event()

    def infer() -> None:
        with fastnn.inference_mode():
            inside.set()
            leave.wait(10)
            found["other"] = fastnn.ones(1)

    thread = threading.Thread(target=infer)
    thread.start()
    assert inside.wait(10)
    with fastnn.inference_mode():
        pass
    here = fastnn.ones(1)
    leave.set()
    thread.join()
    assert found["other"].is_inference()
    assert not here.is_inference()
    # No thread is in the mode, so the fast way to make tensors is restored.
    assert sys.modules["fastnn._tensor.tensor"].new_memory is fastnn.autograd.Memory


def test_nested_modes(lib):
    with lib.inference_mode():
        with lib.inference_mode(False):
            with lib.inference_mode():
                assert lib.ones(1).is_inference()
            assert not lib.ones(1).is_inference()
        assert lib.ones(1).is_inference()
    assert not lib.ones(1).is_inference()


def test_decorated_functions(lib):
    @lib.inference_mode()
    def predict(fails=False):
        if fails:
            raise KeyError("x")
        return lib.ones(1)

    assert predict().is_inference()
    with pytest.raises(KeyError):
        predict(True)
    assert not lib.ones(1).is_inference()
    assert lib.is_grad_enabled()


def test_enable_grad_changes_only_the_answer(lib):
    x = lib.ones(1, requires_grad=True)
    with lib.inference_mode():
        with lib.enable_grad():
            assert lib.is_grad_enabled()
            assert not (x * 2).requires_grad
        assert not lib.is_grad_enabled()
        assert not lib.enable_grad()(lambda: (x * 2).requires_grad)()
        lib.set_grad_enabled(True)
        assert lib.is_grad_enabled()
        assert not (x * 2).requires_grad
        with lib.inference_mode(False):
            assert lib.is_grad_enabled()
            assert (x * 2).requires_grad
        assert lib.is_grad_enabled()
        lib.set_grad_enabled(False)
        assert not lib.is_grad_enabled()
    assert lib.is_grad_enabled()
    assert (x * 2).requires_grad


def test_a_weight_that_no_gradient_reads(lib):
    made, x = made_in(lib, lambda: lib.nn.Linear(3, 2)), lib.ones(4, 3)
    for n in range(1, 6):
        out = made(x)
        assert out.requires_grad
        out.sum().backward()
        assert made.bias.grad.tolist() == [4.0 * n] * 2
        # PyTorch leaves such a weight without a gradient.
        assert lib is not fastnn or made.weight.grad.tolist() == [[4.0 * n] * 3] * 2
        with pytest.raises(RuntimeError, match="cannot be saved for backward"):
            made(x.clone().requires_grad_())
    (by_bias,) = lib.autograd.grad((made(x) ** 2).sum(), made.bias, create_graph=True)
    by_bias.sum().backward()
    assert made.bias.grad.tolist() == [28.0] * 2
    model = lib.nn.Sequential(made, lib.nn.ReLU(), lib.nn.Linear(2, 2))
    for _ in range(5):
        model(x).sum().backward()
    linear = lib.nn.functional.linear
    plain = lib.nn.Linear(3, 2)
    assert linear(x, made.weight.detach(), plain.bias).requires_grad
    assert linear(x.clone().requires_grad_(), plain.weight, made.bias).requires_grad
    frozen = lib.nn.Linear(3, 2)
    frozen.weight.requires_grad_(False)
    features = made_in(lib, lambda: lib.ones(4, 3))
    for _ in range(5):
        frozen(features).sum().backward()
    assert frozen.bias.grad.tolist() == [20.0, 20.0]
    assert lib.nn.functional.l1_loss(lib.zeros(4, 3, requires_grad=True), features).requires_grad


@pytest.mark.parametrize("change", [
    lambda lib, x: x.add_(1), lambda lib, x: x.fill_(1), lambda lib, x: x.copy_(lib.ones(2)),
    lambda lib, x: x.masked_fill_(x < 5, 1), lambda lib, x: x.mul_(0).add_(lib.ones(2)),
    lambda lib, x: lib.nn.init.ones_(x), lambda lib, x: lib.add(x, 1, out=x), lambda lib, x: x.unsqueeze_(0).add_(1),
    lambda lib, x: x.__setitem__(x < 5, 1.0), lambda lib, x: x.__setitem__(slice(None), 1.0), lambda lib, x: x.exp_(),
])  # fmt: skip
def test_detached_and_changed_in_place(lib, change):
    for detached in (lambda x: x.detach(), lambda x: x.data, lambda x: x.detach().detach(), lambda x: x[:2].detach()):
        x = made_in(lib, lambda: lib.zeros(2))
        part = detached(x)
        assert part.is_inference()
        change(lib, part)
        assert x.tolist() == [1.0] * 2 or "mul_" in change.__code__.co_names
        with lib.no_grad():
            change(lib, detached(x))
        with pytest.raises(RuntimeError, match="cannot be saved for backward"):
            part * lib.ones(2, requires_grad=True)
        with pytest.raises(RuntimeError, match="place update"):
            x.add_(1)
    # A tensor detached in the mode behaves like the others.
    for inside in (made_in(lib, lambda: lib.zeros(2).detach()), made_in(lib, lambda: lib.zeros(2).data)):
        with pytest.raises(RuntimeError, match="place update"):
            change(lib, inside)
