"""A NeRF-like network with positional encoding and a skip connection learns a small colour picture."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(125)


class Embedder:
    def __init__(self, input_dims, num_freqs):
        freq_bands = 2.0 ** torch.linspace(0.0, num_freqs - 1, steps=num_freqs)
        self.embed_fns = [lambda x: x]
        for freq in freq_bands:
            for p_fn in [torch.sin, torch.cos]:
                self.embed_fns.append(lambda x, p_fn=p_fn, freq=freq: p_fn(x * freq))
        self.out_dim = input_dims * len(self.embed_fns)

    def embed(self, inputs):
        return torch.cat([fn(inputs) for fn in self.embed_fns], -1)


class NeRF(nn.Module):
    def __init__(self, D=4, W=64, input_ch=2, skips=[2]):
        super(NeRF, self).__init__()
        self.skips = skips
        self.pts_linears = nn.ModuleList(
            [nn.Linear(input_ch, W)] + [nn.Linear(W, W) if i not in self.skips else nn.Linear(W + input_ch, W) for i in range(D - 1)]
        )
        self.rgb_linear = nn.Linear(W, 3)

    def forward(self, x):
        h = x
        for i, l in enumerate(self.pts_linears):
            h = self.pts_linears[i](h)
            h = F.relu(h)
            if i in self.skips:
                h = torch.cat([x, h], -1)
        return torch.sigmoid(self.rgb_linear(h))


img2mse = lambda x, y: torch.mean((x - y) ** 2)
mse2psnr = lambda x: -10.0 * torch.log(x) / torch.log(torch.Tensor([10.0]))

embedder = Embedder(2, 4)
model = NeRF(input_ch=embedder.out_dim)
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.uniform(-1, 1, p.shape) * p.shape[-1] ** -0.5))
side = 32
ys, xs = np.mgrid[0:side, 0:side] / side
picture = np.stack([np.sin(9 * xs) ** 2, (np.hypot(xs - 0.5, ys - 0.5) < 0.3) * 1.0, xs * ys], -1).astype(np.float32)
coords = torch.tensor(np.stack([xs, ys], -1).reshape(-1, 2), dtype=torch.float32)
colours = torch.from_numpy(picture.reshape(-1, 3))
optimizer = torch.optim.Adam(params=list(model.parameters()), lr=2e-3, betas=(0.9, 0.999))
for i in range(1, STEPS + 1):
    select = rng.choice(side * side, size=[256], replace=False)
    rgb = model(embedder.embed(coords[select]))
    optimizer.zero_grad()
    loss = img2mse(rgb, colours[select])
    psnr = mse2psnr(loss.detach())
    loss.backward()
    optimizer.step()
    new_lrate = 2e-3 * (0.1 ** (i / 500))
    for param_group in optimizer.param_groups:
        param_group["lr"] = new_lrate
    if i % 10 == 0:
        print(f"[TRAIN] Iter: {i} Loss: {loss.item():.4f}  PSNR: {psnr.item():.2f}")
with torch.no_grad():
    chunks = [model(embedder.embed(coords[j : j + 300])) for j in range(0, len(coords), 300)]
print("picture", tuple(torch.cat(chunks, 0).view(side, side, 3).shape), f"{mse2psnr(img2mse(torch.cat(chunks), colours)).item():.2f} dB")
