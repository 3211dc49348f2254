"""DeepFM: a factorization machine and a network share the embeddings of the fields."""

import os

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = max(1, int(os.environ.get("STEPS", 40)) // 10)
rng = np.random.default_rng(127)


class FeaturesLinear(torch.nn.Module):
    def __init__(self, field_dims, output_dim=1):
        super().__init__()
        self.fc = torch.nn.Embedding(sum(field_dims), output_dim)
        self.bias = torch.nn.Parameter(torch.zeros((output_dim,)))
        self.offsets = np.array((0, *np.cumsum(field_dims)[:-1]), dtype=np.int64)

    def forward(self, x):
        x = x + x.new_tensor(self.offsets).unsqueeze(0)
        return torch.sum(self.fc(x), dim=1) + self.bias


class FeaturesEmbedding(torch.nn.Module):
    def __init__(self, field_dims, embed_dim):
        super().__init__()
        self.embedding = torch.nn.Embedding(sum(field_dims), embed_dim)
        self.offsets = np.array((0, *np.cumsum(field_dims)[:-1]), dtype=np.int64)

    def forward(self, x):
        x = x + x.new_tensor(self.offsets).unsqueeze(0)
        return self.embedding(x)


class DeepFM(torch.nn.Module):
    def __init__(self, field_dims, embed_dim, mlp_dims):
        super().__init__()
        self.linear = FeaturesLinear(field_dims)
        self.embedding = FeaturesEmbedding(field_dims, embed_dim)
        self.embed_output_dim = len(field_dims) * embed_dim
        layers, width = list(), self.embed_output_dim
        for dim in mlp_dims:
            layers.append(torch.nn.Linear(width, dim))
            layers.append(torch.nn.BatchNorm1d(dim))
            layers.append(torch.nn.ReLU())
            width = dim
        layers.append(torch.nn.Linear(width, 1))
        self.mlp = torch.nn.Sequential(*layers)

    def forward(self, x):
        embed_x = self.embedding(x)
        square_of_sum = torch.sum(embed_x, dim=1) ** 2
        sum_of_square = torch.sum(embed_x**2, dim=1)
        fm = 0.5 * torch.sum(square_of_sum - sum_of_square, dim=1, keepdim=True)
        x = self.linear(x) + fm + self.mlp(embed_x.view(-1, self.embed_output_dim))
        return torch.sigmoid(x.squeeze(1))


fields = np.array([10, 7, 20, 4])
model = DeepFM(fields, 8, (32, 32))
for name, p in model.named_parameters():
    if p.dim() == 2:
        p.data.copy_(torch.from_numpy(rng.normal(0, 0.2, p.shape)))
    elif name.endswith("bias"):
        torch.nn.init.zeros_(p)
X = np.stack([rng.integers(0, n, 640) for n in fields], 1)
effects = [rng.normal(size=(n, 3)) for n in fields]
factors = [e[X[:, i]] for i, e in enumerate(effects)]
score = (factors[0] * factors[1]).sum(1) + (factors[2] * factors[3]).sum(1)
y = (score > 0).astype(np.float32)
loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=64)
criterion = torch.nn.BCELoss()
optimizer = torch.optim.Adam(params=model.parameters(), lr=5e-3, weight_decay=1e-6)
for epoch_i in range(EPOCHS):
    model.train()
    total_loss = 0
    for i, (features, target) in enumerate(loader):
        loss = criterion(model(features), target.float())
        model.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
    print("epoch:", epoch_i, "loss: %.4f" % (total_loss / len(loader)))
model.eval()
with torch.no_grad():
    predicts = model(torch.from_numpy(X))
print("probabilities in (0, 1):", bool(((predicts > 0) & (predicts < 1)).all()), f"{predicts.mean():.3f}")
