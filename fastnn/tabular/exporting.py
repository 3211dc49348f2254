"""A model as a graph of ONNX, with the columns as the table has them for inputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastnn._tensor.tensor import _wrap
from fastnn.onnx import export
from fastnn.tabular.columns import FURTHEST
from fastnn.tabular.model import TabularModel

# The operator set ai.onnx.ml that has OneHotEncoder for texts.
_ML = "ai.onnx.ml"
_ML_VERSION = 3


class _Graph:
    """Adds nodes and constants to a graph under names that the network does not have."""

    def __init__(self) -> None:
        import onnx

        self.helper, self.numpy_helper, self.types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant."""
        name = f"table/constant{len(self.constants)}"
        self.constants.append(self.numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"table/{kind}{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [output], name=f"node of {output}", **attributes))
        return output


def to_onnx(model: TabularModel, *, network_only: bool = False) -> Any:
    """The model as an ``onnx.ModelProto``, which ONNX Runtime runs.

    Args:
        model: any.
        network_only: the network alone, from "features" (scaled inputs) to "outputs".

    Raises: ImportError without the package onnx.

    The inputs are "numbers", float64 (rows, columns), NaN where missing, dates as days since 1970; and "categories",
    texts (rows, columns), "" where missing; or "pixels", uint8. The outputs are "label" and "probabilities", or
    "prediction" ((rows,), or (rows, targets) of several). ``metadata_props`` has the names of the columns, in their
    order, as JSON.

    ::

        onnx.save(to_onnx(load_model("model.pt")), "model.onnx")
    """
    example = _wrap(np.zeros((2, model.plan.inputs), model.plan.dtype))
    program = export(
        model.network, (example,), input_names=["features"], output_names=["outputs"],
        dynamic_axes={"features": {0: "rows"}, "outputs": {0: "rows"}},
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    metadata = {"target": model.target.label, "classes": model.target.classes}
    if model.columns is not None:
        columns = model.columns
        metadata |= {"numbers": [*columns.numbers, *columns.dates], "categories": columns.categories}
        if network_only:
            metadata["features"] = columns.names
    for name, value in metadata.items():
        proto.metadata_props.add(key=name, value=json.dumps(value))
    if network_only:
        return proto
    import onnx

    graph, outputs = _Graph(), _Graph()
    inputs = _of_pixels(graph, model) if model.columns is None else _of_columns(graph, model)
    results = _of_outputs(outputs, model)
    for constant in outputs.constants:
        constant.name = constant.name.replace("table/", "target/")
    for node in outputs.nodes:
        for names in (node.input, node.output):
            names[:] = [name.replace("table/", "target/") for name in names]
        node.name = node.name.replace("table/", "target/")
    body = list(proto.graph.node)
    for field, values in (
        ("node", [*graph.nodes, *body, *outputs.nodes]), ("input", inputs), ("output", results),
        ("initializer", [*proto.graph.initializer, *graph.constants, *outputs.constants]),
    ):  # fmt: skip
        values = list(values)
        del getattr(proto.graph, field)[:]
        getattr(proto.graph, field).extend(values)
    if any(node.domain == _ML for node in proto.graph.node):
        proto.opset_import.append(onnx.helper.make_opsetid(_ML, _ML_VERSION))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _number(types: Any, model: TabularModel) -> int:
    """The type of the network's inputs and outputs."""
    found: int = types.FLOAT if model.plan.dtype == np.float32 else types.DOUBLE
    return found


def _of_columns(graph: _Graph, model: TabularModel) -> list[Any]:
    """From "numbers" and "categories" to "features"."""
    columns = model.columns
    assert columns is not None
    inputs, parts = [], []
    types, count = graph.types, len(columns.mean)
    number = _number(types, model)
    if count:
        inputs.append(graph.helper.make_tensor_value_info("numbers", types.DOUBLE, ["rows", count]))
        shifted = graph.add("Sub", "numbers", graph.constant(columns.mean))
        scaled = graph.add("Div", shifted, graph.constant(columns.scale))
        missing = graph.add("IsNaN", scaled)
        filled = graph.add("Where", missing, graph.constant(columns.fill), scaled)
        limits = [graph.constant(np.array(limit)) for limit in (-FURTHEST, FURTHEST)]
        filled = graph.add("Clip", filled, *limits)
        parts.append(graph.add("Cast", filled, to=number))
        if columns.indicated:
            some = graph.add("Gather", missing, graph.constant(np.array(columns.indicated, np.int64)), axis=1)
            parts.append(graph.add("Cast", some, to=number))
    if columns.categories:
        inputs.append(
            graph.helper.make_tensor_value_info("categories", types.STRING, ["rows", len(columns.categories)])
        )
        for i, values in enumerate(columns.values):
            column = graph.add("Gather", "categories", graph.constant(np.array(i, np.int64)), axis=1)
            encoded = graph.add("OneHotEncoder", column, domain=_ML, cats_strings=values, zeros=1)
            parts.append(encoded if number == types.FLOAT else graph.add("Cast", encoded, to=number))
    graph.add("Concat", *parts, output="features", axis=1)
    return inputs


def _of_pixels(graph: _Graph, model: TabularModel) -> list[Any]:
    """From "pixels" to "features"."""
    pixels = model.pixels
    assert pixels is not None
    number, dtype = _number(graph.types, model), model.plan.dtype
    flat = graph.add("Flatten", graph.add("Cast", "pixels", to=number), axis=1)
    scaled = graph.add("Mul", flat, graph.constant(np.array(pixels.scale, dtype)))
    graph.add("Add", scaled, graph.constant(np.array(pixels.shift, dtype)), output="features")
    return [graph.helper.make_tensor_value_info("pixels", graph.types.UINT8, ["rows", *pixels.shape])]


def _of_outputs(graph: _Graph, model: TabularModel) -> list[Any]:
    """From "outputs" to the label and the probabilities, or to the number."""
    target, types = model.target, graph.types
    info = graph.helper.make_tensor_value_info
    if target.kind == "regression":
        one = graph.constant(np.array([1], np.int64))
        wide = graph.add("Cast", "outputs" if target.names else graph.add("Squeeze", "outputs", one), to=types.DOUBLE)
        scaled = graph.add("Mul", wide, graph.constant(np.array(target.scale)))
        graph.add("Add", scaled, graph.constant(np.array(target.mean)), output="prediction")
        return [info("prediction", types.DOUBLE, ["rows", target.outputs] if target.names else ["rows"])]
    graph.add("Softmax", "outputs", output="probabilities", axis=1)
    place = graph.add("ArgMax", "outputs", axis=1, keepdims=0)
    are_integers = all(type(value) is int and -(2**63) <= value < 2**63 for value in target.classes)
    classes = np.array(target.classes, np.int64) if are_integers else np.array(target.class_names, object)
    graph.add("Gather", graph.constant(classes), place, output="label", axis=0)
    return [
        info("label", types.INT64 if are_integers else types.STRING, ["rows"]),
        info("probabilities", _number(types, model), ["rows", len(target.classes)]),
    ]
