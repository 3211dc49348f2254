"""Prototypical networks: classes are the means of their few examples."""

import os

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

EPISODES = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(132)
N_WAY, N_SHOT, N_QUERY = 5, 5, 8


class ProtoNet(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, support, query):
        x = torch.cat([support.view(N_WAY * N_SHOT, -1), query.view(N_WAY * N_QUERY, -1)], 0)
        z = self.encoder(x)
        z_proto = z[: N_WAY * N_SHOT].view(N_WAY, N_SHOT, z.size(-1)).mean(1)
        zq = z[N_WAY * N_SHOT :]
        n, m, d = zq.size(0), z_proto.size(0), zq.size(1)
        dists = torch.pow(zq.unsqueeze(1).expand(n, m, d) - z_proto.unsqueeze(0).expand(n, m, d), 2).sum(2)
        log_p_y = F.log_softmax(-dists, dim=1).view(N_WAY, N_QUERY, -1)
        target_inds = torch.arange(0, N_WAY).view(N_WAY, 1, 1).expand(N_WAY, N_QUERY, 1).long()
        loss_val = -log_p_y.gather(2, target_inds).squeeze().view(-1).mean()
        _, y_hat = log_p_y.max(2)
        acc_val = torch.eq(y_hat, target_inds.squeeze()).float().mean()
        return loss_val, acc_val


mixing = rng.normal(size=(4, 20))


def episode():
    centres = rng.normal(size=(N_WAY, 1, 4)) * 1.5
    x = (centres + 0.3 * rng.normal(size=(N_WAY, N_SHOT + N_QUERY, 4))) @ mixing + rng.normal(size=(N_WAY, N_SHOT + N_QUERY, 20)) * 3
    x = torch.from_numpy(x.astype(np.float32))
    return x[:, :N_SHOT].contiguous(), x[:, N_SHOT:].contiguous()


encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
for p in encoder.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.5 * p.shape[-1] ** -0.5, p.shape)))
model = ProtoNet(encoder)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer=optimizer, gamma=0.5, step_size=20)
history = []
for i in range(1, EPISODES + 1):
    optimizer.zero_grad()
    loss, acc = model(*episode())
    loss.backward()
    optimizer.step()
    lr_scheduler.step()
    history.append(loss.item())
    if i % 10 == 0:
        print("Avg Train Loss: {:.4f}".format(np.mean(history[-10:])))
