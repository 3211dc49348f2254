"""``torch.hub`` for local folders: nothing is downloaded."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastnn._core.absent import absent_function

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

_dir: str | None = None
# The part of a file's name that is its checksum.
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")


def _get_torch_home() -> str:
    """PyTorch's folder of files: ``$TORCH_HOME``, by default in ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


_WHY = "fastnn downloads nothing, so torch.hub.{} cannot be used: get the file and call fastnn.load"
download_url_to_file = absent_function("torch.hub.download_url_to_file", _WHY.format("download_url_to_file"))
load_state_dict_from_url = absent_function(
    "torch.hub.load_state_dict_from_url", _WHY.format("load_state_dict_from_url")
)


def get_dir() -> str:
    """The folder of PyTorch's hub: the one of ``set_dir``, else ``$TORCH_HOME/hub``, by default in ``~/.cache``."""
    if _dir is not None:
        return _dir
    return os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Set the folder that ``get_dir`` returns."""
    global _dir
    _dir = os.path.expanduser(d)


def _hubconf(repo_or_dir: str, source: str) -> ModuleType:
    if source != "local":
        raise NotImplementedError(
            f"torch.hub reads local folders only in fastnn, found source={source!r}: download {repo_or_dir!r} and "
            'give its path and source="local"'
        )
    path = os.path.join(os.path.expanduser(repo_or_dir), "hubconf.py")
    spec = importlib.util.spec_from_file_location("hubconf", path)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise FileNotFoundError(f"no hubconf.py in {repo_or_dir!r}")
    folder = os.path.dirname(path)
    sys.path.insert(0, folder)
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    for name in getattr(module, "dependencies", ()):
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(f"Missing dependencies: {name}")
    return module


def _entry(repo_or_dir: str, model: str, source: str) -> Callable[..., Any]:
    if not isinstance(model, str):
        raise ValueError(f"Invalid input: model should be a string of function name, found {type(model).__name__}")
    found = getattr(_hubconf(repo_or_dir, source), model, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return found


def load(
    repo_or_dir: str,
    model: str,
    *args: Any,
    source: str = "github",
    trust_repo: Any = None,
    force_reload: bool = False,
    verbose: bool = True,
    skip_validation: bool = False,
    **kwargs: Any,
) -> Any:
    """The result of the function ``model`` of a folder's ``hubconf.py``, called with the other arguments.

    Args:
        repo_or_dir: path of the folder.
        model: name of the function.
        source: must be "local".
        trust_repo, force_reload, verbose, skip_validation: PyTorch's, about downloads; ignored.

    Raises: NotImplementedError for another source; FileNotFoundError without ``hubconf.py``; RuntimeError if it does
        not have the function.
    """
    return _entry(repo_or_dir, model, source)(*args, **kwargs)


def list(github: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None,
         verbose: bool = True, *, source: str = "local") -> Any:  # fmt: skip
    """The names of the functions of a local folder's ``hubconf.py``."""
    module = _hubconf(github, source)
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def help(github: str, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None,
         *, source: str = "local") -> str | None:  # fmt: skip
    """The docstring of a function of a local folder's ``hubconf.py``."""
    return _entry(github, model, source).__doc__
