"""Rank 1 ends in one of several ways while the others wait for it."""

import os
import signal
import sys

import torch.distributed as dist

import torch

how = sys.argv[1]
if how == "early" and os.environ["RANK"] == "1":
    raise ValueError("before the ranks have met")
dist.init_process_group("gloo")
if dist.get_rank() == 0 and how == "checkpoint":
    torch.save({"epoch": 1}, sys.argv[2])
dist.barrier()
if dist.get_rank() == 1:
    if how in ("raise", "checkpoint"):
        raise ValueError("a number of 7 is bad")
    if how == "exit":
        sys.exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "name":
        torch.nn.Conv2d(1, 1, 1)
    if how == "leave":
        sys.exit(0)
if how == "timeout":
    import datetime

    work = dist.irecv(torch.zeros(1), 1 - dist.get_rank())
    work.wait(datetime.timedelta(seconds=1))
dist.all_reduce(torch.ones(2))
