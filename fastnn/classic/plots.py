"""The picture of the activation functions and their derivatives, by matplotlib (``pip install fastnn[plot]``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.classic import activations

_PANELS: tuple[tuple[str, Callable[..., Any], Callable[..., Any]], ...] = (
    ("Sigmoid", activations.sigmoid, activations.sigmoid_derivative),
    ("Tanh", activations.tanh, activations.tanh_derivative),
    ("ReLU", activations.relu, activations.relu_derivative),
    ("Leaky ReLU", activations.leaky_relu, activations.leaky_relu_derivative),
)


def plot_activations(path: str | os.PathLike[str] | None = None) -> Any:
    """Draw sigmoid, tanh, ReLU and leaky ReLU with their derivatives on [-5, 5], in four panels.

    The figure is not tied to a window, so this works without a display; to see it in a notebook let
    it be the last value of a cell.

    Args:
        path: a file to write, of a kind matplotlib knows by its ending (.png, .svg, .pdf; PNG without
            one); None for none.

    Returns: the matplotlib Figure.

    Raises: ModuleNotFoundError without matplotlib, OSError if the file cannot be written, ValueError for an
        ending that matplotlib does not know.

    Example: ``plot_activations("activations.png")``
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        message = "plots need matplotlib: pip install 'fastnn[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from None
    figure = Figure(figsize=(10, 8), layout="tight")
    # An odd number of points, so that one is at 0, where the rectifiers have their corner.
    x = np.linspace(-5, 5, 1001)
    for axes, (title, function, derivative) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.plot(x, function(x), label="f(x)")
        axes.plot(x, derivative(x), "--", label="f'(x)")
        axes.set_title(title)
        axes.legend()
    if path is not None:
        # With a format matplotlib writes to this very path; without, it adds an ending to a name that has none.
        figure.savefig(path, format=Path(path).suffix[1:] or "png")
    return figure
