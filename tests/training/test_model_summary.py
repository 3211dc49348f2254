"""summary and find_lr."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn


class Net(nn.Module):
    """Shared modules and parameters, nested containers, several outputs, and a module that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))])
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.table.weight
        self.spare, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(4)
        self.scale = nn.Parameter(fastnn.ones(4))
        self.layers[0].weight.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        h = self.table(x)
        for layer in self.layers:
            h = layer(h)
        h = self.layers[0](h) @ fastnn.ones(4, 4)
        return {"logits": self.out(self.norm(h) * self.scale), "hidden": (h, [h])}


EXPECTED = """
Layer                Input shape  Output shape                             Parameters  Operations  Bytes
--------------------------------------------------------------------------------------------------------
Net                  [6]          logits: [6, 10], hidden: [6, 4], [6, 4]           4         192     --
  table: Embedding   [6]          [6, 4]                                           40          --     96
  layers.0: Linear   [6, 4]       [6, 4]                                           20         192     96
  layers.1: Sequential  [6, 4]    [6, 4]                                           --          --     --
    layers.1.0: Linear  [6, 4]    [6, 4]                                           20         192     96
    layers.1.1: Dropout  [6, 4]   [6, 4]                                           --          --     96
  layers.0: Linear   [6, 4]       [6, 4]                                     (shared)         192     96
  norm: BatchNorm1d  [6, 4]       [6, 4]                                            8          --     96
  out: Linear        [6, 4]       [6, 10]                                    (shared)         480    240
  spare: Linear      --           not called                                       12          --     --
--------------------------------------------------------------------------------------------------------
Parameters: 104 (88 trainable, 16 frozen)
Operations of matrix products: 1,248
Bytes: 48 input, 816 outputs of layers, 456 parameters and buffers, 1,320 in all
"""


def words(text: str) -> list[list[str]]:
    """Lines of words: columns may have any width."""
    return [line.split() for line in text.strip().splitlines() if not line.startswith("---")]


def test_the_table() -> None:
    net = Net()
    net.layers[1].eval()
    before = [m.training for m in net.modules()], fastnn.get_rng_state().tolist()
    found = fastnn.summary(net, (6,), dtypes=[fastnn.int64])
    assert words(str(found)) == words(EXPECTED)
    assert repr(found) == str(found)
    lengths = {len(line) for line in str(found).splitlines()[1:2]}
    assert lengths == {max(map(len, str(found).splitlines()[:11]))}
    assert ([m.training for m in net.modules()], fastnn.get_rng_state().tolist()) == before
    assert not any(m._has_hooks() for m in net.modules())
    assert json.loads(json.dumps(found.to_dict()))["operations"] == 1248
    row = found.rows[2]
    assert (row.name, row.kind, row.depth, row.trainable, row.output_shape) == ("layers.0", "Linear", 1, 4, (6, 4))
    assert found.rows[0].output_shape == {"logits": (6, 10), "hidden": [(6, 4), [(6, 4)]]}
    short = fastnn.summary(net, input_data=np.zeros(6, np.int64), depth=1)
    assert [row.depth for row in short.rows] == [0] + [1] * 7
    assert (short.operations, short.output_bytes) == (1248, 816)


def test_without_an_input() -> None:
    found = fastnn.summary(Net())
    assert words(str(found)) == words("""
        Layer Parameters
        Net 4
        table: Embedding 40
        layers: ModuleList --
        layers.0: Linear 20
        layers.1: Sequential --
        layers.1.0: Linear 20
        layers.1.1: Dropout --
        out: Linear (shared)
        spare: Linear 12
        norm: BatchNorm1d 8
        Parameters: 104 (88 trainable, 16 frozen)
        Bytes of parameters and buffers: 456
    """)
    assert not found.was_run


def test_several_inputs_and_an_attention_layer() -> None:
    class Two(nn.Module):
        def forward(self, a: Any, b: Any, scale: Any = None) -> Any:
            return a @ b if scale is None else a * scale

    assert fastnn.summary(Two(), [(2, 3), (3, 4)]).operations == 2 * 2 * 3 * 4
    found = fastnn.summary(Two(), input_data={"a": fastnn.ones(2), "b": fastnn.ones(2), "scale": 2.0})
    assert found.rows[0].input_shape == [(2,), (2,)]
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = fastnn.summary(layer, input_data=(fastnn.zeros(2, 5, 8),))
    assert found.parameters == sum(p.numel() for p in layer.parameters()) == sum(row.parameters for row in found.rows)
    assert [row.name for row in found.rows][:3] == ["", "self_attn", "self_attn.out_proj"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be a Module, found int"),
        ({"input_size": 3}, TypeError, "input_size must be a tuple of sizes, or a list of them, found 3"),
        ({"input_size": (2, "a")}, TypeError, "input_size must be a tuple of sizes"),
        ({"input_size": (0, 3)}, ValueError, "sizes in input_size must be positive, found \\(0, 3\\)"),
        ({"input_size": (1, 3), "input_data": 3}, TypeError, "two ways to give the input"),
        ({"input_size": (1, 3), "dtypes": []}, ValueError, "one dtype for each input, 1, found 0"),
        ({"depth": -1}, ValueError, "depth must not be negative, found -1"),
        ({"depth": 1.0}, TypeError, "depth must be an integer, found 1.0"),
        ({"input_size": (1, 5)}, RuntimeError, "3"),
    ],
)
def test_wrong_arguments_of_summary(options: dict[str, Any], error: Any, message: str) -> None:
    model = options.pop("model", None) or nn.Linear(3, 2)
    with pytest.raises(error, match=message):
        fastnn.summary(model, **options)
    if isinstance(model, nn.Module):
        assert model.training
        assert not model._has_hooks()


