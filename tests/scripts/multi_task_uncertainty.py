"""Two tasks with one body: the losses are weighted by learnt uncertainties."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(120)


class MultiTaskModel(nn.Module):
    def __init__(self, n_features, hidden, n_classes):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(n_features, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
        self.heads = nn.ModuleDict({"regression": nn.Linear(hidden, 1), "classification": nn.Linear(hidden, n_classes)})

    def forward(self, x):
        h = self.shared(x)
        return {name: head(h) for name, head in self.heads.items()}


class MultiTaskLoss(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.log_vars = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses):
        return sum(torch.exp(-self.log_vars[t]) * loss + self.log_vars[t] for t, loss in losses.items())


model = MultiTaskModel(10, 48, 3)
mtl = MultiTaskLoss(["regression", "classification"])
with torch.no_grad():
    for m in model.modules():
        if hasattr(m, "weight"):
            m.weight.copy_(torch.from_numpy(rng.normal(0, m.weight.shape[1] ** -0.5, m.weight.shape)))
            m.bias.zero_()
optimizer = torch.optim.Adam([*model.parameters(), *mtl.parameters()], lr=5e-3)
X = rng.normal(size=(640, 10)).astype(np.float32)
target = {
    "regression": torch.from_numpy((5 * np.sin(X[:, :1]) + X[:, 1:2]).astype(np.float32)),
    "classification": torch.from_numpy((X[:, :3] + 0.3 * rng.normal(size=(640, 3))).argmax(1)),
}
X = torch.from_numpy(X)
for step in range(STEPS):
    rows = slice(64 * (step % 10), 64 * (step % 10) + 64)
    out = model(X[rows])
    losses = {
        "regression": F.mse_loss(out["regression"], target["regression"][rows]),
        "classification": F.cross_entropy(out["classification"], target["classification"][rows]),
    }
    loss = mtl(losses)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        parts = " ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
        weights = " ".join(f"{torch.exp(-v).item():.3f}" for v in mtl.log_vars.values())
        print(f"step {step + 1} total {loss.item():.4f} {parts} weights {weights}")
