"""``docs/libraries.md``, from the table and the recorded results."""

from __future__ import annotations

from .environments import ROOT
from .runs import load_recorded
from .table import LIBRARIES, TORCH, Library

PAGE = ROOT / "docs" / "libraries.md"
_START, _END = "<!-- table: python -m tests.libraries --docs -->", "<!-- end of table -->"
_HEAD = f"""\
# Libraries on top of PyTorch

`fastnn run program.py` runs programs that use these libraries, unmodified, without PyTorch. Install a library with
`pip install --no-deps`, or pip installs PyTorch as well, and then what else it needs.

`python -m tests.libraries NAME` makes an environment with the version below, runs a program of
[tests/libraries/programs](../tests/libraries/programs) and compares the numbers it prints with those of PyTorch. Times
are those of training in that program, in seconds on one thread, beside {TORCH.replace("==", " ")}.

{_START}
{_END}
"""


def _row(library: Library) -> str:
    recorded = load_recorded(library)
    times = ["", "", ""]
    runs = "not compared"
    if recorded is not None:
        runs = "yes" if library.promised else "in part"
        fastnn, torch = recorded.fastnn_seconds, recorded.torch_seconds
        if torch:
            times = [f"{fastnn:.2f}", f"{torch:.2f}", f"{torch / fastnn:.1f}x" if fastnn else ""]
    cells = [library.name, library.version, library.trains, runs, library.missing, *times]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The table of libraries."""
    head = "| library | version | program | runs | what is missing | fastnn | PyTorch | faster |"
    return "\n".join([head, "| --- | --- | --- | --- | --- | ---: | ---: | ---: |", *map(_row, LIBRARIES)])


def write() -> None:
    """Write the table into the page, and leave the rest of it as it is."""
    text = PAGE.read_text() if PAGE.is_file() else _HEAD
    before, _, rest = text.partition(_START)
    PAGE.write_text(f"{before}{_START}\n\n{table()}\n\n{_END}{rest.partition(_END)[2]}")
