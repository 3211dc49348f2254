"""The commands on tables of any kind: they work, or fail in one line, and ONNX agrees.

FASTNN_TABLES is how many tables are tried, 6 by default.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fastnn._cli import main as cli
from fastnn._cli import options
from fastnn.tabular import load_model, read_table

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

COUNT = int(os.environ.get("FASTNN_TABLES", "6"))
# Columns by their values, of a generator and a number of rows.
KINDS = (
    lambda rng, n: rng.random(n),
    lambda rng, n: rng.integers(0, 4, n),
    lambda rng, n: rng.integers(-(10**18), 10**18, n),
    lambda rng, n: rng.choice(["a", "b", "ä,;\"'\n"], n),
    lambda rng, n: rng.random(n) < 0.5,
    lambda rng, n: np.full(n, 7),
    lambda rng, n: np.full(n, np.nan),
    lambda rng, n: np.arange(n),
    lambda rng, n: np.array([f"u{i}" for i in range(n)]),
    lambda rng, n: pandas.date_range("1999", periods=n).astype(str).to_numpy(),
    lambda rng, n: rng.standard_cauchy(n) * 10.0 ** rng.integers(0, 60),
    lambda rng, n: np.array(["1", "x", "", "2.5"])[rng.integers(0, 4, n)],
    lambda rng, n: rng.choice([np.nan, 1, 2], n),
    lambda rng, n: rng.choice(["2020-01-01", "2020-13-01", "no"], n),
    lambda rng, n: rng.random(n) * 1e-300,
    lambda rng, n: rng.choice(["True", "False", "maybe"], n),
)


def table_and_options(rng):
    """A table, and the words of ``fastnn train`` for it."""
    n = int(rng.choice([1, 2, 3, 5, 12, 40, 150]))
    columns = {}
    for i in range(rng.integers(2, 6)):
        column = pandas.Series(KINDS[rng.integers(len(KINDS))](rng, n)).astype(object)
        if rng.random() < 0.4:
            column[rng.random(n) < rng.choice([0.1, 0.9])] = None
        columns[f"{rng.choice(['a', 'b c', 'd=e', 'f,g', 'ü'])}{i}"] = column
    frame = pandas.DataFrame(columns)
    words = ["--target", list(columns)[rng.integers(len(columns))], "--hidden", rng.choice(["0", "3", "4,4"])]
    words += ["--schedule", rng.choice(options.SCHEDULES), "--seed", rng.integers(100)]
    for chance, more in (
        (0.3, ["--batch-norm"]), (0.3, ["--dropout", "0.5"]), (0.5, ["--batch-size", rng.choice([1, 2, 7, 64])]),
        (0.3, ["--validation", rng.choice(["0", "0.5", "0.9"])]),
        (0.3, ["--task", rng.choice(["classification", "regression"])]),
    ):  # fmt: skip
        words += more if rng.random() < chance else []
    return frame, words


def run(capsys, *argv):
    """Exit status and standard error; a command that fails prints one line there."""
    status = cli.main([str(word) for word in argv])
    err = capsys.readouterr().err
    assert status in (0, 1)
    assert status == 0 or err.count("\n") == 1, err
    return status, err


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_table_of_any_kind(capsys, tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_QUIET", "1")
    rng = np.random.default_rng(seed)
    status = 1
    # Many tables have nothing to learn from.
    while status:
        frame, words = table_and_options(rng)
        frame.to_csv("t.csv", index=rng.random() < 0.3, sep=rng.choice([",", ";", "\t"]))
        files = ("--save", "m.pt", "--report", "r.html", "--json", "j.json")
        status, _ = run(capsys, "train", "t.csv", *words, "--epochs", 2, *files)
    json.loads(Path("j.json").read_text(encoding="utf-8"))
    for argv in (("predict", "m.pt", "t.csv", "-o", "p.csv"), ("summary", "m.pt")):
        assert run(capsys, *argv)[0] == 0
    # Rows that are given a class that training has not seen cannot be evaluated.
    run(capsys, "evaluate", "m.pt", "t.csv")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert run(capsys, "export", "m.pt", "m.onnx")[0] == 0
    model, rows = load_model("m.pt"), read_table("t.csv")
    inputs = {"numbers": model.columns.matrix(rows), "categories": model.columns.texts(rows)}
    session = onnxruntime.InferenceSession("m.onnx")
    results = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})
    if model.target.kind == "regression":
        np.testing.assert_allclose(results[0], model.predict(rows), rtol=1e-5, atol=1e-5 * model.target.scale)
    else:
        np.testing.assert_allclose(results[1], model.predict_proba(rows), rtol=0, atol=1e-5)
