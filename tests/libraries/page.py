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

What is missing raises an error that names it, except that mixed precision computes in float32, and that
`torch.compile` and TorchScript give the module itself. `torch.distributed` is not available without mpi4py, as
here: most of its modules and classes are there as names, so that libraries can be imported and ask whether an object
is of them.

## The tests of the libraries

They were run with `fastnn run -m pytest`, without those that need CUDA or several processes.

**skorch 1.4.0**: 1,115 tests of nets, data sets, histories, callbacks and the command line; 1,103 pass. The
rest:

| tests | why |
| --- | --- |
| `test_sparse_tensor` | there are no sparse tensors |
| `test_fit_and_predict_with_compile` | `torch.compile` gives the module itself, without `dynamo_ctx` |
| `test_torch_load_kwargs_forwarded_to_torch_load_unpickle` | the pickle of a tensor does not call `torch.load` |
| `test_weights_restore` | it stops early with PyTorch's random numbers only |
| eight with `use_safetensors=True` | safetensors refuses weights that are not contiguous |

`DistributedHistory`, which is not counted, needs `torch.distributed.TCPStore`.

**torchmetrics 1.9.0**, regression: 391 tests; 382 pass. The nine others compute in bfloat16.

**torchmetrics 1.9.0**, classification: every twentieth of 18,600 tests. Of the 533 that were not skipped 516 pass. One,
of `test_top_k`, expects numbers of PyTorch's generator. In 16 scikit-learn refuses what is left of random labels when
ignored ones are removed; with PyTorch's random numbers that happens in 11 of the same tests.
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
