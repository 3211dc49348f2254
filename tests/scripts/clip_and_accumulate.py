"""Gradients accumulated over small batches and clipped; the same step as one large batch."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters


def build():
    rng = np.random.default_rng(1234)
    model = nn.Sequential()
    model.add_module("first", nn.Linear(6, 20))
    model.add_module("elu", nn.ELU(alpha=0.5))
    model.add_module("second", nn.Linear(20, 3))
    vector = rng.normal(0, 0.4, sum(p.numel() for p in model.parameters()))
    vector_to_parameters(torch.as_tensor(vector, dtype=torch.float32), model.parameters())
    return model


rng = np.random.default_rng(8)
x = torch.from_numpy(rng.normal(size=(96, 6)) * 5).float()
y = torch.from_numpy(rng.normal(size=(96, 3)) * 20).float()


def train(accumulation_steps, max_norm):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms = []
    for epoch in range(10):
        optimizer.zero_grad()
        for i, (xb, yb) in enumerate(zip(x.chunk(accumulation_steps), y.chunk(accumulation_steps))):
            loss = nn.functional.mse_loss(model(xb), yb) / accumulation_steps
            loss.backward()
            if (i + 1) % accumulation_steps == 0:
                norms.append(clip_grad_norm_(model.parameters(), max_norm=max_norm, norm_type=2.0).item())
                optimizer.step()
                optimizer.zero_grad()
    return model, norms


whole, norms = train(1, 1.0)
parts, norms_of_parts = train(4, 1.0)
print([round(n, 2) for n in norms[::3]])
print(np.allclose(norms, norms_of_parts, rtol=1e-4))
difference = parameters_to_vector(whole.parameters()) - parameters_to_vector(parts.parameters())
print(difference.abs().max().item() < 1e-4, tuple(difference.shape))

model, norms = train(2, float("inf"))
print(f"{norms[0]:.2f} {norms[-1]:.2f}")
nn.functional.l1_loss(model(x), y, reduction="sum").backward()
clip_grad_value_(model.parameters(), clip_value=0.5)
for name, p in model.named_parameters():
    print(f"{name:13s} {tuple(p.shape)!s:9s} {p.grad.abs().max().item():.2f}")
total_norm = torch.norm(torch.stack([p.grad.detach().norm(2) for p in model.parameters()]), 2)
print(f"{total_norm.item():.3f}")
