"""A generative adversarial network for points of a ring, batches of 64."""

from benchmarks.scripts.harness import log, torch

nn = torch.nn
LOSSES = (1.91848, 1.91642, 1.91638)
BATCH = 64

generator = nn.Sequential(nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 2))
critic = nn.Sequential(
    nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid()
)
log.initialize(generator, critic)
criterion = nn.BCELoss()
optimizer_d = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
angles = log.uniform(0, 6.28, 1024)
ring = torch.stack([angles.cos(), angles.sin()], dim=1)

for i in log.steps(800):
    real = ring[i % 16 * BATCH : i % 16 * BATCH + BATCH]
    critic.zero_grad()
    label = torch.full((BATCH,), 1.0)
    loss_real = criterion(critic(real).view(-1), label)
    loss_real.backward()
    noise = log.normal(BATCH, 16) if log.is_checking else torch.randn(BATCH, 16)
    fake = generator(noise)
    label.fill_(0.0)
    loss_fake = criterion(critic(fake.detach()).view(-1), label)
    loss_fake.backward()
    optimizer_d.step()
    generator.zero_grad()
    label.fill_(1.0)
    loss = criterion(critic(fake).view(-1), label)
    loss.backward()
    optimizer_g.step()
    log(loss_real + loss_fake + loss)
