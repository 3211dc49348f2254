"""Parameters that share memory with other tensors: each sees writes to the other, before and after training."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

import fastnn

IN, OUT = 4, 3


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f4")


def assign(lib: Any, layer: Any, t: Any) -> None:
    layer.weight.data = t


def make(lib: Any, layer: Any, t: Any) -> None:
    layer.weight = lib.nn.Parameter(t)


def register(lib: Any, layer: Any, t: Any) -> None:
    del layer.weight
    layer.register_parameter("weight", lib.nn.Parameter(t))


def of_parameter(lib: Any, layer: Any, t: Any) -> None:
    layer.weight = lib.nn.Parameter(lib.nn.Parameter(t))


def load(lib: Any, layer: Any, t: Any) -> None:
    layer.load_state_dict({"weight": t, "bias": layer.bias.detach().clone()}, assign=True)


def load_parameter(lib: Any, layer: Any, t: Any) -> None:
    layer.load_state_dict({"weight": lib.nn.Parameter(t), "bias": layer.bias}, assign=True)


def set_memory(lib: Any, layer: Any, t: Any) -> None:
    with lib.no_grad():
        layer.weight.set_(t)


def swap(lib: Any, layer: Any, t: Any) -> None:
    lib_swap = fastnn.swap_tensors if lib is fastnn else lib.utils.swap_tensors
    lib_swap(layer.weight, lib.nn.Parameter(t))


WAYS = [assign, make, register, of_parameter, load, load_parameter, set_memory, swap]

# Makers of the tensors whose memory the parameter shares, of shape (OUT, IN).
PARTS = {
    "whole": lambda lib: lib.from_numpy(numbers(OUT, IN)),
    "transposed": lambda lib: lib.from_numpy(numbers(IN, OUT)).t(),
    "rows": lambda lib: lib.from_numpy(numbers(OUT + 2, IN))[1:-1],
    "columns": lambda lib: lib.from_numpy(numbers(OUT, IN + 3))[:, 1 : IN + 1],
    "every other": lambda lib: lib.from_numpy(numbers(OUT, 2 * IN))[:, ::2],
    "vector": lambda lib: lib.from_numpy(numbers(OUT * IN + 2))[1:-1].view(OUT, IN),
    "of a weight": lambda lib: lib.nn.Linear(IN, OUT).weight.data,
    "of a transposed weight": lambda lib: lib.nn.Linear(OUT, IN).weight.data.t(),
    "of rows of a weight": lambda lib: lib.nn.Linear(IN, 256).weight.detach()[:OUT],
}


def check_shared(lib: Any, p: Any, t: Any) -> None:
    assert p.data_ptr() == t.data_ptr()
    with lib.no_grad():
        t[1, 2] = 7.0
        assert p[1, 2].item() == 7.0
        p[2, 1] = -5.0
        assert t[2, 1].item() == -5.0
        p.mul_(0.5)
        assert t[1, 2].item() == 3.5
    np.testing.assert_array_equal(p.detach().numpy(), t.numpy())


CASES = [(way, part) for way in WAYS for part in PARTS if way in (assign, make) or part in ("transposed", "columns")]


@pytest.mark.parametrize(("way", "part"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_shared(lib, way, part):
    """Shared after creation, after an optimizer was made, and after eager and captured steps, with the same numbers."""
    t = PARTS[part](lib)
    layer, plain = lib.nn.Linear(IN, OUT), lib.nn.Linear(IN, OUT)
    way(lib, layer, t)
    check_shared(lib, layer.weight, t)
    plain.load_state_dict(layer.state_dict())
    x, target = lib.from_numpy(numbers(5, IN)), lib.from_numpy(numbers(5, OUT))
    model, other = lib.nn.Sequential(layer, lib.nn.Tanh()), lib.nn.Sequential(plain, lib.nn.Tanh())
    optimizers = [lib.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01) for m in (model, other)]
    for _ in range(6):
        losses = []
        for m, optimizer in zip((model, other), optimizers, strict=True):
            optimizer.zero_grad()
            loss = lib.nn.functional.mse_loss(m(x), target)
            loss.backward()
            lib.nn.utils.clip_grad_norm_(m.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        np.testing.assert_array_equal(layer.weight.detach().numpy(), t.numpy())
    np.testing.assert_allclose(layer.weight.detach().numpy(), plain.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    check_shared(lib, layer.weight, t)
    with lib.no_grad():
        before = model(x).clone()
        t.zero_()
        after = model(x)
    np.testing.assert_allclose(after.numpy(), np.tanh(np.tile(layer.bias.detach().numpy(), (5, 1))), rtol=1e-6)
    assert not np.array_equal(before.numpy(), after.numpy())


@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adagrad", "RMSprop"])
@pytest.mark.parametrize("part", ["whole", "transposed", "columns"])
def test_optimizer_state(lib, kind, part):
    """The state has the shape of the parameter, and can be continued in another optimizer."""
    t = PARTS[part](lib)
    shared, plain = lib.nn.Parameter(t), lib.nn.Parameter(t.clone())
    options = {"lr": 0.1} | ({"momentum": 0.5} if kind == "SGD" else {})
    optimizers = [getattr(lib.optim, kind)([p], **options) for p in (shared, plain)]
    for i in range(4):
        for k, p in enumerate((shared, plain)):
            optimizers[k].zero_grad()
            (p * p * lib.from_numpy(numbers(OUT, IN))).sum().backward()
            optimizers[k].step()
            if i == 1:
                again = getattr(lib.optim, kind)([p], **options)
                again.load_state_dict(copy.deepcopy(optimizers[k].state_dict()))
                optimizers[k] = again
        for name, value in optimizers[0].state[shared].items():
            found, expected = np.asarray(value), np.asarray(optimizers[1].state[plain][name])
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(shared.detach().numpy(), plain.detach().numpy(), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(shared.detach().numpy(), t.numpy())


@pytest.mark.parametrize("part", ["whole", "transposed", "columns"])
def test_compiled_step(part):
    """A compiled step updates shared memory like the equivalent lines."""
    layers = [fastnn.nn.Linear(IN, OUT), fastnn.nn.Linear(IN, OUT)]
    t = PARTS[part](fastnn)
    layers[0].weight.data = t
    layers[1].load_state_dict(layers[0].state_dict())
    x, target = fastnn.from_numpy(numbers(5, IN)), fastnn.from_numpy(numbers(5, OUT))
    steps = [
        fastnn.compile_step(m, fastnn.nn.MSELoss(), fastnn.optim.Adam(m.parameters(), lr=0.01)) for m in layers
    ]
    for _ in range(5):
        assert steps[0](x, target).item() == pytest.approx(steps[1](x, target).item(), rel=1e-5)
        np.testing.assert_array_equal(layers[0].weight.detach().numpy(), t.numpy())
    np.testing.assert_allclose(t.numpy(), layers[1].weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    # The memory is replaced during training.
    layers[0].weight.data = layers[0].weight.data.clone()
    kept = t.clone()
    for _ in range(3):
        assert steps[0](x, target).item() == pytest.approx(steps[1](x, target).item(), rel=1e-5)
    assert fastnn.equal(kept, t)


def test_two_parameters_that_overlap_are_each_updated(lib):
    t = lib.zeros(4)
    a, b = lib.nn.Parameter(t[:3]), lib.nn.Parameter(t[1:])
    optimizer = lib.optim.SGD([a, b], lr=1.0)
    for step in (1, 2):
        optimizer.zero_grad()
        (a.sum() + 10 * b.sum()).backward()
        optimizer.step()
        assert t.tolist() == [-1.0 * step, -11.0 * step, -11.0 * step, -10.0 * step]


def test_tied_autoencoder(lib):
    """The decoder's weight is the transpose of the encoder's, trained by the encoder's gradient alone."""
    e, d = lib.nn.Linear(4, 2, bias=False), lib.nn.Linear(2, 4, bias=False)
    with lib.no_grad():
        e.weight.copy_(lib.arange(8.0).reshape(2, 4) / 9)
    d.weight.data = e.weight.data.t()
    optimizer = lib.optim.SGD(e.parameters(), 0.5)
    model = lib.nn.Sequential(e, d)
    found = []
    for _ in range(6):
        optimizer.zero_grad()
        d.weight.grad = None
        loss = (model(lib.ones(1, 4)) - 1).pow(2).mean()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        assert lib.equal(d.weight, e.weight.t())
    w = np.arange(8.0).reshape(2, 4) / 9
    for value in found:
        x = np.ones((1, 4))
        out = x @ w.T @ w
        assert value == pytest.approx(((out - 1) ** 2).mean(), rel=2e-5)
        w = w - 0.5 * (2 * (out - 1) / 4 @ w.T).T @ x


