"""``fastnn run script.py``: run a script with ``torch`` and ``torchvision`` imported as fastnn.

A finder before all others returns fastnn's own modules for the two names. They are the same objects,
so an instance of ``fastnn.Tensor`` is one of ``torch.Tensor``. The script itself runs as with
``python script.py``.
"""

from __future__ import annotations

import builtins
import contextlib
import difflib
import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import runpy
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import fastnn
from fastnn import version
from fastnn._core.absent import LIST, AbsentModule, NotComputedError
from fastnn._core.absent import __file__ as _absent_file

# PyTorch's packages, and fastnn's names for them.
PACKAGES = {"torch": "fastnn", "torchvision": "fastnn.torchvision"}
# A module of another package that imports PyTorch.
_SAFETENSORS = "safetensors.torch"
_VERSION = f"{version.TORCH}+fastnn.{version.__version__}"
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_NOT_THE_SCRIPT = ("<frozen ", _FOLDER, runpy.__file__, importlib.__file__)


# --------------------------------------------------------------------------------------------
# Imports


class _Loader(importlib.abc.Loader):
    """Returns a module that is loaded already, unchanged."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self.module

    def exec_module(self, module: types.ModuleType) -> None:
        # The import system has replaced it by the spec of the other name.
        module.__spec__ = self.spec


class _ChangingLoader(importlib.abc.Loader):
    """Loads a module of another package, and then changes it.

    Args:
        loader: its own.
        change: called with the module.
    """

    def __init__(self, loader: Any, change: Callable[[Any], None]) -> None:
        self.loader, self.change = loader, change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        made: types.ModuleType | None = self.loader.create_module(spec)
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        self.change(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def _changed_spec(fullname: str, path: Any) -> importlib.machinery.ModuleSpec | None:
    spec = importlib.machinery.PathFinder.find_spec(fullname, path)
    if spec is not None and spec.loader is not None:
        spec.loader = _ChangingLoader(spec.loader, _CHANGED[fullname])
    return spec


def _give_safe_open(module: Any) -> None:
    """Give the package safetensors a ``safe_open`` whose framework "pt" is fastnn."""
    from fastnn import safetensors

    module.safe_open = safetensors.safe_open


class _InstalledFirst:
    """Calls :func:`install` in the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return install, ()


def _install_in_children(module: Any) -> None:
    """Make the processes that ``module`` spawns call :func:`install` before they import the script."""
    original = module.get_preparation_data

    @functools.wraps(original)
    def get_preparation_data(*args: Any, **options: Any) -> dict[str, Any]:
        return {"fastnn": _InstalledFirst(), **original(*args, **options)}

    module.get_preparation_data = get_preparation_data


# Modules of other packages that are changed when they are imported. joblib and scikit-learn start loky's processes.
_CHANGED: dict[str, Callable[[Any], None]] = {
    "safetensors": _give_safe_open, "multiprocessing.spawn": _install_in_children,
    "joblib.externals.loky.backend.spawn": _install_in_children, "loky.backend.spawn": _install_in_children,
}  # fmt: skip


class Finder(importlib.abc.MetaPathFinder):
    """Finds fastnn's modules under PyTorch's names.

    >>> Finder().find_spec("torch.nn").loader.module
    <module 'fastnn.nn' from ...>
    >>> Finder().find_spec("numpy")
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The spec of ``torch...`` or ``torchvision...``, None for another name.

        Raises: ModuleNotFoundError if fastnn does not have it, so that no other finder is asked.
        """
        package, dot, rest = fullname.partition(".")
        if fullname in _CHANGED:
            return _changed_spec(fullname, path)
        if fullname == _SAFETENSORS:
            name = "fastnn.safetensors"
        elif package in PACKAGES:
            name = PACKAGES[package] + dot + rest
        else:
            return None
        module = None if _is_a_value(name) else _import(name)
        if module is None:
            if _is_a_question():
                return None
            message = f"No module named {fullname!r} in fastnn; {LIST} lists what there is"
            raise ModuleNotFoundError(message, name=fullname)
        if isinstance(module, AbsentModule) and _is_a_question():
            # It can be imported, but nothing in it can be used.
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(module), is_package=hasattr(module, "__path__"))
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.extend(module.__path__)
        return spec

    def find_distributions(self, context: Any = None) -> Iterable[importlib.metadata.Distribution]:
        """The distribution ``torch``, for ``importlib.metadata``; fastnn's part of torchvision is none.

        >>> [found.version for found in Finder().find_distributions(importlib.metadata.DistributionFinder.Context())]
        ['2.13.0+fastnn...']
        """
        name = getattr(context, "name", None)
        return [_Distribution()] if name is None or str(name).lower() == "torch" else []


