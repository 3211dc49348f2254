"""The learning rates that schedules give, alone, in sequence, and while a model trains."""

import math

import numpy as np
import torch
from torch import nn, optim
from torch.optim import lr_scheduler


def rates(make, steps=12, groups=False):
    model = nn.Linear(2, 2)
    parameters = [{"params": [model.weight]}, {"params": [model.bias], "lr": 1.0}] if groups else model.parameters()
    optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        optimizer.step()
        found.append([round(group["lr"], 6) for group in optimizer.param_groups])
        scheduler.step()
    return found if groups else [lr for (lr,) in found]


print("StepLR", rates(lambda o: lr_scheduler.StepLR(o, step_size=4, gamma=0.5)))
print("MultiStepLR", rates(lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 5, 5], gamma=0.1), groups=True))
print("ExponentialLR", rates(lambda o: lr_scheduler.ExponentialLR(o, 0.9)))
print("CosineAnnealingLR", rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=0.01)))
print("WarmRestarts", rates(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2)))
print("LambdaLR", rates(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / math.sqrt(1 + epoch))))
print("OneCycleLR", rates(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=12)))
print("CyclicLR", rates(lambda o: lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=3)))
print(
    "SequentialLR",
    rates(
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.PolynomialLR(o, 8)], milestones=[4]
        )
    ),
)

model = nn.Linear(3, 1)
model.load_state_dict({"weight": torch.tensor([[0.5, -0.5, 1.0]]), "bias": torch.zeros(1)})
optimizer = optim.SGD(model.parameters(), lr=0.5)
scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.3, patience=2, threshold=0.05)
rng = np.random.RandomState(8)
x = torch.tensor(rng.randn(50, 3), dtype=torch.float32)
y = (x * torch.tensor([1.0, 2.0, 3.0])).sum(1, keepdim=True) + torch.from_numpy(rng.randn(50, 1)).float()
for epoch in range(20):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step(loss.item())
    if epoch % 5 == 4:
        print(f"epoch {epoch} loss {loss.item():.4f} lr {optimizer.param_groups[0]['lr']:.5f} {scheduler.get_last_lr()}")
