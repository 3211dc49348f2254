"""A checkpoint written in the middle of training, and training resumed from it with the same numbers."""

import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.output = nn.Linear(8, 2)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.steps += 1
        return self.output(torch.relu(self.norm(self.hidden(x))))


def train(model, optimizer, scheduler, first, last):
    losses = []
    for step in range(first, last):
        rng = np.random.default_rng(step)
        x = torch.from_numpy(rng.standard_normal((16, 4)).astype(np.float32))
        y = (x[:, 0] * x[:, 1] > 0).long()
        loss = nn.CrossEntropyLoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(round(loss.item(), 4))
    return losses


def fresh():
    model = Model()
    optimizer = optim.Adam(model.parameters(), lr=0.02, amsgrad=True)
    return model, optimizer, optim.lr_scheduler.StepLR(optimizer, 5)


model, optimizer, scheduler = fresh()
rng = np.random.default_rng(99)
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.5, p.size())))
print(train(model, optimizer, scheduler, 0, 5))

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "checkpoint.pth")
    torch.save(
        {
            "epoch": 5,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "note": ["any", ("nested", 1.5, None, True)],
        },
        path,
    )
    uninterrupted = train(model, optimizer, scheduler, 5, 12)

    model, optimizer, scheduler = fresh()
    checkpoint = torch.load(path, map_location=torch.device("cpu"), weights_only=True)
    model.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    scheduler.load_state_dict(checkpoint["scheduler"])

print(checkpoint["epoch"], checkpoint["note"], list(checkpoint["model_state_dict"]))
resumed = train(model, optimizer, scheduler, checkpoint["epoch"], 12)
print(resumed)
print(resumed == uninterrupted, model.steps.item(), optimizer.param_groups[0]["lr"])
try:
    model.load_state_dict({"hidden.weight": torch.zeros(8, 4)})
except RuntimeError as error:
    print(type(error).__name__, "Missing key(s)" in str(error))