def test_kept_values_and_values_put_back(lib):
    """Replaced ``.data`` tensors keep their numbers, and may be assigned again."""
    model = lib.nn.Sequential(lib.nn.Linear(IN, OUT), lib.nn.ReLU(), lib.nn.Linear(OUT, 2))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    x = lib.from_numpy(numbers(5, IN))

    def step() -> Any:
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(4):
        step()
    for _ in range(3):
        kept = [p.data for p in model.parameters()]
        copies = [k.clone() for k in kept]
        out = model(x).detach().clone()
        for p in model.parameters():
            p.data = p.data * 2 + 1
        changed = model(x).detach()
        assert not lib.equal(out, changed)
        assert all(lib.equal(a, b) for a, b in zip(kept, copies, strict=True))
        for p, k in zip(model.parameters(), kept, strict=True):
            p.data = k
        np.testing.assert_allclose(model(x).detach().numpy(), out.numpy(), rtol=1e-6, atol=1e-6)
        losses = [step() for _ in range(3)]
        assert losses == sorted(losses, reverse=True)
        assert all(k.data_ptr() == p.data_ptr() for k, p in zip(kept, model.parameters(), strict=True))
        assert all(lib.equal(k, p) for k, p in zip(kept, model.parameters(), strict=True))


def test_replaced_between_the_passes(lib):
    """The gradients of a pass are right even if the memory of a parameter is replaced before backward."""
    model = lib.nn.Sequential(lib.nn.Linear(IN, OUT), lib.nn.Tanh())
    x = lib.from_numpy(numbers(5, IN))
    for _ in range(6):
        model.zero_grad()
        loss = model(x).sum()
        for p in model.parameters():
            p.data = p.data.clone()
        loss.backward()
        out = model(x).detach()
        expected = ((1 - out * out).t() @ x).numpy()
        np.testing.assert_allclose(model[0].weight.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_numpy_is_shared(lib):
    array = numbers(OUT, IN)
    p = lib.nn.Parameter(lib.from_numpy(array))
    optimizer = lib.optim.SGD([p], lr=1.0)
    p.sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(array, p.detach().numpy())
    np.testing.assert_array_equal(array, numbers(OUT, IN) - 1)
    array[0] = 3
    assert p[0].tolist() == [3.0] * IN


@pytest.mark.parametrize("freeze", [True, False])
def test_from_pretrained(lib, freeze):
    for kind in (lib.nn.Embedding, lib.nn.EmbeddingBag):
        table = lib.from_numpy(numbers(6, 3))
        layer = kind.from_pretrained(table, freeze=freeze)
        assert layer.weight.data_ptr() == table.data_ptr()
        if not freeze:
            optimizer = lib.optim.SGD(layer.parameters(), lr=1.0)
            layer(lib.tensor([[1, 2]])).sum().backward()
            optimizer.step()
            assert not lib.equal(table, lib.from_numpy(numbers(6, 3)))
        assert lib.equal(layer.weight, table)
        table[2] = 9.0
        assert layer(lib.tensor([[2]])).reshape(-1).tolist() == [9.0] * 3


def test_vector_to_parameters(lib):
    model = lib.nn.Sequential(lib.nn.Linear(IN, OUT), lib.nn.ReLU(), lib.nn.Linear(OUT, 2))
    count = sum(p.numel() for p in model.parameters())
    vector, x = lib.from_numpy(numbers(count)), lib.from_numpy(numbers(5, IN))
    lib.nn.utils.vector_to_parameters(vector, model.parameters())
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
        assert lib.equal(lib.nn.utils.parameters_to_vector(model.parameters()), vector)
    assert not lib.equal(vector, lib.from_numpy(numbers(count)))
    vector.zero_()
    assert not model(x).any()


def test_weight_norm_shares_its_direction(lib):
    layer = lib.nn.Linear(IN, OUT)
    weight = layer.weight
    make_norm = lib.nn.utils.weight_norm
    if lib is fastnn:
        make_norm(layer)
    else:
        with pytest.warns(FutureWarning):
            make_norm(layer)
    assert layer.weight_v.data_ptr() == weight.data_ptr()


def test_copies_share_nothing(lib):
    """Copies, pickles and conversions have memory of their own."""
    t = lib.from_numpy(numbers(OUT, IN))
    layer = lib.nn.Linear(IN, OUT)
    layer.weight.data = t
    file = io.BytesIO()
    lib.save(layer.state_dict(), file)
    file.seek(0)
    made = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer).double()]
    state = lib.load(file)
    t.zero_()
    for other in made:
        np.testing.assert_array_equal(other.weight.detach().numpy(), numbers(OUT, IN))
        other(lib.ones(2, IN, dtype=other.weight.dtype)).sum().backward()
        assert other.weight.grad.tolist() == [[2.0] * IN] * OUT
    np.testing.assert_array_equal(state["weight"].numpy(), numbers(OUT, IN))
    assert not layer.weight.any()


