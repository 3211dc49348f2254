"""Virtual environments with a library each, and what they share.

``base`` has what all libraries need. An environment of a library has the library, its dependencies and fastnn, and
reads ``base`` through a ``.pth`` file: small and quick to make. For the comparison, another one reads the first
and a folder with PyTorch. No environment in which fastnn runs can see PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .table import BASE, TORCH, Library

ROOT = Path(__file__).resolve().parents[2]
_SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


class EnvironmentFailure(Exception):
    """An environment could not be made; the message has pip's last lines."""


def default_folder() -> Path:
    """Where environments are kept: in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "fastnn" / "libraries"


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentFailure("\n".join(done.stdout.strip().splitlines()[-6:]))


class Environments:
    """The environments in a folder.

    Args:
        folder: where they are.
        torch_python: an interpreter that has PyTorch and is used instead of installing it.
    """

    def __init__(self, folder: Path, torch_python: Path | None = None) -> None:
        self.folder, self.torch_python = folder.resolve(), torch_python

    def _make(self, name: str, packages: Sequence[str], reads: Sequence[Path], pip: Path | None = None) -> Path:
        """An environment with these packages, which reads the folders; the one that is there if it has the same.

        Args:
            name: the first part of its folder's name.
            packages: what pip installs.
            reads: folders with packages.
            pip: the interpreter that has pip, by default that of the environment itself.
        """
        key = json.dumps([sys.version, str(ROOT), list(packages), [str(path) for path in reads]])
        folder = self.folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        done = folder / "made_of.json"
        if done.is_file() and done.read_text() == key:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making {folder}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if pip else []), folder])
        # `addsitedir` also reads the .pth files there: an editable installation has one.
        lines = [f"import site; site.addsitedir({str(path)!r})" for path in reads]
        (folder / _SITE / "reads.pth").write_text("".join(f"{line}\n" for line in lines))
        if packages:
            _run([*_pip(folder, pip), "install", "-q", "--no-deps", *packages])
        done.write_text(key)
        return folder

    def base(self) -> Path:
        """The packages of BASE."""
        return self._make("base", BASE, [])

    def of(self, library: Library) -> Path:
        """The library, its dependencies, fastnn from this checkout, and no PyTorch."""
        base = self.base()
        pip = python_of(base)
        packages = [f"{library.name}=={library.version}", *library.dependencies]
        folder = self._make(library.name, packages, [base / _SITE], pip)
        # An editable installation depends on the list of packages.
        mark, wanted = folder / "fastnn", hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
        if not mark.is_file() or mark.read_text() != wanted:
            # BASE has what builds it.
            _run([*_pip(folder, pip), "install", "-q", "--no-deps", "--no-build-isolation", "-e", ROOT])
            mark.write_text(wanted)
        return folder

    def torch_of(self, library: Library) -> Path:
        """The same library with PyTorch."""
        reads = [self.of(library) / _SITE, self._torch()]
        return self._make(f"{library.name}-torch", [], reads, python_of(self.base()))

    def _torch(self) -> Path:
        """A folder with PyTorch and its dependencies."""
        if self.torch_python is not None:
            code = "import os, torch; print(torch.__version__, os.path.dirname(os.path.dirname(torch.__file__)))"
            asked = subprocess.run(
                [str(self.torch_python), "-c", code], capture_output=True, text=True, check=False
            )  # fmt: skip
            version, _, site = asked.stdout.strip().partition(" ")
            if version.partition("+")[0] != TORCH.partition("==")[2]:
                raise EnvironmentFailure(f"{self.torch_python} has no {TORCH}")
            return Path(site)
        pip = python_of(self.base())
        folder = self._make("torch", [], [self.base() / _SITE], pip)
        mark = folder / "torch"
        if not mark.is_file():
            _run([*_pip(folder, pip), "install", "-q", TORCH])
            mark.write_text(TORCH)
        return folder / _SITE


def _pip(folder: Path, pip: Path | None) -> list[str | Path]:
    """The command of pip for the environment in a folder."""
    return [python_of(folder), "-m", "pip"] if pip is None else [pip, "-m", "pip", "--python", python_of(folder)]
