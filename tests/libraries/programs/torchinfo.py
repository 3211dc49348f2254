"""Summaries of models of many layers; the last model is trained."""

import contextlib
import io

import numpy as np
import torch
from harness import initialize, probe, regression, timed
from torch import nn
from torchinfo import ColumnSettings, RowSettings, Verbosity, summary


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.LayerNorm(32))
        self.right = nn.ModuleDict({"embed": nn.Embedding(7, 32), "out": nn.Bilinear(32, 32, 8)})
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x, index, factor=1.0):
        hidden = self.right["out"](self.left(x), self.right["embed"](index)) * self.scale * factor
        for layer in self.layers:
            hidden = layer(hidden)
        return {"out": hidden, "parts": (hidden[:, :1], hidden[:, 1:])}


class Recursive(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(16, 16)

    def forward(self, x):
        for _ in range(4):
            x = torch.tanh(self.cell(x))
        return x


def describe(name, statistics):
    text = str(statistics)
    probe(f"{name}_parameters", statistics.total_params, 0)
    probe(f"{name}_trainable", statistics.trainable_params, 0)
    probe(f"{name}_mult_adds", statistics.total_mult_adds, 0)
    probe(f"{name}_output_bytes", statistics.total_output_bytes, 0)
    probe(f"{name}_lines", len(text.splitlines()), 0)
    # The text in full, but for what is written for each library.
    print(text)
    probe(f"{name}_text", "_".join(text.split()).replace("0.00", "0"))


mlp = nn.Sequential(
    nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 64, bias=False), nn.PReLU(64),
    nn.Sequential(nn.Linear(64, 32), nn.GELU()), nn.Linear(32, 1),
)  # fmt: skip
describe("mlp", summary(mlp, input_size=(32, 10), verbose=0))
describe("depth", summary(mlp, (32, 10), depth=1, verbose=0, col_names=("input_size", "output_size", "num_params",
                          "params_percent", "kernel_size", "mult_adds", "trainable"), row_settings=("depth", "var_names")))
describe("data", summary(TwoInputs(), input_data=[torch.ones(5, 10), torch.ones(5).long()], factor=2.0, verbose=0))
describe("dict", summary(TwoInputs(), input_data={"x": torch.ones(5, 10), "index": torch.ones(5).long()}, verbose=0,
                         row_settings=(RowSettings.ASCII_ONLY, RowSettings.DEPTH), col_width=18))
describe("dtypes", summary(TwoInputs(), input_size=[(3, 10), (3,)], dtypes=[torch.float32, torch.long], verbose=0))
describe("batch_dim", summary(Recursive(), input_size=(16,), batch_dim=0, verbose=0,
                              col_names=(ColumnSettings.INPUT_SIZE, ColumnSettings.MULT_ADDS), mode="train"))
describe("none", summary(mlp, verbose=0))
for parameter in mlp[0].parameters():
    parameter.requires_grad = False
describe("frozen", summary(mlp, (2, 10), device="cpu", cache_forward_pass=True, verbose=Verbosity.QUIET))
out = io.StringIO()
with contextlib.redirect_stdout(out):
    summary(mlp, (2, 10), verbose=2)
probe("verbose_lines", len(out.getvalue().splitlines()), 0)
try:
    summary(mlp, (2, 11), verbose=0)
except RuntimeError as error:
    probe("error", str(error).partition(".")[0].replace(" ", "_"))

model = initialize(nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)))
summary(model, (50, 10), verbose=0)
x, y = (torch.from_numpy(part) for part in regression())
optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=3e-3), nn.MSELoss()
orders = np.random.default_rng(0)
with timed():
    for epoch in range(15):
        for batch in np.split(orders.permutation(2000), 40):
            batch = torch.from_numpy(batch)
            optimizer.zero_grad()
            loss = loss_of(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
probe("loss", loss_of(model(x), y), 1e-2)
