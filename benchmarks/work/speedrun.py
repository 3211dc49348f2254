"""MNIST from random weights to 98.0% of its test images: the seconds of training, and the accuracy.

The recipe is that of ``examples/speedrun_mnist.py``, whose own function trains fastnn. PyTorch trains
the same model by the same schedule in its best ordinary style: eager, its fused optimizer, images
in memory as normalised tensors (fastnn normalises bytes in the timed part). Both train a few batches
beforehand. Each round has a seed of its own, the same for both. The second half of this file runs in
a child, so only the standard library is imported at the top.
"""

from __future__ import annotations

import gzip
import importlib
import os
import sys
import time
from dataclasses import replace
from typing import Any

from benchmarks import ROOT, libraries
from benchmarks.registry import Case, Figure, ProcessWork

GOAL = 0.98


def _measure(library: str, case: Case, threads: int, number: int) -> Figure:
    from benchmarks.pool import run_child  # not in the children: one of them measures its peak memory

    child = run_child(["speedrun", library, str(number)], threads)
    return Figure(child.value, child.score)


WORKS = (ProcessWork("speedrun", (Case("MNIST 98.0%", {}),), ("fastnn", "torch"), _measure, goal=GOAL),)


# -- In the child ----------------------------------------------------------------------------


def trained(library: str, seed: int) -> tuple[float, float]:
    """Seconds of a training, and the test accuracy."""
    sys.path.append(str(ROOT / "examples"))
    libraries.start(library, int(os.environ["OMP_NUM_THREADS"]))
    return {"fastnn": _fastnn, "torch": _torch}[library](
        importlib.import_module("mnist_recipes").RECIPES["speed"], seed
    )


def _fastnn(recipe: Any, seed: int) -> tuple[float, float]:
    from fastnn.datasets import load_mnist

    example, data = importlib.import_module("speedrun_mnist"), load_mnist()
    example.warm_up(recipe, data.train_images, data.train_labels)
    model, seconds = example.train(recipe, data.train_images, data.train_labels, seed, progress=False)
    return seconds, example.accuracy(model, data.train_images, data.test_images, data.test_labels)


def _torch(recipe: Any, seed: int) -> tuple[float, float]:
    import torch

    images = mnist("train-images")
    mean, std = importlib.import_module("mnist_recipes").standard(images)
    x, test_x = (
        torch.from_numpy(part).float().div_(255).sub_(mean).div_(std) for part in (images, mnist("t10k-images"))
    )
    y, test_y = (torch.from_numpy(mnist(name)).long() for name in ("train-labels", "t10k-labels"))
    some = slice(4 * recipe.batch_size)
    _torch_trained(replace(recipe, epochs=1), x[some], y[some], seed=0)
    model, seconds = _torch_trained(recipe, x, y, seed)
    with torch.inference_mode():
        return seconds, float((model.eval()(test_x).argmax(1) == test_y).float().mean())


def _torch_trained(recipe: Any, x: Any, y: Any, seed: int) -> tuple[Any, float]:
    import torch

    recipes = importlib.import_module("mnist_recipes")
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = recipes.build(torch.nn, recipe)
    optimizer, schedule = recipes.optimization(torch.optim, model.parameters(), recipe, len(x), fused=True)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(x))[: len(x) // recipe.batch_size * recipe.batch_size]
        for indices in order.split(recipe.batch_size):
            optimizer.zero_grad()
            criterion(model(x[indices]), y[indices]).backward()
            optimizer.step()
            schedule.step()
    return model, time.perf_counter() - start


def mnist(name: str) -> Any:
    """Bytes of a file of the bundled MNIST: images of 784 pixels each, or labels."""
    import numpy as np

    has_images = name.endswith("images")
    # A bytearray, as PyTorch warns about read-only memory; filled piece by piece, as a second copy of the images
    # would determine the peak memory of the measured process.
    content = bytearray()
    with gzip.open(ROOT / "fastnn" / "datasets" / f"{name}-idx{3 if has_images else 1}-ubyte.gz") as file:
        while piece := file.read(2**16):
            content += piece
    numbers = np.frombuffer(content, np.uint8, offset=16 if has_images else 8)
    return numbers.reshape(-1, 784) if has_images else numbers
