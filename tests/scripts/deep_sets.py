"""Deep sets: a sum over the elements, whose number differs, makes the network blind to their order."""

import os

import numpy as np
import torch
import torch.nn as nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(126)


class DeepSet(nn.Module):
    def __init__(self, dim_input, dim_hidden, dim_output):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(dim_input, dim_hidden), nn.ReLU(), nn.Linear(dim_hidden, dim_hidden), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(dim_hidden, dim_hidden), nn.ReLU(), nn.Linear(dim_hidden, dim_output))

    def forward(self, x, mask):
        h = self.phi(x) * mask.unsqueeze(-1)
        return self.rho(h.sum(dim=1) / mask.sum(dim=1, keepdim=True))


def sets(n, most=10):
    sizes = rng.integers(3, most + 1, n)
    x = rng.normal(size=(n, most, 2)) * rng.uniform(0.3, 2, (n, 1, 1))
    mask = (np.arange(most) < sizes[:, None]).astype(np.float32)
    x = x * mask[..., None]
    mean = x.sum(1) / sizes[:, None]
    spread = ((x - mean[:, None]) ** 2 * mask[..., None]).sum((1, 2)) / sizes
    return torch.tensor(x, dtype=torch.float32), torch.tensor(mask), torch.tensor(np.log(spread), dtype=torch.float32)


model = DeepSet(2, 48, 1)
for p in model.parameters():
    p.data = torch.tensor(rng.normal(0, p.shape[-1] ** -0.5, p.shape), dtype=torch.float32)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
criterion = nn.L1Loss()
for step in range(STEPS):
    x, mask, y = sets(64)
    loss = criterion(model(x, mask).squeeze(1), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if (step + 1) % 10 == 0:
        print(f"step {step + 1}: {loss.item():.4f}")

x, mask, y = sets(5)
order = torch.from_numpy(rng.permutation(10))
with torch.no_grad():
    a, b = model(x, mask), model(x[:, order], mask[:, order])
print("blind to the order:", torch.allclose(a, b, atol=1e-5))
