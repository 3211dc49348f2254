"""examples/speedrun_mnist.py and its recipes, which the benchmarks also use with PyTorch, on a part of MNIST."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn.datasets import load_mnist

ROOT = Path(__file__).resolve().parents[2]
# Neither folder is part of the distribution: their imports follow these lines, which make them importable (E402).
sys.path += [str(ROOT), str(ROOT / "examples")]

import mnist_recipes  # noqa: E402
import speedrun_mnist  # noqa: E402

from benchmarks.work import speedrun  # noqa: E402

SPEED = mnist_recipes.RECIPES["speed"]


@pytest.fixture(scope="module")
def part():
    data = load_mnist()
    arrays = (data.train_images[:2100], data.train_labels[:2100], data.test_images[:500], data.test_labels[:500])
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return SimpleNamespace(**dict(zip(names, arrays, strict=True)))


def test_a_recipe_learns(part):
    recipe = replace(SPEED, widths=(32,), batch_size=64, epochs=3)
    models = [
        speedrun_mnist.train(recipe, part.train_images, part.train_labels, seed=1, progress=False)[0] for _ in range(2)
    ]
    found = [speedrun_mnist.accuracy(m, part.train_images, part.test_images, part.test_labels) for m in models]
    assert found[0] == found[1] > 0.85


def test_the_program(part, capsys, monkeypatch):
    monkeypatch.setattr(speedrun_mnist, "load_mnist", lambda: part)
    assert speedrun_mnist.main(["--seeds", "2", "--epochs", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split(" in ")[-1] for line in lines[1:]] == ["seed 0", "seed 1", "median"]
    assert lines[0].startswith("compiled ")
    with pytest.raises(SystemExit) as stopped:
        speedrun_mnist.main(["--seeds", "0"])
    assert stopped.value.code == 2


def test_the_gradient_by_the_pixels_is_a_part_of_the_loss():
    """For a linear model it is ``(softmax(logits) - target) @ weight``; finite differences check the weight's."""
    rng = np.random.default_rng(0)
    model = fastnn.nn.Linear(5, 3, dtype=fastnn.float64)
    images, labels = rng.standard_normal((4, 5)), np.array([0, 2, 1, 2])

    def loss() -> fastnn.Tensor:
        x, y = fastnn.from_numpy(images.copy()), fastnn.from_numpy(labels)
        return speedrun_mnist.smooth_loss(model, fastnn.nn.CrossEntropyLoss(), x, y, weight=0.7)

    weight, bias = model.weight.detach().numpy(), model.bias.detach().numpy()
    logits = images @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (p - np.eye(3)[labels]) @ weight
    expected = -np.log(p[np.arange(4), labels]).mean() + 0.7 * (gradient**2).sum(1).mean()
    loss().backward()
    np.testing.assert_allclose(loss().item(), expected, rtol=1e-12)
    found, step = model.weight.grad.numpy().copy(), 1e-6
    for i, j in np.ndindex(3, 5):
        with fastnn.no_grad():
            model.weight[i, j] += step
        above = loss().item()
        with fastnn.no_grad():
            model.weight[i, j] -= 2 * step
        below = loss().item()
        with fastnn.no_grad():
            model.weight[i, j] += step
        np.testing.assert_allclose(found[i, j], (above - below) / (2 * step), rtol=1e-6, atol=1e-8)


def test_a_smooth_recipe_learns(part):
    recipe = replace(SPEED, widths=(32,), batch_size=64, epochs=3, dropout=0.1, smoothness=1.0, smooth_every=3)
    models = [
        speedrun_mnist.train(recipe, part.train_images, part.train_labels, seed=1, progress=False)[0] for _ in range(2)
    ]
    found = [speedrun_mnist.accuracy(m, part.train_images, part.test_images, part.test_labels) for m in models]
    assert found[0] == found[1] > 0.85
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_schedule_covers_the_epochs():
    model = mnist_recipes.build(fastnn.nn, replace(SPEED, dropout=0.5))
    assert [type(layer).__name__ for layer in model] == [
        "Flatten", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear"
    ]  # fmt: skip
    optimizer, schedule = mnist_recipes.optimization(fastnn.optim, model.parameters(), SPEED, 4 * SPEED.batch_size)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(SPEED.lr / 10)
    assert max(rates) == pytest.approx(SPEED.lr, rel=0.05)
    # One step of the schedule is unused, so that the last batch still has a learning rate above zero.
    assert 0 < optimizer.param_groups[0]["lr"] < SPEED.lr / 1000


def test_pytorch_gets_the_same_images():
    data = load_mnist()
    for name, expected in (("train-images", data.train_images), ("t10k-labels", data.test_labels)):
        found = speedrun.mnist(name)
        assert np.array_equal(found, np.reshape(expected, found.shape))
    assert speedrun.mnist("t10k-images").shape == (10_000, 784)


@pytest.mark.torch
def test_pytorch_learns_by_the_same_recipe(part):
    torch = pytest.importorskip("torch")
    recipe = replace(SPEED, widths=(32,), batch_size=64, epochs=3)
    mean, std = mnist_recipes.standard(part.train_images)
    x, test = (
        torch.from_numpy((images.reshape(-1, 784) / np.float32(255) - np.float32(mean)) / np.float32(std))
        for images in (part.train_images, part.test_images)
    )
    model, seconds = speedrun._torch_trained(recipe, x, torch.from_numpy(part.train_labels).long(), seed=1)
    assert seconds > 0
    right = model.eval()(test).argmax(1).numpy() == part.test_labels
    assert right.mean() > 0.85
