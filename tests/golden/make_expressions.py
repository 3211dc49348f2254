"""Record what PyTorch prints for every expression of ``tests/expressions`` in ``tests/golden/expressions.json``.

    python tests/golden/make_expressions.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))


def main() -> None:
    import torch
    from expressions import EXPRESSIONS, described, outcome

    torch.set_num_threads(1)
    found = {line: described(outcome(torch, line)) for _, line in EXPRESSIONS}
    (FOLDER / "expressions.json").write_text(json.dumps(found, indent=0) + "\n")
    print(f"{len(found)} expressions")


if __name__ == "__main__":
    main()
