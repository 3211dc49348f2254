"""Benchmarks of fastnn against other libraries, and their targets.

Modules here import the standard library and NumPy; a measured library is imported only in a process
of its own (``worker``, ``child``, ``limits``). In fastnn only the command line imports this package,
for ``fastnn bench``.

    registry    the pieces of work and the libraries that can do them: the files of ``work/``
    operations  the table of operations, which the tests read, too
    worker      one process per library; ``pool`` is the parent's side
    protocol    comparison of results, alternating rounds; ``session`` runs all of it
    targets     the required figures; ``check`` compares them with the results
    report      tables and JSON; ``charts`` draws the ratios
    suite       the pytest-benchmark suites ``bench_*.py``
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Search the checkout last, so that an installed fastnn wins. ``python -m`` puts the checkout first,
# and its fastnn folder has no kernels: they are in another folder until fastnn is installed.
_here = [entry for entry in sys.path if Path(entry).resolve() == ROOT]
sys.path[:] = [entry for entry in sys.path if entry not in _here] + [str(ROOT)]
