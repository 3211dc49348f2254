"""fastnn train and the commands that use its models, called in this process."""

import io
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn._cli import main as cli
from fastnn._cli import options, warmup
from fastnn.datasets import load_mnist
from fastnn.tabular import ACTIVATIONS, TabularModel, load_model, reading

SMALL = ("--epochs", "2", "--hidden", "4")


def run(capsys, *argv):
    """Exit status, standard output, standard error."""
    try:
        status = cli.main([str(word) for word in argv])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def failure(capsys, *argv, status=1):
    """The one line of a command that fails, and that printed nothing else."""
    found, out, err = run(capsys, *argv)
    assert (found, err.count("\n")) == (status, 1), (out, err)
    assert err.startswith("fastnn")
    return err


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A new working folder, and quiet compilation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_QUIET", "1")
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    return tmp_path


def write_idx(folder, pixels, labels, prefix):
    for name, array in ((f"{prefix}-images-idx3-ubyte", pixels), (f"{prefix}-labels-idx1-ubyte", labels)):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def pictures(folder):
    """A folder of IDX files: the brighter half is the label."""
    rng = np.random.default_rng(0)
    (folder / "idx").mkdir()
    for prefix, count in (("train", 120), ("t10k", 40)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 100, (count, 4, 4))
        pixels[labels == 1, :2] += 150
        pixels[labels == 0, 2:] += 150
        write_idx(folder / "idx", pixels, labels, prefix)
    return "idx"


