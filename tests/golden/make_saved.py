"""Record what PyTorch does with every row of ``tests/saved.py`` in ``tests/golden/saved.json``.

Run it where PyTorch 2.13.0 is installed, after a row was added or changed: ``python tests/golden/make_saved.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))


def main() -> None:
    import torch
    from saved import ROWS, after_changes, derivatives, described

    torch.set_num_threads(1)
    made = {row.name: [after_changes(torch, row), described(derivatives(torch, row, 3))] for row in ROWS}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in made.items())
    (FOLDER / "saved.json").write_text(f"{{\n{text}\n}}\n")
    print(f"{len(made)} rows")


if __name__ == "__main__":
    main()
