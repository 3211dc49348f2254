"""Groups of processes: their start, their end and their members."""

from __future__ import annotations

import datetime
import functools
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from fastnn.distributed.communicator import Alone, ByMPI
from fastnn.distributed.environment import mpi_launch, set_variables
from fastnn.distributed.faults import watch

_EXTRA = "pip install 'fastnn[mpi]'"
# PyTorch's, and the time limit of a wait.
default_pg_timeout = datetime.timedelta(minutes=30)
_BACKENDS = ("gloo", "mpi")
_NOT_YET = "Default process group has not been initialized, please make sure to call init_process_group."


@functools.cache
def is_available() -> bool:
    """Whether several processes can work together: whether mpi4py is installed (``pip install 'fastnn[mpi]'``).

    >>> is_available() in (False, True)
    True
    """
    return importlib.util.find_spec("mpi4py") is not None


class ProcessGroup:
    """Some or all processes of a job; made by ``init_process_group`` and ``new_group``."""

    def __init__(self, communicator: Alone, backend: str, timeout: float, name: str = "") -> None:
        self._communicator, self._backend, self._timeout = communicator, backend, timeout
        self.group_name = self.group_desc = name

    def rank(self) -> int:
        """The number of this process in the group."""
        return self._communicator.rank

    def size(self) -> int:
        """The number of processes."""
        return self._communicator.size

    def name(self) -> str:
        """The backend."""
        return self._backend

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group_name!r}: rank {self.rank()} of {self.size()}>"


class _NoMember:
    def __repr__(self) -> str:
        return "NON_GROUP_MEMBER"


class _Group(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The group of all processes; None before ``init_process_group``."""
        return _state["world"]


class group(metaclass=_Group):
    """The group of all processes, ``WORLD``, and the result of ``new_group`` in a process outside the new group."""

    NON_GROUP_MEMBER: Any = _NoMember()


class GroupMember(group):
    """Another name of :class:`group`."""


_state: dict[str, Any] = {"world": None, "groups": 0}


def is_initialized() -> bool:
    """Whether ``init_process_group`` was called.

    >>> is_initialized()
    False
    """
    return _state["world"] is not None


def world() -> ProcessGroup:
    """The group of all processes.

    Raises: ValueError before ``init_process_group``.
    """
    found: ProcessGroup | None = _state["world"]
    if found is None:
        raise ValueError(_NOT_YET)
    return found


def member(group_: Any) -> ProcessGroup | None:
    """The group, by default that of all processes; None for one that this process is not in."""
    if group_ is None:
        return world()
    if group_ is group.NON_GROUP_MEMBER:
        return None
    if not isinstance(group_, ProcessGroup):
        raise TypeError(f"group must be a ProcessGroup or None, found {type(group_).__name__}")
    return group_


def _seconds(timeout: Any) -> float:
    if timeout is None:
        timeout = default_pg_timeout
    if not isinstance(timeout, datetime.timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, found {type(timeout).__name__}")
    return timeout.total_seconds()


def _checked_backend(backend: Any) -> str:
    """``"gloo"`` or ``"mpi"``: both are MPI here."""
    if backend is None or str(backend).lower() == "undefined":
        return "gloo"
    for entry in str(backend).lower().split(","):
        device, _, name = entry.rpartition(":")
        if device in ("", "cpu") and name in _BACKENDS:
            return name
    raise ValueError(f"backend must be 'gloo' or 'mpi', as fastnn computes on the CPU, found {backend!r}")


def _number(name: str, given: int) -> int:
    """An argument, or the variable of the environment if it is negative; -1 if that is not set."""
    if given >= 0:
        return given
    text = os.environ.get(name, "")
    if not text:
        return -1
    if not text.isdigit():
        raise ValueError(f"the environment variable {name} must be a number, found {text!r}")
    return int(text)


def init_process_group(
    backend: Any = None,
    init_method: str | None = None,
    timeout: datetime.timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Join the processes that ``fastnn launch`` or ``mpiexec`` has started; a process alone is a job of one.

    Args:
        backend: "gloo" or "mpi"; both are MPI.
        init_method: accepted and ignored, like ``store``, ``pg_options`` and ``device_id``: MPI knows the processes.
        timeout: the longest wait for another process; by default 30 minutes.
        world_size, rank: of the job; by default those of the environment (``WORLD_SIZE``, ``RANK``), or MPI's. They
            must agree with the number of processes that MPI has started. The ranks may be in another order than MPI's.

    Raises: RuntimeError if it was called already, or if MPI has started another number of processes;
        ModuleNotFoundError if there are several and mpi4py is missing; ValueError for another backend.

    >>> import fastnn
    >>> fastnn.distributed.init_process_group("gloo", world_size=1, rank=0)
    >>> fastnn.distributed.get_rank(), fastnn.distributed.get_world_size()
    (0, 1)
    >>> fastnn.distributed.destroy_process_group()
    """
    if _state["world"] is not None:
        raise ValueError("trying to initialize the default process group twice!")
    name, seconds = _checked_backend(backend), _seconds(timeout)
    launched = mpi_launch()
    set_variables()
    size, number = _number("WORLD_SIZE", world_size), _number("RANK", rank)
    if size == 0 or (size > 0 and number >= size):
        raise ValueError(f"rank must be from 0 to world_size - 1 = {size - 1}, found {number}")
    communicator = Alone() if launched is None and size in (-1, 1) else _by_mpi(size, number)
    _state["world"], _state["groups"] = ProcessGroup(communicator, name, seconds, group_name or "0"), 0


def _by_mpi(size: int, rank: int) -> Alone:
    if not is_available():
        raise ModuleNotFoundError(
            f"torch.distributed with several processes needs mpi4py and an MPI: {_EXTRA}", name="mpi4py"
        )
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ModuleNotFoundError(
            f"mpi4py finds no MPI library ({' '.join(str(error).split())}): {_EXTRA}, or load the cluster's MPI",
            name="mpi4py",
        ) from error
    every = MPI.COMM_WORLD
    if size not in (-1, every.Get_size()):
        raise RuntimeError(
            f"world_size is {size}, but MPI has started {every.Get_size()} process(es): start the script by 'fastnn "
            f"launch --nproc {size} script.py' or 'mpiexec -n {size} fastnn run script.py'"
        )
    faults = watch(every.Dup())
    comm = every.Split(0, rank if rank >= 0 else every.Get_rank())
    if rank not in (-1, comm.Get_rank()):
        raise RuntimeError(f"rank {rank} is given twice: each process needs a rank of its own")
    # Messages about faults know ranks by MPI's number.
    return ByMPI(comm, faults, [int(r) for r in comm.allgather(every.Get_rank())])


def destroy_process_group(group: Any = None) -> None:
    """Leave a group, by default that of all processes; ``init_process_group`` may be called again.

    Raises: ValueError before ``init_process_group``.
    """
    found = member(group)
    if found is None:
        return
    if found is _state["world"]:
        _state["world"] = None
    found._communicator.free()


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: datetime.timedelta | None = None,
    backend: Any = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
) -> Any:
    """A group of some processes. All processes of the job must call it, in the same order.

    Args:
        ranks: of the members, in order of their ranks in the group; by default all.
        timeout: as of ``init_process_group``.
        backend: "gloo" or "mpi".
        pg_options, use_local_synchronization, group_desc, device_id: accepted and ignored.

    Returns: the group, or ``GroupMember.NON_GROUP_MEMBER`` to the others.

    Raises: ValueError for a rank that does not exist or is there twice.
    """
    whole = world()
    members = list(range(whole.size())) if ranks is None else sorted(int(r) for r in ranks)
    if len(set(members)) != len(members):
        raise ValueError(f"ranks must differ, found {members}")
    if any(not 0 <= r < whole.size() for r in members):
        raise ValueError(f"ranks must be from 0 to {whole.size() - 1}, found {members}")
    name, seconds = _checked_backend(backend), _seconds(timeout)
    made = whole._communicator.split(members)
    _state["groups"] += 1
    if made is None:
        return group.NON_GROUP_MEMBER
    found = ProcessGroup(made, name, seconds, str(_state["groups"]))
    found._members = members  # type: ignore[attr-defined]  # set for groups of some processes
    return found


