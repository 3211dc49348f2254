"""What the programs share: the library, the same first weights and numbers, the checked losses, the clock."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

# A program checks the losses of this many steps against PyTorch's. In these its random numbers come from NumPy.
CHECKED = 3
# The losses of the other steps are read as a progress display reads them.
_SHOWN = 20

torch: Any = importlib.import_module(os.environ.get("SCRIPT_LIBRARY", "fastnn"))
if torch.__name__ == "torch":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
torch.manual_seed(0)


class Log:
    """Times the steps of a program and keeps its losses."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(17)
        self.losses: list[float] = []
        self.notes: list[str] = []
        self.step = 0
        self.seconds = 0.0

    def steps(self, count: int) -> Iterator[int]:
        """The numbers of the steps; the last four fifths of them are timed."""
        first = max(count // 5, CHECKED)
        start = perf_counter()
        for self.step in range(count):
            if self.step == first:
                start = perf_counter()
            yield self.step
        self.seconds = (perf_counter() - start) / (count - first)

    @property
    def is_checking(self) -> bool:
        """Whether the loss of this step is checked, so that its random numbers have to be NumPy's."""
        return self.step < CHECKED

    def initialize(self, *modules: Any) -> None:
        """Give the parameters the same random numbers in every library."""
        for module in modules:
            for parameter in module.parameters():
                bound = parameter.shape[-1] ** -0.5 if parameter.ndim else 1.0
                parameter.data.copy_(self.uniform(-bound, bound, *parameter.shape))

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        """A tensor of uniform random numbers, the same in every library."""
        return torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32))

    def normal(self, *shape: int) -> Any:
        """A tensor of normal random numbers, the same in every library."""
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))

    def __call__(self, loss: Any) -> None:
        if self.is_checking or self.step % _SHOWN == 0:
            self.losses.append(loss.item())

    def check(self, expected: Sequence[float], tolerance: float = 1e-4) -> None:
        """Raise an AssertionError unless the first losses are those that PyTorch has."""
        found = self.losses[:CHECKED]
        if not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
            raise AssertionError(f"the first losses are {found}, PyTorch's are {list(expected)}")


log = Log()
