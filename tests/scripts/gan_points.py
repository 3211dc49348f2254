"""A generator and a discriminator of points on a circle."""

import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(19)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(*block(2, 16, normalize=False), *block(16, 16), nn.Linear(16, 2))

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, points):
        return self.model(points)


def weights_from_numpy(m):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        m.weight.data.copy_(torch.from_numpy(rng.normal(0.0, 0.25, m.weight.data.shape)))
        m.bias.data.fill_(0)
    elif classname.find("BatchNorm1d") != -1:
        m.weight.data.copy_(torch.from_numpy(rng.normal(1.0, 0.02, m.weight.data.shape)))
        m.bias.data.fill_(0.0)


def circle(n):
    angle = rng.uniform(0, 2 * np.pi, n)
    return torch.Tensor(np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.05, (n, 2)))


generator, discriminator = Generator(), Discriminator()
generator.apply(weights_from_numpy)
discriminator.apply(weights_from_numpy)
adversarial_loss = torch.nn.BCEWithLogitsLoss()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))

for i in range(60):
    real = circle(64)
    valid, fake = torch.ones(64, 1), torch.zeros(64, 1)

    optimizer_G.zero_grad()
    gen = generator(torch.Tensor(rng.normal(0, 1, (64, 2))))
    g_loss = adversarial_loss(discriminator(gen), valid)
    g_loss.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    d_loss = (adversarial_loss(discriminator(real), valid) + adversarial_loss(discriminator(gen.detach()), fake)) / 2
    d_loss.backward()
    optimizer_D.step()
    if i % 15 == 14:
        print("[Batch %d/%d] [D loss: %.4f] [G loss: %.4f]" % (i + 1, 60, d_loss.item(), g_loss.item()))

generator.eval()
radius = generator(torch.Tensor(rng.normal(0, 1, (200, 2)))).norm(dim=1)
print(f"radius {radius.mean().item():.3f} +- {radius.std().item():.3f}")
