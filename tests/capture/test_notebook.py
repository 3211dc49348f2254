"""Notebooks: models of cells are captured, the progress bar is shown, Ctrl-C ends a run, edited modules are detected.

All cells run in one kernel. Those without messages also run in plain IPython, which needs no sockets.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
CAPTURED = "captured for float32 of shape (5, 4)"

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
"""
IMPORT = "import fastnn as torch\nfrom fastnn import nn\n"
SAID = """
model = Net()
for _ in range(4):
    y = model(torch.ones(5, 4))
print(torch.explain(model))
"""
# Each defines the class again.
DEFINITIONS = {
    "with the import": IMPORT + NET + SAID,
    "without it": NET + SAID,
    "magics before it": f"%matplotlib inline\n!echo a line\n{IMPORT}{NET}{SAID}",
    "timed": f"%%time\n{IMPORT}{NET}{SAID}",
    "timed, with magics": f"%%time\n%matplotlib inline\n{NET}{SAID}\ny.shape",
    "output taken": f"%%capture taken\n%%time\n{IMPORT}{NET}{SAID}",
    "profiled": f"%%prun -q\n{NET}{SAID}",
    "with await": f"import asyncio\nawait asyncio.sleep(0)\n{IMPORT}{NET}{SAID}await asyncio.sleep(0)",
    "with a future import": f"from __future__ import annotations\n{IMPORT}{NET}{SAID}",
    "by value": f"{NET}\nimport cloudpickle\ndata = cloudpickle.dumps(Net)\n"
    f"cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()\nNet = cloudpickle.loads(data)\n{SAID}",
    "another forward": NET.replace("relu", "tanh") + SAID
    + "print(y.tolist() == model.last(torch.tanh(model.first(torch.ones(5, 4)))).tolist())",
}  # fmt: skip
EXPECTED = dict.fromkeys(DEFINITIONS, CAPTURED) | {
    "output taken": "",
    "another forward": f"{CAPTURED}\nTrue",
}

EDITED = """
import fastnn as torch
from fastnn import nn

# fmt: off
for _ in range(1): pass

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def head(self, x):
        return self.last(x)

    def forward(self, x):
        return self.head(torch.relu(self.first(x)))

def loss(out, y):
    return nn.functional.cross_entropy(out, y)
"""
# autoreload replaces the code of single functions if it can, otherwise it runs the module again.
EDITS = {
    "edited_forward": [("relu", "tanh")],
    "edited_method": [("self.last(x)", "torch.tanh(self.last(x))")],
    "edited_loss": [("cross_entropy(out, y)", "cross_entropy(out, y, label_smoothing=0.5)")],
    "edited_module": [
        ("range(1)", "range(2)"), ("relu", "tanh"),
        ("cross_entropy(out, y)", "cross_entropy(out, y, label_smoothing=0.5)"),
    ],
}  # fmt: skip
RELOAD = f"""
%load_ext autoreload
%autoreload 2
import os, time
import {", ".join(EDITS)}
x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
modules = {{module.__name__: module for module in ({", ".join(EDITS)})}}
models = {{name: module.Net() for name, module in modules.items()}}
steps = {{
    name: torch.compile_step(models[name], module.loss, torch.optim.SGD(models[name].parameters(), lr=0.0))
    for name, module in modules.items()
}}
before = {{}}
for name, model in models.items():
    for _ in range(4):
        before[name] = model(x).tolist(), steps[name](x, y).item()
    print(torch.explain(model), steps[name].explain())
"""
# autoreload also checks the files after a cell, so the cell that imports them must not edit them.
EDIT = f"""
for name, edits in {EDITS!r}.items():
    file = modules[name].__file__
    with open(file) as text:
        edited = text.read()
    for old, new in edits:
        edited = edited.replace(old, new)
    with open(file, "w") as text:
        text.write(edited)
    # Whatever the clock of the file system can tell apart.
    os.utime(file, (time.time() + 100,) * 2)
"""
RELOADED = """
for name, model in models.items():
    inside = torch.relu if name in ("edited_method", "edited_loss") else torch.tanh
    out = model.last(inside(model.first(x)))
    out = torch.tanh(out) if name == "edited_method" else out
    smoothing = 0.5 if name in ("edited_loss", "edited_module") else 0.0
    value = nn.functional.cross_entropy(out, y, label_smoothing=smoothing).item()
    for _ in range(4):
        after = model(x).tolist(), steps[name](x, y).item()
        assert after == (out.tolist(), value), (name, after, out.tolist(), value)
        assert after != before[name]
    print(name, torch.explain(model), steps[name].explain())
"""

