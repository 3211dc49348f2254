"""Train a multi-layer perceptron on MNIST, or on any folder of IDX files, and save its weights.

    python examples/train_mnist.py
    python examples/train_mnist.py --hidden 512,256 --epochs 10 --data fashion-mnist/

The learning rate falls linearly from --lr to zero over the whole run.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

import fastnn as torch
from fastnn import nn, optim
from fastnn.datasets import ImageData, load_mnist
from fastnn.kernels.runtime import compiler
from fastnn.utils.data import DataLoader, ImageDataset

INTERRUPTED = 130  # Exit status of a program ended by Ctrl-C: 128 + SIGINT.


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {text}")
    return number


def positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, found {text}")
    return number


def seed_number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**64:
        raise argparse.ArgumentTypeError(f"must be in [0, 2**64), found {text}")
    return number


def widths(text: str) -> list[int]:
    return [positive_int(width) for width in text.split(",")] if text.strip() else []


# argparse names the type in its message: "invalid whole number value: 'x'".
positive_int.__name__ = seed_number.__name__ = "whole number"
positive_float.__name__ = "number"
widths.__name__ = "list of widths"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=positive_int, default=5, help="passes over the training images (5)")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="images in a step (64)")
    parser.add_argument("--lr", type=positive_float, help="first learning rate (0.001 for adam, 0.1 for sgd)")
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="adam, or sgd with momentum 0.9")
    parser.add_argument("--hidden", type=widths, default=[256, 128, 64], help="hidden widths (256,128,64)")
    parser.add_argument("--seed", type=seed_number, default=0, help="of weights and order (0)")
    parser.add_argument("--threads", type=positive_int, help="threads to use (all)")
    parser.add_argument("--data", metavar="DIR", help="folder of IDX files ($FASTNN_DATA, else the bundled MNIST)")
    parser.add_argument("--save", metavar="FILE", type=Path, default=Path("mnist.npz"), help="weights (mnist.npz)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results to this file")
    arguments = parser.parse_args(argv)
    for option in ("save", "json"):
        # Checked now, not after the training.
        try:
            setattr(arguments, option, checked_target(getattr(arguments, option)))
        except (OSError, RuntimeError) as error:
            parser.error(f"argument --{option}: {error}")
    if arguments.json == arguments.save:
        parser.error(f"argument --json: {arguments.json} is the file of --save")
    try:
        arguments.images = load_mnist(arguments.data)
    except (OSError, ValueError) as error:
        parser.error(f"cannot read the data: {error}")
    return arguments


def checked_target(path: Path | None) -> Path | None:
    """The path to write to, links followed; OSError unless a file can be created or replaced there."""
    if path is None:
        return None
    path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    with contextlib.suppress(FileNotFoundError):
        path.stat()  # Raises for a name that is too long, for which exists() is False from Python 3.14 on.
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is not a file" if not path.is_dir() else f"{path} is a folder")
    with tempfile.TemporaryFile(dir=path.parent):
        pass
    return path


def say(text: str) -> None:
    """Print a line; a closed pipe or a full disk must not lose the model."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (closed with the process)


