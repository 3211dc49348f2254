"""A neural differential equation learns a spiral; other solvers, the adjoint method and events."""

import numpy as np
import torch
from harness import initialize, probe, timed
from torch import nn
from torchdiffeq import odeint, odeint_adjoint, odeint_event


class Spiral(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("matrix", torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]))

    def forward(self, t, y):
        return torch.mm(y**3, self.matrix)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.net(y**3)


start = torch.tensor([[2.0, 0.0]])
times = torch.linspace(0.0, 25.0, 500)
with torch.no_grad():
    truth = odeint(Spiral(), start, times, method="dopri5")
probe("end", truth[-1, 0, 0], 1e-3)
for method in ("dopri8", "bosh3", "fehlberg2", "adaptive_heun"):
    with torch.no_grad():
        probe(method, odeint(Spiral(), start, times[:100], method=method, rtol=1e-4, atol=1e-5)[-1].sum(), 1e-3)
for method in ("euler", "midpoint", "rk4", "heun2", "heun3", "explicit_adams", "implicit_adams"):
    with torch.no_grad():
        probe(method, odeint(Spiral(), start, times[:100], method=method)[-1].sum(), 1e-3)
with torch.no_grad():
    probe("step_size", odeint(Spiral(), start, times[:20], method="rk4", options={"step_size": 0.01})[-1].sum(), 1e-3)
    probe("scipy", odeint(Spiral(), start, times[:50], method="scipy_solver", options={"solver": "LSODA"})[-1].sum(), 1e-3)
    probe("backwards", odeint(Spiral(), truth[20], times[:21].flip(0))[-1].sum(), 1e-2)

generator = np.random.default_rng(0)
model = initialize(Learned())
with torch.no_grad():
    for layer in (model.net[0], model.net[2]):
        layer.weight.copy_(torch.from_numpy(generator.normal(0, 0.1, tuple(layer.weight.shape)).astype(np.float32)))
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)


def batch():
    first = torch.from_numpy(generator.choice(490, 20, replace=False))
    return truth[first], times[:10], torch.stack([truth[first + i] for i in range(10)])


with timed():
    for iteration in range(60):
        y0, t, wanted = batch()
        optimizer.zero_grad()
        loss = (odeint(model, y0, t) - wanted).abs().mean()
        loss.backward()
        optimizer.step()
        if iteration % 20 == 0:
            probe(f"loss_{iteration}", loss, 1e-3)
probe("calls", model.calls, 0.02)

with timed():
    for iteration in range(15):
        y0, t, wanted = batch()
        optimizer.zero_grad()
        loss = (odeint_adjoint(model, y0, t, rtol=1e-4, atol=1e-5, method="dopri5") - wanted).abs().mean()
        loss.backward()
        optimizer.step()
probe("loss_adjoint", loss, 1e-2)

# Gradients by the adjoint method are those of the operations.
y0, t, wanted = batch()
gradients = []
for solve in (odeint, odeint_adjoint):
    model.zero_grad()
    y0 = y0.detach().requires_grad_()
    (solve(model, y0, t, rtol=1e-6, atol=1e-7) - wanted).square().mean().backward()
    gradients.append(torch.cat([y0.grad.flatten(), *[p.grad.flatten() for p in model.parameters()]]))
probe("adjoint_difference", (gradients[0] - gradients[1]).abs().max(), 1e-3)


class Ball(nn.Module):
    """A ball that falls; the event is the ground."""

    def __init__(self):
        super().__init__()
        self.gravity = nn.Parameter(torch.tensor([9.8]))

    def forward(self, t, state):
        position, velocity = state
        return velocity, -self.gravity.expand_as(velocity)


ball = Ball()
time, state = odeint_event(
    ball, (torch.tensor([10.0]), torch.tensor([0.0])), torch.tensor(0.0),
    event_fn=lambda t, state: state[0], reverse_time=False, atol=1e-8, rtol=1e-8, odeint_interface=odeint,
)  # fmt: skip
probe("event_time", time, 1e-4)
time.backward()
probe("event_gradient", ball.gravity.grad.sum(), 1e-3)
double = Learned().double()
initialize(double)
probe("float64", odeint(double, start.double(), times[:10].double()).sum(), 1e-6)