# -- find_lr ------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = fastnn.Generator().manual_seed(3)

    def forward(self, x: Any) -> Any:
        return x + 0.01 * fastnn.randn(1, generator=self.noise)


def test_find_lr_restores_everything(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((128, 4)).astype(np.float32)
    y = x.sum(1, keepdims=True)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), Noisy(), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
    groups = [{"params": list(model[0].parameters()), "lr": 0.02}, {"params": list(model[1:].parameters())}]
    optimizer = fastnn.optim.Adam(groups, lr=0.01)
    fastnn.fit(model, x, y, criterion=nn.MSELoss(), optimizer=optimizer, epochs=2)
    model[3].eval()

    def state() -> Any:
        tensors = [t.numpy().tobytes() for t in model.state_dict().values()]
        moments = [v.numpy().tobytes() for s in optimizer.state_dict()["state"].values() for v in s.values()]
        drawn = fastnn.get_rng_state().tolist(), model[2].noise.get_state().tolist()
        return tensors, moments, [g["lr"] for g in optimizer.param_groups], drawn, [m.training for m in model.modules()]

    before = state()
    found = fastnn.find_lr(model, x, y, criterion=nn.MSELoss(), optimizer=optimizer, steps=60, end=1e3)
    assert state() == before
    # It ended before the last one, after the loss had become larger.
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) < 60
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 1
    np.testing.assert_allclose(found.lrs[:2], [1e-7, 1e-7 * 1e10 ** (1 / 59)])
    pytest.importorskip("matplotlib")
    found.plot(tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")

    def fail(out: Any, target: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastnn.find_lr(model, x, y, criterion=fail, optimizer=optimizer)
    assert state() == before
    # No loss falls: there is nothing to suggest.
    assert fastnn.find_lr(model, x, y, criterion=lambda out, y: out.sum() * 0 + 1, steps=5).suggestion is None
    with pytest.raises(FloatingPointError, match="the first loss is nan, of finite data"):
        fastnn.find_lr(model, x, y, criterion=lambda out, y: out.sum() * math.nan, steps=5)
    assert state() == before


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["data", "targets"])
def test_find_lr_names_the_row_that_is_not_finite(name: str, wrong: float) -> None:
    model = nn.Linear(2, 1)
    arrays = {"data": np.ones((100, 2), np.float32), "targets": np.ones((100, 1), np.float32)}
    # In a later batch: the losses so far would give a range that ends for no reason.
    arrays[name][70, 0] = wrong
    before = model.weight.detach().numpy().copy()
    with pytest.raises(ValueError, match=f"{name} must be finite, found {wrong} in row 70"):
        fastnn.find_lr(model, **arrays, criterion=nn.MSELoss(), batch_size=20)
    np.testing.assert_array_equal(model.weight.detach().numpy(), before)
    if name == "targets":
        arrays[name] = arrays[name][:, 0]
        with pytest.raises(ValueError, match=f"targets must be finite, found {wrong} in row 70"):
            fastnn.find_lr(nn.Sequential(model, nn.Flatten(0)), **arrays, criterion=nn.MSELoss(), batch_size=20)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 2}, ValueError, "steps must be at least 3, found 2"),
        ({"steps": 2.0}, TypeError, "steps must be an integer, found 2.0"),
        ({"start": 0.1, "end": 0.01}, ValueError, "start and end must be positive and in this order"),
        ({"data": np.zeros((0, 4)), "targets": np.zeros(0, int)}, ValueError, "data must have rows, found none"),
        ({"model": 3}, TypeError, "model must be a Module, found int"),
    ],
)
def test_wrong_arguments_of_find_lr(options: dict[str, Any], error: Any, message: str) -> None:
    options = {"model": nn.Linear(4, 2), "data": np.zeros((4, 4)), "targets": np.zeros(4, int), **options}
    with pytest.raises(error, match=message):
        fastnn.find_lr(**options)
