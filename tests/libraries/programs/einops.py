"""An MLP-Mixer on the digits, made of einops' layers and functions."""

import numpy as np
import torch
from einops import einsum, pack, parse_shape, rearrange, reduce, repeat, unpack
from einops.layers.torch import EinMix, Rearrange, Reduce
from harness import digits, initialize, probe, timed
from torch import nn


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def mixer(patches=16, channels=32, depth=2):
    def block():
        return nn.Sequential(
            Residual(nn.Sequential(
                nn.LayerNorm(channels),
                EinMix("b p c -> b q c", weight_shape="p q", bias_shape="q", p=patches, q=patches * 2), nn.GELU(),
                EinMix("b q c -> b p c", weight_shape="q p", bias_shape="p", p=patches, q=patches * 2),
            )),
            Residual(nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 64), nn.GELU(), nn.Linear(64, channels))),
        )  # fmt: skip

    return nn.Sequential(
        Rearrange("b (h p1) (w p2) -> b (h w) (p1 p2)", p1=2, p2=2),
        nn.Linear(4, channels), *[block() for _ in range(depth)], nn.LayerNorm(channels),
        Reduce("b p c -> b c", "mean"), nn.Linear(channels, 10),
    )  # fmt: skip


x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())
x, x_test = rearrange(x, "b (h w) -> b h w", h=8), rearrange(x_test, "b (h w) -> b h w", h=8)
model = initialize(mixer())
probe("parameters", sum(p.numel() for p in model.parameters()), 0)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
loss_of = nn.CrossEntropyLoss()
orders = np.random.default_rng(1)

with timed():
    for epoch in range(8):
        total = 0.0
        for batch in np.split(orders.permutation(1500), 30):
            batch = torch.from_numpy(batch)
            loss = loss_of(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch < 2:
            probe(f"loss_{epoch}", total / 30, 1e-2)

model.eval()
with torch.no_grad():
    accuracy = (model(x_test).argmax(1) == y_test).float().mean()
probe("accuracy", accuracy, 0.03)

# The functions, with gradients.
a = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32)).requires_grad_()
probe("reduce_max", reduce(a, "b c h w -> b c", "max").sum(), 1e-6)
probe("reduce_prod", reduce(a, "b c (h h2) w -> h2", "prod", h2=2).sum(), 1e-5)
probe("repeat", repeat(a[0, 0], "h w -> (h 2) (w 3)").mul(2).sum(), 1e-6)
probe("einsum", einsum(a, a, "b c h w, b d h w -> b c d").sum(), 1e-5)
packed, shapes = pack([a[:, 0, 0], a[:, :, 1]], "b *")
parts = unpack(packed, shapes, "b *")
probe("packed", " ".join(map(str, packed.shape)).replace(" ", "x"))
probe("unpacked", parts[1].square().sum(), 1e-5)
probe("shape", str(parse_shape(a, "b _ h w")).replace(" ", ""))
(reduce(a, "b c h w -> b h", "mean").square().sum() + parts[0].sum() + rearrange(a, "b c h w -> (w b) (c h)").std()).backward()
probe("gradient", a.grad.abs().sum(), 1e-5)
probe("any", reduce(a > 0, "b c h w -> b", "any").sum(), 0)
probe("stacked", rearrange([a[0], a[1]], "b c h w -> c (b h) w").sum(), 1e-5)
