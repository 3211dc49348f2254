"""Batch normalisation and dropout; the masks are the script's own, nn.Dropout is in evaluation mode."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

rng = np.random.default_rng(42)


class Masked(nn.Dropout):
    """Dropout whose mask is drawn by NumPy."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mask = torch.from_numpy((rng.random(tuple(x.shape)) >= self.p).astype(np.float32))
        return x * mask / (1 - self.p)


def block(n_in, n_out, *args, **kwargs):
    return nn.Sequential(nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out, *args, **kwargs), nn.ReLU(), Masked(0.3))


class NeuralNet(nn.Module):
    def __init__(self, input_size, hidden_sizes, num_classes):
        super().__init__()
        layers = []
        for size in hidden_sizes:
            layers.append(block(input_size, size))
            input_size = size
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(input_size, num_classes, bias=False)

    def forward(self, x):
        return self.head(self.features(x))


model = NeuralNet(20, [32, 16], 4)
print(model)
for m in model.modules():
    if isinstance(m, nn.Linear):
        m.weight.data = torch.from_numpy(rng.normal(0, m.in_features**-0.5, m.weight.shape).astype(np.float32))

centres = rng.normal(0, 1, (4, 20))
labels = rng.integers(0, 4, 256)
x = torch.tensor(centres[labels] + rng.normal(0, 1.5, (256, 20)), dtype=torch.float32)
y = torch.tensor(labels)

criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)
for epoch in range(8):
    model.train()
    for i in range(0, len(x), 50):
        if len(x[i : i + 50]) < 2:
            continue
        optimizer.zero_grad()
        loss = criterion(model(x[i : i + 50]), y[i : i + 50])
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        out = model(x)
        print(f"{epoch} train {loss.item():.3f} eval {criterion(out, y).item():.3f} right {(out.argmax(dim=1) == y).sum()}")

for name, buffer in model.named_buffers():
    print(name, tuple(buffer.shape), buffer.dtype, f"{buffer.double().mean().item():.3f}")