def frame_of(count=90, seed=0):
    """A table whose class follows from its columns, with missing values, categories and dates."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 3
    frame = pandas.DataFrame(
        {
            "id": np.arange(count) + 7,
            "width": kind + 0.1 * rng.standard_normal(count),
            "height": 100 * rng.random(count),
            "town": np.array(["here", "there", "nowhere"])[(kind + (rng.random(count) < 0.1)) % 3],
            "when": pandas.date_range("2026-01-01", periods=count).strftime("%Y-%m-%d"),
            "kind": np.array(["a", "b", "c"])[kind],
            "price": 3 * kind + rng.random(count),
        }
    )
    frame.loc[::8, "height"] = np.nan
    frame.loc[::9, "town"] = None
    return frame


@pytest.fixture
def tables(folder):
    frame_of().to_csv("data.csv", index=False)
    frame_of(30, 1).drop(columns="price").to_csv("new.csv", index=False)
    return frame_of(30, 1)


def test_names_of_activations_are_those_of_networks():
    assert tuple(ACTIVATIONS) == options.ACTIVATIONS


def test_pictures_need_no_other_package(capsys, pictures, monkeypatch):
    for name in ("pandas", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
    settings = ("--epochs", "20", "--hidden", "8", "--lr", "0.01", "--batch-norm", "--dropout", "0.1")
    status, out, err = run(capsys, "train", pictures, *settings, "--save", "m.pt", "--json", "-")
    assert status == 0
    results = json.loads(out)
    assert "120 pictures of 4 x 4, 2 classes" in err
    assert results["test"]["accuracy"] > 0.9
    assert results["settings"]["batch_norm"] is True
    status, out, err = run(capsys, "evaluate", "m.pt", pictures, "--json", "e.json")
    assert status == 0
    measures = json.loads(Path("e.json").read_text())
    assert measures["accuracy"] == results["test"]["accuracy"]
    assert "40 rows: accuracy" in out
    status, out, err = run(capsys, "predict", "m.pt", pictures, "--probabilities")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "label,label=0,label=1"
    assert len(lines) == 41
    status, out, err = run(capsys, "summary", "m.pt")
    assert "pictures of 4 x 4 pixels" in out
    # The rows are split if the test set may not decide when training ends.
    status, out, err = run(capsys, "train", pictures, *SMALL, "--early-stopping", "--json", "r.json")
    results = json.loads(Path("r.json").read_text())
    assert (results["rows"], results["validation"]["rows"], results["test"]["rows"]) == (108, 12, 40)


def test_mnist_is_the_default(capsys, monkeypatch):
    images = load_mnist()
    few = type(images)(*(array[:200] for array in images))
    monkeypatch.setattr(reading, "load_mnist", lambda path: few if path is None else None)
    status, out, err = run(capsys, "train", "--epochs", "1", "--hidden", "8")
    assert (status, err) == (0, "")
    assert "200 pictures of 28 x 28, 10 classes" in out
    assert out.endswith("the model is not kept: add --save model.pt\n")


def test_from_a_table_to_predictions(capsys, tables):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    status, out, err = run(
        capsys, "train", "data.csv", "--target", "kind", "--drop", "price", "--save", "m.pt", "--report", "r.html",
        "--epochs", "60", "--lr", "0.01", "--json", "r.json", "--threads", fastnn.get_num_threads(),
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "72 rows to train on, 18 to validate" in out
    assert "columns: 2 numbers, 1 date, 1 category; 8 inputs" in out
    assert "left out id: it numbers the rows" in out
    results = json.loads(Path("r.json").read_text())
    assert results["validation"]["accuracy"] > 0.9
    assert results["classes"] == ["a", "b", "c"]
    assert len(results["epochs"]) <= 60
    assert "<html" in Path("r.html").read_text(encoding="utf-8")
    # On other rows, with the same result by the command and from Python.
    tables.to_csv("test.csv", index=False)
    status, out, err = run(capsys, "evaluate", "m.pt", "test.csv", "--json", "-")
    measures = json.loads(out)
    model = load_model("m.pt")
    predictions = model.predict(tables)
    assert measures["accuracy"] == (predictions == tables["kind"]).mean() > 0.9
    sums = np.array(measures["confusion_matrix"]).sum(1)
    assert sums.tolist() == [measures["classes"][name]["rows"] for name in "abc"] == [10, 10, 10]
    status, out, err = run(capsys, "predict", "m.pt", "new.csv", "-o", "p.csv", "--probabilities", "--with", "id")
    assert (status, out, err) == (0, "wrote 30 predictions to p.csv\n", "")
    written = pandas.read_csv("p.csv")
    assert list(written.columns) == ["id", "kind", "kind=a", "kind=b", "kind=c"]
    assert (written["kind"] == predictions).all()
    assert written["id"].tolist() == tables["id"].tolist()
    np.testing.assert_allclose(written.iloc[:, 2:], model.predict_proba(tables), rtol=1e-6)
    status, out, err = run(capsys, "predict", "m.pt", "new.csv")
    assert out.splitlines() == ["kind", *predictions]
    status, out, err = run(capsys, "summary", "m.pt", "--json", "-")
    summary = json.loads(out)
    assert summary["columns"]["town"] == {"kind": "category", "values": [None, "here", "nowhere", "there"]}
    assert "missing ones become" in err


def test_regression_by_its_target(capsys, tables):
    argv = ("--target", "price", "--save", "m.pt", "--epochs", "100", "--lr", "0.01", "--early-stopping", "0")
    status, out, err = run(capsys, "train", "data.csv", *argv)
    assert (status, err) == (0, "")
    assert "target price: a number (regression)" in out
    assert "epoch 100/100" in out
    model = load_model("m.pt")
    assert model.target.mean == pytest.approx(frame_of()["price"].mean())
    status, out, err = run(capsys, "evaluate", "m.pt", "data.csv", "--json", "-")
    measures = json.loads(out)
    true = frame_of()["price"]
    residuals = model.predict(frame_of()) - true
    assert measures["r2"] == pytest.approx(1 - (residuals**2).sum() / ((true - true.mean()) ** 2).sum(), abs=1e-6)
    assert measures["r2"] > 0.8
    message = failure(capsys, "predict", "m.pt", "data.csv", "--probabilities")
    assert "has no probabilities" in message


def table_of_numbers(count=90, seed=0):
    """Two targets in units that are far apart, from two columns."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    a, b = np.random.default_rng(seed).random((2, count))
    return pandas.DataFrame({"a": a, "b": b, "low": a - b, "high, new": np.round(1e4 * (a + 2 * b))})


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_several_targets(capsys, precision):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = table_of_numbers()
    frame.loc[3, "low"] = frame.loc[5, "high, new"] = np.nan
    frame = frame.rename(columns={"high, new": "high"})
    frame.to_csv("data.csv", index=False)
    argv = ("train", "data.csv", "--target", "low, high", "--epochs", "60", "--lr", "0.02", "--precision", precision)
    status, out, err = run(capsys, *argv, "--save", "m.pt", "--report", "r.html", "--json", "r.json")
    assert (status, err) == (0, "")
    assert "left out 2 rows without low, high\n" in out
    assert "target low, high: 2 numbers (regression)\n" in out
    results = json.loads(Path("r.json").read_text())
    assert results["target"] == ["low", "high"]
    assert results["validation"]["r2"] > 0.9
    assert "high" in Path("r.html").read_text(encoding="utf-8")
    model, new = load_model("m.pt"), table_of_numbers(30, 1).rename(columns={"high, new": "high"})
    predictions = model.predict(new)
    assert predictions.shape == (30, 2)
    # Each in its own units.
    np.testing.assert_allclose(predictions, new[["low", "high"]], rtol=0, atol=0.4 * new[["low", "high"]].std().max())
    new.to_csv("new.csv", index=False)
    status, out, err = run(capsys, "evaluate", "m.pt", "new.csv", "--json", "e.json")
    assert (status, err) == (0, "")
    measures = json.loads(Path("e.json").read_text())
    each = [measures["targets"][name]["r2"] for name in ("low", "high")]
    assert measures["r2"] == pytest.approx(np.mean(each))
    assert f"30 rows: R2 {np.mean(each):.4f}, the mean of low {each[0]:.4f}, high {each[1]:.4f}\n" in out
    new.drop(columns=["low", "high"]).to_csv("new.csv", index=False)
    assert run(capsys, "predict", "m.pt", "new.csv", "-o", "p.csv", "--with", "a")[0] == 0
    written = pandas.read_csv("p.csv")
    assert list(written.columns) == ["a", "low", "high"]
    np.testing.assert_allclose(written[["low", "high"]], predictions, rtol=1e-8 if precision == "float32" else 1e-15)
    assert "has no column 'low', which the model predicts" in failure(capsys, "evaluate", "m.pt", "new.csv")
    status, out, _ = run(capsys, "summary", "m.pt")
    assert out.startswith("predicts low, high, 2 numbers\n")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert run(capsys, "export", "m.pt", "m.onnx")[0] == 0
    session = onnxruntime.InferenceSession("m.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["target"]) == ["low", "high"]
    (found,) = session.run(None, {"numbers": model.columns.matrix(new)})
    np.testing.assert_allclose(found, predictions, rtol=1e-5 if precision == "float32" else 1e-12)


def test_several_targets_that_are_not_numbers(capsys, tables):
    train = ("train", "data.csv", *SMALL)
    assert "'kind' has values such as 'a'" in failure(capsys, *train, "--target", "price,kind")
    assert "must be numbers" in failure(capsys, *train, "--target", "price,width", "--task", "classification")
    assert "no column 'pric'; did you mean 'price'?" in failure(capsys, *train, "--target", "width,pric")
    assert "expected the name of a column, found ' , '" in failure(capsys, *train, "--target", " , ")
    argv = ("--target", "price,width", "--validation", "new.csv")
    assert "new.csv has no column 'price'" in failure(capsys, *train, *argv)
    # A column whose name has a comma is one target, and a name that is given twice, too.
    table_of_numbers().to_csv("comma.csv", index=False)
    for names, target in (("high, new", "high, new"), ("low,low", "low")):
        assert run(capsys, "train", "comma.csv", "--target", names, *SMALL, "--save", "m.pt")[0] == 0
        assert load_model("m.pt").target.label == target


def test_precision(capsys, tables, pictures):
    """The network, its inputs and its outputs are of the precision, and the results alike.

    By SGD: a bias before a normalisation has no gradient but rounding, of which Adam makes steps of full size.
    """
    for data in (("data.csv", "--target", "kind"), ("data.csv", "--target", "price"), (pictures,)):
        found = {}
        for precision in ("float32", "float64"):
            argv = ("train", *data, *SMALL, "--precision", precision, "--batch-norm", "--optimizer", "sgd")
            status, _, err = run(capsys, *argv, "--save", "m.pt", "--report", "r.html", "--json", "j.json")
            assert (status, err) == (0, "")
            assert json.loads(Path("j.json").read_text())["settings"]["precision"] == precision
            model = load_model("m.pt")
            assert {str(p.dtype) for p in model.network.parameters()} == {f"torch.{precision}"}
            rows = frame_of(30, 1) if len(data) > 1 else load_mnist(pictures).train_images
            found[precision] = model.outputs(model.inputs(rows))
            assert found[precision].dtype == precision
            assert run(capsys, "warmup", "m.pt")[0] == 0
            if data[0] == "data.csv":
                assert run(capsys, "evaluate", "m.pt", "data.csv")[0] == 0
        np.testing.assert_allclose(found["float32"], found["float64"], rtol=0, atol=1e-5)


def test_parquet_npz_and_standard_input(capsys, tables, monkeypatch):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame_of().to_parquet("data.parquet")
    assert run(capsys, "train", "data.parquet", "--target", "kind", *SMALL, "--save", "m.pt")[0] == 0
    assert run(capsys, "predict", "m.pt", "data.parquet", "-o", "p.parquet", "--with", "when")[0] == 0
    assert pandas.read_parquet("p.parquet").shape == (90, 2)
    rng = np.random.default_rng(0)
    np.savez("x.npz", X=rng.random((40, 3)), y=rng.random(40))
    status, out, err = run(capsys, "train", "x.npz", *SMALL)
    assert "target y: a number" in out
    np.savez("several.npz", X=rng.random((40, 3)), y=rng.random((40, 2)))
    status, out, err = run(capsys, "train", "several.npz", *SMALL)
    assert "target y0, y1: 2 numbers" in out
    pixels = rng.integers(0, 256, (40, 3, 3)).astype(np.uint8)
    np.savez("pictures.npz", x_train=pixels, y_train=np.arange(40) % 4, x_test=pixels, y_test=np.arange(40) % 4)
    status, out, err = run(capsys, "train", "pictures.npz", *SMALL)
    assert "40 pictures of 3 x 3, 4 classes" in out
    content = io.TextIOWrapper(io.BytesIO(Path("data.csv").read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    status, out, err = run(capsys, "train", "-", "--target", "kind", *SMALL)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("task", ["kind", "price", "pictures"])
def test_onnx_gives_the_predictions_for_the_columns_as_they_are(capsys, tables, pictures, task):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    data = pictures if task == "pictures" else "data.csv"
    argv = [] if task == "pictures" else ["--target", task, "--drop", "id"]
    assert run(capsys, "train", data, *argv, "--epochs", "10", "--hidden", "8,8", "--save", "m.pt")[0] == 0
    status, _, err = run(capsys, "export", "m.pt", "m.onnx")
    assert (status, err) == (0, "")
    model = load_model("m.pt")
    session = onnxruntime.InferenceSession("m.onnx")
    if task == "pictures":
        pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4)).astype(np.uint8)
        inputs, rows = {"pixels": pixels}, pixels
    else:
        rows = tables.assign(price=0.0, kind="a")
        # Values that training has not seen, and missing ones.
        rows.loc[:3, "town"] = "elsewhere"
        rows.loc[2:8, "width"] = np.nan
        rows.loc[5, "when"] = None
        rows.loc[6, "height"] = 1e99
        inputs = {"numbers": model.columns.matrix(rows), "categories": model.columns.texts(rows)}
        names = json.loads(session.get_modelmeta().custom_metadata_map["numbers"])
        assert names == [*model.columns.numbers, *model.columns.dates]
    results = session.run(None, inputs)
    if task == "price":
        np.testing.assert_allclose(results[0], model.predict(rows), rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_allclose(results[1], model.predict_proba(rows), rtol=0, atol=1e-6)
        assert results[0].tolist() == model.predict(rows).tolist()
    assert run(capsys, "export", "m.pt", "n.onnx", "--network-only")[0] == 0
    scaled = model.inputs(rows)
    if task == "pictures":
        scaled = (scaled * np.float64(model.pixels.scale) + model.pixels.shift).astype(np.float32)
    (outputs,) = onnxruntime.InferenceSession("n.onnx").run(None, {"features": scaled})
    np.testing.assert_allclose(outputs, model.outputs(model.inputs(rows)), rtol=0, atol=1e-5)


def weights(path):
    return {name: tensor.numpy().copy() for name, tensor in load_model(path).network.state_dict().items()}


def interrupt_after(monkeypatch, epoch):
    from fastnn._cli import fitting

    def on_epoch_end(self, run, found):
        if found.number == epoch:
            raise KeyboardInterrupt

    # The line of an epoch is printed before its checkpoint is written.
    monkeypatch.setattr(fitting._Progress, "on_epoch_end", on_epoch_end)
    monkeypatch.setattr(fitting._Checkpoint, "_SECONDS", 0.0)


@pytest.mark.parametrize("schedule", ["constant", "linear", "onecycle", "plateau"])
def test_a_resumed_run_ends_with_the_same_bits(capsys, pictures, monkeypatch, schedule):
    argv = ("train", pictures, "--epochs", "6", "--hidden", "8", "--dropout", "0.2", "--schedule", schedule,
            "--early-stopping", "5")  # fmt: skip
    assert run(capsys, *argv, "--save", "whole.pt")[0] == 0
    argv = (*argv, "--checkpoint", "run.ckpt", "--resume", "--save", "m.pt")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        status, out, err = run(capsys, *argv)
        assert status == 130
        assert err == "\nfastnn train: interrupted after epoch 4; the same command with --resume goes on\n"
        assert "run.ckpt does not exist: a new run" in out
    assert not os.path.exists("m.pt")
    status, out, err = run(capsys, *argv)
    assert (status, err) == (0, "")
    assert "going on from run.ckpt" in out
    assert "epoch 3/6" not in out
    whole, resumed = weights("whole.pt"), weights("m.pt")
    assert all((whole[name] == resumed[name]).all() for name in whole)
    # Of another run.
    message = failure_after_output(capsys, *argv, "--lr", "0.5")
    assert "the checkpoint is of a run with --lr 0.001, and now it is 0.5" in message


def failure_after_output(capsys, *argv):
    status, _, err = run(capsys, *argv)
    assert (status, err.count("\n")) == (1, 1)
    return err


def test_other_checkpoints_are_refused_in_one_line(capsys, pictures):
    Path("junk.ckpt").write_text("junk")
    run(capsys, "train", pictures, *SMALL, "--save", "m.pt", "--checkpoint", "c.ckpt")
    for path, hidden, message in (
        ("junk.ckpt", "4", "the checkpoint 'junk.ckpt' cannot be read"), ("m.pt", "4", "not a checkpoint"),
        ("c.ckpt", "5", "of another run"),
    ):  # fmt: skip
        argv = ("train", pictures, "--epochs", "3", "--hidden", hidden, "--checkpoint", path, "--resume")
        assert message in failure_after_output(capsys, *argv)


@pytest.mark.parametrize("optimizer", options.OPTIMIZERS)
def test_every_optimizer_with_every_schedule(capsys, pictures, optimizer):
    argv = ("--optimizer", optimizer, "--epochs", "3", "--hidden", "4", "--weight-decay", "0.01", "--json", "-")
    for schedule in options.SCHEDULES:
        status, out, _ = run(capsys, "train", pictures, *argv, "--schedule", schedule)
        assert status == 0
        rates = [epoch["lr"] for epoch in json.loads(out)["epochs"]]
        # Steps of the rate are taken after batches or epochs; plateau has not waited long enough.
        assert (len(set(rates)) == 1) == (schedule in ("constant", "plateau"))


def test_one_row_to_validate_has_no_r2(capsys, tables):
    frame_of(3).to_csv("three.csv", index=False)
    argv = ("--target", "price", "--task", "regression", *SMALL, "--save", "m.pt", "--json", "-")
    status, out, _ = run(capsys, "train", "three.csv", *argv)
    assert json.loads(out)["validation"]["r2"] is None
    status, out, _ = run(capsys, "summary", "m.pt")
    assert (status, "validation: R2 nan" in out) == (0, True)


def test_ctrl_c_without_a_checkpoint(capsys, pictures, monkeypatch):
    interrupt_after(monkeypatch, 1)
    status, _, err = run(capsys, "train", pictures, *SMALL, "--save", "m.pt")
    assert status == 130
    assert err.endswith("with --checkpoint FILE a run can go on later\n")
    assert os.listdir() == ["idx"]


def test_files_that_cannot_be_written_are_found_before_training(capsys, pictures, monkeypatch):
    from fastnn._cli import fitting

    monkeypatch.setattr(fitting, "train", None)
    Path("folder").mkdir()
    for option in ("--save", "--report", "--json", "--checkpoint"):
        assert f"{option}: cannot write" in failure(capsys, "train", pictures, option, "none/a.pt")
        assert f"{option}: cannot write" in failure(capsys, "train", pictures, option, "folder")
    assert "same file" in failure(capsys, "train", pictures, "--save", "a", "--json", "a")
    assert "same file" in failure(capsys, "train", pictures, "--save", pictures)

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run(capsys, "train", pictures, "--save", "m.pt")
    assert (status, err) == (1, "fastnn: --save: cannot write m.pt: No space left on device\n")
    assert sorted(os.listdir()) == ["folder", "idx"]


def test_a_model_that_cannot_be_saved_goes_elsewhere(capsys, pictures, monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path / "other"))
    original = TabularModel.save

    def save(self, file):
        if file == "m.pt":
            raise OSError(28, "No space left on device", file)
        original(self, file)

    monkeypatch.setattr(TabularModel, "save", save)
    status, out, err = run(capsys, "train", pictures, *SMALL, "--save", "m.pt")
    assert (status, err) == (1, "fastnn train: --save: cannot write m.pt: No space left on device\n")
    assert f"saved {tmp_path / 'other' / 'm.pt'}\n" in out
    assert load_model(tmp_path / "other" / "m.pt").plan.hidden == (4,)


def test_a_loss_that_diverges_is_one_line(capsys, tables):
    argv = ("train", "data.csv", "--target", "price", *SMALL, "--optimizer", "sgd", "--lr", "1e30")
    message = failure_after_output(capsys, *argv)
    assert "the loss became" in message
    assert "try a smaller --lr" in message


def test_memory_that_the_machine_does_not_have(capsys, pictures):
    assert "too much for this machine" in failure(capsys, "train", pictures, "--hidden", "100000000000")


@pytest.mark.parametrize(
    "argv",
    [
        ("train", "--hidden", "4,x"), ("train", "--hidden", "-1"), ("train", "--dropout", "1"), ("train", "--lr", "0"),
        ("train", "--optimizer", "none"), ("train", "--seed", "-1"), ("train", "--validation", "1"),
        ("train", "--precision", "bf16"), ("warmup", "--precision", "float16"), ("train", "--resume"),
        ("train", "--activation", "prelu"),
        ("train", "a", "b"), ("evaluate",), ("predict",), ("summary",), ("export", "m.pt"), ("completion",),
        ("completion", "nonesuch"), ("warmup", "--threads", "0"),
    ],
)  # fmt: skip
def test_wrong_options_give_one_line(capsys, argv):
    failure(capsys, *argv, status=2)


def test_a_table_without_pandas(capsys, monkeypatch):
    Path("a.csv").write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = failure(capsys, "train", "a.csv", "--target", "b")
    assert message == "fastnn: a table needs pandas: pip install 'fastnn[cli]'\n"


def test_errors_of_tables_are_one_line(capsys, tables):
    for argv, message in (
        (("nonesuch.csv",), "nonesuch.csv: no such file"),
        (("data.csv",), "which column is to be predicted? Give --target"),
        (("data.csv", "--target", "KIND"), "did you mean 'kind'?"),
        (("data.csv", "--target", "kind", "--drop", "wdith"), "did you mean 'width'?"),
        (("data.csv", "--target", "kind", "--task", "regression"), "regression needs numbers"),
        (("data.csv", "--target", "kind", "--validation", "none.csv"), "none.csv: no such file"),
        (("data.csv", "--target", "price", "--validation", "new.csv"), "new.csv has no column 'price'"),
        (("idx.pt",), "idx.pt: no such file"),
    ):
        assert message in failure(capsys, "train", *argv), argv


def test_files_that_are_no_table_are_one_line(capsys, tmp_path):
    def message(*argv):
        return failure(capsys, *argv).rstrip("\n")

    folder = tmp_path / "tables"
    folder.mkdir()
    assert message("train", str(folder)) == (
        f"fastnn: {folder}: no IDX files such as train-images-idx3-ubyte in this folder"
    )
    for name in ("a.csv", "b.parquet", "c.npz", "d.tsv.gz", "e.py"):
        (folder / name).touch()
    assert message("train", str(folder)).endswith(
        "in this folder; it has tables: give one of them, a.csv, b.parquet, c.npz, ... (4 in all)"
    )
    for ending in ("gz", "bz2", "xz"):
        Path(f"a.csv.{ending}").write_text("no such archive")
        found = message("train", f"a.csv.{ending}", "--target", "y")
        assert found.startswith(f"fastnn: a.csv.{ending}: damaged: ")
    Path("a.xlsx").touch()
    assert message("train", "a.xlsx", "--target", "y").endswith("folder of IDX files; save the sheet as CSV")
    assert message("train", "--target", "y") == (
        "fastnn: --target is for tables, and MNIST has pictures; give the file of the table"
    )
    for option in ("--save", "--report", "--json", "--checkpoint"):
        assert message("train", option, "") == f"fastnn: {option}: expected the path of a file, found ''"
    Path("two.csv").write_text("x,y\n1,a\n2,b\n")
    assert "(all others are dropped)" in message("train", "two.csv", "--target", "y", "--drop", "x")


def test_rows_without_a_target_tell_what_a_column_is(capsys, tables):
    frame = frame_of()
    frame.loc[[3, 40], "kind"] = None
    frame.loc[50, "width"] = np.inf
    frame.to_csv("gaps.csv", index=False)
    # The rows keep their numbers, and the numbers of rows their gaps.
    assert "in row 51" in failure(capsys, "train", "gaps.csv", "--target", "kind", *SMALL)
    frame.loc[50, "width"] = 1
    frame.to_csv("gaps.csv", index=False)
    status, out, _ = run(capsys, "train", "gaps.csv", "--target", "kind", *SMALL, "--save", "m.pt")
    assert status == 0
    assert "left out 2 rows without kind" in out
    assert "left out id: it numbers the rows" in out
    frame["width"] = frame["width"].astype(object)
    frame.loc[50, "width"] = "wide"
    frame.to_csv("gaps.csv", index=False)
    assert "found 'wide' in row 51" in failure(capsys, "evaluate", "m.pt", "gaps.csv")


def test_names_with_line_breaks_and_control_characters(capsys, tables, monkeypatch):
    frame = tables.rename(columns={"width": "größe\nin €", "height": "\x1b[31mred"})
    frame["kind"] = frame["kind"].replace("a", "two\nlines \x1b[0m")
    frame.to_csv("odd.csv", index=False)
    # A terminal that has no such letters.
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["train", "odd.csv", "--target", "kind", *SMALL, "--save", "m.pt"]) == 0
    assert cli.main(["evaluate", "m.pt", "odd.csv"]) == 0
    assert cli.main(["summary", "m.pt"]) == 0
    stdout.flush()
    shown = stdout.buffer.getvalue().decode("ascii")
    assert "\x1b" not in shown
    assert "two\\nlines \\x1b[0m" in shown
    assert "gr\\xf6\\xdfe\\nin \\u20ac" in shown
    # Data is not changed: it is UTF-8, as in files.
    before = len(stdout.buffer.getvalue())
    assert cli.main(["predict", "m.pt", "odd.csv", "--with", "größe\nin €", "--probabilities"]) == 0
    data = stdout.buffer.getvalue()[before:].decode()
    assert data.startswith('"größe\nin €",kind,kind=b,kind=c,"kind=two\nlines \x1b[0m"\n')
    assert capsys.readouterr().err == ""
    assert "'\\x1b[31m'" in failure(capsys, "train", "odd.csv", "--target", "\x1b[31m")


