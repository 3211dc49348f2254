"""Initial values: what model.apply reaches, gains, and that the random ones have the spread they should."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.init as init

torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x + self.scale * torch.relu(self.inner(x))


model = nn.Sequential(nn.Linear(10, 64), Residual(64), Residual(64), nn.LayerNorm(64), nn.Linear(64, 5, bias=False))
visited = []


def init_weights(m):
    visited.append(type(m).__name__)
    if type(m) == nn.Linear:
        init.xavier_uniform_(m.weight, gain=init.calculate_gain("relu"))
        if m.bias is not None:
            m.bias.data.fill_(0.01)


print(model.apply(init_weights) is model, visited)
for name, p in model.named_parameters():
    if name.endswith("weight") and p.dim() == 2:
        bound = math.sqrt(2) * math.sqrt(6 / sum(p.shape))
        print(name, tuple(p.shape), p.abs().max().item() <= bound, abs(p.std().item() / (bound / 3**0.5) - 1) < 0.15)
print([round(init.calculate_gain(n, a), 4) for n, a in (("tanh", None), ("leaky_relu", 0.2), ("selu", None), ("linear", None))])

w = torch.empty(200, 300)
for method, spread in ((lambda t: init.kaiming_normal_(t, nonlinearity="relu"), math.sqrt(2 / 300)),
                       (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), math.sqrt(1 / 300 / 3)),
                       (lambda t: init.normal_(t, 0, 0.02), 0.02), (lambda t: init.trunc_normal_(t, std=0.02), 0.0176),
                       (lambda t: init.xavier_normal_(t), math.sqrt(2 / 500))):  # fmt: skip
    method(w)
    print(abs(w.std().item() / spread - 1) < 0.02, abs(w.mean().item()) < 0.02 * spread)
init.orthogonal_(w)
print(torch.allclose(w @ w.t(), torch.eye(200), atol=1e-5), w.requires_grad)
init.sparse_(w, sparsity=0.25)
print((w == 0).sum(0).unique())
print(init.eye_(torch.empty(2, 3)), init.constant_(torch.empty(2), 0.5), init.ones_(torch.empty(1)))

rng = np.random.default_rng(0)
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.from_numpy(rng.uniform(-0.1, 0.1, p.shape)))
x = torch.from_numpy(rng.standard_normal((4, 10))).float()
print(model(x).detach().mean(dim=0))
