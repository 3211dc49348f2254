"""Random numbers: a counter-based generator, so a draw depends on seed and position alone.

The stream is Philox (J. K. Salmon et al., SC 2011) by NumPy, not PyTorch's: the same seed gives the
same run of fastnn on every machine and thread count, but other numbers than PyTorch. May import
nothing of fastnn.
"""

from __future__ import annotations

import numpy as np

_SEED_LIMIT = 2**64


class Generator:
    """A source of random numbers with its own state.

    >>> from fastnn.random import Generator
    >>> Generator().manual_seed(3).initial_seed()
    3
    """

    def __init__(self, device: str = "cpu") -> None:
        if str(device) != "cpu":
            raise RuntimeError(f"fastnn has generators on the CPU only, found device {device!r}")
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer in [-2**63, 2**64)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an integer, found {type(seed).__name__}")
        if not -(_SEED_LIMIT // 2) <= seed < _SEED_LIMIT:
            raise ValueError(f"seed must be in [-2**63, 2**64), found {seed}")
        self._seed = int(seed)
        self.numpy = np.random.Generator(np.random.Philox(key=self._seed % _SEED_LIMIT))
        return self

    def seed(self) -> int:
        """Start from a seed of the operating system's and return it."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that this generator started from."""
        return self._seed

    def permutation(self, n: int) -> np.ndarray:
        """The integers 0 to n - 1 in random order, int64."""
        return self.numpy.permutation(n)


_shared = Generator()
# As in PyTorch, a run without a seed is a run of its own.
_shared.seed()


def default_generator() -> Generator:
    """The generator used where none is given."""
    return _shared


def manual_seed(seed: int) -> Generator:
    """Seed the default generator and return it.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    """
    return _shared.manual_seed(seed)