def test_only_texts_go_to_standard_output(capsys, tables):
    for option in ("--save", "--report", "--checkpoint"):
        message = failure(capsys, "train", "data.csv", "--target", "kind", option, "-")
        assert f"{option} needs the name of a file" in message
    run(capsys, "train", "data.csv", "--target", "kind", *SMALL, "--save", "m.pt")
    assert "needs the name of a file" in failure(capsys, "export", "m.pt", "-")
    assert not os.path.exists("-")


def test_warmup_ignores_settings_that_train_does_not_have():
    known = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0, "schedule": "step", "batch_size": 8}
    assert warmup._settings({"settings": {**known, "epochs": 3}}) == known
    strange = {"optimizer": ["sgd"], "lr": "x", "weight_decay": float("nan"), "schedule": None, "batch_size": 10**12}
    for settings in (None, [1], strange, dict.fromkeys(known)):
        assert warmup._settings({"settings": settings}) == {}


def test_the_summary_of_a_model_of_another_program(capsys, tables):
    run(capsys, "train", "data.csv", "--target", "kind", *SMALL, "--save", "m.pt")
    for training in ({"by": "hand"}, {"rows": "x", "epochs": [1], "data": 1, "version": 2}):
        model = load_model("m.pt")
        model.training = training
        model.columns.mean[-1] = 1e30  # A date that no calendar has.
        model.save("n.pt")
        status, out, _ = run(capsys, "summary", "n.pt")
        assert status == 0
        assert "trained by something else than fastnn train" in out


