"""``fastnn summary`` and ``fastnn export``: what a saved model is, and the same as ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._cli.command import Command, Failure, visible


def _model_argument(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="a file of fastnn train --save")


# -- summary ----------------------------------------------------------------------------------


def _summary_arguments(parser: argparse.ArgumentParser) -> None:
    _model_argument(parser)
    parser.epilog = "examples:\n  fastnn summary wine.pt\n  fastnn summary wine.pt --json - | jq .columns\n"
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for standard output")


def _summary(options: argparse.Namespace) -> int:
    from fastnn._cli import output
    from fastnn.tabular import load_model
    from fastnn.training.model_summary import summary

    output.check_distinct({"--json": options.json, "MODEL": options.model})
    output.check_output(options.json, "--json")
    out = output.Output(options.json)
    with output.one_line():
        model = load_model(options.model)
    layers = summary(model.network, (1, model.plan.inputs))
    target, training = model.target, model.training
    result: dict[str, Any] = {
        "command": "summary", "model": options.model, "target": target.label, "task": target.kind,
        "classes": target.class_names, "plan": model.plan.to_dict(), "layers": layers.to_dict(), "training": training,
        "columns": None if model.columns is None else _columns(model.columns),
        "pixels": None if model.pixels is None else vars(model.pixels),
    }  # fmt: skip
    kind = f"{len(target.classes)} classes: {output.shortened(target.class_names)}" if target.classes else "a number"
    kind = f"{target.outputs} numbers" if target.names else kind
    out.say(f"predicts {visible(target.name)}, {kind}")
    for line in _training_in_words(training):
        out.say(line)
    if model.columns is not None:
        out.say("\ncolumns:")
        rows = [(visible(name), *_in_words(column)) for name, column in result["columns"].items()]
        width = max((len(row[0]) for row in rows), default=0)
        for name, kind, detail in rows:
            out.say(f"  {name.ljust(width)}  {kind.ljust(8)}  {detail}".rstrip())
        for reason, names in model.columns.left_out.items():
            out.say(f"  {output.shortened(names)}: {reason}")
    elif model.pixels is not None:
        out.say(f"pictures of {' x '.join(map(str, model.pixels.shape))} pixels")
    out.say(f"\n{layers}")
    out.write_json(result)
    return 0


def _training_in_words(training: dict[str, Any]) -> list[str]:
    from fastnn._cli.fitting import in_words

    if not training:
        return []
    try:
        rows, epochs = training["rows"], training["epochs"]
        word = "epoch" if epochs == 1 else "epochs"
        lines = [f"trained on {training['data']}: {rows:,} rows, {epochs} {word}, fastnn {training['version']}"]
        lines += [f"{name}: {in_words(training[name])}" for name in ("validation", "test") if training.get(name)]
        return [visible(line) for line in lines]
    except (LookupError, TypeError, ValueError, AttributeError):
        # TabularModel takes any plain data.
        return ["trained by something else than fastnn train"]


def _columns(columns: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    numbers = [*columns.numbers, *columns.dates]
    for i, name in enumerate(numbers):
        found[name] = {
            "kind": "number" if i < len(columns.numbers) else "date", "mean": float(columns.mean[i]),
            "scale": float(columns.scale[i]), "fill": float(columns.fill[i] * columns.scale[i] + columns.mean[i]),
            "may_be_missing": i in columns.indicated,
        }  # fmt: skip
    for name, values in zip(columns.categories, columns.values, strict=True):
        found[name] = {"kind": "category", "values": [value or None for value in values]}
    return found


def _in_words(column: dict[str, Any]) -> tuple[str, str]:
    from fastnn._cli.output import shortened

    if column["kind"] == "category":
        return "category", shortened([value or "(missing)" for value in column["values"]])
    is_date = column["kind"] == "date"
    mean, fill = (_date(column[key]) if is_date else f"{column[key]:.4g}" for key in ("mean", "fill"))
    missing = f", missing ones become {fill}" if column["may_be_missing"] else ""
    return column["kind"], f"mean {mean}, deviation {column['scale']:.4g}{' days' * is_date}{missing}"


def _date(days: float) -> str:
    # A file may have any numbers.
    return str(np.datetime64(int(days), "D")) if abs(days) < 1e7 else f"{days:.4g} days since 1970"


# -- export -----------------------------------------------------------------------------------


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _model_argument(parser)
    parser.epilog = (
        "examples:\n  fastnn export wine.pt wine.onnx\n  fastnn export wine.pt wine.onnx --network-only\n\n"
        "The graph takes the columns as they are in the table: 'numbers', float64 (rows, columns) with NaN where one\n"
        "is missing (dates as days since 1970), and 'categories', texts (rows, columns) with '' where one is missing;\n"
        "or 'pixels', uint8. It gives 'label' and 'probabilities', or 'prediction'. The names of the columns, in\n"
        "their order, are in its metadata. Needs onnx: pip install 'fastnn[onnx]'.\n"
    )
    parser.add_argument("output", metavar="FILE.onnx", help="the file to write")
    parser.add_argument(
        "--network-only", action="store_true", help="without the columns: 'features' (scaled inputs) to 'outputs'"
    )


def _export(options: argparse.Namespace) -> int:
    from fastnn._cli import output
    from fastnn.tabular import load_model

    output.check_output(options.output, "FILE.onnx")
    if Path(options.output).suffix.lower() != ".onnx" and not (
        Path(options.output).exists() and not Path(options.output).is_file()
    ):  # fmt: skip
        raise Failure(f"the file must end in .onnx, found {options.output}")
    output.check_distinct({"FILE.onnx": options.output, "MODEL": options.model})
    with output.one_line():
        model = load_model(options.model)
        from fastnn.tabular.exporting import to_onnx

        proto = to_onnx(model, network_only=options.network_only)
    output.write(options.output, lambda file: file.write(proto.SerializeToString()))
    out = output.Output()
    for value in proto.graph.input:
        shape = [d.dim_param or str(d.dim_value) for d in value.type.tensor_type.shape.dim]
        out.say(f"input {value.name}: ({', '.join(shape)})")
    out.say(f"output {', '.join(value.name for value in proto.graph.output)}")
    out.say(f"wrote {options.output}")
    return 0


COMMANDS = (
    Command("summary", "print what a saved model reads, is made of and was trained on", _summary_arguments, _summary),
    Command("export", "write a saved model as ONNX", _export_arguments, _export),
)
