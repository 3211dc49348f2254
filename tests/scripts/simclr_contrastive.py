"""Contrastive learning with the NT-Xent loss on two noisy views of each row."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(109)


class SimCLR(nn.Module):
    def __init__(self, dim, hidden, out):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.projector = nn.Sequential(nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x):
        h = self.encoder(x)
        return h, F.normalize(self.projector(F.relu(h)), dim=1)


def info_nce_loss(z1, z2, temperature=0.5):
    n = z1.size(0)
    z = torch.cat([z1, z2], dim=0)
    sim = torch.mm(z, z.t()) / temperature
    sim.masked_fill_(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
    targets = torch.cat([torch.arange(n, 2 * n), torch.arange(0, n)])
    return F.cross_entropy(sim, targets)


model = SimCLR(16, 64, 16)
for name, p in model.named_parameters():
    if p.dim() > 1:
        p.data = torch.from_numpy(rng.normal(0, (2 / p.size(1)) ** 0.5, p.size()).astype(np.float32))
    elif "bias" in name:
        p.data.zero_()
centres = rng.normal(size=(4, 16))
classes = rng.integers(0, 4, 400)
data = centres[classes] + 0.3 * rng.normal(size=(400, 16))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
for step in range(1, STEPS + 1):
    batch = data[rng.choice(400, 48, replace=False)]
    views = [torch.tensor(batch * (rng.random(batch.shape) > 0.2) + 0.1 * rng.normal(size=batch.shape), dtype=torch.float32) for _ in range(2)]
    (_, z1), (_, z2) = model(views[0]), model(views[1])
    loss = info_nce_loss(z1, z2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: loss {loss.item():.4f} alignment {(z1 * z2).sum(1).mean().item():.4f}")

model.eval()
with torch.no_grad():
    h, _ = model(torch.tensor(data, dtype=torch.float32))
    h = F.normalize(h, dim=1)
    similarity = h @ h.T
    similarity.fill_diagonal_(-1)
    neighbours = torch.tensor(classes)[similarity.topk(5, dim=1).indices].mode(dim=1).values
print("kNN accuracy > 95%:", (neighbours == torch.tensor(classes)).float().mean().item() > 0.95)
