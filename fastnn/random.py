"""Random numbers: a counter-based generator, so a draw depends only on seed and position.

The stream is NumPy's Philox (J. K. Salmon et al., SC 2011), not PyTorch's: the same seed gives the
same run of fastnn on every machine and thread count, but other numbers than PyTorch. Functions that
draw tensors are in ``ops.sampling``.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.devices import CPU, as_device, device
from fastnn._tensor.tensor import Tensor, _wrap

_SEED_LIMIT = 2**64
# A generator's state as 64-bit words: a mark, the seed, then Philox's counter, key and buffer, the position in
# the buffer, a flag and the half word that is kept for the next 32-bit draw, and the number of draws made by
# kernels.
_MARK = 0x66617374_6E6E0002
_WORDS = 16


# All generators of this process: NumPy draws without the GIL, under the generator's own lock.
_generators: weakref.WeakSet[Generator] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A thread of the parent may have been drawing.
    for generator in list(_generators):
        lock: Any = generator._numpy.bit_generator.lock
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Generator:
    """A source of random numbers with its own state.

    >>> from fastnn.random import Generator
    >>> Generator().manual_seed(3).initial_seed()
    3
    """

    def __init__(self, device: Any = "cpu") -> None:
        if str(as_device(device)) != "cpu":
            raise RuntimeError(f"fastnn has generators on the CPU only, found device {str(device)!r}")
        self.manual_seed(0)
        _generators.add(self)

    @property
    def device(self) -> device:
        """The CPU."""
        return CPU

    def manual_seed(self, seed: int) -> Generator:
        """Restart from ``seed``, an integer in [-2**63, 2**64)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an integer, found {type(seed).__name__}")
        if not -(_SEED_LIMIT // 2) <= seed < _SEED_LIMIT:
            raise ValueError(f"seed must be in [-2**63, 2**64), found {seed}")
        self._seed = int(seed) % _SEED_LIMIT
        self._numpy = np.random.Generator(np.random.Philox(key=self._seed))
        self._draw = np.array([self._seed, 0], np.uint64).view(np.int64)
        return self

    def seed(self) -> int:
        """Restart from a seed of the operating system and return it."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that this generator started from."""
        return self._seed

    @property
    def numpy(self) -> np.random.Generator:
        """NumPy's generator, to draw from; a trace ends here, before it draws numbers that no replay would draw."""
        if capture_state.active:
            capture_state.stop("random numbers are drawn outside the kernels")
        return self._numpy

    def numbers(self, method: str, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        """Numbers of float32 or float64, by the name of NumPy's method; each replay of a trace draws new ones."""
        if capture_state.active and capture_state.is_mine():
            return capture_state.drawn(np.zeros(shape, kind), Numbers(self, method, shape, kind))
        if capture_state.repeated and (again := capture_state.draw_again()) is not None:
            return again
        return np.asarray(getattr(self._numpy, method)(shape, kind))

    def permutation(self, n: int) -> np.ndarray:
        """The integers 0 to n - 1 in random order, int64."""
        return self.numpy.permutation(n)

    def kernel_state(self) -> np.ndarray:
        """The state for a kernel that makes its own random numbers: (seed, number of this draw), int64."""
        if capture_state.active and capture_state.is_mine():
            # Each replay uses a new draw.
            return capture_state.drawn(self._draw.copy(), self.kernel_state)
        if capture_state.repeated and (again := capture_state.draw_again()) is not None:
            return again
        self._draw[1] += 1
        return self._draw.copy()

    def kernel_states(self, count: int) -> np.ndarray:
        """The next ``count`` results of :meth:`kernel_state` outside a trace, one row each."""
        states = np.repeat(self._draw[None], count, axis=0)
        states[:, 1] += np.arange(1, count + 1)
        self._draw[1] += count
        return states

    def position(self, with_numbers: bool = False) -> tuple[np.ndarray, Any]:
        """Where the streams are, for :meth:`go_to`; that of NumPy's numbers takes 5 us, and is left out by default."""
        return self._draw.copy(), self._numpy.bit_generator.state if with_numbers else None

    def go_to(self, position: tuple[np.ndarray, Any]) -> None:
        """Go back to a position."""
        counter, state = position
        self._draw[...] = counter
        if state is not None:
            self._numpy.bit_generator.state = state

    def is_at(self, position: tuple[np.ndarray, Any]) -> bool:
        """Whether nothing was drawn since :meth:`position`, with numbers, was called."""
        (draw, old), new = position, self._numpy.bit_generator.state
        return (
            np.array_equal(draw, self._draw)
            and np.array_equal(old["state"]["counter"], new["state"]["counter"])
            and all(old[key] == new[key] for key in ("buffer_pos", "has_uint32"))
        )

    def get_state(self) -> Tensor:
        """The position of the stream, as a uint8 tensor for ``set_state``.

        >>> from fastnn.random import Generator
        >>> g = Generator()
        >>> state = g.get_state()
        >>> first = g.permutation(5).tolist()
        >>> g.set_state(state).permutation(5).tolist() == first
        True
        """
        s: Any = self._numpy.bit_generator.state
        words = [_MARK, self._seed % _SEED_LIMIT, *s["state"]["counter"], *s["state"]["key"], *s["buffer"]]
        words += [s["buffer_pos"], s["has_uint32"], s["uinteger"], int(self._draw[1])]
        return _wrap(np.array(words, np.uint64).view(np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Restore the position of a generator when ``get_state`` was called.

        Raises: TypeError for anything but a uint8 tensor; RuntimeError if it is not the state of a generator.
        """
        if not isinstance(new_state, Tensor) or new_state._data.dtype != np.uint8:
            found = new_state.dtype if isinstance(new_state, Tensor) else type(new_state).__name__
            raise TypeError(f"expected a torch.ByteTensor, but got {found}")
        data = np.ascontiguousarray(new_state._data)
        words = [int(w) for w in data.view(np.uint64)] if data.shape == (8 * _WORDS,) else []
        if not words or words[0] != _MARK or words[12] > 4 or words[13] > 1 or words[14] >= 2**32:
            raise RuntimeError(f"RNG state is wrong: expected {8 * _WORDS} bytes made by get_state() of fastnn")
        self.manual_seed(words[1])
        self._numpy.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": np.array(words[2:6], np.uint64), "key": np.array(words[6:8], np.uint64)},
            "buffer": np.array(words[8:12], np.uint64),
            "buffer_pos": words[12],
            "has_uint32": words[13],
            "uinteger": words[14],
        }
        self._draw[1] = words[15]
        return self

    def clone_state(self) -> Generator:
        """A separate generator at the same position."""
        return Generator().set_state(self.get_state())

    def __reduce__(self) -> Any:
        return _restored, (self.get_state(),)


def _restored(state: Tensor) -> Generator:
    return Generator().set_state(state)


_shared = Generator()
# As in PyTorch, runs without a seed differ.
_shared.seed()


class Numbers:
    """A draw of a recording: called, it returns the next numbers."""

    __slots__ = ("_kind", "_method", "_shape", "generator")

    def __init__(self, generator: Generator, method: str, shape: tuple[int, ...], kind: np.dtype) -> None:
        self.generator, self._method, self._shape, self._kind = generator, method, shape, kind

    def __call__(self) -> np.ndarray:
        return self.generator.numbers(self._method, self._shape, self._kind)


def default_generator() -> Generator:
    """The generator used if none is given."""
    return _shared


def manual_seed(seed: Any) -> Generator:
    """Seed the default generator and return it.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    """
    return _shared.manual_seed(int(seed))


def seed() -> int:
    """Restart the default generator from a seed of the operating system and return it."""
    return _shared.seed()


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return _shared.initial_seed()


def get_rng_state() -> Tensor:
    """The position of the default generator, as a uint8 tensor.

    >>> import fastnn
    >>> state = fastnn.get_rng_state()
    >>> a = fastnn.rand(3)
    >>> fastnn.set_rng_state(state)
    >>> fastnn.rand(3).tolist() == a.tolist()
    True
    """
    return _shared.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Restore the position of the default generator when ``get_rng_state`` was called."""
    _shared.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cuda") -> Iterator[None]:
    """A block after which the position of the default generator is restored.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    >>> with fastnn.random.fork_rng():
    ...     a = fastnn.rand(1)
    >>> bool(fastnn.rand(1) == a)
    True
    """
    if not enabled:
        yield
        return
    state = _shared.get_state()
    try:
        yield
    finally:
        _shared.set_state(state)