def new_subgroups(group_size: int | None = None, group: Any = None, timeout: Any = None, backend: Any = None) -> Any:
    """Groups of ``group_size`` neighbours: this process's group, and all of them.

    Raises: ValueError if the number of processes is no multiple of it.
    """
    size = world().size()
    if not group_size or size % group_size:
        raise ValueError(f"the world size ({size}) must be divisible by 'group_size={group_size}'")
    found = [
        new_group(range(first, first + group_size), timeout, backend) for first in range(0, size, group_size)
    ]  # fmt: skip
    return found[world().rank() // group_size], found


def get_rank(group: Any = None) -> int:
    """The number of this process in a group, -1 if it is not in it; 0 before ``init_process_group``."""
    if group is None and _state["world"] is None:
        return 0
    found = member(group)
    return -1 if found is None else found.rank()


def get_world_size(group: Any = None) -> int:
    """The number of processes of a group, -1 if this one is not in it; 1 before ``init_process_group``."""
    if group is None and _state["world"] is None:
        return 1
    found = member(group)
    return -1 if found is None else found.size()


def get_backend(group: Any = None) -> str:
    """The name that ``init_process_group`` or ``new_group`` was given."""
    found = member(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return found._backend


def get_process_group_ranks(group: Any = None) -> list[int]:
    """The members of a group, by their numbers in the job."""
    found = member(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return list(getattr(found, "_members", range(found.size())))


def get_global_rank(group: Any, group_rank: int) -> int:
    """The number in the job of a member of a group.

    Raises: ValueError if there is no such member.
    """
    ranks = get_process_group_ranks(group)
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return ranks[group_rank]


def get_group_rank(group: Any, global_rank: int) -> int:
    """The number in a group of a process of the job.

    Raises: ValueError if it is not in the group.
    """
    ranks = get_process_group_ranks(group)
    if global_rank not in ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return ranks.index(global_rank)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The number of this process on its host: ``LOCAL_RANK``, else ``fallback_rank``, else 0."""
    found = _number("LOCAL_RANK", -1)
    return found if found >= 0 else fallback_rank or 0


def is_torchelastic_launched() -> bool:
    """Whether ``fastnn launch`` or torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_backend_available(backend: str) -> bool:
    """Whether several processes can use it: "gloo" and "mpi" if mpi4py is installed."""
    return is_available() and str(backend).lower() in _BACKENDS


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return is_available()


def is_gloo_available() -> bool:
    """Whether "gloo" is accepted: if mpi4py is installed."""
    return is_available()


def is_nccl_available() -> bool:
    """False."""
    return False


is_ucc_available = is_xccl_available = is_nccl_available
