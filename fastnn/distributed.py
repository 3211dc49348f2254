"""``torch.distributed``: not available. There is one process, of rank 0; what needs more raises."""

from __future__ import annotations

import enum
from typing import Any

from fastnn._core.absent import absent_class, absent_function

_WHY = "torch.distributed is not available in fastnn, which trains in one process: torch.distributed.{} cannot be used"


def is_available() -> bool:
    """False.

    >>> is_available() and is_initialized()
    False
    """
    return False


def is_initialized() -> bool:
    """False."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_ucc_available = is_xccl_available = is_initialized
is_torchelastic_launched = is_initialized


def is_backend_available(backend: str) -> bool:
    """False."""
    return False


def get_rank(group: Any = None) -> int:
    """0."""
    return 0


def get_world_size(group: Any = None) -> int:
    """1."""
    return 1


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """0."""
    return 0


class ReduceOp(enum.Enum):
    """The reductions of ``all_reduce``, as names."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class group:
    """The group of all processes: ``WORLD`` is None, as before ``init_process_group``."""

    WORLD: Any = None
    NON_GROUP_MEMBER: Any = object()


class GroupMember(group):
    """Another name of :class:`group`."""


_FUNCTIONS = (
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single",
    "barrier", "broadcast", "broadcast_object_list", "destroy_process_group", "gather", "gather_object", "get_backend",
    "get_global_rank", "init_device_mesh", "init_process_group", "irecv", "isend", "monitored_barrier", "new_group",
    "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
)  # fmt: skip
_CLASSES = ("Backend", "DeviceMesh", "FileStore", "HashStore", "P2POp", "PrefixStore", "ProcessGroup", "Store",
            "TCPStore", "Work")  # fmt: skip
for _name in _FUNCTIONS:
    globals()[_name] = absent_function(f"torch.distributed.{_name}", _WHY.format(_name))
for _name in _CLASSES:
    globals()[_name] = absent_class(f"torch.distributed.{_name}", (), _WHY.format(_name))


class DistError(RuntimeError):
    """PyTorch's error of processes, for ``except``."""


DistBackendError = DistNetworkError = DistStoreError = DistError
