"""Curves fitted by LBFGS: a sum of Gaussians, and the valley of Rosenbrock."""

import numpy as np
import torch

rng = np.random.default_rng(9)
x = torch.linspace(-3, 3, 80, dtype=torch.float64)
y = 1.5 * torch.exp(-((x + 1) ** 2)) + 0.8 * torch.exp(-((x - 1.2) ** 2) / 0.5)
y = y + 0.02 * torch.from_numpy(rng.standard_normal(80))

heights = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
centres = torch.tensor([-0.5, 0.5], dtype=torch.float64, requires_grad=True)
log_widths = torch.zeros(2, dtype=torch.float64, requires_grad=True)


def curve():
    return (heights * torch.exp(-((x[:, None] - centres) ** 2) / log_widths.exp())).sum(dim=-1)


optimizer = torch.optim.LBFGS([heights, centres, log_widths], lr=1, max_iter=10, line_search_fn="strong_wolfe")
calls = 0


def closure():
    global calls
    calls += 1
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(curve(), y)
    loss.backward()
    return loss


for step in range(5):
    loss = optimizer.step(closure)
    print(step, calls, f"{loss.item():.8f}")
with torch.no_grad():
    order = centres.argsort()
    print(heights[order].numpy().round(4), centres[order].numpy().round(4), log_widths.exp()[order].numpy().round(4))

point = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.double))
solver = torch.optim.LBFGS([point], max_iter=60, history_size=5, line_search_fn="strong_wolfe")


def rosenbrock():
    solver.zero_grad()
    value = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
    value.backward()
    return value


print(f"{solver.step(rosenbrock).item():.4f} -> {rosenbrock().item():.6f}", point.data.numpy().round(4))
