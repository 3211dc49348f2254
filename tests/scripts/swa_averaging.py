"""Stochastic weight averaging with torch.optim.swa_utils, and batch norm brought up to date at the end."""

import os

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = int(os.environ.get("STEPS", 40)) // 5
rng = np.random.default_rng(102)

X = rng.uniform(-1, 1, (320, 6)).astype(np.float32)
y = (np.sin(3 * X[:, :1]) + X[:, 1:2] * X[:, 2:3] + rng.normal(0, 0.1, (320, 1))).astype(np.float32)
loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=64, shuffle=False)

model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
for m in model:
    if isinstance(m, nn.Linear):
        m.weight.data = torch.from_numpy(rng.normal(0, m.in_features**-0.5, m.weight.shape)).float()
        nn.init.constant_(m.bias, 0.01)

swa_model = AveragedModel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
swa_start = EPOCHS // 2
swa_scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)
criterion = nn.MSELoss()

for epoch in range(EPOCHS):
    running = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        running += loss.item() * inputs.size(0)
    if epoch >= swa_start:
        swa_model.update_parameters(model)
        swa_scheduler.step()
    else:
        scheduler.step()
    print(f"epoch {epoch}: loss {running / len(loader.dataset):.4f} lr {optimizer.param_groups[0]['lr']:.5f}")

update_bn(loader, swa_model)
swa_model.eval()
model.eval()
with torch.no_grad():
    inputs, targets = loader.dataset.tensors
    print(f"averaged {swa_model.n_averaged.item()} models: {criterion(swa_model(inputs), targets):.4f}")
    print(f"last model: {criterion(model(inputs), targets):.4f}")
