"""MADE: an autoencoder whose masked weights make each bit depend on the bits before it only."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.RandomState(123)


class MaskedLinear(nn.Linear):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__(in_features, out_features, bias)
        self.register_buffer("mask", torch.ones(out_features, in_features))

    def set_mask(self, mask):
        self.mask.data.copy_(torch.from_numpy(mask.astype(np.uint8).T))

    def forward(self, input):
        return F.linear(input, self.mask * self.weight, self.bias)


class MADE(nn.Module):
    def __init__(self, nin, hidden_sizes):
        super().__init__()
        sizes = [nin, *hidden_sizes, nin]
        net = []
        for h0, h1 in zip(sizes, sizes[1:]):
            net.extend([MaskedLinear(h0, h1), nn.ReLU()])
        net.pop()
        self.net = nn.Sequential(*net)
        order = [np.arange(nin)]
        for width in hidden_sizes:
            order.append(rng.randint(order[-1].min(), nin - 1, size=width))
        masks = [before[:, None] <= after[None, :] for before, after in zip(order, order[1:])]
        masks.append(order[-1][:, None] < order[0][None, :])
        for layer, mask in zip([l for l in self.net.modules() if isinstance(l, MaskedLinear)], masks):
            layer.set_mask(mask)

    def forward(self, x):
        return self.net(x)


model = MADE(12, [64, 64])
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.uniform(-0.2, 0.2, p.shape)))
patterns = rng.rand(6, 12) > 0.5
data = (patterns[rng.randint(0, 6, 800)] ^ (rng.rand(800, 12) < 0.05)).astype(np.float32)
opt = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(opt, step_size=45, gamma=0.1)
for step in range(STEPS):
    xb = torch.from_numpy(data[100 * (step % 8) : 100 * (step % 8) + 100])
    xbhat = model(xb)
    loss = F.binary_cross_entropy_with_logits(xbhat, xb, reduction="sum") / len(xb)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 10 == 9:
        print("step %d: %.3f nats" % (step + 1, loss.item()))

# Output i does not depend on inputs i, i + 1, ...
x = torch.from_numpy(data[:1]).requires_grad_(True)
jacobian = torch.stack([torch.autograd.grad(model(x)[0, i], x)[0][0] for i in range(12)])
print("autoregressive:", bool((torch.triu(jacobian) == 0).all()), f"{jacobian.abs().sum().item():.2f}")