def test_kinds_and_shapes_of_what_is_assigned(lib):
    p = lib.nn.Parameter(lib.ones(2, 3))
    with pytest.raises(RuntimeError):
        p.data = lib.ones(2, 3, dtype=lib.int64)
    assert p.tolist() == [[1.0] * 3] * 2
    p.data = lib.zeros(4)
    (p + 1).pow(2).sum().backward()
    assert p.grad.tolist() == [2.0] * 4
    p.grad = None
    p.data = lib.ones(3, dtype=lib.float64)
    (p * 2).sum().backward()
    assert (p.dtype, p.grad.dtype, p.grad.tolist()) == (lib.float64, lib.float64, [2.0] * 3)
    frozen = lib.nn.Parameter(lib.ones(2), requires_grad=False)
    frozen.data = lib.tensor([1, 2])
    assert frozen.tolist() == [1, 2]
    with pytest.raises(RuntimeError):
        p.set_(lib.zeros(3))


# -- Moves ------------------------------------------------------------------------------------


def is_at_home(p: Any) -> bool:
    return p._data is p._slot.array


def test_memory_that_nobody_else_holds_moves_into_the_flat_buffer():
    """Parameters of custom layers are updated together with others, in one launch."""

    class Layer(fastnn.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = fastnn.nn.Parameter(fastnn.randn(3, 4))
            bias = fastnn.zeros(3)
            self.bias = fastnn.nn.Parameter(bias)

    layer = Layer()
    linear = fastnn.nn.Linear(3, 2)
    linear.weight.data = fastnn.randn(2, 3)
    assert [*map(is_at_home, (layer.weight, layer.bias, linear.weight))] == [True, False, False]
    values = layer.bias.tolist(), linear.weight.tolist()
    optimizer = fastnn.optim.Adam([*layer.parameters(), *linear.parameters()])
    assert all(map(is_at_home, (*layer.parameters(), *linear.parameters())))
    assert (layer.bias.tolist(), linear.weight.tolist()) == values
    assert len(optimizer._layouts[0].runs) == 1
    assert linear.weight.is_contiguous()


HOLDERS = {
    "tensor": lambda t, p: t,
    "view": lambda t, p: t[1:],
    "array": lambda t, p: t.numpy()[:, :1],
    "memory": lambda t, p: memoryview(t.numpy()),
    "data": lambda t, p: p.data,
    "other parameter": lambda t, p: fastnn.nn.Parameter(p),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_that_somebody_holds_stays(holder):
    p = fastnn.nn.Parameter(fastnn.randn(3, 4))
    held = HOLDERS[holder](fastnn.from_numpy(p.detach().numpy()), p)
    before = p.data_ptr()
    optimizer = fastnn.optim.SGD([p], lr=0.1)
    assert p.data_ptr() == before
    p.sum().backward()
    optimizer.step()
    assert np.shares_memory(np.asarray(held._data if isinstance(held, fastnn.Tensor) else held), p._data)


def test_a_graph_outlives_the_move():
    """Saved tensors of an operation are still valid after the parameter has moved."""
    x = fastnn.from_numpy(numbers(5, 4))
    for operation in (lambda p: (p * p).sum(), lambda p: fastnn.nn.functional.linear(x, p).pow(2).sum()):
        p, still = fastnn.nn.Parameter(fastnn.from_numpy(numbers(3, 4))), fastnn.nn.Parameter(fastnn.zeros(3, 4))
        held = still.data
        still.data.copy_(p.data)
        loss = operation(p)
        fastnn.optim.SGD([p], lr=0.1)
        loss.backward()
        operation(still).backward()
        assert fastnn.equal(p.grad, still.grad)
        assert fastnn.equal(held, p)


def test_the_place_that_somebody_holds_is_not_written_to():
    """Numbers in the flat buffer stay there as long as they are referenced."""
    layer = fastnn.nn.Linear(IN, OUT)
    old = layer.weight.data
    kept = old.clone()
    layer.weight.data = fastnn.randn(OUT, IN)
    fastnn.optim.SGD(layer.parameters(), lr=0.1)
    assert fastnn.equal(old, kept)
    assert not is_at_home(layer.weight)


@pytest.mark.parametrize("way", ["attribute", "register_parameter", "ParameterList", "a view"])
def test_registration_forgets_no_change(lib, way):
    """An operation that read a parameter before its registration detects later changes."""
    p = lib.nn.Parameter(lib.ones(3) * 2)
    loss = ((p.view(3) if way == "a view" else p) * p).sum()
    module = lib.nn.Module()
    if way == "register_parameter":
        module.register_parameter("w", p)
    elif way == "ParameterList":
        module = lib.nn.ParameterList([p])
    else:
        module.w = p
    with lib.no_grad():
        p.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
