"""A trained model with all that it needs to read a table, in one file."""

from __future__ import annotations

import os
import pickle
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from fastnn._autograd.modes import no_grad
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import allocation
from fastnn.nn.container import Sequential
from fastnn.random import fork_rng
from fastnn.serialization import load, save
from fastnn.tabular.columns import Columns
from fastnn.tabular.network import Plan
from fastnn.tabular.reading import Pictures
from fastnn.tabular.target import Target
from fastnn.training.loop import Rows

FORMAT = "fastnn model"
VERSION = 1
_ROWS = 2048


@dataclass(frozen=True)
class Pixels:
    """How pictures become the inputs of a network: ``pixel * scale + shift``.

    >>> Pixels.fit(np.array([[[0, 255]]], np.uint8))
    Pixels(shape=(1, 2), scale=0.00784313725490196, shift=-1.0)
    """

    shape: tuple[int, ...]
    scale: float
    shift: float

    @classmethod
    def fit(cls, pixels: np.ndarray) -> Pixels:
        """Scale to mean 0 and variance 1 over all pixels of every sixth picture."""
        sample = pixels[::6] / 255
        std = float(sample.std()) or 1.0
        return cls(tuple(pixels.shape[1:]), 1 / (255 * std), -float(sample.mean()) / std)


class TabularModel:
    """A network with the columns, or pixels, that it reads and the target that it predicts.

    Args:
        network: of :meth:`Plan.build`.
        plan: of the network.
        target: what the outputs mean.
        columns: how a table is read; None for pictures.
        pixels: how pictures are read; None for tables.
        training: plain data on the training, for people: settings, results, versions.
    """

    def __init__(
        self,
        network: Sequential,
        plan: Plan,
        target: Target,
        columns: Columns | None = None,
        pixels: Pixels | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        if (columns is None) == (pixels is None):
            raise ValueError("a model has either columns or pixels")
        self.network, self.plan, self.target = network, plan, target
        self.columns, self.pixels, self.training = columns, pixels, training or {}

    def inputs(self, data: Any) -> np.ndarray:
        """The rows of the network: (rows, inputs) of a table, in its precision; uint8 (rows, pixels) of pictures.

        Raises: TypeError or ValueError for data of another kind, or without the columns.
        """
        if self.columns is not None:
            if not hasattr(data, "columns"):
                raise TypeError(f"the model reads tables with columns, found {type(data).__name__}")
            return self.columns.transform(data, self.plan.dtype)
        assert self.pixels is not None
        pixels = data.pixels if isinstance(data, Pictures) else data
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            raise TypeError(f"the model reads pictures of uint8, found {getattr(data, 'dtype', type(data).__name__)}")
        if pixels.shape[1:] != self.pixels.shape:
            raise ShapeError(f"the model reads pictures of the shape {self.pixels.shape}, found {pixels.shape[1:]}")
        return pixels.reshape(len(pixels), -1)

    @property
    def scaling(self) -> dict[str, Any]:
        """The arguments ``scale`` and ``shift`` of :func:`fastnn.fit`."""
        return {} if self.pixels is None else {"scale": self.pixels.scale, "shift": self.pixels.shift}

    def outputs(self, inputs: np.ndarray) -> np.ndarray:
        """The network's outputs for the rows of :meth:`inputs`, in evaluation mode, (rows, outputs)."""
        rows = Rows(inputs, np.zeros(len(inputs), np.int64), **self.scaling, dtype=self.plan.dtype)
        out = allocation.empty((len(inputs), self.plan.outputs), self.plan.dtype)
        was_training = self.network.training
        self.network.eval()
        try:
            with no_grad():
                for first in range(0, len(rows), _ROWS):
                    x, _ = rows.batch(np.arange(first, min(first + _ROWS, len(rows))))
                    out[first : first + len(x)] = self.network(x).numpy()
        finally:
            self.network.train(was_training)
        return out

    def predict(self, data: Any) -> np.ndarray:
        """The class, or the number, of each row of a pandas frame or of pictures; (rows, targets) of several."""
        return self.target.decode(self.outputs(self.inputs(data)))

    def predict_proba(self, data: Any) -> np.ndarray:
        """The probability of each class, (rows, classes), in the order of ``target.classes``.

        Raises: ValueError for a regression.
        """
        if self.target.kind == "regression":
            raise ValueError("a regression has no probabilities")
        from scipy.special import softmax

        chances: np.ndarray = softmax(self.outputs(self.inputs(data)).astype(np.float64), axis=1)
        return chances

    def save(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write one file: plain data and the weights.

        ``torch.load(file)["state_dict"]`` has the weights for PyTorch.
        """
        data = {
            "format": FORMAT, "version": VERSION, "plan": self.plan.to_dict(), "target": self.target.to_dict(),
            "columns": None if self.columns is None else self.columns.to_dict(),
            "pixels": None if self.pixels is None else {**vars(self.pixels), "shape": list(self.pixels.shape)},
            "training": self.training, "state_dict": self.network.state_dict(),
        }  # fmt: skip
        save(data, file)


def load_model(file: str | os.PathLike[str] | IO[bytes]) -> TabularModel:
    """Read a file of ``fastnn train --save`` or of :meth:`TabularModel.save`. No code of the file runs.

    Raises: OSError; ValueError for a file that is something else, or damaged; ModuleNotFoundError if the model reads
        tables and scikit-learn is missing.

    >>> import io
    >>> plan, file = Plan(4, 2), io.BytesIO()
    >>> target = Target("y", "classification", ["no", "yes"])
    >>> TabularModel(plan.build(), plan, target, pixels=Pixels((2, 2), 1.0, 0.0)).save(file)
    >>> _ = file.seek(0)
    >>> load_model(file).predict(np.zeros((3, 2, 2), np.uint8)).shape
    (3,)
    """
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else "the file"
    try:
        with warnings.catch_warnings():
            # Of a file that is something else.
            warnings.simplefilter("ignore")
            data = load(file, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{name}: not a model of fastnn train, or damaged") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{name}: not a model of fastnn train")
    if data.get("version") != VERSION:
        raise ValueError(f"{name}: version {data.get('version')} of the format, and this fastnn reads {VERSION}")
    try:
        plan, target = Plan.from_dict(data["plan"]), Target.from_dict(data["target"])
        columns = None if data["columns"] is None else Columns.from_dict(data["columns"])
        pixels = data["pixels"]
        if pixels is not None:
            pixels = Pixels(tuple(pixels["shape"]), float(pixels["scale"]), float(pixels["shift"]))
        weights: dict[str, Tensor] = data["state_dict"]
        # The sizes in the plan must not ask for memory that the file does not have.
        sizes = (plan.inputs, *plan.hidden, plan.outputs)
        matrices = sorted(tuple(w.shape) for w in weights.values() if w.dim() == 2)
        if matrices != sorted(zip(sizes[1:], sizes[:-1], strict=True)):
            raise ValueError("the weights are not those of the plan")
        with fork_rng():
            network = plan.build()
        network.load_state_dict(weights)
        if plan.outputs != target.outputs:
            raise ValueError(f"{plan.outputs} outputs for {target.outputs} classes")
        if columns is not None and plan.inputs != len(columns.names):
            raise ValueError(f"{plan.inputs} inputs for {len(columns.names)}")
        if not isinstance(data["training"], dict):
            raise ValueError(f"'training' must be a dictionary, found {type(data['training']).__name__}")
        return TabularModel(network.eval(), plan, target, columns, pixels, data["training"])
    except ModuleNotFoundError:
        raise
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise ValueError(f"{name}: damaged: {what}") from error
