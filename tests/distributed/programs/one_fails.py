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
if how.startswith("step"):
    # In captured steps, which meet in shared memory.
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile_step(model, torch.nn.MSELoss(), sgd)
    for i in range(100):
        if i == 50 and dist.get_rank() == 1:
            if how == "step-kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "step-leave":
                sys.exit(0)
            raise ValueError("a number of 7 is bad")
        step(torch.ones(2, 3), torch.zeros(2, 4))
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
