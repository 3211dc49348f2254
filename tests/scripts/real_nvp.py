"""RealNVP of two moons: affine coupling layers, the exact log-likelihood, and the way back."""

import os

import numpy as np
import torch
import torch.nn as nn
from torch import distributions

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(107)


class RealNVP(nn.Module):
    def __init__(self, nets, nett, mask, prior):
        super(RealNVP, self).__init__()
        self.prior = prior
        self.mask = nn.Parameter(mask, requires_grad=False)
        self.t = torch.nn.ModuleList([nett() for _ in range(len(mask))])
        self.s = torch.nn.ModuleList([nets() for _ in range(len(mask))])

    def g(self, z):
        x = z
        for i in range(len(self.t)):
            x_ = x * self.mask[i]
            s = self.s[i](x_) * (1 - self.mask[i])
            t = self.t[i](x_) * (1 - self.mask[i])
            x = x_ + (1 - self.mask[i]) * (x * torch.exp(s) + t)
        return x

    def f(self, x):
        log_det_J, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s = self.s[i](z_) * (1 - self.mask[i])
            t = self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det_J -= s.sum(dim=1)
        return z, log_det_J

    def log_prob(self, x):
        z, logp = self.f(x)
        return self.prior.log_prob(z) + logp


nets = lambda: nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2), nn.Tanh())
nett = lambda: nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2))
masks = torch.from_numpy(np.array([[0, 1], [1, 0]] * 3).astype(np.float32))
prior = distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
flow = RealNVP(nets, nett, masks, prior)
for p in flow.parameters():
    if p.requires_grad:
        p.data.copy_(torch.tensor(rng.uniform(-1, 1, p.shape) / p.shape[-1] ** 0.5))


def moons(n):
    angle, which = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    x = np.where(which, 1 - np.cos(angle), np.cos(angle))
    y = np.where(which, 0.5 - np.sin(angle), np.sin(angle))
    return (np.stack([x, y], 1) + rng.normal(0, 0.05, (n, 2))).astype(np.float32)


optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad == True], lr=1e-3)
for t in range(STEPS):
    loss = -flow.log_prob(torch.from_numpy(moons(100))).mean()
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
    if t % 10 == 9:
        print("iter %s:" % (t + 1), "loss = %.3f" % loss.item())

with torch.no_grad():
    x = torch.from_numpy(moons(200))
    z, _ = flow.f(x)
    print("way back:", torch.allclose(flow.g(z), x, atol=1e-4), "%.3f %.3f" % tuple(z.std(0).tolist()))
