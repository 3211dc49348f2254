"""Ranks with different numbers of batches, by join(); an unused branch; metrics of all ranks; a group of some ranks."""

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel as DDP


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 20), nn.ReLU())
        self.first = nn.Linear(20, 1)
        self.second = nn.Linear(20, 1)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x, head):
        x = self.body(x)
        return (self.first(x) if head == 0 else self.second(x)) * self.scale


def main():
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    rng = np.random.RandomState(0)
    model = TwoHeads()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy(rng.uniform(-0.4, 0.4, p.shape).astype(np.float32)))
    ddp = DDP(model, find_unused_parameters=True)
    optimizer = torch.optim.AdamW(ddp.parameters(), lr=5e-3)
    x = torch.from_numpy(rng.randn(8, 10, 6).astype(np.float32))
    losses = []
    with ddp.join():
        for step in range(4 + 2 * rank):
            optimizer.zero_grad()
            batch = x[(step + rank) % 8]
            loss = (ddp(batch, step % 2) - batch.prod(1, keepdim=True)).abs().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    every = [None] * size
    dist.all_gather_object(every, {"rank": rank, "steps": len(losses), "last": round(losses[-1], 4)})
    checks = [torch.zeros(1) for _ in range(size)]
    dist.all_gather(checks, sum(p.detach().abs().sum() for p in model.parameters()).reshape(1))
    pair = dist.new_group([0, size - 1])
    if rank in (0, size - 1):
        top = torch.tensor([max(losses)])
        dist.all_reduce(top, op=dist.ReduceOp.MAX, group=pair)
    dist.barrier()
    if rank == 0:
        for found in every:
            print(f"rank {found['rank']} steps {found['steps']} last {found['last']:.4f}")
        assert all(torch.equal(c, checks[0]) for c in checks)
        print(f"weights {checks[0].item():.4f} highest loss {top.item():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
