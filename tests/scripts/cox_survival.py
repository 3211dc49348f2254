"""DeepSurv: Cox's partial likelihood of censored times, with a sort and a cumulative sum."""

import os

import numpy as np
import torch
import torch.nn as nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(122)


class DeepSurv(nn.Module):
    def __init__(self, n_in, hidden):
        super().__init__()
        layers, last = [], n_in
        for h in hidden:
            layers.extend([nn.Linear(last, h), nn.SELU()])
            last = h
        layers.append(nn.Linear(last, 1, bias=False))
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x)


def cox_ph_loss(log_h, durations, events, eps=1e-7):
    idx = durations.sort(descending=True)[1]
    events = events[idx].view(-1)
    log_h = log_h[idx].view(-1)
    gamma = log_h.max()
    log_cumsum_h = log_h.sub(gamma).exp().cumsum(0).add(eps).log().add(gamma)
    return -log_h.sub(log_cumsum_h).mul(events).sum().div(events.sum())


def concordance(risk, durations, events):
    later = durations[None, :] > durations[:, None]
    usable = later & (events[:, None] > 0)
    right = (risk[:, None] > risk[None, :]) & usable
    return right.sum().item() / usable.sum().item()


x = rng.normal(size=(400, 6)).astype(np.float32)
risk = x[:, 0] + 0.5 * x[:, 1] * x[:, 2]
times, censored = rng.exponential(np.exp(-risk)), rng.exponential(1.5, 400)
X = torch.from_numpy(x)
durations = torch.tensor(np.minimum(times, censored), dtype=torch.float32)
events = torch.tensor(times <= censored, dtype=torch.float32)
model = DeepSurv(6, [32, 32])
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, p.shape[-1] ** -0.5, p.shape)))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(STEPS):
    rows = torch.from_numpy(rng.choice(300, 128, replace=False))
    optimizer.zero_grad()
    loss = cox_ph_loss(model(X[rows]), durations[rows], events[rows])
    loss.backward()
    optimizer.step()
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}: {loss.item():.4f}")
model.eval()
with torch.no_grad():
    print(f"c-index {concordance(model(X[300:]).flatten(), durations[300:], events[300:]):.2f}")
