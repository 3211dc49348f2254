"""``fastnn run``: PyTorch's names are fastnn's, scripts run as under Python, a missing name is reported in one line."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn import __version__
from fastnn._cli import run
from fastnn.version import TorchVersion

ROOT = Path(__file__).resolve().parents[2]

IMPORTS = """
import torch, torchvision
import torch as t, torch.nn as nn, torch.nn.functional as F, torch.optim as optim
import torch.nn.modules.loss, torch.utils.data, torch.optim.lr_scheduler as lr_scheduler
import torchvision.transforms as T
import torch.distributions.categorical
from torch import Tensor, nn as nn_again, optim as optim_again, cuda, from_numpy
from torch.autograd import Variable
from torch.nn.modules.linear import Linear
from torch.optim.adam import Adam
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.sampler import RandomSampler
from torch.distributions import Normal
from torchvision import datasets, transforms
import fastnn, fastnn.torchvision

assert torch is t is fastnn and nn is nn_again is fastnn.nn and optim is optim_again
assert torch.nn.functional is F is fastnn.nn.functional and torchvision is fastnn.torchvision
assert torchvision.transforms is T is transforms
assert Linear is nn.Linear is fastnn.nn.Linear and Adam is optim.Adam
assert Tensor is fastnn.Tensor and isinstance(fastnn.ones(1), torch.Tensor)
assert [m.__spec__.name for m in (torch, nn, F)] == ["fastnn", "fastnn.nn", "fastnn.nn.functional"]

assert torch.version.cuda is None and not torch.cuda.is_available()
assert torch.__version__ and torch.__version__ >= "2.4" and torch.__version__ < (3,)
assert int(torch.__version__.split(".")[0]) == 2 and torch.__version__.endswith("fastnn." + fastnn.version.__version__)

