"""Reads mutated files: each must give a result or an error of the documented kind.

    python fuzz_files.py FORMAT FIRST LAST FOLDER      (all: every format)

Case ``n`` of a format is always the same file. The process limits its own memory, watches for what a file must not
do (run programs, write files, open connections, import modules), and measures the memory of each read. It prints one
line of JSON. The number of the current case is in ``FOLDER/case``, for a case that ends the process, and its bytes in
``FOLDER/file.csv`` (tables are read by their name).
"""

from __future__ import annotations

import encodings
import faulthandler
import gzip
import importlib.util
import io
import json
import os
import pickle
import random
import signal
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnn
import fastnn.datasets
from fastnn import nn

# A read may allocate this many bytes, and this many times the file's size.
FREE, TIMES = 1 << 21, 64
# Deflate expands data at most so much.
DEFLATE = 1032
# Address space beyond what the process has at the start.
ROOM = 1 << 30
SECONDS = 10
GOLDEN = Path(__file__).parents[1] / "golden"


class Format(NamedTuple):
    """A format.

    Args:
        seeds: returns whole files.
        read: reads the file at a path.
        errors: the documented kinds.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]


# -- The formats -----------------------------------------------------------------------------


def _idx_bytes(array: np.ndarray, code: int) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def _idx_files() -> list[bytes]:
    images, labels = np.arange(120, dtype=np.uint8).reshape(5, 4, 6), np.arange(9, dtype=np.uint8)
    plain = [_idx_bytes(images, 8), _idx_bytes(labels, 8), _idx_bytes(images.astype(np.float64), 14)]
    zipped = [gzip.compress(content, mtime=0) for content in plain]
    members = gzip.compress(plain[0][:20], mtime=0) + gzip.compress(plain[0][20:], mtime=0)
    return [*plain, *zipped, members, gzip.compress(_idx_bytes(np.zeros((40, 50), np.int16), 11), mtime=0)]


def _states() -> list[Any]:
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2).double())
    optimizer = fastnn.optim.Adam(model[:2].parameters())
    model[:2](fastnn.ones(5, 3)).sum().backward()
    optimizer.step()
    shared = fastnn.arange(12.0).reshape(3, 4)
    return [
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
        [shared, shared[1], shared.t(), fastnn.tensor([True, False]), fastnn.arange(3), "text", None, 1.5],
    ]


def _checkpoints() -> list[bytes]:
    files = [(GOLDEN / name).read_bytes() for name in ("checkpoint.pt", "checkpoint_legacy.pt")]
    for state in _states():
        file = io.BytesIO()
        fastnn.save(state, file)
        files.append(file.getvalue())
    # As a user's program may compress it again.
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(files[0])) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return [*files, packed.getvalue()]


def _read_checkpoint(path: Path) -> None:
    # The default. With weights_only=False a file may run any code, and so take any memory.
    fastnn.load(path)


def _safetensors_files() -> list[bytes]:
    tensors = {"a": fastnn.arange(12.0).reshape(3, 4), "b": fastnn.ones(2).double(), "c": fastnn.arange(5)}
    return [fastnn.safetensors.save(tensors), fastnn.safetensors.save(tensors, {"format": "pt"}),
            fastnn.safetensors.save({})]  # fmt: skip


def _read_safetensors(path: Path) -> None:
    data = path.read_bytes()
    failed: Exception | None = None
    for read in (lambda: fastnn.safetensors.load(data), lambda: fastnn.safetensors.load_file(path)):
        try:
            read()
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed


def _onnx_files() -> list[bytes]:
    with np.load(GOLDEN / "onnx_files.npz") as file:
        recorded = [file[key].tobytes() for key in file.files if key.endswith("/file")]
    small = sorted(recorded, key=len)[:8]
    out = io.BytesIO()
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2), nn.Softmax(1)).eval()
    fastnn.onnx.export(model, (fastnn.ones(2, 3),), out)
    return [*small, out.getvalue()]


def _read_onnx(path: Path) -> None:
    model = fastnn.onnx.load(path)
    # It may be another network now; it must fail as networks do.
    arguments = [fastnn.ones(2, 3) for _ in model.input_names]
    try:
        model(*arguments)
    except (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError, AttributeError, AssertionError):
        return


def _formats() -> dict[str, Format]:
    found = {
        "idx": Format(_idx_files, lambda path: fastnn.datasets.read_idx(path), (ValueError,)),
        # pickle.UnpicklingError: damaged, or not allowed; TypeError: numbers of another dtype.
        "checkpoint": Format(
            _checkpoints, _read_checkpoint, (pickle.UnpicklingError, RuntimeError, EOFError, TypeError)
        ),
    }
    if importlib.util.find_spec("safetensors"):
        import safetensors

        import fastnn.safetensors

        found["safetensors"] = Format(
            _safetensors_files, _read_safetensors, (safetensors.SafetensorError, TypeError)
        )
    if importlib.util.find_spec("onnx"):
        import fastnn.onnx

        found["onnx"] = Format(_onnx_files, _read_onnx, (ValueError, fastnn.onnx.errors.UnsupportedOperatorError))
    if importlib.util.find_spec("fastnn.tabular"):
        found["csv"] = _csv()
    return found


def _csv() -> Format:
    from fastnn import tabular

    def files() -> list[bytes]:
        rows = [f"{i},{i * 0.5},{'red' if i % 3 else 'blue'},{i % 2}" for i in range(9)]
        plain = "\n".join(["a,b,colour,label", *rows]) + "\n"
        return [
            plain.encode(), plain.replace(",", ";").encode(), plain.replace("\n", "\r\n").encode(),
            plain.replace("red", '"r,\n""d"""').encode(), ("\ufeff" + plain).encode(),
        ]  # fmt: skip

    return Format(files, lambda path: tabular.read_table(path), (ValueError,))


