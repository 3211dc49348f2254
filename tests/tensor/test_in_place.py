"""In-place operations on leaves, views and saved tensors. Also run with PyTorch if it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import as_array, leaf

import fastnn
from fastnn._core import dtypes

READERS = {
    "mul": lambda lib, y: y * y,
    "div": lambda lib, y: lib.ones(1, 2) / y,
    "pow": lambda lib, y: y**3,
    "abs": lambda lib, y: y.abs(),
    "log": lambda lib, y: y.log(),
    "mm": lambda lib, y: y @ lib.tensor([[1.0], [2.0]], requires_grad=True),
    "max": lambda lib, y: y.max(),
    "gelu": lambda lib, y: lib.nn.functional.gelu(y),
    "linear": lambda lib, y: lib.nn.functional.linear(y, lib.tensor([[1.0, 2.0]], requires_grad=True)),
}


def modify(lib: Any, y: Any) -> None:
    y += 1


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "change",
    [
        modify,
        lambda lib, y: y.zero_(),
        lambda lib, y: y.mul_(2),
        lambda lib, y: y.copy_(lib.tensor([[1.0, 2.0]])),
        lambda lib, y: y.detach().fill_(3),
    ],
    ids=["add", "zero", "mul", "copy", "detached"],
)
def test_saved_operand_modified_in_place(lib, name, change):
    x = lib.tensor([[2.0, 3.0]], requires_grad=True)
    y = x * 1
    z = READERS[name](lib, y)
    change(lib, y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    "function",
    [
        lambda lib, y: lib.relu(y),
        lambda lib, y: lib.sigmoid(y),
        lambda lib, y: lib.tanh(y),
        lambda lib, y: y.exp(),
        lambda lib, y: y.sqrt(),
        lambda lib, y: lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Tanh())(y),
    ],
    ids=["relu", "sigmoid", "tanh", "exp", "sqrt", "linear_tanh"],
)
@pytest.mark.parametrize("change", [lambda y: y, lambda y: y.view(-1), lambda y: y[0], lambda y: y.detach()])
def test_saved_result_modified_in_place(lib, function, change):
    z = function(lib, lib.tensor([[2.0, 3.0]], requires_grad=True))
    target = change(z)
    with lib.no_grad():
        target += 1
    # The memory is saved, not the result, so the view may outlive the result.
    total = z.sum()
    del z
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_in_place_change_of_what_nobody_reads(lib):
    x = leaf(lib, 2.0, 3.0)
    y = x * 4
    z = y + 1
    y *= 3
    z += 10
    (y.sum() + z.sum()).backward()
    assert x.grad.tolist() == [16.0, 16.0]


def test_operand_read_only_for_another_that_needs_no_gradient(lib):
    """``w`` is read for the gradient of ``x`` only."""
    x, w = lib.tensor([2.0, 3.0]), leaf(lib, 5.0, 7.0)
    y = x * w
    with lib.no_grad():
        w += 1
    y.sum().backward()
    assert w.grad.tolist() == [2.0, 3.0]


def test_in_place_operations_are_recorded(lib):
    x, w = leaf(lib, 2.0, 3.0), leaf(lib, 5.0, 7.0)
    y = x * 1
    y *= 3
    y += w
    y -= 1
    y /= 2
    assert y.tolist() == [5.0, 7.5]
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([1.5, 1.5], [0.5, 0.5])


def test_in_place_gives_a_history_to_a_plain_tensor(lib):
    total, w = lib.zeros(2), leaf(lib, 5.0, 7.0)
    for i in range(3):
        total += w * i
    assert total.requires_grad
    total.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("change", [lambda y: y.zero_(), lambda y: y.fill_(4), lambda y: y.mul_(0)])
def test_overwritten_numbers_pass_no_gradient_on(lib, change):
    x = leaf(lib, 2.0, 3.0)
    y = x * 2
    change(y)
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_copy_passes_the_gradient_to_the_source(lib):
    x, w = leaf(lib, 2.0, 3.0), leaf(lib, 5.0)
    y = x * 2
    y.copy_(w)
    assert y.tolist() == [5.0, 5.0]
    (y * lib.tensor([10.0, 100.0])).sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([0.0, 0.0], [110.0])


def test_unrecorded_change_keeps_the_history(lib):
    x = leaf(lib, 2.0, 3.0)
    y = x * 2
    with lib.no_grad():
        y.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


LEAF_CHANGES = {
    "add": lambda x: x.add_(1),
    "sub": lambda x: x.sub_(1),
    "mul": lambda x: x.mul_(2),
    "zero": lambda x: x.zero_(),
    "fill": lambda x: x.fill_(1),
    "copy": lambda x: x.copy_(x.detach() * 2),
    "iadd": lambda x: x.__iadd__(1),
    "itruediv": lambda x: x.__itruediv__(2),
    "view": lambda x: x.view(-1).mul_(2),
    "row": lambda x: x[0].zero_(),
    "setitem": lambda x: x.__setitem__(0, 5.0),
}


@pytest.mark.parametrize("name", LEAF_CHANGES)
@pytest.mark.parametrize("parameter", [False, True])
def test_leaf_in_place(lib, name, parameter):
    x = leaf(lib, 2.0, 3.0)
    if parameter:
        x = lib.nn.Parameter(x)
    with pytest.raises(RuntimeError):
        LEAF_CHANGES[name](x)
    assert x.tolist() == [2.0, 3.0]
    with lib.no_grad():
        LEAF_CHANGES[name](x)
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() != [2.0, 3.0]


def test_inplace_activation_of_a_leaf(lib):
    x = leaf(lib, -2.0, 3.0)
    with pytest.raises(RuntimeError):
        lib.nn.ReLU(inplace=True)(x)
    assert x.tolist() == [-2.0, 3.0]


def test_optimizer_step_between_forward_and_backward(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 2))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    x = lib.tensor([[1.0, 2.0]])
    model(x).sum().backward()
    loss = model(x).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_optimizer_step_between_is_harmless_where_the_weight_is_not_read(lib):
    """One layer and an input without gradient: the backward pass does not read the weight."""
    layer = lib.nn.Linear(2, 2)
    optimizer = lib.optim.SGD(layer.parameters(), lr=0.1)
    x = lib.tensor([[1.0, 2.0]])
    layer(x).sum().backward()
    loss = layer(x).sum()
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    assert layer.weight.grad.tolist() == [[1.0, 2.0]] * 2


def test_load_state_dict_between_forward_and_backward(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 2))
    loss = model(lib.tensor([[1.0, 2.0]])).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_in_place_on_a_view_changes_the_base(lib):
    x = leaf(lib, 1.0, 2.0, 3.0)
    y = x * 2
    v = y[1:]
    v *= 10
    assert y.tolist() == [2.0, 40.0, 60.0]
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 20.0, 20.0]


@pytest.mark.parametrize("through", [lambda y: y.view(-1), lambda y: y[0], lambda y: y.T, lambda y: y.unsqueeze(0)])
def test_in_place_on_a_view_gives_its_base_and_other_views_the_history(lib, through):
    x = lib.tensor([[1.0, 2.0]], requires_grad=True)
    w = lib.tensor(3.0, requires_grad=True)
    y = x * 2
    other, v = y.view(2), through(y)
    v += w
    assert y.tolist() == [[5.0, 7.0]]
    (y.sum() + (other * 10).sum() + (v * 100).sum()).backward()
    assert w.grad.item() == 222.0
    assert x.grad.tolist() == [[222.0, 222.0]]


def test_views_of_a_base_that_was_changed(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    v, d = y.view(2, 1), y.detach()
    y *= 3
    assert (d * 1).tolist() == [6.0, 12.0]
    v.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
    assert not d.requires_grad


def test_in_place_on_a_view_of_a_plain_tensor(lib):
    """Like a running total in part of a tensor of zeros."""
    total, w = lib.zeros(3), leaf(lib, 5.0, 7.0)
    early = total[:2]
    total[1:] += w
    total[0] = w.sum() * 10
    assert (total.requires_grad, early.requires_grad) == (True, True)
    assert (total.is_leaf, early.is_leaf) == (False, False)
    (total.sum() + early.sum()).backward()
    assert w.grad.tolist() == [22.0, 21.0]


def test_a_view_of_a_view_changed_in_place(lib):
    x = lib.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x * 1
    y.t()[1:][0] *= 5
    (y * y).sum().backward()
    assert x.grad.tolist() == [[0.0, 50.0, 4.0], [6.0, 200.0, 10.0]]


def test_a_view_made_before_an_unrecorded_change(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    v = y[0]
    with lib.no_grad():
        v.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_an_alias_changed_in_place_leaves_the_other_alone(lib):
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * 2
    d = y.detach()
    d += w
    assert (d.requires_grad, y.tolist()) == (True, [5.0, 8.0])
    y.sum().backward()
    d.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_assignment_to_elements(lib):
    x = lib.zeros(2, 3)
    x[0] = 1
    x[1, 1:] = lib.tensor([5.0, 6.0])
    x[:, 0] = -1.0
    x[x == 5] = 50.0
    assert x.tolist() == [[-1.0, 1.0, 1.0], [-1.0, 50.0, 6.0]]


ASSIGNMENTS = {
    "number": lambda lib, y, w: y.__setitem__(0, 5.0),
    "row": lambda lib, y, w: y.__setitem__(1, w),
    "column": lambda lib, y, w: y.__setitem__((slice(None), 0), w[:2]),
    "broadcast": lambda lib, y, w: y.__setitem__(slice(None), w[0]),
    "leading_ones": lambda lib, y, w: y.__setitem__(0, w.reshape(1, 3)),
    "mask": lambda lib, y, w: y.__setitem__(y > 2, 0),
    "mask_of_values": lambda lib, y, w: y.__setitem__(y.detach() > 2, w),
    "list": lambda lib, y, w: y.__setitem__((slice(None), [0, 2]), w[:2]),
    "indices": lambda lib, y, w: y.__setitem__((lib.tensor([0, 1]), lib.tensor([2, 0])), w[1:]),
    "ellipsis": lambda lib, y, w: y.__setitem__(..., w),
    "double": lambda lib, y, w: y.__setitem__(0, w.double()),
    "itself": lambda lib, y, w: y.__setitem__(0, y[1] + w),
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
@pytest.mark.parametrize("recorded", [(True, True), (True, False), (False, True)], ids=str)
def test_assignment_to_elements_is_recorded(name, recorded):
    """Compared with the same numbers combined by a mask."""
    rng = np.random.default_rng(0)
    start, row, weights = rng.uniform(0, 4, (2, 3)), rng.uniform(5, 6, 3), rng.standard_normal((2, 3))
    x, w = (fastnn.tensor(a, requires_grad=r) for a, r in zip((start, row), recorded, strict=True))

    def function(x, w):
        y = x * 1
        ASSIGNMENTS[name](fastnn, y, w)
        return y * y

    y = function(x, w)
    if not y.requires_grad:
        return
    (y * fastnn.tensor(weights)).sum().backward()
    step = 1e-6
    for t, a, other in ((x, start, row), (w, row, start)):
        if not t.requires_grad or t.grad is None:
            continue
        direction = rng.standard_normal(a.shape)
        values = []
        for sign in (1, -1):
            moved = a + sign * step * direction
            pair = (moved, other) if t is x else (other, moved)
            values.append((as_array(function(*map(fastnn.tensor, pair))) * weights).sum())
        assert abs((values[0] - values[1]) / (2 * step) - (as_array(t.grad) * direction).sum()) < 1e-7


APART = {
    "split": lambda y: y.split(1), "sizes": lambda y: y.split([1, 1]), "chunk": lambda y: y.chunk(2),
    "unbind": lambda y: y.unbind(), "iter": list, "unbind_view": lambda y: [p.view(2) for p in y.unbind()],
}  # fmt: skip
SLICES = {
    "tensor_split": lambda y: y.tensor_split(2), "indices": lambda y: y.tensor_split([1]),
    "hsplit": lambda y: y.hsplit(2), "vsplit": lambda y: y.vsplit(2),
    "dsplit": lambda y: y.reshape(1, 2, 2).dsplit(2), "unsafe_split": lambda y: y.unsafe_split(1),
    "unsafe_chunk": lambda y: y.unsafe_chunk(2), "rows": lambda y: [y[0], y[1]],
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_one_of_many_views(lib, name):
    y = lib.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True) * 2
    for part in APART[name](y):
        with pytest.raises(RuntimeError, match="is being modified inplace"):
            part.add_(1)
    plain = lib.zeros(2, 2)
    for part in APART[name](plain):
        part.add_(1)
    assert plain.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("name", SLICES)
def test_pieces_that_are_slices(lib, name):
    w = lib.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = w * 2
    for i, part in enumerate(SLICES[name](y)):
        part.add_(i + 1)
    (y * y).sum().backward()
    along = name in ("hsplit", "dsplit")
    expected = np.array([[3.0, 6.0], [7.0, 10.0]] if along else [[3.0, 5.0], [8.0, 10.0]])
    np.testing.assert_array_equal(as_array(y), expected)
    np.testing.assert_array_equal(as_array(w.grad), 4 * expected)


def test_byte_masks_warn(lib):
    mask, x = lib.tensor([1, 0, 1], dtype=lib.uint8), lib.arange(9.0).reshape(3, 3)
    with pytest.warns(UserWarning, match="deprecated"):
        x[mask] += 1
    with pytest.warns(UserWarning, match="deprecated"):
        x[mask, 1] = lib.tensor([7.0, 8.0])
    with pytest.warns(UserWarning, match="deprecated"):
        x.index_put_((mask,), lib.ones(2, 3), accumulate=True)
    assert x.tolist() == [[2.0, 8.0, 4.0], [3.0, 4.0, 5.0], [8.0, 9.0, 10.0]]
    with pytest.raises(RuntimeError, match="only supports boolean masks"):
        x[mask] = 5.0
    w = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = w * 2
    with pytest.warns(UserWarning, match="deprecated"):
        y[mask] = lib.tensor([5.0, 6.0])
    if lib is fastnn:
        y.sum().backward()
        assert w.grad.tolist() == [0.0, 2.0, 0.0]


OF_ITSELF = {
    "number to number": ((4,), "x[0] = x[3]"),
    "swap": ((4,), "x[0], x[1] = x[1], x[0] + 0"),
    "two numbers": ((4, 4), "x[0, 1] = x[1, 2]"),
    "vector of one": ((4, 4), "x[0] = x[1:2]"),
    "no dimension": ((), "x[()] = x"),
    "number to all": ((4,), "x[:] = x[0]"),
    "last to the rest": ((4,), "x[1:] = x[-1]"),
    "one to all": ((4,), "x[...] = x[0:1]"),
    "number to a row": ((4, 4), "x[0, :] = x[0, 0]"),
    "row to a row": ((4, 4), "x[0:1] = x[0]"),
    "new dimension": ((4,), "x[None] = x"),
    "row to all": ((4, 4), "x[:] = x[3]"),
    "kept dimension": ((2, 2, 2), "x[0] = x[1:2]"),
    "dropped dimension": ((2, 2, 2), "x[0] = x[0:1]"),
    "itself expanded": ((4,), "x[:1].expand(8).copy_(x[:1].expand(8))"),
}


@pytest.mark.parametrize("name", OF_ITSELF)
@pytest.mark.parametrize("interior", [False, True], ids=["plain", "recorded"])
def test_assignment_of_parts_of_the_same_tensor(lib, name, interior):
    shape, code = OF_ITSELF[name]
    values = np.arange(float(np.prod(shape)), dtype=np.float32).reshape(shape)
    expected = values.copy()
    if "copy_" not in code:
        exec(code, {"x": expected})
    x = lib.tensor(values, requires_grad=interior) * 1
    exec(code, {"x": x})
    assert x.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "code", ["x[1:] = x[:-1]", "x[None, 0:4] = x[2:6]", "x[0:4] = x[None, 2:6]", "x[:4].copy_(x[2:6])"]
)
def test_assignment_of_overlapping_parts_is_refused(lib, code):
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        exec(code, {"x": lib.arange(8.0)})


@pytest.mark.parametrize("code", ["x[0] = x[1:]", "x[0, ...] = x[1:]", "x[:2] = x[1:]"])
def test_assignment_of_a_part_of_another_shape(lib, code):
    with pytest.raises(RuntimeError):
        exec(code, {"x": lib.arange(4.0)})


@pytest.mark.parametrize("name", ["add_", "sub_", "add", "sub", "rsub"])
def test_a_factor_that_the_dtype_cannot_hold(lib, name):
    x = lib.ones(3)
    operate = getattr(x, name) if name != "rsub" else lambda *args, **kwargs: lib.rsub(x, *args, **kwargs)
    for alpha in (1e300, -1e300):
        with pytest.raises(RuntimeError, match=r"cannot be converted to type float.* without overflow"):
            operate(lib.ones(3), alpha=alpha)
    with pytest.raises(OverflowError, match="int too big to convert"):
        operate(lib.ones(3), alpha=10**40)
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_elements_of_an_expanded_tensor_that_are_not_repeated(lib):
    """Writing to them changes the tensor that was expanded; the others cannot be written."""
    x = lib.zeros(3, 1)
    wide = x.expand(3, 3)
    wide[:, 1] = lib.tensor([1.0, 2.0, 3.0])
    wide[0:1, 0].add_(4)
    wide.diagonal()[2:].neg_()
    assert x.flatten().tolist() == [5.0, 2.0, -3.0]
    for write in (lambda: wide.add_(1), lambda: wide[0].mul_(2), lambda: wide.__setitem__(0, 1.0)):
        with pytest.raises(RuntimeError):
            write()
    weight = lib.ones(3, requires_grad=True)
    made = lib.ones(3, 1) * 2
    made.expand(3, 2)[:, 1].mul_(weight)
    (made[:, 0] * lib.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert weight.grad.tolist() == [2.0, 4.0, 6.0]


def test_memory_that_is_read_only_stays_so(monkeypatch):
    array = np.ones((3, 1), np.float32)
    array.flags.writeable = False
    monkeypatch.setattr(dtypes, "_told", {"NumPy array"})
    x = fastnn.from_numpy(array)
    copied = fastnn.from_numpy(np.asfortranarray(np.ones((2, 3)))).view(-1)
    for part in (x.expand(3, 3)[:, 1], copied.unsqueeze(1).expand(6, 2)[:, 0]):
        with pytest.raises(RuntimeError, match="read-only"):
            part.zero_()
