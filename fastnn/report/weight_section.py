"""The weights of the first layer."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.markup import BLUE, ORANGE, Child, append, element, name, number, plural, png
from fastnn.report.measures import first_weight
from fastnn.report.results import Inputs, Results
from fastnn.report.tables import key, table

# Units as pictures, features and units in one picture, pixels of a side.
_UNITS, _FEATURES, _STRIP, _SIDE = 60, 64, 128, 96


def weights(result: Results) -> list[Element]:
    """The weights of the first layer: one image for each unit, or one of all."""
    inputs = result.inputs
    if result.model is None:
        return []
    weight = first_weight(result.model, None if inputs.data is None else inputs.data.shape[1])
    if weight is None or not weight.size:
        return []
    weight = np.nan_to_num(weight.astype(np.float64), posinf=0.0, neginf=0.0)
    norms = np.sqrt((weight**2).sum(1))
    order = np.argsort(-norms, kind="stable")
    limit = float(np.quantile(np.abs(weight), 0.995)) or float(np.abs(weight).max()) or 1.0
    legend: list[Child] = [
        key("r"), "positive, ", key("w"), "negative, up to ±",
        number(limit, 3), ". ",
    ]  # fmt: skip
    if inputs.image_shape:
        kept = order[:_UNITS].tolist()
        many = f"The {len(kept)} of {plural(len(weight), 'unit')} with the largest weights, in that order."
        text = many if len(kept) < len(weight) else "Each picture is a unit; those with the largest weights come first."
        grid = element("div", class_="units")
        for i in kept:
            image = weight[i].reshape(inputs.image_shape)
            image = image.mean(0) if image.ndim == 3 else image
            step = -(-max(image.shape) // _SIDE)
            picture = element(
                "img", src=_signed(image[::step, ::step], limit), width=image.shape[1], height=image.shape[0],
                alt=f"Weights of unit {i}",
            )  # fmt: skip
            append(grid, element("figure", picture, element("figcaption", str(i))))
        return [element("p", *legend, text, class_="soft"), element("div", grid, class_="card")]
    text = "Each column is a unit, each row a feature. RMS is the root of the mean square of its weights."
    heat = _heat(weight[order[:_STRIP]], inputs, limit)
    return [element("p", *legend, text, class_="soft"), element("div", heat, class_="card")]


def _heat(weight: np.ndarray, inputs: Inputs, limit: float) -> Element:
    """Features in rows, which have names, and a strip of all units in each."""
    strength = np.sqrt((weight**2).mean(0))
    names = inputs.names or [f"feature {i}" for i in range(weight.shape[1])]
    order = np.argsort(-strength, kind="stable")[:_FEATURES].tolist()
    rows: list[list[Child]] = []
    for i in order:
        strip = element(
            "img", src=_signed(weight[None, :, i], limit), width=weight.shape[0], height=1, class_="strip",
            alt=f"Weights of {names[i]} in {plural(weight.shape[0], 'unit')}",
        )  # fmt: skip
        rows.append([name(names[i], 32), element("td", strip), number(float(strength[i]), 3)])
    few = len(order) < len(names)
    caption = f"The {len(order)} of {len(names):,} features with the largest weights." if few else None
    units = f"weights of {plural(len(weight), 'unit')}"
    return table(
        ["feature", units, "RMS"], rows, caption, numbers=(2,), style="wide heat", label="Weights of the first layer"
    )


def _signed(values: np.ndarray, limit: float) -> str:
    """An image of signed numbers: blue and orange, with nothing at zero."""
    levels = np.round(127 * (values / limit).clip(-1, 1)).astype(np.int64) + 128
    palette = np.zeros((256, 4), np.uint8)
    palette[:128, :3], palette[128:, :3] = ORANGE, BLUE
    palette[:, 3] = np.minimum(np.abs(np.arange(256) - 128) * 2, 255)
    return png(levels.astype(np.uint8), palette)