def build(features: int, hidden: list[int], classes: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


def datasets(data: ImageData) -> tuple[ImageDataset, ImageDataset]:
    """Training and test set, normalized with the mean and deviation of every sixth training image."""
    sample = data.train_images[::6] / np.float32(255)
    mean, std = float(sample.mean()), float(sample.std()) or 1.0
    return (
        ImageDataset(data.train_images, data.train_labels, mean, std),
        ImageDataset(data.test_images, data.test_labels, mean, std),
    )


def make_optimizer(model: nn.Module, arguments: argparse.Namespace) -> optim.Optimizer:
    if arguments.optimizer == "adam":
        return optim.Adam(model.parameters(), lr=arguments.lr or 1e-3)
    return optim.SGD(model.parameters(), lr=arguments.lr or 0.1, momentum=0.9)


def train_step(model: nn.Module, criterion: nn.Module, optimizer: optim.Optimizer, x: Any, y: Any) -> torch.Tensor:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def accuracy(model: nn.Module, data: ImageDataset) -> float:
    correct = 0
    model.eval()
    with torch.no_grad():
        for x, y in DataLoader(data, batch_size=1000):
            correct += int((model(x).argmax(1) == y).sum().item())
    model.train()
    return correct / len(data)


def compile_kernels(model: nn.Sequential, criterion: nn.Module, arguments: argparse.Namespace, data: Any) -> float:
    """Run one step and one evaluation on a copy of the model, so that no epoch waits for the compiler."""
    start = time.perf_counter()
    twin = copy.deepcopy(model)
    x, y = data.batch(np.arange(min(arguments.batch_size, len(data))))
    train_step(twin, criterion, make_optimizer(twin, arguments), x, y)
    with torch.no_grad():
        twin(x)
    return time.perf_counter() - start


def save(model: nn.Module, path: Path) -> Path:
    """Write the weights; if the file cannot be written, write to a temporary folder. Returns the file."""
    # A second Ctrl-C must not truncate the file.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        try:
            return write(arrays, path)
        except OSError as error:
            print(f"cannot write {path}: {error.strerror}", file=sys.stderr)
            return write(arrays, Path(tempfile.mkdtemp(prefix="fastnn-")) / path.name)
    finally:
        signal.signal(signal.SIGINT, before)


def write(arrays: dict[str, np.ndarray], path: Path) -> Path:
    """Write to a temporary file in the same folder, then rename, so that the file is never incomplete."""
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's signature has a keyword of another type
        os.replace(partial, path)
    except OSError:
        os.unlink(partial)
        raise
    return path


def train(model: nn.Sequential, arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    train_data, test_data = datasets(arguments.images)
    criterion = nn.CrossEntropyLoss()
    seconds = compile_kernels(model, criterion, arguments, train_data)
    results["kernel_seconds"] = round(seconds, 2)
    if compiler.compilations:
        say(f"compiled {len(compiler.compilations)} kernels in {seconds:.1f} s; the next run loads them")
    optimizer = make_optimizer(model, arguments)
    first_lr = optimizer.param_groups[0]["lr"]
    loader = DataLoader(train_data, batch_size=arguments.batch_size, shuffle=True)
    steps, total_steps = 0, arguments.epochs * len(loader)
    for epoch in range(1, arguments.epochs + 1):
        start, loss_sum, seen = time.perf_counter(), 0.0, 0
        # disable=None: no bar if the output is not a terminal.
        for x, y in tqdm(loader, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None):
            optimizer.param_groups[0]["lr"] = first_lr * (1 - steps / total_steps)
            loss = train_step(model, criterion, optimizer, x, y)
            loss_sum += loss.item() * len(y)
            seen += len(y)
            steps += 1
        train_seconds = time.perf_counter() - start
        score = accuracy(model, test_data)
        seconds = time.perf_counter() - start
        results["epochs"].append(
            {
                "loss": loss_sum / seen, "test_accuracy": score, "seconds": seconds,
                "images_per_second": seen / train_seconds,
            }
        )  # fmt: skip
        say(
            f"epoch {epoch}/{arguments.epochs}  train loss {loss_sum / seen:.4f}  "
            f"test accuracy {100 * score:.2f}%  {seconds:.2f} s"
        )


def report(results: dict[str, Any], saved: Path, started: float) -> None:
    epochs = results["epochs"]
    results["total_seconds"] = time.perf_counter() - started
    results["saved"] = str(saved)
    if epochs:
        results["test_accuracy"] = epochs[-1]["test_accuracy"]
        speed = sum(e["images_per_second"] for e in epochs) / len(epochs)
        say(f"test accuracy {100 * results['test_accuracy']:.2f}%, {speed:,.0f} images per second while training")
    say(f"{results['total_seconds']:.1f} s in all; weights saved in {saved}")


def main(argv: Sequence[str] | None = None) -> int:
    started = time.perf_counter()
    arguments = parse(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    data = arguments.images
    features = int(np.prod(data.train_images.shape[1:]))
    classes = int(max(data.train_labels.max(), data.test_labels.max())) + 1
    try:
        model = build(features, arguments.hidden, classes)
    except (MemoryError, ValueError):
        print(f"train_mnist.py: no memory for layers of widths {arguments.hidden}", file=sys.stderr)
        return 2
    shape = "-".join(map(str, [features, *arguments.hidden, classes]))
    say(f"{shape}, {len(data.train_images)} training images, {torch.get_num_threads()} threads")
    results: dict[str, Any] = {
        "layers": [features, *arguments.hidden, classes], "optimizer": arguments.optimizer, "seed": arguments.seed,
        "batch_size": arguments.batch_size, "threads": torch.get_num_threads(), "interrupted": False, "epochs": [],
    }  # fmt: skip
    status = 0
    try:
        train(model, arguments, results)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        results["interrupted"], status = True, INTERRUPTED
    report(results, save(model, arguments.save), started)
    if arguments.json:
        try:
            # JSON has no NaN: a diverged loss is null.
            arguments.json.write_text(json.dumps(without_nan(results), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            print(f"cannot write {arguments.json}: {error.strerror}", file=sys.stderr)
    return status


def without_nan(value: Any) -> Any:
    """The same nested lists and dictionaries with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # The training had not begun, so no weights are saved.
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
