"""Tabular data with categories: an embedding for each, beside continuous columns."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class TabularModel(nn.Module):
    def __init__(self, emb_szs, n_cont, out_sz, layers, p=0.0):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(ni, nf) for ni, nf in emb_szs])
        self.emb_drop = nn.Dropout(p)
        self.bn_cont = nn.BatchNorm1d(n_cont)
        n_in = sum(nf for _, nf in emb_szs) + n_cont
        layerlist = []
        for i in layers:
            layerlist += [nn.Linear(n_in, i), nn.ReLU(inplace=True), nn.BatchNorm1d(i), nn.Dropout(p)]
            n_in = i
        layerlist.append(nn.Linear(layers[-1], out_sz))
        self.layers = nn.Sequential(*layerlist)

    def forward(self, x_cat, x_cont):
        embeddings = [e(x_cat[:, i]) for i, e in enumerate(self.embeds)]
        x = torch.cat(embeddings, 1)
        x = self.emb_drop(x)
        x_cont = self.bn_cont(x_cont)
        x = torch.cat([x, x_cont], 1)
        return self.layers(x)


rng = np.random.default_rng(77)
sizes = [24, 7, 3]
cats = torch.tensor(np.stack([rng.integers(0, n, 300) for n in sizes], axis=1), dtype=torch.int64)
conts = torch.tensor(rng.normal(5, 2, (300, 4)), dtype=torch.float)
effect = np.sin(cats[:, 0].numpy() / 4) + 0.5 * (cats[:, 1].numpy() > 4)
fare = torch.tensor(effect + 0.1 * conts[:, 0].numpy() + rng.normal(0, 0.05, 300), dtype=torch.float).reshape(-1, 1)

model = TabularModel([(n, min(50, (n + 1) // 2)) for n in sizes], conts.shape[1], 1, [32, 16])
print(model)
with torch.no_grad():
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim == 2:
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))
        elif name.endswith("bias"):
            parameter.zero_()
print(sum(p.nelement() for p in model.parameters() if p.requires_grad))

criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for i in range(1, 61):
    y_pred = model(cats[:250], conts[:250])
    loss = torch.sqrt(criterion(y_pred, fare[:250]))
    if i % 20 == 1:
        print(f"epoch: {i:3}  loss: {loss.item():10.4f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

model.eval()
with torch.no_grad():
    y_val = model(cats[250:], conts[250:])
    print(f"RMSE: {torch.sqrt(criterion(y_val, fare[250:])):.3f}")
print(model.embeds[2].weight.grad.norm() > 0, F.one_hot(cats[:3, 2], 3))
