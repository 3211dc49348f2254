"""Record PyTorch's result of every probe of ``tests/behaviour/probes`` in ``tests/golden/probes.json.gz``.

    python tests/golden/make_probes.py
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent / "behaviour")]


def main() -> None:
    import torch
    from probes import GROUPS, outcome

    torch.set_num_threads(1)
    torch.set_warn_always(True)
    found = {name: {line: outcome(torch, line) for line in group} for name, group in GROUPS.items()}
    text = json.dumps(found, indent=0) + "\n"
    # Without a timestamp: the same results give the same file.
    (FOLDER / "probes.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{sum(map(len, found.values()))} probes")


if __name__ == "__main__":
    main()
