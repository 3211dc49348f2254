"""Record PyTorch's results of the cases of ``tests/cases_distributions.py`` in ``tests/golden/distributions.json.gz``.

Run it where PyTorch 2.13.0 is installed, after a case was added or changed:

    python tests/golden/make_distributions.py
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))


def written(value: Any) -> Any:
    return {"dtype": str(value.dtype), "numbers": value.tolist()} if isinstance(value, np.ndarray) else value


def main() -> None:
    import torch
    from cases_distributions import GROUPS

    found = {
        f"{group} {name}".strip(): {key: written(v) for key, v in run(torch, name).items()}
        for group, (run, names) in GROUPS.items()
        for name in names
    }
    # Without a time in the file, so that the same results are the same bytes.
    text = json.dumps({"torch": torch.__version__.split("+")[0], "results": found})
    path = FOLDER / "distributions.json.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {len(found)} cases")


if __name__ == "__main__":
    main()
