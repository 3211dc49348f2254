"""Record what the programs of ``tests/scripts`` print under PyTorch, in ``tests/golden/scripts/*.txt``.

Run it where PyTorch 2.13.0, pandas and gymnasium are installed, after a script was added or changed:

    python tests/golden/make_scripts.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def main() -> None:
    import torch
    from make_golden import TORCH_VERSION
    from script_runs import NAMES, RECORDED, run_scripts

    version = torch.__version__.split("+")[0]
    if version != TORCH_VERSION:
        sys.exit(f"the recorded output is that of PyTorch {TORCH_VERSION}, this is {version}")
    RECORDED.mkdir(exist_ok=True)
    for name, result in run_scripts("torch", NAMES).items():
        if result.status or result.err:
            sys.exit(f"{name} failed under PyTorch:\n{result.err}")
        (RECORDED / f"{name}.txt").write_text(result.out, encoding="utf-8")
    print(f"{len(NAMES)} files in {RECORDED}")


if __name__ == "__main__":
    main()
