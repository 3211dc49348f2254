"""A variational autoencoder whose noise is drawn by NumPy."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

rng = np.random.default_rng(7)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 12)
        self.fc21 = nn.Linear(12, 2)
        self.fc22 = nn.Linear(12, 2)
        self.fc3 = nn.Linear(2, 12)
        self.fc4 = nn.Linear(12, 16)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.from_numpy(rng.standard_normal(std.shape)).to(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 16))
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 16), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


patterns = rng.random((4, 16)) > 0.5
bits = patterns[rng.integers(0, 4, 320)] ^ (rng.random((320, 16)) < 0.05)
train_data = torch.tensor(bits, dtype=torch.float32).reshape(-1, 4, 4)
model = VAE().to("cpu")
for module in model.children():
    module.weight.data.copy_(torch.from_numpy(rng.normal(0, module.in_features**-0.5, module.weight.shape)))
    nn.init.zeros_(module.bias)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(1, 16):
    model.train()
    train_loss = 0
    for data in torch.split(train_data, 64):
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        train_loss += loss.item()
        optimizer.step()
    if epoch % 5 == 0:
        print(f"====> Epoch: {epoch} Average loss: {train_loss / len(train_data):.3f}")

with torch.no_grad():
    sample = model.decode(torch.zeros(1, 2)).cpu()
print(sample.round().view(4, 4).shape, mu.mean(0).shape, f"{logvar.mean():.2f}")
