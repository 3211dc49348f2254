"""Optimizers of one's own: sign descent with momentum as a subclass, and a wrapper that looks ahead."""

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer


class Lion(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        if lr <= 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(p)
                exp_avg = state["exp_avg"]
                state["step"] += 1
                update = exp_avg.clone().mul_(beta1).add_(p.grad, alpha=1 - beta1).sign_()
                p.add_(update, alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(p.grad, alpha=1 - beta2)
        return loss


class Lookahead:
    def __init__(self, optimizer, k=5, alpha=0.5):
        self.optimizer, self.k, self.alpha, self.count = optimizer, k, alpha, 0
        self.slow = [[p.detach().clone() for p in g["params"]] for g in optimizer.param_groups]

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.optimizer.step()
        self.count += 1
        if self.count % self.k == 0:
            for group, slow in zip(self.optimizer.param_groups, self.slow):
                for p, s in zip(group["params"], slow):
                    s.add_(p.data - s, alpha=self.alpha)
                    p.data.copy_(s)


def model_and_data():
    rng = np.random.default_rng(44)
    model = nn.Sequential(nn.Linear(3, 16), nn.Mish(), nn.Linear(16, 1)).double()
    for p in model.parameters():
        nn.init.constant_(p, 0)
        p.data += torch.from_numpy(rng.standard_normal(p.shape) / 3)
    x = torch.from_numpy(rng.standard_normal((90, 3)))
    return model, x, x.prod(dim=1, keepdim=True)


model, x, y = model_and_data()
optimizer = Lion(model.parameters(), lr=0.01, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


for step in range(100):
    loss = optimizer.step(closure)
    scheduler.step()
    if step % 33 == 0:
        print(step, f"{loss.item():.6f} {optimizer.param_groups[0]['lr']:.6f}")
print(optimizer)
state = optimizer.state_dict()
print(state["param_groups"][0]["params"], state["state"][0]["step"], sorted(state["state"][0]))

model, x, y = model_and_data()
ahead = Lookahead(torch.optim.RAdam(model.parameters(), lr=0.03))
for step in range(60):
    ahead.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    ahead.step()
print(f"lookahead {loss.item():.6f}")
try:
    Lion(model.parameters(), lr=-1)
except ValueError as error:
    print(error)
