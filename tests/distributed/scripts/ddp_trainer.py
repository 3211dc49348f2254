"""A trainer with gradient accumulation, clipping, a schedule and checkpoints of rank 0, from which it resumes."""

import os
import sys
import tempfile

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Trainer:
    def __init__(self, model, optimizer, scheduler, data, accumulate, path):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.model = DistributedDataParallel(model, broadcast_buffers=True)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.x, self.y = data
        self.accumulate, self.path, self.epoch = accumulate, path, 0
        if os.path.exists(path):
            self.load()

    def load(self):
        snapshot = torch.load(self.path, map_location="cpu")
        self.model.module.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scheduler.load_state_dict(snapshot["scheduler"])
        self.epoch = snapshot["epoch"]

    def save(self):
        if self.rank == 0:
            states = {"model": self.model.module.state_dict(), "optimizer": self.optimizer.state_dict()}
            states.update(scheduler=self.scheduler.state_dict(), epoch=self.epoch)
            torch.save(states, self.path)
        dist.barrier()

    def run(self, epochs):
        batches = list(zip(self.x.split(16), self.y.split(16)))
        while self.epoch < epochs:
            total = 0.0
            for i, (x, y) in enumerate(batches):
                x, y = x[self.rank :: self.size], y[self.rank :: self.size]
                if (i + 1) % self.accumulate:
                    with self.model.no_sync():
                        loss = nn.functional.mse_loss(self.model(x), y) / self.accumulate
                        loss.backward()
                else:
                    loss = nn.functional.mse_loss(self.model(x), y) / self.accumulate
                    loss.backward()
                    nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
                    self.optimizer.step()
                    self.optimizer.zero_grad(set_to_none=True)
                total += loss.item()
            self.scheduler.step()
            self.epoch += 1
            self.save()
            found = torch.tensor([total], dtype=torch.float64)
            dist.reduce(found, dst=0, op=dist.ReduceOp.SUM)
            if self.rank == 0:
                print(f"epoch {self.epoch} loss {found.item() / self.size / len(batches):.6f}")


def build(path, accumulate):
    rng = np.random.RandomState(3)
    model = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Dropout(0.0), nn.Linear(24, 1))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy(rng.randn(*p.shape).astype(np.float32) * 0.3))
    x = rng.randn(256, 8).astype(np.float32)
    y = np.sin(x.sum(1, keepdims=True)).astype(np.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    return Trainer(model, optimizer, scheduler, (torch.from_numpy(x), torch.from_numpy(y)), accumulate, path)


def main():
    dist.init_process_group("gloo", init_method="env://")
    settings = [None, None]
    if dist.get_rank() == 0:
        settings = [os.path.join(tempfile.mkdtemp(), "snapshot.pt"), {"accumulate": 4}]
    dist.broadcast_object_list(settings, src=0)
    path, options = settings
    build(path, **options).run(3)
    build(path, **options).run(5)  # Goes on at epoch 3.
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
