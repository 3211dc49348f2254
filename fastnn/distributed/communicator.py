"""Collective operations on arrays: alone, or through MPI.

Each operation is a generator of MPI's requests: it starts one, yields it, and goes on once it is complete. A
:class:`Pending` runs it. Nothing here blocks inside of MPI, so a wait can end: see :mod:`fastnn.distributed.faults`.

Arrays are one-dimensional and contiguous. What only moves numbers moves bytes, so every dtype will do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from fastnn.distributed.faults import Faults
from fastnn.kernels.runtime import allocation

Steps = Generator[Any, None, None]

# The functions of the reductions, and MPI's names of them.
UFUNCS: dict[str, Callable[..., Any]] = {
    "SUM": np.add, "AVG": np.add, "PRODUCT": np.multiply, "MIN": np.minimum, "MAX": np.maximum,
    "BAND": np.bitwise_and, "BOR": np.bitwise_or, "BXOR": np.bitwise_xor,
}  # fmt: skip
_MPI_NAMES = {"SUM": "SUM", "AVG": "SUM", "PRODUCT": "PROD", "MIN": "MIN", "MAX": "MAX", "BAND": "BAND", "BOR": "BOR",
              "BXOR": "BXOR"}  # fmt: skip
# MPI has a type for these.
_REDUCED_BY_MPI = frozenset("bBhHiIlLqQfd")
# Numbers up to which an ordered reduction sends all of them to all ranks: one message instead of two.
_FEW = 512


class Pending:
    """An operation under way.

    Args:
        name: for messages.
        steps: what it does.
        ranks: the processes that take part, as ranks of the job.
        faults: None if no other process takes part.
        then: called once it is complete.
    """

    __slots__ = ("_request", "_steps", "_then", "done", "faults", "name", "ranks")

    def __init__(
        self, name: str, steps: Steps, ranks: Sequence[int], faults: Faults | None, then: Callable[[], None] | None
    ) -> None:  # fmt: skip
        self.name, self.ranks, self.faults, self.done = name, ranks, faults, False
        self._steps, self._then = steps, then
        self._request: Any = None
        self._next()

    def _next(self) -> None:
        self._request = next(self._steps, None)
        if self._request is None:
            self.done = True
            if self._then is not None:
                self._then()

    def test(self) -> bool:
        """Whether it is complete; goes on with it."""
        while not self.done and self._request.Test():
            self._next()
        return self.done

    def wait(self, timeout: float) -> None:
        """Wait until it is complete."""
        if not self.done:
            assert self.faults is not None
            self.faults.wait(self, timeout)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8)


class Alone:
    """The operations of one process."""

    rank, size, faults = 0, 1, None
    ranks: Sequence[int] = (0,)

    def split(self, ranks: Sequence[int] | None) -> Any:
        """The communicator of these ranks, in their order; None for a process that is not among them."""
        return self if ranks is not None and self.rank in ranks else None

    def all_reduce(self, array: np.ndarray, op: str, ordered: bool) -> Steps:
        """Reduce in place."""
        yield from ()

    def reduce(self, array: np.ndarray, op: str, root: int, ordered: bool) -> Steps:
        """Reduce in place at the root."""
        yield from ()

    def broadcast(self, array: np.ndarray, root: int) -> Steps:
        """Copy the root's numbers to all."""
        yield from ()

    def all_gather(self, array: np.ndarray, out: np.ndarray) -> Steps:
        """Put the numbers of all ranks one after the other."""
        out[...] = array
        yield from ()

    def all_to_all(self, array: np.ndarray, out: np.ndarray, sent: Any = None, received: Any = None) -> Steps:
        """Send part ``r`` of the numbers to rank ``r``; the parts are equal, or have the sizes ``sent``."""
        out[...] = array
        yield from ()

    def reduce_scatter(self, array: np.ndarray, out: np.ndarray, op: str) -> Steps:
        """Reduce part ``r`` at rank ``r``."""
        out[...] = array
        yield from ()

    def gather(self, array: np.ndarray, out: np.ndarray | None, root: int) -> Steps:
        """Put the numbers of all ranks one after the other at the root."""
        if out is not None:
            out[...] = array
        yield from ()

    def scatter(self, array: np.ndarray | None, out: np.ndarray, root: int) -> Steps:
        """Send part ``r`` of the root's numbers to rank ``r``."""
        out[...] = array
        yield from ()

    def barrier(self) -> Steps:
        """Wait for all."""
        yield from ()

    def send(self, array: np.ndarray, to: int, tag: int) -> Steps:
        """Send numbers to a rank."""
        raise ValueError("Invalid destination rank: destination rank should not be the same as the rank of the current "
                         "process.")  # fmt: skip

    def receive(self, array: np.ndarray, source: int | None, tag: int, told: Callable[[int], None]) -> Steps:
        """Receive numbers from a rank, or from any; ``told`` gets its number."""
        raise ValueError("Invalid source rank: source rank should not be the same as the rank of the current process.")

    def free(self) -> None:
        """Release what MPI holds for it."""


