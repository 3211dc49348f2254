"""The models of "Revisiting Deep Learning Models for Tabular Data": MLP, ResNet and FT-Transformer."""

import numpy as np
import torch
import torch.nn.functional as F
from harness import initialize, probe, regression, timed
from rtdl_revisiting_models import MLP, FTTransformer, ResNet
from torch import nn

x, y = (torch.from_numpy(a) for a in regression())
categories = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (len(x), 2)))


def train(name, model, epochs, categorical=False, optimizer=None):
    initialize(model)
    for parameter_name, parameter in model.named_parameters():
        if "cls" in parameter_name:
            nn.init.constant_(parameter, 0.1)
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
    losses = []
    model.train()
    with timed():
        for _ in range(epochs):
            for i in range(0, len(x), 250):
                inputs = (x[i : i + 250], categories[i : i + 250]) if categorical else (x[i : i + 250],)
                optimizer.zero_grad()
                loss = F.mse_loss(model(*inputs), y[i : i + 250])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        test = model(x, categories) if categorical else model(x)
    probe(f"{name}_first", losses[0], 1e-4)
    probe(f"{name}_last", np.mean(losses[-8:]), 2e-2)
    probe(f"{name}_test", F.mse_loss(test, y), 3e-2)


train("mlp", MLP(d_in=10, d_out=1, n_blocks=2, d_block=128, dropout=0.0), 40)
train("resnet", ResNet(d_in=10, d_out=1, n_blocks=2, d_block=64, d_hidden=None, d_hidden_multiplier=2.0, dropout1=0.0, dropout2=0.0), 30)
options = {
    "d_block": 32, "attention_n_heads": 4, "attention_dropout": 0.0, "ffn_d_hidden": None, "ffn_d_hidden_multiplier": 4 / 3, "ffn_dropout": 0.0,
    "residual_dropout": 0.0,
}  # fmt: skip
model = FTTransformer(n_cont_features=10, cat_cardinalities=[3, 3], d_out=1, n_blocks=2, **options)
train("ft_transformer", model, 6, True, torch.optim.AdamW(model.make_parameter_groups(), lr=1e-3, weight_decay=1e-5))
kwargs = {**FTTransformer.get_default_kwargs(1), "linformer_kv_compression_ratio": 0.2, "linformer_kv_compression_sharing": "headwise"}
model = FTTransformer(n_cont_features=10, cat_cardinalities=[], d_out=3, **kwargs)
with timed():
    for i in range(0, 1000, 250):
        model(x[i : i + 250], None).square().mean().backward()
probe("dropout", "x".join(map(str, model(x[:4], None).shape)))
