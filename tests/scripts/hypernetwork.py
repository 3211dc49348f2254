"""A hypernetwork makes the weights of a small network from an embedding of the task."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(114)


class HyperNetwork(nn.Module):
    def __init__(self, n_tasks, z_dim=8, hidden=16):
        super(HyperNetwork, self).__init__()
        self.hidden = hidden
        self.shapes = [(hidden, 1), (hidden,), (hidden, hidden), (hidden,), (1, hidden), (1,)]
        self.z = nn.Embedding(n_tasks, z_dim)
        self.fc = nn.Linear(z_dim, 64)
        self.heads = nn.ModuleList([nn.Linear(64, int(np.prod(s))) for s in self.shapes])

    def forward(self, task):
        h = torch.relu(self.fc(self.z(task)))
        return [head(h).view(*shape) for head, shape in zip(self.heads, self.shapes)]


def target_network(x, weights):
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.tanh(F.linear(x, w1, b1))
    x = torch.tanh(F.linear(x, w2, b2))
    return F.linear(x, w3, b3)


hyper = HyperNetwork(4)
for p in hyper.parameters():
    p.data = torch.from_numpy(rng.normal(0, 0.25, p.shape)).float()
optimizer = torch.optim.Adam(hyper.parameters(), lr=3e-3)
x = torch.linspace(-1, 1, 64).unsqueeze(1)
targets = [torch.sin((k + 1) * x * 2) for k in range(4)]
for step in range(STEPS):
    total = 0
    optimizer.zero_grad()
    for k in range(4):
        loss = F.mse_loss(target_network(x, hyper(torch.tensor(k))), targets[k])
        loss.backward()
        total += loss.item()
    optimizer.step()
    if step % 10 == 9:
        print(f"step {step + 1}: loss {total / 4:.4f}")
with torch.no_grad():
    between = (hyper.z.weight[0] + hyper.z.weight[1]) / 2
    h = hyper.fc(between).relu()
    print("sizes", [tuple(head(h).reshape(s).shape) for head, s in zip(hyper.heads, hyper.shapes)][:3])
