"""An exponential moving average of the weights, kept by hand, applied for the evaluation and taken back."""

import copy
import os

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(103)


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = {name: p.data.clone() for name, p in model.named_parameters() if p.requires_grad}
        self.backup = {}

    def update(self, model):
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.shadow[name] = (1.0 - self.decay) * p.data + self.decay * self.shadow[name]

    def apply(self, model):
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.backup[name] = p.data
                p.data = self.shadow[name]

    def restore(self, model):
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.data = self.backup[name]
        self.backup = {}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.norm = nn.LayerNorm(64)
        self.fc2 = nn.Linear(64, 64)
        self.out = nn.Linear(64, 1)

    def forward(self, x):
        x = F.gelu(self.norm(self.fc1(x)))
        return self.out(F.gelu(self.fc2(x))).squeeze(-1)


model = Net()
state = model.state_dict()
for name in state:
    if name.startswith("norm"):
        continue
    state[name] = torch.tensor(rng.normal(0, 0.2, tuple(state[name].shape)), dtype=torch.float32)
model.load_state_dict(state)
first = copy.deepcopy(model)

X = torch.tensor(rng.normal(size=(1024, 8)), dtype=torch.float32)
y = torch.tensor(np.tanh(X.numpy() @ rng.normal(size=8)) + rng.normal(0, 0.3, 1024), dtype=torch.float32)
ema = EMA(model, 0.9)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for step in range(1, STEPS + 1):
    rows = rng.choice(1024, 64, replace=False)
    loss = F.huber_loss(model(X[rows]), y[rows])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    ema.update(model)
    if step % 10 == 0:
        with torch.no_grad():
            raw = F.mse_loss(model(X), y).item()
            ema.apply(model)
            smooth = F.mse_loss(model(X), y).item()
            ema.restore(model)
        print(f"[{step:>3}] loss {loss.item():.4f}  raw {raw:.4f}  ema {smooth:.4f}")

with torch.no_grad():
    moved = sum((a - b).pow(2).sum() for a, b in zip(model.parameters(), first.parameters())).sqrt()
print(f"distance from the first weights {moved:.3f}")
