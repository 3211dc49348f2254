"""Pictures for notebooks, by matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._core.errors import ShapeError
from fastnn.report.measures import names_of_classes, numbers

# With more classes numbers and names would overlap.
_CELLS, _NAMES = 20, 60


def plot_confusion_matrix(
    matrix: Any, class_names: Sequence[object] | None = None, *, path: str | Path | None = None, axes: Any = None
) -> Any:
    """Draw a confusion matrix by matplotlib (extra ``plot``).

    The colour of a cell is its share of the rows of the true class; up to 20 classes have their numbers in the cells.

    Args:
        matrix: (classes, classes), as from :func:`confusion_matrix`.
        class_names: a name for each class; by default the numbers.
        path: if given, the picture is written to it.
        axes: of matplotlib, to draw on; by default those of a new figure.

    Returns: the axes.

    Raises: ModuleNotFoundError without matplotlib; ShapeError if the matrix is not square; ValueError for another
        number of names.

    >>> axes = plot_confusion_matrix([[5, 1], [0, 4]], ["cat", "dog"])
    >>> axes.get_xlabel(), [text.get_text() for text in axes.texts]
    ('predicted', ['5', '1', '0', '4'])
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError("a picture needs matplotlib: pip install 'fastnn[plot]'") from None
    counts = numbers("matrix", matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ShapeError(f"matrix must have shape (classes, classes), found {counts.shape}")
    names = names_of_classes(class_names, len(counts))
    if axes is None:
        side = min(3.0 + 0.42 * len(counts), 9.0)
        axes = Figure(figsize=(side + 0.8, side), layout="constrained").subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(counts) <= _NAMES:
        axes.set_xticks(
            range(len(names)), names, rotation=45 if max(map(len, names), default=0) > 4 else 0, ha="center"
        )
        axes.set_yticks(range(len(names)), names)
    if len(counts) <= _CELLS:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:g}", ha="center", va="center", color=colour)
    if path is not None:
        axes.figure.savefig(path)
    return axes
