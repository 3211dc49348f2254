"""``fastnn launch --nproc 2 -m fastnn.distributed.hello``: whether processes find each other."""

from __future__ import annotations

import socket

import fastnn


def main() -> None:
    """Print the rank and the host of each process, and check a sum."""
    dist = fastnn.distributed
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    total = fastnn.tensor([rank])
    dist.all_reduce(total)
    if total.item() != size * (size - 1) // 2:
        raise RuntimeError(f"the sum of the ranks must be {size * (size - 1) // 2}, found {total.item()}")
    print(f"rank {rank} of {size} on {socket.gethostname()}: {fastnn.get_num_threads()} thread(s)")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
