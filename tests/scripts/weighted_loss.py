"""Classes of very different frequency: weights, ignored labels, label smoothing, a confusion matrix."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

rng = np.random.default_rng(17)
labels = rng.choice(4, size=500, p=[0.7, 0.2, 0.07, 0.03])
points = rng.normal(0, 0.9, (500, 2)) + np.array([[0, 0], [2, 0], [0, 2], [2, 2]])[labels]
x, y = torch.tensor(points).float(), torch.tensor(labels)
y[::25] = -100

counts = torch.bincount(y[y >= 0], minlength=4)
weights = counts.sum() / (len(counts) * counts.float())
print("counts", counts.tolist(), "weights", weights)


def confusion(predicted, actual):
    keep = actual != -100
    matrix = torch.zeros(4, 4, dtype=torch.long)
    return matrix.index_put_((actual[keep], predicted[keep]), torch.tensor(1), accumulate=True)


for options in ({}, {"weight": weights}, {"weight": weights, "label_smoothing": 0.1, "reduction": "sum"}):
    model = nn.Sequential(nn.Linear(2, 16), nn.Hardtanh(), nn.Linear(16, 4), nn.LogSoftmax(dim=1))
    start = np.random.default_rng(5)
    with torch.no_grad():
        for p in model.parameters():
            p[...] = torch.from_numpy(start.normal(0, 0.5, p.shape))
    reduction = options.get("reduction", "mean")
    nll = nn.NLLLoss(options.get("weight"), ignore_index=-100, reduction=reduction)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5 if reduction == "mean" else 0.001, nesterov=True, momentum=0.8)
    for _ in range(60):
        log_probabilities = model(x)
        if "label_smoothing" in options:
            loss = F.cross_entropy(log_probabilities, y, **options)
        else:
            loss = nll(log_probabilities, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    matrix = confusion(log_probabilities.argmax(1), y)
    recall = matrix.diag() / matrix.sum(1)
    print(sorted(options), f"{loss.item():.3f}")
    print(matrix)
    print("recall", [f"{value:.2f}" for value in recall])
