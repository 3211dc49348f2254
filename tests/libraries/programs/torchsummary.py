"""Summaries of MLPs; one of them is trained."""

import contextlib
import io

import torch
from harness import initialize, probe, regression, timed
from torch import nn
from torchsummary import summary


def describe(name, *args, **kwargs):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        summary(*args, **kwargs)
    print(out.getvalue())
    probe(name, "_".join(out.getvalue().split()))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x, y):
        return self.out(torch.relu(self.a(x)) + self.b(y))


model = nn.Sequential(
    nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.LayerNorm(64), nn.Tanh(),
    nn.Sequential(nn.Linear(64, 32), nn.ELU()), nn.Linear(32, 1),
)  # fmt: skip
describe("mlp", model, (10,), device="cpu")
describe("batch", model, (10,), batch_size=16, device="cpu")
describe("image", nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)), (1, 28, 28), device="cpu")
describe("two", Two(), [(4,), (6,)], device="cpu")
model[0].weight.requires_grad = False
describe("frozen", model, (10,), device="cpu")
probe("hooks", sum(len(module._forward_hooks) for module in model.modules()), 0)

model = initialize(nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1)))
describe("small", model, (10,), device="cpu")
x, y = (torch.from_numpy(part) for part in regression())
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
with timed():
    for step in range(600):
        start = step * 50 % 2000
        loss = nn.functional.smooth_l1_loss(model(x[start : start + 50]), y[start : start + 50])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
probe("loss", nn.functional.mse_loss(model(x), y), 1e-2)
