"""Record PyTorch's results of every case of ``tests/cases.py`` in ``tests/golden/*.npz``.

Run it where PyTorch 2.13.0 is installed, after a case was added or changed:

    python tests/golden/make_golden.py            # everything
    python tests/golden/make_golden.py losses     # these groups
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

TORCH_VERSION = "2.13.0"


def record(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Several arrays as the fields of one: a separate array in the file costs 300 bytes."""
    made = np.zeros((), [(name, a.dtype, a.shape) for name, a in arrays.items()])
    for name, a in arrays.items():
        made[name] = a
    return made


def main() -> None:
    import torch
    from cases import CASES

    version = torch.__version__.split("+")[0]
    if version != TORCH_VERSION:
        sys.exit(f"the recorded values are those of PyTorch {TORCH_VERSION}, this is {version}")
    torch.set_num_threads(1)
    for group, cases in itertools.groupby(sorted(CASES, key=lambda case: case.group), key=lambda case: case.group):
        if sys.argv[1:] and group not in sys.argv[1:]:
            continue
        arrays = {"torch": np.array(version), "numpy": np.array(np.__version__)}
        for case in cases:
            inputs = case.make_inputs()
            outputs = case.run(torch, inputs)
            named = {f"in/{n}": a for n, a in inputs.items()} | {f"out/{n}": a for n, a in outputs.items()}
            arrays[case.name] = record(named)
        path = FOLDER / f"{group}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
