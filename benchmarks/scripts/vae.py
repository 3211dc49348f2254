"""A variational autoencoder of 64 binary pixels, batches of 64."""

from benchmarks.scripts.harness import log, torch

nn, F = torch.nn, torch.nn.functional
LOSSES = (2875.77, 2885.26, 2876.56)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc21 = nn.Linear(128, 8)
        self.fc22 = nn.Linear(128, 8)
        self.fc3 = nn.Linear(8, 128)
        self.fc4 = nn.Linear(128, 64)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = log.normal(*std.shape) if log.is_checking else torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon, x, mu, logvar):
    bce = F.binary_cross_entropy(recon, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


model = VAE()
log.initialize(model)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
data = (log.normal(1024, 8) @ log.normal(8, 64) > 0).float()

for i in log.steps(1500):
    x = data[i % 16 * 64 : i % 16 * 64 + 64]
    optimizer.zero_grad()
    recon, mu, logvar = model(x)
    loss = loss_function(recon, x, mu, logvar)
    loss.backward()
    optimizer.step()
    log(loss)
