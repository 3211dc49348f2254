"""SIREN: a network of sines is fitted to a small picture, and its gradient is compared with the picture's."""

import os

import numpy as np
import torch
from torch import nn

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(124)


def get_mgrid(sidelen, dim=2):
    tensors = tuple(dim * [torch.linspace(-1, 1, steps=sidelen)])
    mgrid = torch.stack(torch.meshgrid(*tensors, indexing="ij"), dim=-1)
    return mgrid.reshape(-1, dim)


class SineLayer(nn.Module):
    def __init__(self, in_features, out_features, is_first=False, omega_0=30):
        super().__init__()
        self.omega_0 = omega_0
        self.is_first = is_first
        self.in_features = in_features
        self.linear = nn.Linear(in_features, out_features)
        with torch.no_grad():
            bound = 1 / in_features if is_first else np.sqrt(6 / in_features) / omega_0
            self.linear.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, self.linear.weight.shape)))
            self.linear.bias.zero_()

    def forward(self, input):
        return torch.sin(self.omega_0 * self.linear(input))


class Siren(nn.Module):
    def __init__(self, in_features, hidden_features, hidden_layers, out_features, omega_0=15.0):
        super().__init__()
        net = [SineLayer(in_features, hidden_features, is_first=True, omega_0=omega_0)]
        for _ in range(hidden_layers):
            net.append(SineLayer(hidden_features, hidden_features, omega_0=omega_0))
        final_linear = nn.Linear(hidden_features, out_features)
        with torch.no_grad():
            bound = np.sqrt(6 / hidden_features) / omega_0
            final_linear.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, final_linear.weight.shape)))
            final_linear.bias.zero_()
        self.net = nn.Sequential(*net, final_linear)

    def forward(self, coords):
        coords = coords.clone().detach().requires_grad_(True)
        return self.net(coords), coords


def gradient(y, x):
    return torch.autograd.grad(y, [x], grad_outputs=torch.ones_like(y), create_graph=True)[0]


coords = get_mgrid(24)
pixels = (torch.sin(4 * coords[:, :1]) * torch.cos(3 * coords[:, 1:]) + (coords.norm(dim=1, keepdim=True) < 0.5).float()) / 2
img_siren = Siren(2, 48, 2, 1)
optim = torch.optim.Adam(lr=5e-4, params=img_siren.parameters())
for step in range(STEPS):
    model_output, _ = img_siren(coords)
    loss = ((model_output - pixels) ** 2).mean()
    if not step % 10:
        print("Step %d, Total loss %0.5f" % (step, loss.item()))
    optim.zero_grad()
    loss.backward()
    optim.step()
model_output, points = img_siren(coords)
img_grad = gradient(model_output, points)
print("gradient", tuple(img_grad.shape), "%.2f" % img_grad.norm(dim=-1).mean().item())
