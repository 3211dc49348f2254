"""Attention layers: masks, options and errors against NumPy and PyTorch; state, capture and second derivatives.

Values and gradients of the functions are in the table of operations, those of the layers in ``tests/cases_nn.py``.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import naive_nn
import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional

F = functional.scaled_dot_product_attention


def randoms(*shape: int, seed: int = 0, kind: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(kind)


# -- scaled_dot_product_attention -----------------------------------------------------------------

MASKS = {
    "none": None,
    "bool": randoms(3, 5) < 0.5,
    "bool_of_batches": randoms(2, 1, 1, 5) < 0.5,
    "bool_of_heads": randoms(2, 4, 3, 5) < 0.5,
    "added": randoms(3, 5),
    "column": randoms(3, 1),
    "row": randoms(5),
    "nothing visible": np.zeros((3, 5), bool),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_masks(mask: Any, kind: Any) -> None:
    q, k, v = randoms(2, 4, 3, 6, kind=kind), randoms(2, 4, 5, 6, kind=kind), randoms(2, 4, 5, 7, kind=kind)
    added = mask if mask is None or mask.dtype != bool else np.where(mask, 0, -np.inf)
    added = None if added is None else np.broadcast_to(added, (2, 4, 3, 5))
    expected, _, size = naive_nn.attention(q, k, v, added, 6**-0.5)
    given = None if mask is None else fastnn.tensor(mask if mask.dtype == bool else mask.astype(kind))
    found = F(*map(fastnn.tensor, (q, k, v)), given)
    assert found.dtype == (fastnn.float32 if kind is np.float32 else fastnn.float64)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=64 * np.finfo(kind).eps * size)


@pytest.mark.parametrize("shapes", [
    ((5, 6), (7, 6), (7, 2)), ((2, 5, 6), (7, 6), (1, 7, 2)), ((2, 3, 4, 5, 6), (2, 1, 4, 7, 6), (4, 7, 2)),
    ((0, 5, 6), (0, 7, 6), (0, 7, 2)), ((2, 5, 6), (2, 0, 6), (2, 0, 2)), ((2, 5, 0), (2, 7, 0), (2, 7, 2)),
    ((2, 0, 6), (2, 7, 6), (2, 7, 2)), ((2, 1, 6), (2, 1, 6), (2, 1, 2)), ((2, 5, 6), (2, 7, 6), (2, 7, 0)),
], ids=str)  # fmt: skip
def test_shapes(shapes: Any) -> None:
    arrays = [randoms(*shape) for shape in shapes]
    tensors = [fastnn.tensor(a, requires_grad=True) for a in arrays]
    out = F(*tensors)
    lead = np.broadcast_shapes(*[shape[:-2] for shape in shapes])
    assert out.shape == (*lead, shapes[0][-2], shapes[2][-1])
    out.backward(fastnn.ones_like(out))
    for t in tensors:
        assert t.grad.shape == t.shape
    if arrays[1].size and out.numel():
        wide = [np.broadcast_to(a, (*lead, *a.shape[-2:])).reshape(-1, 1, *a.shape[-2:]) for a in arrays]
        expected = naive_nn.attention(*wide, None, 6**-0.5)[0].reshape(out.shape)
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("strided", [True, False])
def test_grouped_heads_and_strides(strided: bool, grouped: bool) -> None:
    heads = 2 if grouped else 4
    q, k, v = randoms(2, 5, 4, 6), randoms(2, 7, heads, 6), randoms(2, 7, heads, 3)
    tensors = [fastnn.tensor(a).transpose(1, 2) for a in (q, k, v)]
    out = F(*(tensors if strided else [t.contiguous() for t in tensors]), enable_gqa=grouped)
    expected, _, _ = naive_nn.attention(*[a.transpose(0, 2, 1, 3) for a in (q, k, v)], None, 6**-0.5)
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-14)
    # The rows of a head lie between those of the others, if those of the queries do.
    assert grouped or out.transpose(1, 2).is_contiguous() == strided


def test_dropout() -> None:
    q, v = fastnn.ones(3, 40, 4, requires_grad=True), fastnn.ones(3, 40, 2, requires_grad=True)
    fastnn.manual_seed(3)
    out = F(q, q, v, dropout_p=0.5)
    assert 0.7 < out.mean().item() < 1.3
    assert out.detach().numpy().std() > 0.05
    out.sum().backward()
    # The mean of all is linear in v: its gradient repeats the draw.
    np.testing.assert_allclose((v.grad * v).sum().item(), out.sum().item(), rtol=1e-5)
    fastnn.manual_seed(3)
    assert F(q, q, v, dropout_p=0.5).equal(out)
    assert F(q, q, v, dropout_p=1.0).abs().sum().item() == 0


def test_half() -> None:
    q = fastnn.tensor(randoms(2, 3, 4, kind=np.float16), requires_grad=True)
    out = F(q, q, q, is_causal=True)
    assert out.dtype == fastnn.float16
    wide = q.detach().float()
    assert (out.float() - F(wide, wide, wide, is_causal=True)).abs().max().item() < 2e-3
    out.sum().backward()
    assert q.grad.dtype == fastnn.float16


x3 = fastnn.ones(2, 3, 4)
ERRORS: dict[str, tuple[Any, type, str]] = {
    "vector": (lambda: F(fastnn.ones(4), x3, x3), RuntimeError, "at least 2 dimensional"),
    "dtypes": (lambda: F(x3, x3.double(), x3), RuntimeError, "to have the same dtype"),
    "integers": (lambda: F(x3.long(), x3.long(), x3.long()), RuntimeError, "is for float32 and float64"),
    "sizes": (lambda: F(x3, fastnn.ones(2, 3, 5), x3), RuntimeError, "same size in their last dimension"),
    "lengths": (lambda: F(x3, x3, fastnn.ones(2, 5, 4)), RuntimeError, "must have the same length"),
    "batches": (lambda: F(x3, fastnn.ones(3, 3, 4), x3), RuntimeError, "cannot be broadcast together"),
    "causal_and_mask": (lambda: F(x3, x3, x3, fastnn.ones(3, 3), is_causal=True), RuntimeError, "should not be set"),
    "mask": (lambda: F(x3, x3, x3, fastnn.ones(3, 4)), RuntimeError, r"must be broadcast to \(2, 3, 3\)"),
    "mask_of_integers": (lambda: F(x3, x3, x3, fastnn.ones(3, 3).long()), RuntimeError, "Expected attn_mask dtype"),
    "heads": (lambda: F(fastnn.ones(5, 3, 4), x3, x3, enable_gqa=True), RuntimeError, "must divide the number"),
    "probability": (lambda: F(x3, x3, x3, dropout_p=1.5), RuntimeError, "has to be between 0 and 1"),
    "no_tensor": (lambda: F(1, x3, x3), TypeError, "query must be a Tensor"),
    "embed_dim": (lambda: nn.MultiheadAttention(5, 2), AssertionError, "divisible by num_heads"),
    "no_heads": (lambda: nn.MultiheadAttention(4, 0), ValueError, "must be greater than 0"),
    "activation": (lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh"), RuntimeError, "should be relu/gelu"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    call, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        call()


# -- MultiheadAttention ---------------------------------------------------------------------------


def layer_in_numpy(layer: nn.MultiheadAttention, x: np.ndarray, mask: np.ndarray | None) -> tuple[Any, Any]:
    """A layer without options, of inputs with the batch first; by heads, one after the other."""
    weight, bias = layer.in_proj_weight.detach().numpy(), layer.in_proj_bias.detach().numpy()
    n, length, features = x.shape
    q, k, v = np.split(x @ weight.T + bias, 3, -1)
    parts = [a.reshape(n, length, layer.num_heads, -1).transpose(0, 2, 1, 3) for a in (q, k, v)]
    out, weights, _ = naive_nn.attention(*parts, mask, layer.head_dim**-0.5)
    joined = out.transpose(0, 2, 1, 3).reshape(n, length, features)
    return joined @ layer.out_proj.weight.detach().numpy().T + layer.out_proj.bias.detach().numpy(), weights


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_layer_against_numpy(batch_first: bool, need_weights: bool) -> None:
    fastnn.manual_seed(0)
    layer = nn.MultiheadAttention(12, 3, batch_first=batch_first, dtype=fastnn.float64)
    x, padding = randoms(2, 5, 12), np.arange(10).reshape(2, 5) % 5 > 3
    mask = np.where(padding, -np.inf, 0.0)[:, None, None] + np.triu(np.full((5, 5), -np.inf), 1)
    expected, weights = layer_in_numpy(layer, x, mask)
    given = fastnn.tensor(x if batch_first else x.transpose(1, 0, 2))
    causal = fastnn.tensor(np.triu(np.ones((5, 5), bool), 1))
    out, shares = layer(given, given, given, fastnn.tensor(padding), need_weights, causal)
    found = out.detach().numpy()
    np.testing.assert_allclose(found if batch_first else found.transpose(1, 0, 2), expected, rtol=0, atol=1e-14)
    if need_weights:
        np.testing.assert_allclose(shares.detach().numpy(), weights.mean(1), rtol=0, atol=1e-15)
    else:
        assert shares is None
    single, _ = layer(given[0] if batch_first else given[:, 0], *[given[0] if batch_first else given[:, 0]] * 2,
                      attn_mask=causal)
    lone = layer_in_numpy(layer, x[:1], np.triu(np.full((5, 5), -np.inf), 1))[0][0]
    np.testing.assert_allclose(single.detach().numpy(), lone, rtol=0, atol=1e-14)


def test_initial_values_and_state() -> None:
    fastnn.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, add_bias_kv=True)
    assert list(layer.state_dict()) == ["in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight",
                                        "out_proj.bias"]
    bound = (6 / (18 + 6)) ** 0.5
    assert 0.8 * bound < layer.in_proj_weight.abs().max().item() <= bound
    assert layer.in_proj_bias.abs().max().item() == layer.out_proj.bias.abs().max().item() == 0
    # The draws are those of the linear layer, then Glorot's, in PyTorch's order.
    fastnn.manual_seed(0)
    linear, weight = nn.Linear(6, 6), fastnn.empty(18, 6)
    nn.init.xavier_uniform_(weight)
    assert layer.out_proj.weight.equal(linear.weight)
    assert layer.in_proj_weight.equal(weight)
    other = nn.MultiheadAttention(6, 2, kdim=4, vdim=3)
    assert list(other.state_dict())[:4] == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"]
    assert other.k_proj_weight.shape == (6, 4)
    assert repr(layer).replace("\n", "") == (
        "MultiheadAttention(  (out_proj): NonDynamicallyQuantizableLinear(in_features=6, out_features=6, bias=True))"
    )
    x = fastnn.ones(3, 2, 6)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert same(x, x, x)[0].equal(layer(x, x, x)[0])
    assert fastnn.nn.modules.activation.MultiheadAttention is nn.MultiheadAttention
    assert fastnn.nn.modules.transformer.TransformerEncoderLayer is nn.TransformerEncoderLayer
    assert isinstance(layer.out_proj, fastnn.nn.modules.linear.NonDynamicallyQuantizableLinear)


def test_dropout_of_the_weights() -> None:
    layer, x = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), fastnn.ones(2, 30, 4)
    _, weights = layer(x, x, x, average_attn_weights=False)
    assert set(np.round(weights.detach().numpy().ravel() * 30, 3)) == {0.0, 2.0}
    _, weights = layer.eval()(x, x, x)
    np.testing.assert_allclose(weights.detach().numpy(), 1 / 30, rtol=1e-6)


def test_second_derivatives() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True, dtype=fastnn.float64)
    x = fastnn.tensor(randoms(2, 3, 4), requires_grad=True)
    assert fastnn.autograd.gradgradcheck(lambda x: layer(x, x, x, need_weights=False)[0], (x,))
    q, k = (fastnn.tensor(randoms(1, 2, 3, 2, seed=i), requires_grad=True) for i in range(2))
    mask = fastnn.tensor(randoms(3, 3), requires_grad=True)
    assert fastnn.autograd.gradcheck(lambda q, k, mask: F(q, k, k, mask), (q, k, mask))
    assert fastnn.autograd.gradgradcheck(lambda q, k, mask: F(q, k, k, mask), (q, k, mask))


# -- The transformer ------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "gelu", fastnn.tanh])
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_layer_is_its_parts(activation: Any, norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 6, 0.0, activation, batch_first=True, norm_first=norm_first, bias=False)
    x, act = fastnn.tensor(randoms(2, 3, 8, kind=np.float32)), layer.activation

    def attend(x: Any) -> Any:
        return layer.self_attn(x, x, x, need_weights=False)[0]

    def feed(x: Any) -> Any:
        return layer.linear2(act(layer.linear1(x)))

    if norm_first:
        expected = x + attend(layer.norm1(x))
        expected = expected + feed(layer.norm2(expected))
    else:
        expected = layer.norm1(x + attend(x))
        expected = layer.norm2(expected + feed(expected))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected.detach().numpy(), rtol=0, atol=2e-6)
    seen = []
    handle = layer.linear1.register_forward_hook(lambda *given: seen.append(1))
    layer(x)
    handle.remove()
    assert seen == [1]


def test_stacks() -> None:
    with pytest.warns(UserWarning, match="use_nested_tensor is False because encoder_layer.norm_first was True"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=True), 1)
    model = nn.Transformer(4, 2, 2, 2, 6, batch_first=True)
    first, second = model.encoder.layers
    assert first.linear1.weight is not second.linear1.weight
    assert first.activation_relu_or_gelu == 1
    src, tgt = fastnn.ones(2, 3, 4), fastnn.ones(2, 5, 4)
    assert model(src, tgt).shape == tgt.shape
    for wrong, message in ((fastnn.ones(3, 5, 4), "batch number"), (fastnn.ones(2, 5, 6), "feature number")):
        with pytest.raises(RuntimeError, match=message):
            model(src, wrong)
    model.eval()
    padding = fastnn.tensor([[False, False, True], [False, True, True]])
    with fastnn.no_grad():
        shown = fastnn.where(padding.unsqueeze(-1), 0.0, model.encoder.layers[0](src, src_key_padding_mask=padding))
        stack = nn.TransformerEncoder(model.encoder.layers[0], 1).eval()
        assert stack(src, src_key_padding_mask=padding).equal(shown)
    # With gradients, rows of padding are computed like the others.
    assert not stack(src, src_key_padding_mask=padding)[0, 2].equal(fastnn.zeros(4))


# -- Captured -------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """A small network over the features of a table, each of them a token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.attend(self.embed(x.unsqueeze(-1)))[:, 0])