def test_errors_of_rows_for_a_model(capsys, tables):
    run(capsys, "train", "data.csv", "--target", "kind", "--drop", "price", *SMALL, "--save", "m.pt")
    frame = tables.drop(columns="price")
    changed = {
        "missing": frame.drop(columns=["width", "town"]), "text": frame.assign(width="wide"),
        "date": frame.assign(when="1 May"), "class": frame.assign(kind="z"), "none": frame.assign(kind=None),
        "target": frame.drop(columns="kind"),
    }  # fmt: skip
    for name, rows in changed.items():
        rows.to_csv(f"{name}.csv", index=False)
    for command, name, message in (
        ("predict", "missing", "the model needs the columns 'width', 'town'"),
        ("predict", "text", "the column 'width' must be a number, found 'wide' in row 1"),
        ("predict", "date", "the column 'when' must be a date such as 2026-01-31, found '1 May' in row 1"),
        ("evaluate", "class", "has the class z, and the model knows a, b, c"),
        ("evaluate", "none", "the target 'kind' is missing in all rows"),
        ("evaluate", "target", "has no column 'kind', which the model predicts"),
    ):
        assert message in failure(capsys, command, "m.pt", f"{name}.csv")
    assert "did you mean" not in failure(capsys, "predict", "m.pt", "new.csv", "-o", "p.txt")
    frame.assign(**{"kind=a": 1}).to_csv("named.csv", index=False)
    for name, more in (("kind", ()), ("kind=a", ("--probabilities",))):
        message = failure(capsys, "predict", "m.pt", "named.csv", "--with", name, *more)
        assert f"'{name}' is the name of a column of predictions" in message
    assert run(capsys, "predict", "m.pt", "named.csv", "--with", "kind=a")[0] == 0
    assert "no column 'none'" in failure(capsys, "predict", "m.pt", "new.csv", "--with", "none")
    assert "not a model of fastnn train" in failure(capsys, "predict", "new.csv", "data.csv")
    assert "the model reads tables" in failure(capsys, "predict", "m.pt")
    # Values that training has not seen are a line, not an error.
    frame.assign(town="elsewhere", more=1).to_csv("unknown.csv", index=False)
    status, _, err = run(capsys, "predict", "m.pt", "unknown.csv")
    assert (status, err) == (0, "town: not seen in training, and read as none of its values: elsewhere\n")


def test_warmup_compiles_for_a_model_and_for_options(capsys, pictures):
    run(capsys, "train", pictures, *SMALL, "--save", "m.pt")
    for argv in (("m.pt",), ("--hidden", "4", "--batch-norm", "--batch-size", "8")):
        status, out, err = run(capsys, "warmup", *argv)
        assert (status, err) == (0, "")
        assert out.startswith("compiled ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_options(capsys, shell):
    pytest.importorskip("shtab", reason="shtab is not installed")
    status, out, err = run(capsys, "completion", shell)
    assert (status, err) == (0, "")
    assert "early-stopping" in out
