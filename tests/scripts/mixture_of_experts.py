"""A sparse mixture of experts: the two best of six are computed for each row, with a loss that balances them."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40)) // 2
rng = np.random.default_rng(113)


class Expert(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.fc1 = nn.Linear(d_in, d_hidden)
        self.fc2 = nn.Linear(d_hidden, d_out)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class MoE(nn.Module):
    def __init__(self, d_in, d_hidden, d_out, num_experts, k):
        super().__init__()
        self.k, self.num_experts = k, num_experts
        self.experts = nn.ModuleList(Expert(d_in, d_hidden, d_out) for _ in range(num_experts))
        self.gate = nn.Linear(d_in, num_experts, bias=False)

    def forward(self, x):
        probs = F.softmax(self.gate(x), dim=-1)
        top, indices = probs.topk(self.k, dim=-1)
        top = top / top.sum(dim=-1, keepdim=True)
        out = torch.zeros(x.shape[0], self.experts[0].fc2.out_features)
        for i, expert in enumerate(self.experts):
            rows, slot = torch.where(indices == i)
            if rows.numel() == 0:
                continue
            out.index_add_(0, rows, expert(x[rows]) * top[rows, slot, None])
        load = F.one_hot(indices[:, 0], self.num_experts).float().mean(dim=0)
        balance = self.num_experts * (load * probs.mean(dim=0)).sum()
        return out, balance


model = MoE(8, 32, 1, num_experts=6, k=2)
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.35, p.shape)))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
region = rng.normal(size=(4, 8))
slopes = rng.normal(size=(4, 8))
for step in range(STEPS):
    x = rng.normal(size=(128, 8))
    y = (x * slopes[(x @ region.T).argmax(1)]).sum(1, keepdims=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    pred, balance = model(x)
    mse = F.mse_loss(pred, y)
    loss = mse + 0.01 * balance
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 5 == 4:
        print(f"{step + 1}: mse {mse.item():.3f} balance {balance.item():.3f}")
