"""A mixture density network with torch.distributions: several answers to one question."""

import os

import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(130)


class MDN(nn.Module):
    def __init__(self, n_hidden, n_gaussians):
        super(MDN, self).__init__()
        self.z_h = nn.Sequential(nn.Linear(1, n_hidden), nn.Tanh())
        self.z_pi = nn.Linear(n_hidden, n_gaussians)
        self.z_mu = nn.Linear(n_hidden, n_gaussians)
        self.z_sigma = nn.Linear(n_hidden, n_gaussians)

    def forward(self, x):
        z_h = self.z_h(x)
        return MixtureSameFamily(Categorical(logits=self.z_pi(z_h)), Normal(self.z_mu(z_h), torch.exp(self.z_sigma(z_h))))


y_data = rng.uniform(-10, 10, 1000)
x_data = 7 * np.sin(0.75 * y_data) + 0.5 * y_data + rng.normal(size=1000)
x = torch.from_numpy((x_data / 10).astype(np.float32).reshape(-1, 1))
y = torch.from_numpy((y_data / 10).astype(np.float32))
network = MDN(n_hidden=20, n_gaussians=5)
for p in network.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.5, p.shape)))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for epoch in range(STEPS):
    loss = -network(x).log_prob(y).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 10 == 0:
        print(epoch, f"{loss.item():.4f}")
with torch.no_grad():
    mixture = network(torch.tensor([[0.0]]))
    print("mean", f"{mixture.mean.item():.3f}", "largest share", f"{mixture.mixture_distribution.probs.max().item():.3f}")
