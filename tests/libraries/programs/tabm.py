"""TabM: ensembles of MLPs that share weights, of three architectures, with embeddings and categories."""

import numpy as np
import rtdl_num_embeddings
import torch
import torch.nn.functional as F
from harness import initialize, probe, regression, timed
from tabm import EnsembleView, LinearBatchEnsemble, LinearEnsemble, TabM

x, y = (torch.from_numpy(a) for a in regression())
categories = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (len(x), 2)))
bins = rtdl_num_embeddings.compute_bins(x, n_bins=16)
cases = {
    "tabm": {},
    "mini": {"arch_type": "tabm-mini"},
    "packed": {"arch_type": "tabm-packed", "k": 8},
    "embedded": {"num_embeddings": rtdl_num_embeddings.PiecewiseLinearEmbeddings(bins, 8, activation=False, version="B")},
    "categorical": {"cat_cardinalities": [3, 3]},
}
for name, options in cases.items():
    model = initialize(TabM.make(n_num_features=10, d_out=1, n_blocks=2, d_block=64, dropout=0.0, **options))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)
    losses = []
    with timed():
        for _ in range(4):
            for i in range(0, len(x), 250):
                inputs = (x[i : i + 250], categories[i : i + 250]) if name == "categorical" else (x[i : i + 250],)
                optimizer.zero_grad()
                predicted = model(*inputs)
                loss = F.mse_loss(predicted.flatten(0, 1).squeeze(-1), y[i : i + 250, 0].repeat_interleave(predicted.shape[1]))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        mean = model(x, categories).mean(1) if name == "categorical" else model(x).mean(1)
    probe(f"{name}_first", losses[0], 1e-3)
    probe(f"{name}_last", np.mean(losses[-8:]), 2e-2)
    probe(f"{name}_test", F.mse_loss(mean, y), 2e-2)

view = EnsembleView(k=4)(x[:3])
layers = [initialize(LinearBatchEnsemble(10, 5, k=4, scaling_init="random-signs")), initialize(LinearEnsemble(10, 5, k=4))]
probe("shapes", "_".join("x".join(map(str, layer(view).shape)) for layer in layers))
