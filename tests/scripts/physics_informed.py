"""An oscillator's equation u'' + u = 0 solved by a network: second derivatives by create_graph."""

import numpy as np
import torch
import torch.nn as nn

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(12)


class FCN(nn.Module):
    def __init__(self, n_input, n_output, n_hidden, n_layers):
        super().__init__()
        activation = nn.Tanh
        self.fcs = nn.Sequential(nn.Linear(n_input, n_hidden), activation())
        self.fch = nn.Sequential(
            *[nn.Sequential(nn.Linear(n_hidden, n_hidden), activation()) for _ in range(n_layers - 1)]
        )
        self.fce = nn.Linear(n_hidden, n_output)

    def forward(self, x):
        return self.fce(self.fch(self.fcs(x)))


pinn = FCN(1, 1, 16, 2)
for name, p in pinn.named_parameters():
    fan = p.shape[-1]
    p.data = torch.tensor(rng.uniform(-1, 1, p.shape) / np.sqrt(fan))
t_boundary = torch.tensor(0.0).view(-1, 1).requires_grad_(True)
t_physics = torch.linspace(0, 2, 20).view(-1, 1).requires_grad_(True)
optimiser = torch.optim.Adam(pinn.parameters(), lr=1e-2)

for i in range(151):
    optimiser.zero_grad()
    u = pinn(t_boundary)
    loss1 = (torch.squeeze(u) - 1) ** 2
    dudt = torch.autograd.grad(u, t_boundary, torch.ones_like(u), create_graph=True)[0]
    loss2 = (torch.squeeze(dudt) - 0) ** 2
    u = pinn(t_physics)
    dudt = torch.autograd.grad(u, t_physics, torch.ones_like(u), create_graph=True)[0]
    d2udt2 = torch.autograd.grad(dudt, t_physics, torch.ones_like(dudt), create_graph=True)[0]
    loss3 = torch.mean((d2udt2 + u) ** 2)
    loss = loss1 + 0.1 * loss2 + 0.1 * loss3
    loss.backward()
    optimiser.step()
    if i % 50 == 0:
        print(i, f"{loss.item():.6f}", f"{loss3.item():.6f}")

t = torch.tensor([[0.5], [1.0], [1.5]])
error = (pinn(t) - torch.cos(t)).abs().max()
print(f"largest error {error.detach().item():.4f}")
slope = torch.autograd.functional.jacobian(lambda s: pinn(s.view(1, 1)).sum(), torch.tensor(1.0))
print(f"slope at 1: {slope.item():.4f}")
torch.set_default_dtype(torch.float32)
