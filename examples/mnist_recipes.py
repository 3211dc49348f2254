"""Recipes for MNIST: a model and its training, in names that fastnn and PyTorch share.

``speedrun_mnist.py`` trains with them; the benchmarks train PyTorch with the same lines. Imports neither library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A model and its training: linear layers with batch normalisation, ReLU and dropout between, one cycle of lr.

    ``smoothness`` is the weight of a penalty: the batch's mean of the squared norm of the gradient of the summed losses
    by an image's pixels. It is added at every ``smooth_every``-th batch, multiplied by ``smooth_every``.
    """

    widths: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    dropout: float = 0.0
    smoothness: float = 0.0
    smooth_every: int = 1
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    seeds: int = 10
    goal: float = 0.98


RECIPES = {
    "speed": Recipe(widths=(160, 96), epochs=2, batch_size=128, lr=6e-3),
    "accuracy": Recipe(
        widths=(1024, 1024), epochs=90, batch_size=256, lr=2e-3, dropout=0.3, smoothness=3.0, smooth_every=4,
        label_smoothing=0.1, weight_decay=0.05, seeds=1, goal=0.99,
    ),
}  # fmt: skip


def build(nn: Any, recipe: Recipe) -> Any:
    """The model of a recipe, with random weights; ``nn`` is fastnn's or PyTorch's."""
    layers: list[Any] = [nn.Flatten()]
    before = 784
    for width in recipe.widths:
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout))
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 10))


def optimization(optim: Any, parameters: Iterable[Any], recipe: Recipe, images: int, **options: Any) -> tuple[Any, Any]:
    """The optimizer of a recipe, and its schedule, which steps after each batch of epochs of ``images`` images.

    Args:
        optim: fastnn's or PyTorch's.
        options: further arguments of the optimizer.
    """
    optimizer = optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, **options)
    steps = recipe.epochs * (images // recipe.batch_size)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=steps + 1, pct_start=0.3, div_factor=10, final_div_factor=1000,
        cycle_momentum=False,
    )  # fmt: skip
    return optimizer, schedule


def standard(images: Any) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of these images, as numbers from 0 to 1."""
    return float(images.mean()) / 255, float(images.std()) / 255
