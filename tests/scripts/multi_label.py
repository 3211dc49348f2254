"""Several labels at once: BCEWithLogitsLoss with pos_weight beside MultiLabelSoftMarginLoss."""

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(31)
features = np.random.randn(300, 12).astype(np.float32)
true_weights = np.random.randn(12, 5)
targets = (features @ true_weights + np.random.randn(300, 5) > 1.5).astype(np.float32)
dataset = TensorDataset(torch.from_numpy(features), torch.from_numpy(targets))
loader = DataLoader(dataset, batch_size=50)
positive = targets.sum(axis=0)
pos_weight = torch.as_tensor((len(targets) - positive) / positive)

initial = {"weight": torch.from_numpy(np.random.randn(5, 12) * 0.1).float(), "bias": torch.zeros(5)}
for criterion in (nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(pos_weight=pos_weight), nn.MultiLabelSoftMarginLoss()):
    model = nn.Linear(12, 5)
    model.load_state_dict(initial)
    optimizer = optim.Adagrad(model.parameters(), lr=0.3)
    for epoch in range(10):
        epoch_loss = 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item()
    with torch.no_grad():
        x, y = dataset.tensors
        predicted = (torch.sigmoid(model(x)) > 0.5).float()
        true_positive = (predicted * y).sum(dim=0)
        precision = true_positive / predicted.sum(dim=0).clamp(min=1)
        recall = true_positive / y.sum(dim=0)
        f1 = 2 * precision * recall / (precision + recall)
        exact = predicted.eq(y).all(dim=1).float().mean()
    print(f"{criterion.__class__.__name__}: loss {epoch_loss / len(loader):.4f} exact {exact.item():.3f}")
    print("  f1", np.round(f1.numpy(), 3))
print(torch.topk(model(x[:1]).detach(), 2, dim=1).indices, pos_weight.argsort(descending=True))
