"""A Siamese network with the contrastive loss of pairs."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

EPOCHS = int(os.environ.get("STEPS", 40)) // 8
rng = np.random.default_rng(110)


class Pairs(Dataset):
    def __init__(self, n):
        centres = np.random.default_rng(7).normal(size=(6, 10)) * 2
        a = rng.integers(0, 6, n)
        same = rng.random(n) < 0.5
        b = np.where(same, a, (a + rng.integers(1, 6, n)) % 6)
        noise = rng.normal(size=(2, n, 10))
        self.left = (centres[a] + noise[0]).astype(np.float32)
        self.right = (centres[b] + noise[1]).astype(np.float32)
        self.label = (~same).astype(np.float32)

    def __getitem__(self, index):
        return self.left[index], self.right[index], torch.from_numpy(np.array([self.label[index]], dtype=np.float32))

    def __len__(self):
        return len(self.label)


class SiameseNetwork(nn.Module):
    def __init__(self):
        super(SiameseNetwork, self).__init__()
        self.fc1 = nn.Sequential(nn.Linear(10, 64), nn.ReLU(inplace=True), nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Linear(32, 5))

    def forward_once(self, x):
        return self.fc1(x.view(x.size()[0], -1))

    def forward(self, input1, input2):
        return self.forward_once(input1), self.forward_once(input2)


class ContrastiveLoss(torch.nn.Module):
    def __init__(self, margin=2.0):
        super(ContrastiveLoss, self).__init__()
        self.margin = margin

    def forward(self, output1, output2, label):
        distance = F.pairwise_distance(output1, output2, keepdim=True)
        return torch.mean((1 - label) * torch.pow(distance, 2) + label * torch.pow(torch.clamp(self.margin - distance, min=0.0), 2))


net = SiameseNetwork()
for p in net.parameters():
    p.data.copy_(torch.from_numpy(rng.uniform(-0.3, 0.3, p.shape)))
loader = DataLoader(Pairs(256), batch_size=32)
criterion = ContrastiveLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(EPOCHS):
    losses = []
    for i, (x0, x1, label) in enumerate(loader, 0):
        optimizer.zero_grad()
        output1, output2 = net(x0, x1)
        loss = criterion(output1, output2, label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("Epoch number {}\n Current loss {:.4f}\n".format(epoch, np.mean(losses)))

net.eval()
test = Pairs(200)
with torch.no_grad():
    a, b = net(torch.from_numpy(test.left), torch.from_numpy(test.right))
    far = F.pairwise_distance(a, b) > 1.0
print("right pairs: more than 80%" if (far.numpy() == test.label).mean() > 0.8 else "too few")
