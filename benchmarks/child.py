"""One process that is measured as a whole. ``python -m benchmarks.child TASK LIBRARY [MODEL]``.

Tasks: ``import`` (seconds of the import), ``first-step`` (until one training step is done; timed by
the parent), ``epoch`` (one epoch of MNIST; peak memory in bytes), ``speedrun`` (a seed instead of a
model; seconds of a training, and its score), ``contended`` (a case instead of a model; seconds of a
step), ``script`` (a program instead of a model; seconds of a step), ``first-fit`` (a case instead of a
model; seconds of a fit of an estimator). Prints one line of JSON. Only the
standard library is imported at the top: other imports are part of the measurement.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from benchmarks import libraries


def time_import(library: str) -> float:
    """Seconds that the import takes."""
    start = perf_counter()
    importlib.import_module(library)
    return perf_counter() - start


def _model(library: Any, name: str) -> tuple[Any, Any, Any]:
    """A model, its loss and Adam: the same lines for fastnn and PyTorch."""
    from benchmarks.work import mlp, need

    if library.__name__ == "torch":
        library.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if mlp.MODELS[name].regularized:
        need(library.nn, "BatchNorm1d", "Dropout")
    model = mlp.modules(library, mlp.MODELS[name])
    options = {"fused": True} if library.__name__ == "torch" else {}
    return model, library.nn.CrossEntropyLoss(), library.optim.Adam(model.parameters(), lr=1e-3, **options)


def _step(model: Any, criterion: Any, optimizer: Any, x: Any, y: Any) -> float:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def first_step(library_name: str, name: str) -> float:
    """The loss of one training step on a batch of 64."""
    library = importlib.import_module(library_name)
    import numpy as np

    x, y = np.random.default_rng(0).random((64, 784), dtype=np.float32), np.arange(64) % 10
    return _step(*_model(library, name), library.from_numpy(x), library.from_numpy(y))


def epoch(library: str, name: str) -> float:
    """Peak memory of one epoch of MNIST in batches of 64; the images stay bytes in both libraries."""
    batches: dict[str, Callable[[int], Iterable[Any]]] = {"fastnn": _fastnn_batches, "torch": _torch_batches}
    parts = _model(importlib.import_module(library), name)
    for x, y in batches[library](64):
        _step(*parts, x, y)
    return peak_memory()


def _fastnn_batches(size: int) -> Iterable[Any]:
    from fastnn.datasets import load_mnist
    from fastnn.utils.data import DataLoader, ImageDataset

    data = load_mnist()
    return DataLoader(ImageDataset(data.train_images, data.train_labels), batch_size=size, shuffle=True)


def _torch_batches(size: int) -> Iterable[Any]:
    import torch

    from benchmarks.work.speedrun import mnist

    images, labels = torch.from_numpy(mnist("train-images")), torch.from_numpy(mnist("train-labels")).long()
    for indices in torch.randperm(len(images)).split(size):
        yield images[indices].float().div_(255), labels[indices]


def speedrun(library: str, seed: str) -> dict[str, float]:
    """Seconds of a training on MNIST, and the test accuracy."""
    from benchmarks.work.speedrun import trained

    seconds, score = trained(library, int(seed))
    return {"value": seconds, "score": score}


def contended(library: str, case: str) -> float:
    """Mean seconds of a training step over one second."""
    from benchmarks.work.contended import seconds_per_step

    return seconds_per_step(library, case)


def script(library: str, name: str) -> float:
    """Mean seconds of a step of a program of ``benchmarks.scripts``."""
    from benchmarks.work.scripts import seconds_per_step

    return seconds_per_step(library, name)


def first_fit(library: str, case: str) -> float:
    """Seconds of the first fit of an estimator."""
    from benchmarks.work.estimators import seconds_of_first_fit

    return seconds_of_first_fit(library, case)


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    try:
        # Not getrusage: on Linux its maximum starts at the size of the parent process.
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main(task: str, library: str, *model: str) -> None:
    """Do the task and print its figure, or why there is none."""
    libraries.pin(int(os.environ["OMP_NUM_THREADS"]))
    try:
        tasks: dict[str, Callable[..., Any]] = {
            "import": time_import, "first-step": first_step, "epoch": epoch, "speedrun": speedrun,
            "contended": contended, "script": script, "first-fit": first_fit,
        }  # fmt: skip
        found = tasks[task](library, *model)
        answer: dict[str, Any] = found if isinstance(found, dict) else {"value": found}
    except ModuleNotFoundError as error:
        answer = {"status": f"missing: {error.name}"}
    except Exception as error:
        from benchmarks.registry import Unavailable

        kind = "" if isinstance(error, Unavailable) else f"failed: {type(error).__name__}: "
        answer = {"status": f"{kind}{error}"}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
