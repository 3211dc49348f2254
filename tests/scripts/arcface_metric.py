"""Metric learning with an additive angular margin (ArcFace) on the hypersphere."""

import math
import os

import numpy as np
import torch
from torch import nn
from torch.nn import Parameter
from torch.nn import functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(111)


class ArcMarginProduct(nn.Module):
    def __init__(self, in_features, out_features, s=16.0, m=0.3):
        super().__init__()
        self.s = s
        self.m = m
        self.weight = Parameter(torch.FloatTensor(out_features, in_features))
        self.weight.data.copy_(torch.from_numpy(rng.normal(0, 0.5, (out_features, in_features))))
        self.cos_m = math.cos(m)
        self.sin_m = math.sin(m)
        self.th = math.cos(math.pi - m)
        self.mm = math.sin(math.pi - m) * m

    def forward(self, input, label):
        cosine = F.linear(F.normalize(input), F.normalize(self.weight))
        sine = torch.sqrt((1.0 - torch.pow(cosine, 2)).clamp(1e-6, 1))
        phi = cosine * self.cos_m - sine * self.sin_m
        phi = torch.where(cosine > self.th, phi, cosine - self.mm)
        one_hot = torch.zeros(cosine.size())
        one_hot.scatter_(1, label.view(-1, 1).long(), 1)
        output = (one_hot * phi) + ((1.0 - one_hot) * cosine)
        return output * self.s


backbone = nn.Sequential(nn.Linear(16, 64), nn.PReLU(), nn.Linear(64, 8))
for m in backbone.modules():
    if isinstance(m, nn.Linear):
        m.weight.data.copy_(torch.from_numpy(rng.normal(0, 1 / math.sqrt(m.in_features), m.weight.shape)))
        m.bias.data.fill_(0.0)
head = ArcMarginProduct(8, 10)
optimizer = torch.optim.SGD([{"params": backbone.parameters()}, {"params": head.parameters()}], lr=0.05, momentum=0.9, weight_decay=5e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.5)
centres = rng.normal(0, 1, (10, 16))
for step in range(STEPS):
    labels = rng.integers(0, 10, 64)
    x = torch.from_numpy((centres[labels] + rng.normal(0, 0.5, (64, 16))).astype(np.float32))
    label = torch.from_numpy(labels)
    feature = backbone(x)
    output = head(feature, label)
    loss = F.cross_entropy(output, label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if (step + 1) % 10 == 0:
        acc = np.mean((np.argmax(output.data.cpu().numpy(), axis=1) == labels).astype(int))
        print("iter {} loss {:.3f} acc {:.2f} lr {:.4f}".format(step + 1, loss.item(), acc, scheduler.get_last_lr()[0]))
