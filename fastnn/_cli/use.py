"""``fastnn evaluate`` and ``fastnn predict``: a saved model on other rows."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._cli import options as types
from fastnn._cli.command import Command, Failure, visible

_DATA = "a file or folder as for fastnn train; - for CSV from standard input"


def _common(parser: argparse.ArgumentParser, examples: str) -> None:
    parser.epilog = examples
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="a file of fastnn train --save")
    parser.add_argument("data", metavar="DATA", nargs="?", help=f"{_DATA} (a model of pictures: MNIST's test set)")
    types.add_reading(parser)
    types.add_threads(parser)


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model, and the data that it reads: a frame, or (pictures, labels)."""
    import fastnn
    from fastnn._cli.output import one_line
    from fastnn.tabular import Pictures, load_model, read

    if options.threads:
        fastnn.set_num_threads(options.threads)
    with one_line():
        model = load_model(options.model)
        if options.data is None and model.columns is not None:
            raise Failure("the model reads tables: give the file with the rows")
        data = read(options.data, encoding=options.encoding, header=options.header)
        if isinstance(data, Pictures) != (model.columns is None):
            reads, found = ("tables", "has pictures") if isinstance(data, Pictures) else ("pictures", "is a table")
            raise Failure(f"the model reads {reads}, and {options.data or 'MNIST'} {found}")
    if isinstance(data, Pictures):
        # The model has seen the others.
        return model, (data.pixels, data.labels) if data.test_pixels is None else (data.test_pixels, data.test_labels)
    return model, data


# -- evaluate ---------------------------------------------------------------------------------


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    _common(
        parser,
        "examples:\n  fastnn evaluate wine.pt test.csv\n  fastnn evaluate wine.pt test.csv --json -\n"
        "  fastnn evaluate mnist.pt                 MNIST's test set\n\n"
        "The file needs the target column, and the columns that the model reads; others are ignored.\n",
    )
    parser.add_argument("--json", metavar="FILE", help="write the measures as JSON; - for standard output")


def _evaluate(options: argparse.Namespace) -> int:
    from fastnn._cli import fitting, output

    output.check_distinct({"--json": options.json, "MODEL": options.model, "DATA": options.data})
    output.check_output(options.json, "--json")
    out = output.Output(options.json)
    model, data = _load(options)
    target = model.target
    with output.one_line():
        if model.columns is None:
            pixels, values = data
            if values is None:
                raise Failure(f"{options.data}: there are no labels to compare with")
            inputs = model.inputs(pixels)
        else:
            for name in target.columns:
                if name not in data.columns:
                    raise Failure(f"{options.data} has no column {name!r}, which the model predicts")
            is_known = data[target.columns].notna().all(axis=1)
            if not is_known.any():
                raise Failure(f"the target {target.name!r} is missing in all rows")
            if not is_known.all():
                missing = int((~is_known).sum())
                out.say(f"left out {missing:,} row{'s' * (missing > 1)} without {visible(target.name)}")
            _warn_of_unknown(model, data)
            # All rows are read, so that an error names the row of the file.
            inputs, values = model.inputs(data)[is_known], data[target.columns][is_known]
        encoded = target.encode(values)
    measures = fitting.measure(target, encoded, model.outputs(inputs))
    out.say(f"{measures['rows']:,} rows: {fitting.in_words(measures)}")
    if target.classes and len(target.classes) <= 30:
        rows = [("class", "precision", "recall", "F1", "rows")]
        for name, scores in measures["classes"].items():
            numbers = (f"{100 * scores[key]:.1f}%" for key in ("precision", "recall", "f1"))
            rows.append((name, *numbers, f"{scores['rows']:,.0f}"))
        out.say(output.table(rows))
    out.write_json({"command": "evaluate", "model": options.model, "data": options.data or "MNIST", **measures})
    return 0


def _warn_of_unknown(model: Any, data: Any) -> None:
    from fastnn._cli.output import shortened

    if set(model.columns.categories) <= set(data.columns):
        for name, values in model.columns.unknown(data).items():
            print(
                f"{visible(name)}: not seen in training, and read as none of its values: "
                f"{shortened([value or '(missing)' for value in values], 4)}",
                file=sys.stderr,
            )


