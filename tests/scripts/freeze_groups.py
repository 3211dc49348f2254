"""Transfer of a trained body: frozen layers, parameter groups with rates and decay of their own."""

import numpy as np
import torch
import torch.nn as nn
from torch import optim


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(x))


def fill(module, rng):
    for p in module.parameters():
        p.data = torch.from_numpy(rng.uniform(-0.4, 0.4, p.shape)).to(p.dtype)


rng = np.random.default_rng(55)
x = torch.from_numpy(rng.standard_normal((128, 8))).float()
first_task = (x[:, :4].sum(1) > 0).long()
second_task = (x[:, :4].sum(1) > 0).long() + (x[:, 4] > 0).long()

net = Net(2)
fill(net, rng)
optimizer = optim.Adam(net.parameters(), lr=0.01)
for _ in range(40):
    loss = nn.functional.cross_entropy(net(x), first_task)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"first task {loss.item():.4f}")

net.head = nn.Linear(16, 3)
fill(net.head, rng)
for param in net.body[0].parameters():
    param.requires_grad = False
before = {name: value.clone() for name, value in net.state_dict().items()}
decay = [p for n, p in net.named_parameters() if p.requires_grad and n.endswith("weight")]
no_decay = [p for n, p in net.named_parameters() if p.requires_grad and n.endswith("bias")]
optimizer = optim.SGD(
    [{"params": decay, "weight_decay": 1e-2}, {"params": no_decay, "lr": 0.02}], lr=0.1, momentum=0.9, weight_decay=0
)
optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(3))], "lr": 0.5})
print([(len(g["params"]), g["lr"], g["weight_decay"], g["momentum"]) for g in optimizer.param_groups])
for _ in range(40):
    loss = nn.functional.cross_entropy(net(x) + optimizer.param_groups[2]["params"][0], second_task)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"second task {loss.item():.4f}")

for name, value in net.state_dict().items():
    print(f"{name:14s} moved {(value - before[name]).abs().sum().item():.3f}")
print([name for name, p in net.named_parameters() if p.grad is None])
print(sum(p.numel() for p in net.parameters() if p.requires_grad), "of", sum(p.numel() for p in net.parameters()))
