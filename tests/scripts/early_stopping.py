"""Training that ends when the validation loss no longer falls, and takes the best weights back."""

import copy

import numpy as np
import torch
from torch import nn


class EarlyStopping:
    def __init__(self, patience=5, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.counter, self.best_loss, self.best_state = 0, float("inf"), None

    def __call__(self, loss, model):
        if loss < self.best_loss - self.min_delta:
            self.best_loss, self.counter = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.counter += 1
        return self.counter >= self.patience


rng = np.random.default_rng(0)
x = torch.from_numpy(rng.uniform(-2, 2, (60, 1)))
y = torch.sin(2 * x) + 0.3 * torch.from_numpy(rng.standard_normal((60, 1)))
x_train, y_train, x_valid, y_valid = x[:30], y[:30], x[30:], y[30:]

model = nn.Sequential(nn.Linear(1, 40), nn.SiLU(), nn.Linear(40, 40), nn.SiLU(), nn.Linear(40, 1)).double()
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.uniform(-0.5, 0.5, p.shape)))
initial = copy.deepcopy(model)
optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
stopper = EarlyStopping(patience=10, min_delta=1e-3)

for epoch in range(500):
    model.train()
    optimizer.zero_grad()
    loss = nn.functional.huber_loss(model(x_train), y_train)
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        valid = nn.functional.huber_loss(model(x_valid), y_valid).item()
    if stopper(valid, model):
        print(f"stopped after epoch {epoch}")
        break

print(f"train {loss.item():.5f} valid {valid:.5f} best {stopper.best_loss:.5f}")
model.load_state_dict(stopper.best_state)
with torch.no_grad():
    print(f"restored {nn.functional.huber_loss(model(x_valid), y_valid):.5f}")
    print(f"initial {nn.functional.huber_loss(initial(x_valid), y_valid):.5f}")
print(list(stopper.best_state), stopper.best_state["4.bias"].dtype)