# -- predict ----------------------------------------------------------------------------------


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    _common(
        parser,
        "examples:\n  fastnn predict wine.pt new.csv -o predictions.csv\n"
        "  fastnn predict wine.pt new.csv --probabilities --with id | head\n"
        "  fastnn predict wine.pt new.parquet -o predictions.parquet\n\n"
        "The result has one row for each row of the file, in the same order, with the name of the target.\n",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help=".csv or .parquet file; - for CSV on standard output (-)"
    )
    parser.add_argument("--probabilities", action="store_true", help="add a column for each class")
    parser.add_argument(
        "--with", dest="copied", metavar="COLUMNS", action="append", help="columns of the file to copy, such as id"
    )


def _predict(options: argparse.Namespace) -> int:
    from fastnn._cli import output
    from fastnn.tabular.extras import optional

    ending = Path(options.output).suffix.lower()
    is_special = options.output == output.STDOUT or (
        Path(options.output).exists() and not Path(options.output).is_file()
    )
    if not is_special and ending not in (".csv", ".parquet", ".pq"):
        raise Failure(f"-o must end in .csv or .parquet, found {options.output}")
    output.check_distinct({"-o": options.output, "MODEL": options.model, "DATA": options.data})
    output.check_output(options.output, "-o")
    model, data = _load(options)
    target = model.target
    if options.probabilities and target.kind == "regression":
        raise Failure("the model predicts a number, which has no probabilities")
    columns: dict[str, Any] = {}
    written = [*target.columns, *(f"{target.name}={name}" for name in target.class_names if options.probabilities)]
    with output.one_line():
        if model.columns is not None:
            _warn_of_unknown(model, data)
            inputs = model.inputs(data)
            for name in types.names_of_columns(options.copied, data.columns):
                if name not in data.columns:
                    raise Failure(f"--with: there is no column {name!r}")
                if name in written:
                    raise Failure(f"--with: {name!r} is the name of a column of predictions; rename it in the data")
                columns[name] = [None if value != value else value for value in data[name].astype(object)]
        else:
            if options.copied:
                raise Failure("--with is for tables, and the model reads pictures")
            inputs = model.inputs(data[0])
        outputs = model.outputs(inputs)
        predictions = target.decode(outputs).tolist()
        if target.kind == "regression":
            rows = predictions if target.names else [[value] for value in predictions]
            # The outputs are float32, unless the model is of another precision.
            digits = 9 if model.plan.precision == "float32" else 17
            for name, values in zip(target.columns, zip(*rows, strict=True), strict=True):
                columns[name] = [float(f"{value:.{digits}g}") for value in values]
        else:
            columns[target.name] = predictions
        if options.probabilities:
            from scipy.special import softmax

            for name, chances in zip(written[1:], softmax(outputs.astype(np.float64), axis=1).T, strict=True):
                columns[name] = [float(f"{chance:.7g}") for chance in chances.tolist()]
        if ending in (".parquet", ".pq"):
            pandas = optional("pandas", "Parquet")
            optional("pyarrow", "Parquet")
            frame = pandas.DataFrame(columns)
            output.write(options.output, lambda file: frame.to_parquet(file, index=False))
        elif options.output == output.STDOUT:
            output.write_stdout(_csv(columns))
        else:
            output.write(options.output, lambda file: file.write(_csv(columns).encode()))
    if options.output != output.STDOUT:
        output.Output().say(f"wrote {len(outputs):,} predictions to {options.output}")
    return 0


def _csv(columns: dict[str, list[Any]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*([_cell(value) for value in column] for column in columns.values()), strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A float with the digits that distinguish it; nothing for a missing value."""
    if value is None or value != value:
        return ""
    # Nine digits distinguish numbers of float32.
    return f"{value:.9g}" if type(value) is float and value == float(f"{value:.9g}") else value


COMMANDS = (
    Command("evaluate", "measure a saved model on other rows", _evaluate_arguments, _evaluate),
    Command("predict", "predict the target of new rows by a saved model", _predict_arguments, _predict),
)
