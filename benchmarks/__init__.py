"""The measuring room: benchmarks of fastnn against other libraries, and the targets they are held to.

Everything here may import the standard library and NumPy; a library that is measured is imported
in a process of its own only (``worker``, ``child``, ``limits``). Nothing of fastnn imports this but
its command line, for ``fastnn bench``.

    registry    what is measured, and who can do it: the files of ``work/``
    worker      one process per library; ``pool`` is its other end
    protocol    comparison of results, alternating rounds; ``session`` runs all of it
    targets     what has to be reached; ``check`` says what was
    report      tables and JSON; ``charts`` draws the ratios
    suite       the pytest-benchmark suites ``bench_*.py``
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The checkout is searched last. ``python -m`` puts it first, and there fastnn lies without its
# kernels (they are in another folder until it is installed): an installed fastnn must win.
_here = [entry for entry in sys.path if Path(entry).resolve() == ROOT]
sys.path[:] = [entry for entry in sys.path if entry not in _here] + [str(ROOT)]
