"""``fastnn train``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from fastnn._cli import options as types
from fastnn._cli.command import INTERRUPTED, Command, Failure

_EXAMPLES = """\
examples:
  fastnn train                                       MNIST, which comes with fastnn
  fastnn train --hidden 512,256 --epochs 20 --save mnist.pt
  fastnn train fashion-mnist/                        a folder of IDX files
  fastnn train wine.csv --target quality --save wine.pt --report wine.html
  fastnn train houses.csv --target price --drop id,address --dropout 0.2
  fastnn train houses.csv --target price,rent        several numbers by one network
  fastnn train wine.csv --target quality --checkpoint run.ckpt --resume
                                                     go on after an interruption
  fastnn launch --nproc 4 -m fastnn train --distributed
                                                     four processes, with a quarter of the rows each
then:
  fastnn evaluate wine.pt test.csv
  fastnn predict wine.pt new.csv -o predictions.csv
  fastnn export wine.pt wine.onnx

A target of texts, or of up to 20 different whole numbers, has classes; other numbers are a regression.
Tables need pandas and scikit-learn: pip install 'fastnn[cli]'. MNIST and IDX files need nothing more.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "data", nargs="?", metavar="DATA",
        help="a .csv, .tsv, .parquet or .npz file, - for CSV from standard input, or a folder of IDX files (MNIST)",
    )  # fmt: skip
    group = parser.add_argument_group("data")
    group.add_argument("--target", metavar="COLUMN", help="the column to predict, or several of numbers, as in a,b")
    group.add_argument(
        "--task", choices=("classification", "regression"), help="what the target is (found from its values)"
    )
    group.add_argument("--drop", metavar="COLUMNS", action="append", help="columns to leave out, as in id,name")
    group.add_argument(
        "--keep", metavar="COLUMNS", action="append",
        help="columns to use although they look like names or numbers of rows",
    )  # fmt: skip
    group.add_argument(
        "--categorical", metavar="COLUMNS", action="append",
        help="columns of numbers that are categories, such as codes",
    )  # fmt: skip
    group.add_argument(
        "--validation", metavar="PART", type=types.fraction_or_file,
        help="fraction of the rows to hold out, or a second file (tables: 0.2; pictures: their test set)",
    )  # fmt: skip
    types.add_reading(group)
    types.add_network(parser)
    group = parser.add_argument_group("run")
    group.add_argument(
        "--epochs", metavar="N", type=types.count, help="passes over the rows (pictures: 5; tables: 200)"
    )
    group.add_argument(
        "--early-stopping", metavar="N", type=types.count, nargs="?", const=10,
        help="end when the validation loss was not better for N epochs (10), and keep the best weights; "
        "0 for never (pictures: 0; tables: 20)",
    )  # fmt: skip
    group.add_argument("--seed", metavar="N", type=types.seed, default=0, help="of weights, order and split (0)")
    types.add_threads(group)
    group.add_argument(
        "--distributed", action="store_true",
        help="share the rows with the other processes of 'fastnn launch'; --batch-size is that of each",
    )  # fmt: skip
    group = parser.add_argument_group("files")
    group.add_argument("--save", metavar="MODEL", help="write the trained model, for evaluate, predict and export")
    group.add_argument("--report", metavar="FILE.html", help="write a page with curves, errors and timings")
    group.add_argument("--json", metavar="FILE", help="write the results as JSON; - for standard output")
    group.add_argument("--checkpoint", metavar="FILE", help="write the whole state of the run after each epoch")
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, if there is one, to the same end, bit for bit"
    )


