"""Sharpness-aware minimization: an optimizer around another one, with two backward passes for each step."""

import os

import numpy as np
import torch
import torch.nn as nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(101)


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        assert rho >= 0.0, f"Invalid rho, should be non-negative: {rho}"
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def ascend(self):
        norms = [p.grad.norm(p=2) for group in self.param_groups for p in group["params"] if p.grad is not None]
        total = torch.norm(torch.stack(norms), p=2)
        for group in self.param_groups:
            scale = group["rho"] / (total + 1e-12)
            for p in group["params"]:
                if p.grad is None:
                    continue
                self.state[p]["before"] = p.data.clone()
                p.add_(p.grad * scale.to(p))
        self.zero_grad()

    @torch.no_grad()
    def descend(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data = self.state[p]["before"]
        self.base_optimizer.step()
        self.zero_grad()


model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.from_numpy(rng.normal(0, 0.15, tuple(p.shape))))
centres = rng.normal(0, 1.5, (3, 10))
labels = rng.integers(0, 3, 512)
X = torch.tensor(centres[labels] + rng.normal(0, 1, (512, 10)), dtype=torch.float32)
y = torch.tensor(labels)

loss_fn = nn.CrossEntropyLoss()
optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.05, momentum=0.9)
for step in range(STEPS):
    idx = torch.from_numpy(rng.integers(0, 512, 64))
    loss = loss_fn(model(X[idx]), y[idx])
    loss.backward()
    optimizer.ascend()
    loss_fn(model(X[idx]), y[idx]).backward()
    optimizer.descend()
    if (step + 1) % 10 == 0:
        print(f"step {step + 1:3d} | loss {loss.item():.4f}")

with torch.no_grad():
    print("accuracy", (model(X).argmax(dim=1) == y).float().mean().item() > 0.8, f"{loss_fn(model(X), y):.4f}")
