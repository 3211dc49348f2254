"""The page of a report: the head, the sections, and a policy that lets nothing in from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from fastnn._core.atomic_file import replacing
from fastnn.report.class_sections import calibration, classes, confusion
from fastnn.report.fit_sections import fits
from fastnn.report.head import tiles
from fastnn.report.markup import append, element, name, plural, shorten, to_html
from fastnn.report.results import Classification, Regression, Results, checked
from fastnn.report.run_sections import model as layers
from fastnn.report.run_sections import settings, timings
from fastnn.report.training_curves import curves
from fastnn.report.weight_section import weights
from fastnn.report.worst_rows import worst
from fastnn.version import __version__

# The address of each section, its heading, and the function that makes its elements, or none of them.
_SECTIONS: tuple[tuple[str, str, Callable[[Results], list[Element]]], ...] = (
    ("training", "Training", curves),
    ("confusion", "Confusion", confusion),
    ("classes", "Classes", classes),
    ("fit", "Fit", fits),
    ("calibration", "Calibration", calibration),
    ("errors", "Worst errors", worst),
    ("weights", "First-layer weights", weights),
    ("timings", "Timings by kernel", timings),
    ("model", "Model", layers),
    ("settings", "Settings", settings),
)


@cache
def _style() -> tuple[str, str]:
    """The style sheet and the policy that allows it, pictures inside the page, and nothing else."""
    sheet = resources.files("fastnn.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(sheet.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return sheet, policy


def report_html(
    *,
    model: Any,
    history: Any,
    kind: str,
    targets: Any,
    outputs: Any,
    data: Any = None,
    class_names: Sequence[object] | None = None,
    feature_names: Sequence[object] | None = None,
    target_name: str | Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
    profile: Any = None,
    title: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> str:
    """The page of :func:`write_report` as a text.

    Args and errors: those of :func:`write_report`.

    >>> page = report_html(model=None, history=None, kind="regression", targets=[1.0, 2.0], outputs=[1.5, 2.0])
    >>> page.startswith("<!DOCTYPE html>"), "MAE" in page
    (True, True)
    """
    result = checked(
        model, history, kind, targets, outputs, data, class_names, feature_names, target_name, settings, profile,
        image_shape,
    )  # fmt: skip
    heading = shorten(str(title), 200) if title is not None else "Training report"
    sheet, policy = _style()
    now = datetime.now(UTC).replace(microsecond=0)
    # Numbers may be so large that their squares overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        shown = [(key, text, parts) for key, text, make in _SECTIONS if (parts := make(result))]
    links = [element("li", element("a", text, href=f"#{key}")) for key, text, _ in shown]
    header = element("header", element("h1", name(heading, 200)), element("p", _summary(result), class_="soft"))
    append(header, *(element("p", notice, class_="notice", role="note") for notice in result.notices))
    append(header, element("nav", element("ul", *links), aria_label="Sections"), tiles(result))
    main = element("main")
    for key, text, parts in shown:
        append(main, element("section", element("h2", text, id=f"{key}-title"), *parts, id=key,
                             aria_labelledby=f"{key}-title"))  # fmt: skip
    time = element("time", f"{now:%Y-%m-%d %H:%M} UTC", datetime=now.isoformat())
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="generator", content=f"fastnn {__version__}"),
        element("title", heading),
        # Or a browser asks the server for one.
        element("link", rel="icon", href="data:,"),
        element("style", sheet),
    )
    body = element("body", header, main, element("footer", f"Written by fastnn {__version__} at ", time, "."))
    return "<!DOCTYPE html>\n" + to_html(element("html", head, body, lang="en")) + "\n"


def write_report(
    path: str | Path,
    *,
    model: Any,
    history: Any,
    kind: str,
    targets: Any,
    outputs: Any,
    data: Any = None,
    class_names: Sequence[object] | None = None,
    feature_names: Sequence[object] | None = None,
    target_name: str | Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
    profile: Any = None,
    title: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> Path:
    """Write what a training run has come to as one HTML page, which needs nothing else and runs no code.

    The page has the curves of the training, confusion matrix, scores of classes and calibration, or scatter and
    residuals of a regression, the worst errors, the weights of the first layer, timings by kernel, the model and the
    settings. Its size is bounded, whatever the number of rows and classes.

    Args:
        path: of the page; a file that is there is replaced.
        model: a module, for its layers and weights, or None.
        history: the result of :func:`fastnn.fit`, or None.
        kind: ``"classification"`` or ``"regression"``.
        targets: of the rows that the model was evaluated on: (rows,), integer labels, or (rows, classes) with a single
            1 in each row; for a regression (rows,) or (rows, outputs).
        outputs: the model's: (rows, classes), logits, or (rows,) or (rows, 1), logits of class 1 of two; for a
            regression of the targets' shape.
        data: their inputs, (rows, ...), for the worst errors.
        class_names, feature_names: names of the classes and of the columns of ``data``.
        target_name: of a regression's target, or a list of names.
        settings: of the run, printed as they are.
        profile: a :class:`fastnn.profile` that has run, or None.
        title: of the page.
        image_shape: (height, width) or (channels, height, width) of the rows of ``data``, or () if they are not
            pictures. By default rows of 8 x 8, 9 x 9, ... features are taken for pictures, unless their names differ
            in more than numbers, and so are rows that have such a shape.

    Returns: the path.

    Raises: TypeError, ValueError (ShapeError for shapes) or IndexError for wrong arguments, before anything is
        written; OSError if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_report(
    ...         folder + "/report.html", model=None, history=None, kind="classification",
    ...         targets=[0, 1, 1], outputs=[[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]], class_names=["cat", "dog"],
    ...     )
    ...     "<!DOCTYPE html>" in path.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    page = report_html(
        model=model, history=history, kind=kind, targets=targets, outputs=outputs, data=data, class_names=class_names,
        feature_names=feature_names, target_name=target_name, settings=settings, profile=profile, title=title,
        image_shape=image_shape,
    )  # fmt: skip
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _summary(result: Classification | Regression) -> str:
    rows = plural(result.rows, "row")
    if isinstance(result, Classification):
        return f"Classification into {plural(len(result.names), 'class', 'classes')}, evaluated on {rows}"
    names = ", ".join(shorten(text, 40) for text in result.names[:5]) + (", …" if len(result.names) > 5 else "")
    return f"Regression of {names}, evaluated on {rows}"
