"""A network whose middle layer is applied a random number of times, with a polynomial of its output."""

import random

from benchmarks.scripts.harness import log, torch

nn = torch.nn
LOSSES = (178.923553, 168.306152, 168.20958)
rng = random.Random(1)


class DynamicNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_linear = nn.Linear(8, 32)
        self.middle_linear = nn.Linear(32, 32)
        self.output_linear = nn.Linear(32, 1)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        h = self.input_linear(x).clamp(min=0)
        for _ in range(rng.randint(0, 3)):
            h = self.middle_linear(h).clamp(min=0)
        y = self.output_linear(h)
        for power in range(2, rng.randint(2, 4)):
            y = y + self.scale * y**power
        return y


model = DynamicNet()
log.initialize(model)
criterion = nn.MSELoss(reduction="sum")
optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
x = log.normal(64, 8)
y = x.sin().sum(1, keepdim=True)

for _ in log.steps(1500):
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    log(loss)