# -- Mutation --------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(seeds: list[bytes], number: int) -> bytes:
    """Case ``number``: a whole file with one to four changes."""
    rng = random.Random(number)
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        _change(content, seeds, rng)
    return bytes(content)


def _change(content: bytearray, seeds: list[bytes], rng: random.Random) -> None:
    size = len(content)
    at = rng.randrange(size + 1)
    end = min(size, at + rng.choice((1, 2, 4, 8, 16, 64, 1024)))
    kind = rng.randrange(9)
    if kind == 0:
        del content[at:]
    elif kind == 1 and size:
        content[at % size] ^= 1 << rng.randrange(8)
    elif kind == 2 and size:
        content[at % size] = rng.choice((0, 1, 0x20, 0x2E, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 3:
        del content[at:end]
    elif kind == 4:
        content[at:at] = content[at:end] * rng.choice((1, 2, 50))
    elif kind == 5:
        content[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
    elif kind == 6:
        width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        content[at : at + width] = (rng.choice(_NUMBERS) % 256**width).to_bytes(width, order)
    elif kind == 7:
        other = rng.choice(seeds)
        start = rng.randrange(len(other) + 1)
        content[at:end] = other[start : start + rng.choice((4, 16, 256))]
    else:
        content[at:end] = bytes(reversed(content[at:end]))


# -- The run ---------------------------------------------------------------------------------

# Events of Python's audit hooks that reading a file must not cause.
_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.", "ctypes.dlopen", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "shutil.", "exec", "compile", "webbrowser.", "urllib.",
)  # fmt: skip


class Watch:
    """Collects events that reading a file must not cause."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        writes = event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+")
        # The codecs of texts are imported at their first use.
        imports = event == "import" and args[0] not in sys.modules and not args[0].startswith("encodings.")
        is_codec = event == "exec" and os.path.dirname(getattr(args[0], "co_filename", "")) in encodings.__path__
        if writes or imports or (event.startswith(_FORBIDDEN) and not is_codec):
            self.seen.append(f"{event} {str(args)[:100]}")


class _TooLong(BaseException):
    pass


def _on_alarm(*_: Any) -> None:
    raise _TooLong


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run(name: str, first: int, last: int, folder: Path) -> dict[str, Any]:
    """Read the cases from ``first`` to ``last``; the counts, and what was wrong."""
    kind = _formats()[name]
    seeds = kind.seeds()
    path, case = folder / "file.csv", folder / "case"
    for seed in seeds:
        path.write_bytes(seed)
        kind.read(path)
    watch, counts, problems = Watch(), Counter[str](), []
    if sys.platform == "linux":
        _limit_memory()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _on_alarm)
    warnings.simplefilter("ignore")
    tracemalloc.start()
    is_gzip = name == "idx"
    for number in range(first, last):
        content = mutated(seeds, number)
        path.write_bytes(content)
        case.write_text(str(number))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        outcome, problem = "read", ""
        if hasattr(signal, "SIGALRM"):
            signal.alarm(SECONDS)
        watch.is_on = True
        try:
            kind.read(path)
        except kind.errors as error:
            outcome = type(error).__name__
            if not str(error).strip():
                problem = "the error has no text"
        except _TooLong:
            outcome, problem = "too long", f"more than {SECONDS} s"
        except BaseException as error:
            outcome = problem = f"{type(error).__name__}: {error}"
        finally:
            watch.is_on = False
            if hasattr(signal, "SIGALRM"):
                signal.alarm(0)
        counts[outcome if not problem else "wrong"] += 1
        peak = tracemalloc.get_traced_memory()[1] - before
        allowed = FREE + (DEFLATE if is_gzip else TIMES) * len(content)
        if not problem and peak > allowed:
            problem = f"{peak} bytes of memory for a file of {len(content)} bytes"
        if watch.seen:
            problem = f"{problem} {watch.seen[0]}"
            watch.seen.clear()
        if problem:
            problems.append(f"case {number}: {problem[:300]}")
    return {"cases": last - first, "outcomes": dict(counts.most_common()), "problems": problems[:50],
            "wrong": len(problems)}  # fmt: skip


if __name__ == "__main__":
    faulthandler.enable()
    names = list(_formats()) if sys.argv[1] == "all" else [sys.argv[1]]
    print(json.dumps({name: run(name, int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])) for name in names}))
