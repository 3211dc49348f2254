"""Embeddings of numbers before an MLP: linear, periodic and piecewise linear, with bins of quantiles and of trees."""

import numpy as np
import torch
import torch.nn.functional as F
from harness import initialize, probe, regression, timed
from rtdl_num_embeddings import (
    LinearEmbeddings, LinearReLUEmbeddings, PeriodicEmbeddings, PiecewiseLinearEmbeddings, PiecewiseLinearEncoding, compute_bins,
)
from torch import nn

x, y = (torch.from_numpy(a) for a in regression())
bins = compute_bins(x, n_bins=16)
trees = compute_bins(x, n_bins=16, tree_kwargs={"min_samples_leaf": 64}, y=y.squeeze(-1), regression=True)
probe("bins", sum(b.sum() for b in bins), 1e-4)
probe("trees", sum(b.sum() for b in trees), 1e-3)
probe("encoded", PiecewiseLinearEncoding(bins)(x).sum(), 1e-4)
embeddings = {
    "linear": LinearEmbeddings(10, 16),
    "relu": LinearReLUEmbeddings(10, 16),
    "periodic": PeriodicEmbeddings(10, 16, n_frequencies=24, frequency_init_scale=0.1, lite=False),
    "lite": PeriodicEmbeddings(10, 16, n_frequencies=24, frequency_init_scale=0.1, lite=True),
    "piecewise": PiecewiseLinearEmbeddings(bins, 16, activation=True, version="B"),
    "of_trees": PiecewiseLinearEmbeddings(trees, 16, activation=False, version="B"),
}
for name, embedding in embeddings.items():
    model = initialize(nn.Sequential(embedding, nn.Flatten(), nn.Linear(160, 64), nn.ReLU(), nn.Linear(64, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    losses = []
    with timed():
        for _ in range(20):
            for i in range(0, len(x), 200):
                optimizer.zero_grad()
                loss = F.mse_loss(model(x[i : i + 200]), y[i : i + 200])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    probe(f"{name}_first", losses[0], 1e-3)
    probe(f"{name}_last", np.mean(losses[-10:]), 2e-2)
torch.save(model.state_dict(), "model.pt")
model.load_state_dict(torch.load("model.pt"))
probe("loaded", F.mse_loss(model(x), y), 2e-2)
