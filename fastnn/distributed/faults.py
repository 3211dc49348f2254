"""The end of a job: a rank that fails ends all of them, with its error shown and its rank named.

A rank that waits for another one polls, so it sees a rank that has left, a time limit and Ctrl-C. A process that ends
by itself tells the others first, and then waits for them: they may still need the last messages that it has sent.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from types import TracebackType
from typing import Any

from fastnn.distributed.environment import mpi_launch

# Tag of the message of a rank that has reached its end.
_LEFT = 1
# Seconds of a wait before it looks for ranks that have left, between two looks, and from then to the error: the last
# messages of that rank may be under way.
_FIRST_LOOK, _NEXT_LOOK, _GRACE = 0.5, 0.5, 10.0
# Tests of a request before the processor is offered to others, and seconds until the wait begins to sleep.
_TESTS, _AWAKE = 100, 2e-3

_yield_processor = getattr(os, "sched_yield", None) or (lambda: time.sleep(0))


class RankLeftError(RuntimeError):
    """A rank that this one waits for has reached the end of its program."""


class Faults:
    """What one process knows of the others.

    Args:
        comm: MPI's communicator of all ranks, for messages of this class only.
    """

    def __init__(self, comm: Any) -> None:
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        # By rank, the time of the message.
        self.left: dict[int, float] = {}
        self._excepthook = sys.excepthook
        sys.excepthook = self._failed
        atexit.register(self._leave)

    def wait(self, pending: Any, timeout: float) -> None:
        """Wait for an operation.

        Raises: RankLeftError if a rank has left meanwhile; RuntimeError after ``timeout`` seconds.
        """
        for _ in range(_TESTS):
            if pending.test():
                return
        start = time.monotonic()
        look, pause = start + _FIRST_LOOK, 2e-5
        while not pending.test():
            now = time.monotonic()
            if now - start < _AWAKE:
                _yield_processor()
                continue
            # Ranks may share a core, where a rank that polls keeps the other one from its work.
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)
            if now >= look:
                look = now + _NEXT_LOOK
                self._look()
                gone = [rank for rank, at in sorted(self.left.items()) if now - at > _GRACE and rank in pending.ranks]
                if gone:
                    raise RankLeftError(
                        f"rank {self.rank} waits in {pending.name}, which rank {gone[0]} does not call: it has reached "
                        "the end of its program"
                    )
                if now - start > timeout:
                    raise RuntimeError(
                        f"rank {self.rank} has waited for {timeout:g} seconds in {pending.name}: another rank does not "
                        "call it, or is slower than the timeout of the process group"
                    )

    def _look(self) -> None:
        """Receive the messages of the ranks that have left."""
        from mpi4py import MPI

        status = MPI.Status()
        while self.comm.Iprobe(MPI.ANY_SOURCE, _LEFT, status):
            self.comm.Recv(bytearray(1), status.Get_source(), _LEFT)
            self.left[status.Get_source()] = time.monotonic()

    def _leave(self) -> None:
        """Tell the others that this rank is at its end, and wait until they are."""
        from mpi4py import MPI

        if MPI.Is_finalized():
            return
        others = [rank for rank in range(self.size) if rank != self.rank]
        sent = [self.comm.Isend(b"\0", rank, _LEFT) for rank in others]
        pause = 1e-4
        while len(self.left) < len(others) or not all(request.Test() for request in sent):
            self._look()
            time.sleep(pause)
            pause = min(2 * pause, 1e-2)

    def _failed(self, kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
        self._excepthook(kind, error, tb)
        self.abort(f"{kind.__name__}: {error}" if str(error) else kind.__name__)

    def abort(self, why: str, status: int = 1) -> None:
        """End all ranks."""
        from mpi4py import MPI

        if MPI.Is_finalized():
            return
        _tell(self.rank, self.size, why)
        self.comm.Abort(status)


def _tell(rank: int, size: int, why: str) -> None:
    sys.stdout.flush()
    first, _, _ = why.partition("\n")
    line = f"fastnn: rank {rank} of {size} on {socket.gethostname()} failed and ends the job: {first}"
    print(line, file=sys.stderr, flush=True)


# Of this process; None before it joins others.
_found: list[Faults] = []


def watch(comm: Any) -> Faults:
    """The faults of this process, which are watched from now on."""
    if not _found:
        _found.append(Faults(comm))
    return _found[0]


def end_job(why: str, status: int = 1) -> None:
    """End all ranks, by MPI or, before this process has joined the others, by MPI's launcher."""
    launched = mpi_launch()
    if _found:
        _found[0].abort(why, status)
    elif launched is not None:
        _tell(launched[0], launched[1], why)
        if launched[1] > 1:
            # MPICH's launcher ends the others for a signal, but not for an exit status of a process without MPI: they
            # would wait in MPI_Init.
            os.kill(os.getpid(), signal.SIGTERM)