class ByMPI(Alone):
    """The operations of several processes.

    Args:
        comm: MPI's communicator.
        faults: of this process.
        ranks: its ranks as ranks of the job.
    """

    faults: Any

    def __init__(self, comm: Any, faults: Faults, ranks: Sequence[int]) -> None:
        self.comm, self.faults, self.ranks = comm, faults, ranks
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def split(self, ranks: Sequence[int] | None) -> ByMPI | None:
        from mpi4py import MPI

        # MPI's own call blocks; after a barrier it does not wait for anybody.
        Pending("new_group", self.barrier(), self.ranks, self.faults, None).wait(1800)
        is_in = ranks is not None and self.rank in ranks
        made = self.comm.Split(0 if is_in else MPI.UNDEFINED, ranks.index(self.rank) if is_in and ranks else 0)
        return ByMPI(made, self.faults, [self.ranks[r] for r in ranks]) if is_in and ranks else None

    def all_reduce(self, array: np.ndarray, op: str, ordered: bool) -> Steps:
        if not ordered and array.dtype.char in _REDUCED_BY_MPI:
            from mpi4py import MPI

            yield self.comm.Iallreduce(MPI.IN_PLACE, array, getattr(MPI, _MPI_NAMES[op]))
        elif array.size <= _FEW:
            parts = allocation.empty((self.size, array.size), array.dtype)
            yield from self.all_gather(array, parts.reshape(-1))
            self._in_order(parts, array, op)
        else:
            # Each rank reduces a part of the numbers.
            length = -(-array.size // self.size)
            padded = np.zeros(length * self.size, array.dtype)
            padded[: array.size] = array
            part = allocation.empty(length, array.dtype)
            yield from self.reduce_scatter(padded, part, op)
            yield from self.all_gather(part, padded)
            array[...] = padded[: array.size]

    def _in_order(self, parts: np.ndarray, out: np.ndarray, op: str) -> None:
        """Reduce by the order of the ranks."""
        out[...] = parts[0]
        for part in parts[1:]:
            UFUNCS[op](out, part, out=out)

    def reduce(self, array: np.ndarray, op: str, root: int, ordered: bool) -> Steps:
        is_root = self.rank == root
        if not ordered and array.dtype.char in _REDUCED_BY_MPI:
            from mpi4py import MPI

            send, out = (MPI.IN_PLACE, array) if is_root else (array, None)
            yield self.comm.Ireduce(send, out, getattr(MPI, _MPI_NAMES[op]), root)
            return
        parts = allocation.empty((self.size, array.size), array.dtype) if is_root else None
        yield from self.gather(array, None if parts is None else parts.reshape(-1), root)
        if parts is not None:
            self._in_order(parts, array, op)

    def broadcast(self, array: np.ndarray, root: int) -> Steps:
        yield self.comm.Ibcast(_bytes(array), root)

    def all_gather(self, array: np.ndarray, out: np.ndarray) -> Steps:
        yield self.comm.Iallgather(_bytes(array), _bytes(out))

    def all_to_all(self, array: np.ndarray, out: np.ndarray, sent: Any = None, received: Any = None) -> Steps:
        if sent is None:
            yield self.comm.Ialltoall(_bytes(array), _bytes(out))
            return
        size = array.itemsize
        ways = [
            [_bytes(a), [c * size for c in counts], [int(x) * size for x in np.cumsum([0, *counts[:-1]])], "B"]
            for a, counts in ((array, sent), (out, received))
        ]
        yield self.comm.Ialltoallv(*(list(way) for way in ways))

    def reduce_scatter(self, array: np.ndarray, out: np.ndarray, op: str) -> Steps:
        parts = allocation.empty((self.size, out.size), out.dtype)
        yield from self.all_to_all(array, parts.reshape(-1))
        self._in_order(parts, out, op)

    def gather(self, array: np.ndarray, out: np.ndarray | None, root: int) -> Steps:
        yield self.comm.Igather(_bytes(array), None if out is None else _bytes(out), root)

    def scatter(self, array: np.ndarray | None, out: np.ndarray, root: int) -> Steps:
        yield self.comm.Iscatter(None if array is None else _bytes(array), _bytes(out), root)

    def barrier(self) -> Steps:
        yield self.comm.Ibarrier()

    def send(self, array: np.ndarray, to: int, tag: int) -> Steps:
        if to == self.rank:
            return super().send(array, to, tag)
        return self._sent(array, to, tag)

    def _sent(self, array: np.ndarray, to: int, tag: int) -> Steps:
        yield self.comm.Isend(_bytes(array), to, tag)

    def receive(self, array: np.ndarray, source: int | None, tag: int, told: Callable[[int], None]) -> Steps:
        if source == self.rank:
            return super().receive(array, source, tag, told)
        return self._received(array, source, tag, told)

    def _received(self, array: np.ndarray, source: int | None, tag: int, told: Callable[[int], None]) -> Steps:
        from mpi4py import MPI

        request = _Received(self.comm.Irecv(_bytes(array), MPI.ANY_SOURCE if source is None else source, tag))
        yield request
        told(request.status.Get_source())

    def free(self) -> None:
        self.comm.Free()


class _Received:
    """A request that keeps its status."""

    def __init__(self, request: Any) -> None:
        from mpi4py import MPI

        self.request, self.status = request, MPI.Status()

    def Test(self) -> bool:
        done: bool = self.request.Test(self.status)
        return done
