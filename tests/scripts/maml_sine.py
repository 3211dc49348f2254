"""MAML on sine waves: gradients of a loss after a gradient step."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40)) // 4
rng = np.random.default_rng(129)


class MAMLModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(1, 40)
        self.l2 = nn.Linear(40, 40)
        self.l3 = nn.Linear(40, 1)

    def forward(self, x):
        return self.parameterised(x, list(self.parameters()))

    def parameterised(self, x, weights):
        x = F.relu(F.linear(x, weights[0], weights[1]))
        x = F.relu(F.linear(x, weights[2], weights[3]))
        return F.linear(x, weights[4], weights[5])


class Task:
    def __init__(self):
        self.amplitude, self.phase = rng.uniform(0.1, 5.0), rng.uniform(0, np.pi)

    def sample(self, k=10):
        x = rng.uniform(-5, 5, (k, 1))
        return torch.tensor(x, dtype=torch.float), torch.tensor(self.amplitude * np.sin(x + self.phase), dtype=torch.float)


def inner_loop(model, task, inner_steps=1, lr=0.01, create_graph=True):
    weights = list(model.parameters())
    x, y = task.sample()
    for _ in range(inner_steps):
        loss = F.mse_loss(model.parameterised(x, weights), y)
        grad = torch.autograd.grad(loss, weights, create_graph=create_graph)
        weights = [w - lr * g for w, g in zip(weights, grad)]
    x, y = task.sample()
    return F.mse_loss(model.parameterised(x, weights), y)


model = MAMLModel()
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.4, p.shape)))
meta_optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
epoch_loss = 0
for iteration in range(1, STEPS + 1):
    meta_loss = 0
    for _ in range(5):
        meta_loss = meta_loss + inner_loop(model, Task())
    meta_loss = meta_loss / 5
    meta_grads = torch.autograd.grad(meta_loss, model.parameters())
    for w, g in zip(model.parameters(), meta_grads):
        w.grad = g
    meta_optimizer.step()
    epoch_loss += meta_loss.item()
    if iteration % 5 == 0:
        print("{}/{}. loss: {:.3f}".format(iteration, STEPS, epoch_loss / iteration))
print(f"after two steps: {inner_loop(model, Task(), inner_steps=2, create_graph=False).item():.3f}")
