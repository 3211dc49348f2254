"""Quantile regression with the pinball loss: three quantiles of noise that grows."""

import os

import numpy as np
import torch
from torch import nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(121)
QUANTILES = [0.1, 0.5, 0.9]


class QuantileLoss(nn.Module):
    def __init__(self, quantiles):
        super().__init__()
        self.quantiles = quantiles

    def forward(self, preds, target):
        assert not target.requires_grad
        assert preds.size(0) == target.size(0)
        losses = []
        for i, q in enumerate(self.quantiles):
            errors = target - preds[:, i]
            losses.append(torch.max((q - 1) * errors, q * errors).unsqueeze(1))
        return torch.mean(torch.sum(torch.cat(losses, dim=1), dim=1))


class QuantileModel(nn.Module):
    def __init__(self, quantiles, in_shape=1, hidden=64):
        super().__init__()
        self.base_model = nn.Sequential(nn.Linear(in_shape, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.final_models = nn.ModuleList([nn.Linear(hidden, 1) for _ in quantiles])

    def forward(self, x):
        tmp = self.base_model(x)
        return torch.cat([model(tmp) for model in self.final_models], dim=1)


model = QuantileModel(QUANTILES)
for m in model.modules():
    if isinstance(m, nn.Linear):
        m.weight.data.copy_(torch.from_numpy(rng.normal(0, (2 / m.in_features) ** 0.5, m.weight.shape)))
        nn.init.constant_(m.bias, 0)
loss_func = QuantileLoss(QUANTILES)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-6)
x = rng.uniform(0, 3, (1000, 1)).astype(np.float32)
y = (np.sin(x[:, 0]) + rng.normal(0, 0.1 + 0.2 * x[:, 0])).astype(np.float32)
for step in range(STEPS):
    idx = rng.integers(0, 1000, 100)
    optimizer.zero_grad()
    loss = loss_func(model(torch.from_numpy(x[idx])), torch.from_numpy(y[idx]))
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        print(step + 1, f"{loss.item():.4f}")
model.eval()
with torch.no_grad():
    found = model(torch.tensor([[0.5], [2.5]]))
    below = (torch.from_numpy(y)[:, None] < model(torch.from_numpy(x))).float().mean(dim=0)
print(np.array2string(found.numpy(), precision=2), (below[1:] > below[:-1]).all().item())