def _train(options: argparse.Namespace) -> int:
    if options.resume and options.checkpoint is None:
        print("fastnn train: --resume goes on from --checkpoint FILE, which is not given", file=sys.stderr)
        return 2
    import fastnn
    from fastnn._cli import fitting, output
    from fastnn._cli.prepare import prepare

    started = time.perf_counter()
    if options.distributed:
        fastnn.distributed.init_process_group()
    rank, ranks = fastnn.distributed.get_rank(), fastnn.distributed.get_world_size()
    out = output.Output(options.json, is_quiet=rank > 0)
    targets = {f"--{name}": getattr(options, name) for name in ("save", "report", "json", "checkpoint")}
    output.check_distinct({**targets, "DATA": options.data})
    for option, path in targets.items():
        output.check_output(path, option)
    if options.threads:
        fastnn.set_num_threads(options.threads)
    fastnn.manual_seed(options.seed)
    prepared = prepare(options, out.say)
    model = prepared.model
    fitting.complete(options, model.columns is not None, len(prepared.training.inputs))
    if prepared.validation is None and options.early_stopping:
        out.say("no rows are held out, so training runs to the last epoch")
        options.early_stopping = 0
    if options.batch_norm and model.plan.hidden and options.batch_size == 1:
        raise Failure("--batch-norm needs a --batch-size of at least 2: one row has no variance")
    _check_space(options, model)
    widths = "-".join(map(str, (model.plan.inputs, *model.plan.hidden, model.plan.outputs)))
    threads = fastnn.get_num_threads()
    shared = f" in each of {ranks} processes" * options.distributed
    out.say(f"network {widths}, {options.optimizer}, {threads} thread{'s' * (threads > 1)}{shared}")
    if options.resume:
        exists = Path(options.checkpoint).exists()
        out.say(f"going on from {options.checkpoint}" if exists else f"{options.checkpoint} does not exist: a new run")

    history, status, failure = _fit(prepared, options, out)
    if history is None or rank > 0:
        return status
    if history.stopped:
        out.say(f"stopped after epoch {len(history)}: {history.stopped}")
    if options.early_stopping and history.best_epoch is not None and not failure:
        out.say(f"the weights are those of epoch {history.best_epoch}")
    results = _results(prepared, options, history)
    results["seconds"] = time.perf_counter() - started
    for name in ("validation", "test"):
        if name in results:
            out.say(f"{name}: {fitting.in_words(results[name])}")
    model.training = output.plain({**results, "epochs": len(history)})
    if options.save is not None:
        # Ctrl-C during this leaves the old file.
        path, problem = fitting.save_somewhere(model, options.save)
        results["saved"] = path
        if problem is not None:
            print(f"fastnn train: --save: cannot write {options.save}: {problem.strerror}", file=sys.stderr)
            status = 1
        out.say(f"saved {path}")
    if options.report is not None:
        _report(prepared, options, history, results)
        out.say(f"wrote {options.report}")
    out.write_json(results)
    if failure:
        raise Failure(failure)
    if options.save is None:
        out.say("the model is not kept: add --save model.pt")
    return status


def _check_space(options: argparse.Namespace, model: Any) -> None:
    from fastnn._cli import fitting, output

    of_model, of_checkpoint = fitting.size_of_files(model)
    sizes = {"save": of_model, "checkpoint": of_checkpoint, "report": 1 << 20, "json": 1 << 16}
    for name, size in sizes.items():
        output.check_output(getattr(options, name), f"--{name}", size)


def _fit(prepared: Any, options: argparse.Namespace, out: Any) -> tuple[Any, int, str]:
    """Train. Returns the history (None if nothing is to be kept), the status, and an error that ended training."""
    from fastnn._cli import fitting

    try:
        return fitting.train(prepared, options, out.say), 0, ""
    except KeyboardInterrupt as stop:
        done = len(getattr(stop, "history", ()))
        if options.checkpoint is not None and done:
            message = f"interrupted after epoch {done}; the same command with --resume goes on"
        elif options.checkpoint is not None:
            message = "interrupted in the first epoch"
        else:
            message = "interrupted; with --checkpoint FILE a run can go on later"
        print(f"\nfastnn train: {message}", file=sys.stderr)
        return None, INTERRUPTED, ""
    except FloatingPointError as error:
        short = str(error).partition(":")[0]
        raise Failure(
            f"{short}: try a smaller --lr than {options.lr:g}, or look for very large numbers in the data"
        ) from error
    except OSError as error:
        # A checkpoint that cannot be written. What was learned is not lost.
        history = getattr(error, "history", None)
        if not history:
            raise
        return history, 1, f"--checkpoint: cannot write {options.checkpoint}: {error.strerror or error}"
    except (ValueError, TypeError, RuntimeError) as error:
        if options.resume:
            # The first difference is enough.
            lines = [line.strip().removesuffix(":") for line in str(error).splitlines()[:2]]
            message = lines[0].partition(": ")[0] if isinstance(error, RuntimeError) else ": ".join(lines)
            raise Failure(f"cannot resume: {message}") from error
        raise