# Ways in which a script finds out which names there are.
for name in ("torch.nonesuch", "torch.tensor", "torch.nn.nonesuch", "torchvision.nonesuch"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert error.name == name and "docs/torch-api.md" in str(error)
    else:
        raise AssertionError(name)
try:
    from torch.nn import Conv9d
except ImportError:
    Conv9d = None
assert Conv9d is None and not hasattr(nn, "Conv9d") and not hasattr(torch.ones(1), "nonesuch")
assert callable(torch.tensor)
"""

PYTHON = """
import sys, os
print(sys.argv)
print(sys.path[0] == os.path.dirname(os.path.realpath(__file__)))
print(__name__, os.path.isabs(__file__), __spec__, __package__, sys.modules["__main__"].__dict__ is globals())
print(__doc__, __builtins__ is __import__("builtins"), __loader__.name)
import beside
print(beside.VALUE)
"""


def python(*argv: str, cwd: Path) -> tuple[int, str, str]:
    """Exit status and outputs of Python with these arguments."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=False, cwd=cwd, timeout=120,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_names_of_torch_are_those_of_fastnn(tmp_path):
    (tmp_path / "imports.py").write_text(IMPORTS)
    assert python("-m", "fastnn", "run", "imports.py", cwd=tmp_path) == (0, "", "")


def test_script_runs_as_python_runs_it(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside.py").write_text("VALUE = 'the module beside the script'\n")
    (tmp_path / "scripts" / "script.py").write_text(PYTHON)
    (tmp_path / "link.py").symlink_to(tmp_path / "scripts" / "script.py")
    for script in ("scripts/script.py", "link.py"):
        arguments = [script, "-m", "--lr", "0.1", "--", "run"]
        assert python("-m", "fastnn", "run", *arguments, cwd=tmp_path) == python(*arguments, cwd=tmp_path)


def test_module_runs_as_python_runs_it(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys\nprint(sys.argv[1:], __name__, __package__)\nsys.exit('end')\n")
    expected = 1, "['-m', 'x'] __main__ package\n", "end\n"
    assert python("-m", "fastnn", "run", "-m", "package", "-m", "x", cwd=tmp_path) == expected
    status, out, err = python("-m", "fastnn", "run", "-m", "nonesuch.package", cwd=tmp_path)
    assert (status, out, err) == (1, "", "fastnn run: No module named nonesuch.package\n")


CHILD = """
import multiprocessing, torch

def total(x):
    return type(x) is torch.Tensor, x.sum().item()

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(total, [torch.ones(3)]))
"""

JOBLIB_CHILD = """
import torch
from joblib.externals.loky.backend import spawn

print("fastnn" in spawn.get_preparation_data("a worker of joblib"))
"""


def test_spawned_processes_import_fastnn_too(tmp_path):
    (tmp_path / "script.py").write_text(CHILD)
    assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == (0, "[(True, 3.0)]\n", "")


def test_workers_of_joblib_import_fastnn_too(tmp_path):
    pytest.importorskip("joblib")
    (tmp_path / "script.py").write_text(JOBLIB_CHILD)
    assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == (0, "True\n", "")


def test_errors_of_the_script_are_its_own(tmp_path):
    """The traceback is Python's, and begins with the script."""
    for code in (
        "def f():\n    return 1 / 0\n\nf()\n",
        "x = (1\n",
        "import sys\nsys.exit(7)\n",
        "raise OSError(2, 'No')\n",
        "import sys\nsys.excepthook = lambda *what: print(what[0])\n[][0]\n",
        "import nonesuch\n",
    ):
        (tmp_path / "script.py").write_text(code)
        expected = python("script.py", cwd=tmp_path)
        assert expected[0]
        assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == expected


MISSING = {
    "import torch\n\ntorch.nn.Hypercube(1, 2, 3)\n": (3, "torch.nn.Hypercube"),
    "import torch.nonesuch\n": (1, "torch.nonesuch"),
    "from torch.nn import Linear, nonesuch\n": (1, "torch.nn.nonesuch"),
    "import torch\nx = torch.ones(2)\nx.nonesuch()\n": (3, "torch.Tensor.nonesuch"),
    "from torch import nn\nnn.Linear(1, 1).nonesuch\n": (2, "torch.nn.Linear.nonesuch"),
    "from torchvision import nonesuch\n": (1, "torchvision.nonesuch"),
}


def test_missing_name_takes_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [run.Finder(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] in run.PACKAGES]:
        monkeypatch.delitem(sys.modules, name)
    try:
        for code, (line, name) in MISSING.items():
            with pytest.raises((AttributeError, ImportError)) as caught:
                exec(compile(code, "script.py", "exec"), {})
            run._failed(caught.value)
            expected = f"script.py, line {line}: fastnn does not have {name}; docs/torch-api.md lists what it has\n"
            assert capsys.readouterr().err.endswith(expected)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in run.PACKAGES]:
            del sys.modules[name]


def test_garbage_is_collected_less_often_while_a_script_runs():
    before = gc.get_threshold()
    with run._fewer_collections():
        assert gc.get_threshold() == (10 * before[0], *before[1:])
    assert gc.get_threshold() == before


def test_what_is_not_computed_takes_one_line(tmp_path):
    (tmp_path / "script.py").write_text("import torch\nmodel = torch.nn.Conv2d(1, 2, 3)\n")
    sentence = "fastnn does not compute torch.nn.Conv2d; docs/torch-api.md lists what it computes"
    expected = f"{tmp_path / 'script.py'}, line 2: {sentence}\n"
    assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == (1, "", expected)
    # A script that handles the error is not stopped, and an error that the script raises is printed as by Python.
    (tmp_path / "script.py").write_text(
        "import torch\ntry:\n    torch.nn.LSTM(1, 2)\nexcept NotImplementedError:\n    print(1)\n"
    )
    assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == (0, "1\n", "")


def test_missing_name_ends_the_process(tmp_path):
    path = tmp_path / "script.py"
    path.write_text("import torch\nprint(torch.nonesuch)\n")
    expected = f"{path}, line 2: fastnn does not have torch.nonesuch; docs/torch-api.md lists what it has\n"
    assert python("-m", "fastnn", "run", "script.py", cwd=tmp_path) == (1, "", expected)


def test_other_missing_names_are_the_users():
    class Model:
        pass

    for wrong in (lambda: Model().layer, lambda: {}["layer"], lambda: __import__("nonesuch"), lambda: 1 .real.layer):
        with pytest.raises((AttributeError, KeyError, ImportError)) as caught:
            wrong()
        assert run.missing_name(caught.value) is None
    assert run.missing_name(ImportError("nothing", name="fastnn")) is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "one of the arguments script -m is required"), (("-x",), "one of the arguments script -m is required"),
        (("nonesuch.py",), "nonesuch.py: no such file"), ((".",), ".: is a directory"),
        (("-m",), "argument -m: expected one argument"), (("",), "the name of the script is empty"),
        (("-m", ".."), "-m takes the name of a module, as in package.module, found '..'"),
        (("-m", ""), "-m takes the name of a module, as in package.module, found ''"),
        (("-m", ".a"), "-m takes the name of a module, as in package.module, found '.a'"),
        (("-m", "a."), "-m takes the name of a module, as in package.module, found 'a.'"),
    ],
)  # fmt: skip
def test_wrong_arguments_take_one_line(argv, message, capsys):
    from fastnn._cli import main as cli

    try:
        status = cli.main(["run", *argv])
    except SystemExit as stop:
        status = stop.code
    assert (status, *capsys.readouterr()) == (2, "", f"fastnn run: {message}\n")