class InEncoder(Tokens):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, "gelu", batch_first=True, norm_first=True)

    def attend(self, x: Any) -> Any:
        return self.layer(x)


class WithWeights(Tokens):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def attend(self, x: Any) -> Any:
        return x + self.attention(x, x, x)[0]


class ByFunction(Tokens):
    def attend(self, x: Any) -> Any:
        return x + functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1)


def train(kind: type[Tokens], how: str) -> list[Any]:
    fastnn.manual_seed(0)
    model = kind()
    optimizer, criterion = fastnn.optim.Adam(model.parameters(), 0.01), nn.CrossEntropyLoss()
    x, y = fastnn.tensor(randoms(16, 5, kind=np.float32)), fastnn.tensor(np.arange(16) % 2)
    fastnn.manual_seed(1)
    if how == "fit":
        fastnn.fit(model, x, y, epochs=6, batch_size=16, criterion=criterion, optimizer=optimizer, shuffle=False)
        return [p.detach().numpy().copy() for p in model.parameters()]
    step = fastnn.compile_step(model, criterion, optimizer)
    for _ in range(6):
        if how == "step":
            step(x, y)
            continue
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    if how != "eager":
        text = step.explain() if how == "step" else fastnn.explain(model)
        assert "eager" not in text, text
    return [p.detach().numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize("kind", [InEncoder, WithWeights, ByFunction])
def test_captured_steps_have_the_bits_of_eager_ones(kind: type[Tokens]) -> None:
    fastnn.set_capture(False)
    try:
        expected = train(kind, "eager")
    finally:
        fastnn.set_capture(True)
    for how in ("loop", "step", "fit"):
        for a, b in zip(train(kind, how), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=how)
