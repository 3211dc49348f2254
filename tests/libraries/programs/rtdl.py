"""The models of rtdl: MLP, ResNet, FT-Transformer, its tokenizer."""

import warnings

import numpy as np
import rtdl
import torch
import torch.nn.functional as F
from harness import digits, initialize, probe, timed
from torch import nn

warnings.simplefilter("ignore")
x, y, x_test, y_test = (torch.from_numpy(a) for a in digits())


def train(name, model, epochs, *more):
    initialize(model)
    for parameter_name, parameter in model.named_parameters():
        if "cls" in parameter_name:
            nn.init.constant_(parameter, 0.1)
    optimizer = model.make_default_optimizer() if hasattr(model, "make_default_optimizer") else torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    model.train()
    with timed():
        for _ in range(epochs):
            for i in range(0, len(x), 250):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i : i + 250], *more), y[i : i + 250])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = (model(x_test, *more).argmax(1) == y_test).float().mean()
    probe(f"{name}_first", losses[0], 1e-4)
    probe(f"{name}_last", np.mean(losses[-6:]), 3e-2)
    probe(f"{name}_right", right, 3e-2)


train("mlp", rtdl.MLP.make_baseline(d_in=64, d_layers=[128, 64, 64], dropout=0.0, d_out=10), 60)
train("resnet", rtdl.ResNet.make_baseline(d_in=64, n_blocks=2, d_main=64, d_hidden=128, dropout_first=0.0, dropout_second=0.0, d_out=10), 40)

tokenizer = rtdl.FeatureTokenizer(n_num_features=64, cat_cardinalities=[2, 3], d_token=8)
tokens = tokenizer(x[:5], torch.zeros(5, 2, dtype=torch.long))
probe("tokens", "x".join(map(str, tokens.shape)))


class Sparse(nn.Module):
    """A transformer of the first eight pixels of the middle."""

    def __init__(self):
        super().__init__()
        self.model = rtdl.FTTransformer.make_baseline(
            n_num_features=8, cat_cardinalities=None, d_token=32, n_blocks=1, attention_dropout=0.0, ffn_d_hidden=32, ffn_dropout=0.0,
            residual_dropout=0.0, d_out=10,
        )

    def make_default_optimizer(self):
        return torch.optim.AdamW(self.model.optimization_param_groups(), lr=1e-3)

    def forward(self, x):
        return self.model(x[:, 24:32], None)


train("ft_transformer", Sparse(), 4)
