"""Vectors learnt by comparison: triplets, then pairs with a contrastive loss; judged by the nearest neighbour."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

rng = np.random.default_rng(23)
labels = np.repeat(np.arange(5), 20)
centres = rng.normal(0, 1, (5, 10))
data = torch.from_numpy((centres[labels] + rng.normal(0, 1.2, (100, 10))).astype(np.float32))
labels_t = torch.from_numpy(labels)


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 32), nn.PReLU(), nn.Linear(32, 4))
        for layer in self.net:
            if hasattr(layer, "in_features"):
                layer.weight = nn.Parameter(torch.from_numpy(rng.normal(0, 0.3, layer.weight.shape)).float())
                layer.bias = nn.Parameter(torch.zeros(layer.out_features))

    def forward(self, x):
        return F.normalize(self.net(x), p=2, dim=1)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, a, b, same):
        distance = F.pairwise_distance(a, b)
        return torch.mean(same * distance**2 + (1 - same) * torch.clamp(self.margin - distance, min=0.0) ** 2)


def nearest(model):
    with torch.no_grad():
        vectors = model(data)
    distances = torch.cdist(vectors, vectors)
    distances.fill_diagonal_(float("inf"))
    return (labels_t[distances.argmin(dim=1)] == labels_t).float().mean().item()


def triplets(n):
    anchor = rng.integers(0, 100, n)
    positive = np.array([rng.choice(np.flatnonzero(labels == labels[a])) for a in anchor])
    negative = np.array([rng.choice(np.flatnonzero(labels != labels[a])) for a in anchor])
    return anchor, positive, negative


model = Embedder()
print(f"before: {nearest(model):.2f}")
criterion = nn.TripletMarginLoss(margin=0.5)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(40):
    a, p, n = triplets(64)
    loss = criterion(model(data[a]), model(data[p]), model(data[n]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        print(f"triplets {step + 1}: {loss.item():.4f}")
print(f"after triplets: {nearest(model):.2f}")

contrastive, cosine = ContrastiveLoss(), nn.CosineEmbeddingLoss(margin=0.2)
for step in range(20):
    i, j = rng.integers(0, 100, (2, 64))
    same = (labels_t[i] == labels_t[j]).float()
    a, b = model(data[i]), model(data[j])
    loss = contrastive(a, b, same) + cosine(a, b, 2 * same - 1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"pairs: {loss.item():.4f}, {nearest(model):.2f}, cosine {F.cosine_similarity(a, b)[:3].detach().numpy().round(2)}")