def _results(prepared: Any, options: argparse.Namespace, history: Any) -> dict[str, Any]:
    import fastnn
    from fastnn._cli import fitting

    model = prepared.model
    results: dict[str, Any] = {
        "command": "train", "version": fastnn.__version__, "data": options.data or "MNIST",
        "target": model.target.label, "task": model.target.kind, "classes": model.target.class_names,
        "rows": len(prepared.training.inputs), "inputs": model.plan.inputs,
        "parameters": sum(p.numel() for p in model.network.parameters()), "threads": fastnn.get_num_threads(),
        "settings": fitting.settings_of(options, prepared), "epochs": [vars(epoch) for epoch in history.epochs],
        "stopped": history.stopped, "best_epoch": history.best_epoch,
    }  # fmt: skip
    if model.columns is not None:
        results["left_out"] = model.columns.left_out
    for part in (prepared.validation, prepared.test):
        if part is not None:
            # Pictures may be validated on their test set.
            results[part.name] = fitting.measure_part(model, part)
    return results


def _report(prepared: Any, options: argparse.Namespace, history: Any, results: dict[str, Any]) -> None:
    from fastnn._cli import fitting
    from fastnn._cli.output import write
    from fastnn.report import report_html

    model = prepared.model
    part = prepared.test or prepared.validation or prepared.training
    outputs, targets = model.outputs(part.inputs), part.targets
    if model.target.kind == "regression":
        targets, outputs = fitting.in_units(model.target, targets, outputs)
    settings = {"data": results["data"], "rows": f"{results['rows']:,} for training", **results["settings"]}
    settings["hidden"] = ", ".join(map(str, settings["hidden"])) or "none"
    page = report_html(
        model=model.network, history=history, kind=model.target.kind, targets=targets, outputs=outputs,
        data=part.inputs if model.columns is None else model.columns.in_units(part.inputs),
        class_names=model.target.class_names or None,
        feature_names=None if model.columns is None else model.columns.names, target_name=model.target.label,
        settings={name.replace("_", " "): value for name, value in settings.items()},
        profile=_profile(prepared, options),
        image_shape=() if model.pixels is None else model.pixels.shape if len(model.pixels.shape) == 2 else (),
        title=f"{Path(results['data']).name}: {model.target.name}",
    )  # fmt: skip
    write(options.report, lambda file: file.write(page.encode()))


def _profile(prepared: Any, options: argparse.Namespace) -> Any:
    """Where the time of a step goes, measured on a copy of the network after training."""
    import copy

    import fastnn
    from fastnn._cli import fitting

    network = copy.deepcopy(prepared.model.network).train()
    count = min(len(prepared.training.inputs), 100 * options.batch_size) // options.batch_size * options.batch_size
    if not count:
        return None
    rows = prepared.training.inputs[:count], prepared.training.targets[:count]
    with fastnn.profile() as profile:
        fastnn.fit(
            network, *rows, batch_size=options.batch_size, criterion=fitting.criterion_of(prepared.model.target),
            optimizer=fitting.make_optimizer(network, options), check_finite=False, **prepared.model.scaling,
        )  # fmt: skip
    return profile


COMMANDS = (Command("train", "train a network on MNIST, a table or pictures", _arguments, _train),)
