"""WGAN with gradient penalty: the norm of the critic's gradient by its inputs is in the loss."""

import os

import numpy as np
import torch
import torch.autograd as autograd
import torch.nn as nn
from torch.autograd import Variable

STEPS = int(os.environ.get("STEPS", 40)) // 4
Tensor = torch.FloatTensor
rng = np.random.RandomState(116)
lambda_gp, n_critic, latent_dim, batch = 10, 4, 4, 64


class Generator(nn.Module):
    def __init__(self):
        super(Generator, self).__init__()

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(*block(latent_dim, 32, normalize=False), *block(32, 64), nn.Linear(64, 2))

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super(Discriminator, self).__init__()
        self.model = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def forward(self, x):
        return self.model(x.view(x.shape[0], -1))


def init(module):
    for p in module.parameters():
        if p.dim() == 2:
            p.data.copy_(torch.from_numpy(rng.normal(0, 1 / np.sqrt(p.shape[1]), p.shape)))
        elif p.data.abs().sum().item() != p.numel():
            p.data.fill_(0.01)


generator, discriminator = Generator(), Discriminator()
init(generator)
init(discriminator)
optimizer_G = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9), eps=1e-4)
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9), eps=1e-4)


def compute_gradient_penalty(D, real_samples, fake_samples):
    alpha = Tensor(rng.random_sample((real_samples.size(0), 1)))
    interpolates = (alpha * real_samples + ((1 - alpha) * fake_samples)).requires_grad_(True)
    d_interpolates = D(interpolates)
    fake = Variable(Tensor(real_samples.shape[0], 1).fill_(1.0), requires_grad=False)
    gradients = autograd.grad(outputs=d_interpolates, inputs=interpolates, grad_outputs=fake, create_graph=True, retain_graph=True, only_inputs=True)[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


for i in range(STEPS):
    for _ in range(n_critic):
        angle = rng.uniform(0, 2 * np.pi, batch)
        real = Variable(Tensor(np.stack([np.cos(angle), np.sin(angle)], 1)))
        optimizer_D.zero_grad()
        fake_points = generator(Variable(Tensor(rng.normal(0, 1, (batch, latent_dim)))))
        real_validity = discriminator(real)
        fake_validity = discriminator(fake_points.detach())
        gradient_penalty = compute_gradient_penalty(discriminator, real.data, fake_points.data)
        d_loss = -torch.mean(real_validity) + torch.mean(fake_validity) + lambda_gp * gradient_penalty
        d_loss.backward()
        optimizer_D.step()
    optimizer_G.zero_grad()
    g_loss = -torch.mean(discriminator(generator(Variable(Tensor(rng.normal(0, 1, (batch, latent_dim)))))))
    g_loss.backward()
    optimizer_G.step()
    if i % 5 == 4:
        print("[Batch %d] [D loss: %.3f] [G loss: %.3f] [GP: %.3f]" % (i + 1, d_loss.item(), g_loss.item(), gradient_penalty.item()))