def test_pytorch_that_is_imported_is_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", pytest)
    with pytest.raises(RuntimeError, match="torch is imported already"):
        run.install()
    import fastnn

    assert fastnn.__version__ == __version__ == "0.2.0"


def test_versions_are_in_order():
    version = TorchVersion("2.13.0+fastnn.0.2.0")
    for less in ("1.9", "2.4.1", "2.13", "2.13.0", (2, 12), (1,)):
        assert version > less
        assert version >= less
        assert not version < less
        assert not version <= less
    for more in ("2.14", "10", (2, 13, 1)):
        assert version < more
        assert version <= more
    assert version == "2.13.0+fastnn.0.2.0"
    assert version <= version >= version
    assert hash(version) == hash(str(version))


@pytest.mark.parametrize(("code", "name"), [("nn.Linear(1, 1).wieght", "weight"), ("nn.Linaer", "Linear")])
def test_misspelt_names_get_a_suggestion(tmp_path, capsys, code, name):
    from fastnn import nn

    with pytest.raises(AttributeError) as caught:
        exec(compile(code, "script.py", "exec"), {"nn": nn})
    run._failed(caught.value)
    assert capsys.readouterr().err.endswith(f"docs/torch-api.md lists what it has. Did you mean: '{name}'?\n")


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="this system has no /dev/stdin")
def test_a_script_from_a_pipe():
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "run", "/dev/stdin", "word"],
        input="import sys, torch\nprint(torch.ones(1), sys.argv)\n",
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensor([1.]) ['/dev/stdin', 'word']\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize("command", ["run", "profile"])
def test_ctrl_c_ends_the_process_by_its_signal(tmp_path, command):
    path = tmp_path / "script.py"
    path.write_text("import atexit, signal\natexit.register(print, 'end')\nsignal.raise_signal(signal.SIGINT)\n")
    # A shell starts background processes with the signal ignored, and child processes inherit that.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastnn", command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "FASTNN_QUIET": "1"},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    stdout, stderr = process.communicate(timeout=120)
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    assert done.returncode == -signal.SIGINT
    assert done.stdout.splitlines()[-1] == "end"
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("KeyboardInterrupt\n")