DATA = """
import time
import numpy as np
rng = np.random.default_rng(0)
data = rng.standard_normal((640, 4), np.float32)
labels = data[:, :3].argmax(1)
rows, targets = torch.from_numpy(data[:64]), torch.from_numpy(labels[:64])
model, criterion = Net(), nn.CrossEntropyLoss()
adam = torch.optim.Adam(model.parameters(), lr=0.01)
step = torch.compile_step(model, criterion, adam)
def plain_step():
    adam.zero_grad()
    loss = criterion(model(rows), targets)
    loss.backward()
    adam.step()
    return loss.item()
"""
ENDLESS = """
try:
    {}
except KeyboardInterrupt:
    print("ended", time.monotonic())
    raise
"""
# After each interrupt the model and its recordings continue training, in all three ways.
TRAINS_ON = """
first = plain_step()
for _ in range(20):
    plain_step(), step(rows, targets)
last = plain_step()
history = torch.fit(model, data, labels, epochs=2, optimizer=adam)
print(first > last, history["loss"][0] > history["loss"][1])
print(torch.explain(model).splitlines()[0], "|", step.explain(), "|", history.explanation)
"""
LOOPS = {
    "fit": ENDLESS.format(
        "torch.fit(model, data, labels, epochs=10**9, optimizer=adam, progress=True,\n"
        "              callbacks=[lambda epoch: print('started', flush=True) if epoch.number == 5 else None])"
    ),
    "the plain loop": ENDLESS.format(
        "for i in range(10**9):\n        plain_step()\n        if i == 20: print('started', flush=True)"
    ),
    "compiled steps": ENDLESS.format(
        "for i in range(10**9):\n        step(rows, targets)\n        if i == 20: print('started', flush=True)"
    ),
}
POOL = """
import joblib
def search(hidden):
    model = Net()
    for _ in range(4):
        y = model(torch.ones(5, 4))
    return hidden, y.shape, torch.explain(model)
for found in joblib.Parallel(n_jobs=2)(joblib.delayed(search)(hidden) for hidden in (1, 2)):
    print(*found)
joblib.externals.loky.get_reusable_executor().shutdown()
"""
CELLS = {
    **DEFINITIONS,
    "taken": "print(taken.stdout)",
    "data": DATA,
    "bar": "torch.fit(model, data, labels, epochs=3, optimizer=adam, progress=True).explanation",
    **{key: value for name, cell in LOOPS.items() for key, value in ((name, cell), (f"after {name}", TRAINS_ON))},
    "reload": RELOAD,
    "edit": EDIT,
    "reloaded": RELOADED,
    "a tensor": "torch.ones(2)",
    "a model": "nn.Sequential(nn.Linear(2, 3), nn.ReLU())",
    "compiling": "from fastnn.kernels.runtime import compiler\n"
    "del compiler.compilations[:]\ncompiler._report('kernel', None)",
    "pool": DEFINITIONS["with the import"] + POOL,
    "after the pool": SAID,
}


def _environment(folder: Path) -> dict[str, str]:
    """An environment that neither reads nor writes the user's files."""
    paths = os.pathsep.join([str(ROOT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name != "FASTNN_QUIET"}
    return {**kept, "PYTHONPATH": paths, "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder)}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # A short path, as the path of a socket is limited to about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="nb") as name:
        for module in EDITS:
            (Path(name) / f"{module}.py").write_text(EDITED, encoding="utf-8")
        kernel = Path(name) / "kernels" / "here"
        kernel.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "", "language": "python"}))
        yield Path(name)


async def _execute(notebook: Any, folder: Path) -> None:
    """Run all cells; interrupt those that report that they have started."""
    transport = {} if sys.platform == "win32" else {"transport": "ipc", "ip": str(folder / "s")}
    config = Config(KernelManager=transport)
    # On a busy machine the output of a cell may arrive after its end; nbclient drops it after four seconds.
    limits = {"timeout": 300, "startup_timeout": 240, "iopub_timeout": 240, "raise_on_iopub_timeout": True}
    client = NotebookClient(notebook, kernel_name="here", allow_errors=True, config=config, **limits)
    async with client.async_setup_kernel(env=_environment(folder), cwd=str(folder)):
        for i, cell in enumerate(notebook.cells):
            running = asyncio.ensure_future(client.async_execute_cell(cell, i))
            if cell.metadata.name in LOOPS:
                while not running.done() and "started" not in _text(cell, "stdout"):
                    await asyncio.sleep(0.02)
                cell.metadata.interrupted = time.monotonic()
                assert client.km is not None
                await client.km.interrupt_kernel()
            await running


@pytest.fixture(scope="module")
def cells(folder: Path) -> dict[str, Any]:
    """The cells by name, with their outputs."""
    try:
        with socket.socket(socket.AF_INET if sys.platform == "win32" else socket.AF_UNIX) as probe:
            probe.bind(("127.0.0.1", 0) if sys.platform == "win32" else str(folder / "probe"))
    except OSError as error:
        pytest.skip(f"NO NOTEBOOK KERNEL CAN START HERE, as sockets are forbidden ({error})")
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(source.strip(), metadata={"name": name}) for name, source in CELLS.items()
    ])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        asyncio.run(_execute(notebook, folder))
    return {cell.metadata.name: cell for cell in notebook.cells}


