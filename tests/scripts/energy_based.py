"""An energy-based model whose negative samples come from Langevin dynamics: gradients by the inputs."""

import os

import numpy as np
import torch
import torch.nn as nn

STEPS = int(os.environ.get("STEPS", 40)) // 2
rng = np.random.default_rng(108)


class Energy(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def langevin(model, x, n_steps=8, step_size=0.1, noise=0.05):
    is_training = model.training
    model.eval()
    for p in model.parameters():
        p.requires_grad_(False)
    x = x.clone().detach()
    x.requires_grad = True
    for _ in range(n_steps):
        x.data.add_(torch.from_numpy(noise * rng.standard_normal(x.shape)).float())
        energy = model(x)
        energy.sum().backward()
        x.data.add_(-step_size * x.grad.data.clamp(-1, 1))
        x.grad.detach_()
        x.grad.zero_()
    for p in model.parameters():
        p.requires_grad_(True)
    model.train(is_training)
    return x.detach()


def data(n):
    angle = rng.uniform(0, 2 * np.pi, n)
    return torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.normal(size=(n, 2)), dtype=torch.float)


model = Energy()
for p in model.parameters():
    p.data[:] = torch.tensor(rng.normal(0, 0.3, p.shape))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.0, 0.999))
buffer = torch.tensor(rng.uniform(-1.5, 1.5, (512, 2)), dtype=torch.float)
for step in range(STEPS):
    rows = torch.from_numpy(rng.integers(0, len(buffer), 64))
    real, start = data(64), buffer[rows]
    fake = langevin(model, start)
    buffer[rows] = fake
    energy_real, energy_fake = model(torch.cat([real, fake])).chunk(2)
    regularizer = 0.1 * (energy_real**2 + energy_fake**2).mean()
    loss = energy_real.mean() - energy_fake.mean() + regularizer
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.1)
    optimizer.step()
    if step % 5 == 4:
        print(f"{step + 1:3d} contrastive {loss.item() - regularizer.item():+.4f} regularizer {regularizer.item():.4f}")
print(f"radius of the buffer {buffer.norm(dim=-1).mean():.3f}")
