"""The environment of a process that MPI or ``fastnn launch`` has started: its rank and the size of the job."""

from __future__ import annotations

import os
from collections.abc import Mapping

# The variables of MPICH's and Intel's launcher, of Open MPI's, and of Slurm's `srun --mpi=pmix`: rank and number of
# processes of the job, rank and number on this host.
_LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    (
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
)  # fmt: skip


def mpi_launch(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int, int] | None:
    """Rank, size, rank on this host and number on this host, as MPI's launcher states them; None without one.

    >>> mpi_launch({"PMI_RANK": "1", "PMI_SIZE": "2"})
    (1, 2, 1, 2)
    >>> mpi_launch({})
    """
    for names in _LAUNCHERS:
        rank, size, local, on_host = (environment.get(name, "").partition("(")[0] for name in names)
        if rank.isdigit() and size.isdigit():
            local_rank = int(local) if local.isdigit() else int(rank)
            return int(rank), int(size), local_rank, int(on_host) if on_host.isdigit() else int(size)
    return None


def set_variables() -> None:
    """Set torchrun's variables (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` ...) in a process that MPI has started.

    Those that are set already stay.
    """
    found = mpi_launch()
    if found is None:
        return
    rank, size, local_rank, on_host = found
    values = {
        "RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": on_host,
        "GROUP_RANK": rank // max(on_host, 1), "GROUP_WORLD_SIZE": -(-size // max(on_host, 1)), "ROLE_RANK": rank,
        "ROLE_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500,
    }  # fmt: skip
    for name, value in values.items():
        os.environ.setdefault(name, str(value))
