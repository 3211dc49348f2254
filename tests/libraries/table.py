"""The libraries: versions, dependencies, programs. One row each, sorted by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# What all environments share: fastnn's dependencies, what libraries commonly need, and what installs fastnn.
BASE = (
    "numpy==2.4.6", "numba==0.68.1", "llvmlite==0.50.0", "scipy==1.17.1", "tqdm==4.70.1", "scikit-learn==1.9.1",
    "joblib==1.6.0", "cloudpickle==3.1.3", "narwhals==2.29.0", "threadpoolctl==3.8.0", "packaging==26.4",
    "typing_extensions==4.16.0", "pyyaml==6.0.4", "setuptools==84.2.1", "pip==26.3",
)  # fmt: skip
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Library:
    """A library on top of PyTorch.

    Args:
        name: its name for pip.
        version: the version that is installed.
        trains: what its program does, in a few words.
        dependencies: what else is installed, with versions; everything is installed with ``--no-deps``, so that
            pip never installs PyTorch, and BASE is there already.
        promised: whether fastnn promises that it runs.
        missing: what of the library fastnn cannot run, a sentence for the page.
        program: the file in ``programs/``, by default the name with ``_`` for ``-``.
    """

    name: str
    version: str
    trains: str
    dependencies: tuple[str, ...] = ()
    promised: bool = True
    missing: str = ""
    program: str = ""

    @property
    def path(self) -> Path:
        """The program."""
        return FOLDER / "programs" / (self.program or f"{re.sub('[-.]', '_', self.name)}.py")

    @property
    def recorded(self) -> Path:
        """The file with the results of the last comparison with PyTorch."""
        return FOLDER / "recorded" / f"{self.name}.json"


LIBRARIES = (
    Library(
        name="einops",
        version="0.8.2",
        trains="an MLP-Mixer of einops layers on the digits",
    ),
)


def find(names: list[str]) -> list[Library]:
    """The rows of these names, all if there are none.

    Raises: KeyError with the first name that is not in the table.
    """
    by_name = {library.name: library for library in LIBRARIES}
    return [by_name[name] for name in names] if names else list(LIBRARIES)
