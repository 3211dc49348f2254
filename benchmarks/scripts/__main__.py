"""``python -m benchmarks.scripts NAME [LIBRARY]``: run a program, check its first losses, print its time per step."""

from __future__ import annotations

import os
import sys

from benchmarks.work.scripts import NAMES, run


def main(argv: list[str]) -> int:
    """Run one program, or all of them one after the other in this process."""
    name, library = argv[0], argv[1] if len(argv) > 1 else "fastnn"
    if name not in NAMES:
        print(f"no program {name!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    os.environ["SCRIPT_LIBRARY"] = library
    log = run(name)
    notes = "".join(f", {note}" for note in log.notes)
    print(f"{name}, {library}: {log.seconds * 1e6:.0f} us a step, the first losses agree{notes}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
