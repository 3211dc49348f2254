"""An autoencoder of patterns in the plane of pixels, fed by a DataLoader."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class AutoEncoder(nn.Module):
    def __init__(self, side=8, code=3):
        super().__init__()
        self.side = side
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 24), nn.GELU(), nn.Linear(24, code))
        self.decoder = nn.Sequential(nn.Linear(code, 24), nn.GELU(), nn.Linear(24, side * side), nn.Sigmoid())

    def forward(self, x):
        code = self.encoder(x)
        return self.decoder(code).view(-1, 1, self.side, self.side), code


def images(rng, count, side):
    rows, columns = np.mgrid[0:side, 0:side]
    centre = rng.uniform(1, side - 2, (count, 2, 1, 1))
    distance = (rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2
    return np.exp(-distance / 4)[:, None].astype(np.float32)


rng = np.random.default_rng(11)
data = TensorDataset(torch.from_numpy(images(rng, 256, 8)))
loader = DataLoader(dataset=data, batch_size=32, shuffle=False, num_workers=0, drop_last=True)
model = AutoEncoder()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))

optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
for epoch in range(8):
    total = 0.0
    for (batch,) in loader:
        decoded, _ = model(batch)
        loss = F.mse_loss(decoded, batch, reduction="sum") / len(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * batch.size(0)
    if epoch % 2:
        print(f"epoch {epoch + 1}: {total / len(loader.dataset):.3f}")

model.eval()
with torch.inference_mode():
    decoded, code = model(next(iter(loader))[0])
print(decoded.shape, code.shape, bool((decoded >= 0).all()), f"{decoded.max():.2f}")
