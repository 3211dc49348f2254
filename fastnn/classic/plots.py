"""A plot of the activation functions and their derivatives, by matplotlib (``pip install fastnn[plot]``)."""

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

    The figure has no window, so this works without a display; a notebook shows it as the last value of a
    cell.

    Args:
        path: a file to write, with an extension that matplotlib knows (.png, .svg, .pdf; PNG without
            one); None writes no file.

    Returns: the matplotlib Figure.

    Raises: ModuleNotFoundError without matplotlib, OSError if the file cannot be written, ValueError for an
        extension that matplotlib does not know.

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
    # An odd number of points includes 0, where the rectifiers have their kink.
    x = np.linspace(-5, 5, 1001)
    for axes, (title, function, derivative) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.plot(x, function(x), label="f(x)")
        axes.plot(x, derivative(x), "--", label="f'(x)")
        axes.set_title(title)
        axes.legend()
    if path is not None:
        # With a format matplotlib writes to exactly this path; without, it adds a missing extension.
        figure.savefig(path, format=Path(path).suffix[1:] or "png")
    return figure
