"""LLVM's code of all kernels, shipped with fastnn for three kinds of processors.

The first run on a computer compiles each kernel. Most of that time is Numba's: it finds types and writes LLVM's code,
which LLVM optimises and turns into machine code. The archives in ``kernels/lowered`` hold the optimised code as text,
so that only the last step is left, for the CPU at hand. ``.ci/lower`` writes them.

An archive is used only where it is current: it names the kernels' sources, the versions of Numba and LLVM, the
processor's vectors and the layout of Python's objects that its code was made for. Otherwise kernels are compiled as if
there was no archive. The code has the same arithmetic in the same order as code that was compiled for the CPU itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import platform
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba

from fastnn.kernels.runtime.raw_memory import ARRAY_DATA, BYTES_DATA

_KERNELS = Path(__file__).parents[1]
FOLDER = _KERNELS / "lowered"

# The member of an archive that says what the others were made from.
_MADE_FROM = "made_from.json"


# Without the module lzma, zipfile raises RuntimeError.
_UNREADABLE = (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)


def hash_of_sources(folder: Path) -> str:
    """A hash of all Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Origin(NamedTuple):
    """What this process would compile code for.

    Args:
        vectors: the result of :func:`cpu.find_vectors`.
        settings: of Numba and fastnn, as text.
    """

    vectors: tuple[int, bool]
    settings: str

    def everything(self) -> dict[str, Any]:
        """All that the code in an archive depends on."""
        return {
            "sources": hash_of_sources(_KERNELS), "numba": ".".join(numba.__version__.split(".")[:2]),
            "llvm": llvm.llvm_version_info[0], "system": sys.platform, "machine": platform.machine(),
            "vectors": list(self.vectors), "settings": self.settings, "array_data": ARRAY_DATA,
            "bytes_data": BYTES_DATA,
        }  # fmt: skip

    def archive(self) -> Path:
        """The archive for processors of this kind; it may not exist."""
        return FOLDER / f"{platform.machine()}-{8 * self.vectors[0]}.zip"


def write(origin: Origin, kernels: dict[str, tuple[str, bytes]]) -> None:
    """Write an archive: of each kernel its code as text, and a pickle of what Python needs to call it."""
    path = origin.archive()
    members = {_MADE_FROM: json.dumps(origin.everything(), indent=1).encode()}
    for name, (code, interface) in sorted(kernels.items()):
        members |= {f"{name}.ll": code.encode(), f"{name}.pickle": interface}
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            # With the date of today the same code would be another file.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_LZMA)


@functools.cache
def _open(origin: Origin) -> zipfile.ZipFile | None:
    """The archive for a processor; None if there is none, or it is not current, or this Python cannot read it."""
    try:
        archive = zipfile.ZipFile(origin.archive())
        is_current = json.loads(archive.read(_MADE_FROM)) == origin.everything()
    except _UNREADABLE:
        return None
    return archive if is_current else None


def find(name: str, origin: Origin) -> tuple[str, Any] | None:
    """The code of a kernel as text, and what Python needs to call it; None if it must be compiled."""
    archive = _open(origin)
    if archive is None:
        return None
    try:
        return archive.read(f"{name}.ll").decode(), pickle.loads(archive.read(f"{name}.pickle"))
    except _UNREADABLE:
        return None
