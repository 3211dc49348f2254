"""Mixup: batches of convex combinations of two rows, with the same combination of the two losses."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

STEPS = int(os.environ.get("STEPS", 40))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
rng = np.random.RandomState(104)


def mixup_data(x, y, alpha=1.0):
    lam = rng.beta(alpha, alpha) if alpha > 0 else 1
    index = torch.from_numpy(rng.permutation(x.size(0))).to(device)
    mixed_x = lam * x + (1 - lam) * x[index, :]
    return mixed_x, y, y[index], lam


def mixup_criterion(criterion, pred, y_a, y_b, lam):
    return lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)


class MLP(nn.Module):
    def __init__(self, dims):
        super(MLP, self).__init__()
        layers = []
        for a, b in zip(dims[:-2], dims[1:-1]):
            layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(0.1)]
        self.net = nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1]))

    def forward(self, x):
        return self.net(x)


def init(m):
    if type(m) == nn.Linear:
        m.weight.data.copy_(torch.from_numpy(rng.normal(0, np.sqrt(2 / m.in_features), m.weight.shape)))
        m.bias.data.zero_()


net = MLP([20, 64, 64, 5]).to(device)
net.apply(init)
labels = rng.randint(0, 5, 600)
data = rng.randn(5, 20)[labels] + 0.9 * rng.randn(600, 20)
inputs_all, targets_all = torch.FloatTensor(data), torch.LongTensor(labels)
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)

train_loss, correct, total = 0, 0, 0
for batch_idx in range(STEPS):
    start = (batch_idx * 100) % 500
    inputs, targets = inputs_all[start : start + 100].to(device), targets_all[start : start + 100].to(device)
    inputs, targets_a, targets_b, lam = mixup_data(inputs, targets, 0.4)
    outputs = net(inputs)
    loss = mixup_criterion(criterion, outputs, targets_a, targets_b, lam)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    train_loss += loss.item()
    _, predicted = torch.max(outputs.data, 1)
    total += targets.size(0)
    correct += lam * predicted.eq(targets_a.data).cpu().sum().float() + (1 - lam) * predicted.eq(targets_b.data).cpu().sum().float()
    if batch_idx % 10 == 9:
        print("Loss: %.3f | Acc: %.1f%%" % (train_loss / (batch_idx + 1), 100.0 * correct / total))

net.eval()
with torch.no_grad():
    logits = net(inputs_all[500:])
print("test loss %.3f" % criterion(logits, targets_all[500:]).item())