class _Distribution(importlib.metadata.Distribution):
    """What ``importlib.metadata`` knows of ``torch``: its name and version."""

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: torch\nVersion: {_VERSION}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        return os.path.join(os.path.dirname(_FOLDER), path)


def _is_a_question() -> bool:
    """Whether the caller is ``importlib.util.find_spec``, which returns None for what does not exist."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
        frame = frame.f_back  # type: ignore[assignment]  # checked above
    return frame is not None and frame.f_globals.get("__name__") == "importlib.util"


def _is_a_value(name: str) -> bool:
    """Whether the name is an attribute but not a module, as ``tensor``: an import would replace it."""
    parent, _, child = name.rpartition(".")
    value = getattr(sys.modules.get(parent), child, None) if parent else None
    return value is not None and not isinstance(value, types.ModuleType)


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The missing name differs if an optional package, like tensorboard, is not installed.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    return None


def install() -> None:
    """Make ``import torch`` and ``import torchvision`` import fastnn in this process, permanently.

    ``torch.__version__`` is then the PyTorch version that fastnn follows, as scripts require a minimum version, and
    ``torch.__name__`` is ``"torch"`` and ``torch.jit.__name__`` is ``"torch.jit"``.

    Raises: RuntimeError if PyTorch is imported already.
    """
    for package, name in PACKAGES.items():
        if sys.modules.get(package, sys.modules.get(name)) is not sys.modules.get(name):
            raise RuntimeError(f"{package} is imported already, and is not fastnn")
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
        for name, change in _CHANGED.items():
            if name in sys.modules:
                change(sys.modules[name])
    fastnn.__version__ = version.TorchVersion(_VERSION)
    fastnn.__name__ = "torch"


# --------------------------------------------------------------------------------------------
# Names that do not exist


def _torch_name(name: str) -> str:
    """PyTorch's name for fastnn's ``name``."""
    for theirs, ours in reversed(PACKAGES.items()):
        if f"{name}.".startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    return name


def _shortest(kind: type) -> str:
    """The name of a class in the outermost package that exports it: ``nn.Linear``, not ``nn.linear.Linear``."""
    parts = kind.__module__.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if vars(sys.modules[package]).get(kind.__name__) is kind:
            return f"{package}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def missing_name(error: BaseException) -> str | None:
    """PyTorch's name of what a script requested and fastnn lacks; None if ``error`` is about something else.

    >>> import fastnn
    >>> try:
    ...     fastnn.nn.Conv9d
    ... except AttributeError as error:
    ...     missing_name(error)
    'torch.nn.Conv9d'
    """
    if isinstance(error, NotComputedError):
        return error.name
    if isinstance(error, ModuleNotFoundError):
        name = error.name or ""
        return name if name.partition(".")[0] in PACKAGES else None
    if isinstance(error, ImportError):
        # `from torch import fft`: the message has the name, `name_from` only since Python 3.12.
        before, _, rest = str(error).partition("cannot import name ")
        name = _torch_name(error.name or "")
        ours = name.partition(".")[0] in PACKAGES and not before
        return f"{name}.{rest.split(chr(39))[1]}" if ours and rest.startswith("'") else None
    if isinstance(error, AttributeError) and error.name is not None:
        owner = error.obj
        if isinstance(owner, types.ModuleType):
            name = _torch_name(owner.__name__)
        else:
            name = _torch_name(_shortest(owner if isinstance(owner, type) else type(owner)))
        return f"{name}.{error.name}" if name.partition(".")[0] in PACKAGES else None
    return None


def _asked_for_by_the_script(tb: types.TracebackType | None) -> tuple[str, int] | None:
    """File and line of the script that requested a name; None if the error arose elsewhere."""
    place = None
    for frame, line in traceback.walk_tb(tb):
        if not frame.f_code.co_filename.startswith(_NOT_THE_SCRIPT):
            place = frame.f_code.co_filename, line
        elif frame.f_code.co_filename == _absent_file:
            continue
        elif frame.f_code.co_name not in ("__getattr__", "find_spec") and not frame.f_code.co_filename.startswith(
            ("<frozen ", importlib.__file__)
        ):
            place = None
    return place


# --------------------------------------------------------------------------------------------
# Running


def _failed(error: BaseException) -> None:
    """Print why the script failed, as Python does; in one line if it requested a name that fastnn lacks."""
    tb = error.__traceback__
    name = missing_name(error)
    place = _asked_for_by_the_script(tb) if name else None
    if name and place:
        file, line = place
        close = []
        if isinstance(error, AttributeError) and error.name is not None:
            close = difflib.get_close_matches(error.name, dir(error.obj), 1, 0.75)
        hint = f". Did you mean: '{close[0]}'?" if close else ""
        why = f"fastnn does not have {name}; {LIST} lists what it has{hint}"
        print(f"{file}, line {line}: {error if isinstance(error, NotComputedError) else why}", file=sys.stderr)
        return
    # Skip the frames of this file and of the modules that run the script.
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_NOT_THE_SCRIPT):
        tb = tb.tb_next
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, tb
    sys.excepthook(type(error), error.with_traceback(tb), tb)


@contextlib.contextmanager
def _fewer_collections() -> Iterator[None]:
    """A block with fewer garbage collections.

    The graph of a step has about ten times as many Python objects as PyTorch's, which are freed by their reference
    counts. Each collection looks at all objects of Numba and SciPy: 5 to 25% of the time of scripts with large graphs.
    """
    first, *others = before = gc.get_threshold()
    gc.set_threshold(10 * first, *others)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _start(path: str) -> None:
    """Compile and run the file as ``__main__``."""
    main = types.ModuleType("__main__")
    path = os.path.abspath(path)
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    main.__dict__.update(__file__=path, __builtins__=builtins, __loader__=loader, __cached__=None)
    sys.modules["__main__"] = main
    with open(path, "rb") as file:
        source = file.read()
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)


# Set by the launchers of MPI.
_LAUNCHED = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")


def _job() -> Any:
    """``fastnn.distributed``, in a process that MPI has started."""
    return importlib.import_module("fastnn.distributed")


def run(
    script: str | None,
    module: str | None,
    arguments: Sequence[str],
    command: str = "run",
    around: contextlib.AbstractContextManager[Any] | None = None,
) -> int:
    """Run a PyTorch script, or a module as ``python -m`` does, on fastnn; the exit status is 1 if it fails.

    Args:
        script: path of a file.
        module: name of a module or package, instead of ``script``.
        arguments: the items of ``sys.argv`` after its name.
        command: of ``fastnn``, for a message.
        around: a context manager around the program.

    Raises: SystemExit if the script does; KeyboardInterrupt, which has been printed, after Ctrl-C.
    """
    install()
    # Scripts read torchrun's variables before they join the others.
    job = _job() if any(name in os.environ for name in _LAUNCHED) else None
    if job is not None:
        job.environment.set_variables()
    folder = os.getcwd() if script is None else os.path.dirname(os.path.realpath(script))
    if not sys.flags.safe_path:
        sys.path[0] = folder
    sys.argv = [script or "-m", *arguments]
    try:
        if module is not None:
            # Python prints no traceback for a module that does not exist.
            try:
                found = importlib.util.find_spec(module) is not None
            except ModuleNotFoundError:
                found = False
            if not found:
                print(f"fastnn {command}: No module named {module}", file=sys.stderr)
                return 1
            with around or contextlib.nullcontext(), _fewer_collections():
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            assert script is not None
            with around or contextlib.nullcontext(), _fewer_collections():
                _start(script)
    except SystemExit as stop:
        if job is not None and stop.code:
            is_number = isinstance(stop.code, int)
            job.faults.end_job(f"SystemExit: {stop.code}", stop.code if is_number else 1)
        raise
    except KeyboardInterrupt as stop:
        _failed(stop)
        # Python then prints nothing more, and ends the process by the signal, as its parent expects.
        sys.excepthook = lambda *told: None
        raise
    except BaseException as error:
        _failed(error)
        if job is not None:
            job.faults.end_job(f"{type(error).__name__}: {error}")
        return 1
    return 0