def _text(cell: Any, stream: str) -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == stream)


def _error(cell: Any) -> str:
    return "\n".join(line for out in cell.outputs if out.output_type == "error" for line in out.traceback)


def _plain(text: str) -> str:
    """The text without the lines that magics print."""
    times = re.compile(r"^(CPU times|Wall time|a line)|^\s*$")
    return "\n".join(line.strip() for line in text.splitlines() if not times.match(line))


# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_model_of_a_cell_is_captured(name: str, cells: dict[str, Any]) -> None:
    assert not _error(cells[name])
    assert _plain(_text(cells[name], "stdout")) == EXPECTED[name]
    assert CAPTURED in _text(cells["taken"], "stdout")


def test_the_bar_is_seen(cells: dict[str, Any]) -> None:
    shown = _text(cells["bar"], "stderr")
    assert re.search(r"100%\|.+\| 30/30 \[.*batch/s\]", shown), shown
    assert "arning" not in shown
    [result] = [out for out in cells["bar"].outputs if out.output_type == "execute_result"]
    assert result.data["text/plain"] == "'captured: 1 program'"


@pytest.mark.parametrize("name", LOOPS)
def test_an_interrupt_ends_a_run(name: str, cells: dict[str, Any]) -> None:
    # In CPython some jumps at the end of a loop have no line. IPython cannot show an interrupt there as an error, so it
    # prints the traceback.
    errors = [out.ename for out in cells[name].outputs if out.output_type == "error"]
    printed = "\nKeyboardInterrupt\n" in _text(cells[name], "stderr")
    assert errors == ["KeyboardInterrupt"] or (printed and not errors), cells[name].outputs
    ended = float(_text(cells[name], "stdout").split("ended")[1])
    # A few hundredths of a second, more on a busy machine. The loop itself never ends.
    assert ended - cells[name].metadata.interrupted < 20
    if name == "fit":
        assert "batch/s]" in _text(cells[name], "stderr")
    after = cells[f"after {name}"]
    assert not _error(after)
    said = "captured for float32 of shape (64, 4) | captured: 1 program | captured: 1 program"
    assert _text(after, "stdout").splitlines() == ["True True", said]


def test_edited_modules_are_noticed(cells: dict[str, Any]) -> None:
    assert not _error(cells["reload"])
    assert _text(cells["reload"], "stdout").splitlines() == [f"{CAPTURED} captured: 1 program"] * len(EDITS)
    assert not _error(cells["edit"]) + _error(cells["reloaded"])
    expected = [f"{name} {CAPTURED} captured: 1 program" for name in EDITS]
    assert _text(cells["reloaded"], "stdout").splitlines() == expected


def test_what_is_shown(cells: dict[str, Any]) -> None:
    [tensor], [model] = cells["a tensor"].outputs, cells["a model"].outputs
    assert tensor.data["text/plain"] == "tensor([1., 1.])"
    assert model.data["text/plain"].splitlines()[0] == "Sequential("
    assert _text(cells["compiling"], "stderr").startswith("fastnn: compiling kernels for this CPU, once; ")


def test_a_pool_of_processes_says_what_it_lacks(cells: dict[str, Any]) -> None:
    assert not _error(cells["pool"])
    own, *lines = _text(cells["pool"], "stdout").splitlines()
    assert own == CAPTURED
    for number, line in enumerate(lines, 1):
        assert line == (
            f"{number} torch.Size([5, 3]) eager for float32 of shape (5, 4): Net.forward has no source that can be "
            "read, as it was pickled by value, and this process does not have the text: put the class into a module "
            "that this process can import"
        )
    assert len(lines) == 2
    assert _text(cells["after the pool"], "stdout").strip() == CAPTURED


SHELL = """
import contextlib, io, json, sys
from IPython.core.interactiveshell import InteractiveShell
shell, found = InteractiveShell.instance(), {}
for name, cell in json.load(sys.stdin).items():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = shell.run_cell(cell, store_history=True)
    found[name] = out.getvalue() if result.success else repr(result.error_before_exec or result.error_in_exec)
json.dump(found, sys.stdout)
"""


def test_the_prompt_of_ipython(folder: Path) -> None:
    """Cells have other names there; it needs no sockets."""
    named = {name: cell for name, cell in DEFINITIONS.items() if "%matplotlib" not in cell}
    done = subprocess.run(
        [sys.executable, "-c", SHELL], input=json.dumps(named), capture_output=True, text=True, check=False,
        timeout=240, env={**_environment(folder), "FASTNN_QUIET": "1"}, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {name: re.sub(r"Out\[\d+\].*", "", text) for name, text in json.loads(done.stdout).items()}
    assert {name: _plain(text) for name, text in found.items()} == {name: EXPECTED[name] for name in named}
