"""Complex tensors: their place beside the other tensors, and what is refused. Values: tests/behaviour/probes."""

from __future__ import annotations

import copy
import io
import operator
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn

A = np.array([[1 + 2j, -3.5j], [0.5, 2 - 1j]], np.complex64)


def test_memory_is_shared():
    array = A.copy()
    t = fastnn.from_numpy(array)
    array[0, 0] = 5
    assert t[0, 0].item() == 5
    t[1] = 1j
    assert array[1].tolist() == [1j, 1j]
    t.real.zero_()
    fastnn.view_as_real(t)[..., 1] = 2.0
    assert (array == 2j).all()
    pairs = fastnn.zeros(3, 2)
    fastnn.view_as_complex(pairs)[0] = 1 + 2j
    assert pairs[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "compute",
    [
        lambda t: nn.Linear(2, 2)(t), lambda t: nn.ReLU()(t), lambda t: nn.Sequential(nn.Linear(2, 2))(t),
        lambda t: nn.functional.relu(t), lambda t: nn.functional.mse_loss(t, t), lambda t: t.sort(),
        lambda t: t < t, lambda t: t.clamp(0), lambda t: fastnn.softmax(t, 0), lambda t: t.backward(),
        lambda t: fastnn.linalg.inv(t), lambda t: fastnn.einsum("ij,jk->ik", t, t), lambda t: t.requires_grad_(),
        lambda t: t * fastnn.ones(2, requires_grad=True), lambda t: 1j * fastnn.ones(2, requires_grad=True),
        lambda t: nn.BatchNorm1d(2)(t), lambda t: t.trace(), lambda t: t.untyped_storage(),
    ],
)
def test_other_operations_are_refused(compute):
    with pytest.raises(NotImplementedError, match=r"not implemented for|no derivatives of complex"):
        compute(fastnn.from_numpy(A.copy()))


def test_they_are_neither_parameters_nor_optimized():
    with pytest.raises(TypeError, match="complex64"):
        nn.Parameter(fastnn.from_numpy(A.copy()))
    with pytest.raises(TypeError, match="complex64"):
        fastnn.optim.SGD([fastnn.from_numpy(A.copy())], lr=0.1)


def test_copies_and_files():
    t = fastnn.from_numpy(A.copy())
    file = io.BytesIO()
    fastnn.save({"a": t, "b": t.cdouble(), "kind": t.dtype}, file)
    file.seek(0)
    found = fastnn.load(file)
    assert found["kind"] is fastnn.complex64
    assert found["b"].dtype is fastnn.complex128
    for other in (found["a"], copy.deepcopy(t), pickle.loads(pickle.dumps(t)), t.clone()):
        assert type(other) is type(t)
        assert other.tolist() == t.tolist()


def test_modules_of_programs_and_buffers():
    class Rotation(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("factor", fastnn.polar(fastnn.ones(2), fastnn.tensor([0.0, np.pi])))

        def forward(self, x):
            return fastnn.view_as_real(fastnn.view_as_complex(x) * self.factor)

    model = Rotation()
    x = fastnn.tensor([[1.0, 2.0], [3.0, -4.0]])
    for _ in range(4):
        np.testing.assert_allclose(model(x).numpy(), [[1, 2], [-3, 4]], atol=1e-6)
    assert list(model.state_dict()) == ["factor"]


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_arguments_by_name_and_in_place():
    t, a = fastnn.from_numpy(A.copy()), A.astype(np.complex128)
    mask = fastnn.tensor([[True, False], [False, True]])
    for found, expected in (
        (fastnn.sum(input=t, dim=0), a.sum(0)), (t.sum(axis=1, keepdims=True), a.sum(1, keepdims=True)),
        (fastnn.add(input=t, other=1j, alpha=2), a + 2j), (t.pow(exponent=2), a**2), (t.div(other=2j), a / 2j),
        (fastnn.where(condition=mask, input=t, other=t.conj()), np.where(mask.numpy(), a, a.conj())),
        (t.where(mask, t.conj()), np.where(mask.numpy(), a, a.conj())),
        (t.where(condition=mask, other=0), a * mask.numpy()),
        (operator.ipow(t.clone(), 2), a**2), (t.var(1, unbiased=False), a.var(1)),
        (t.var(False), a.var()), (t.std(0), a.std(0, ddof=1)),
        (fastnn.cumsum(t, dim=1, dtype=fastnn.complex128), a.cumsum(1)), (t.sum(dtype=fastnn.float32), a.real.sum()),
        (t.masked_fill(mask, 2j), np.where(mask.numpy(), 2j, a)), (t.new_full((2,), 3), [3 + 0j] * 2),
        (t.masked_select(mask), a[mask.numpy()]), (fastnn.full_like(t, 1j), np.full((2, 2), 1j)),
        (t.clone().exp_(), np.exp(a)), (t.clone().neg_(), -a), (t.clone().fill_(2j), np.full((2, 2), 2j)),
        (t.clone().masked_fill_(mask, 0), np.where(mask.numpy(), 0, a)), (t.new_tensor([1.0]), [1 + 0j]),
        (t.clone().t_(), a.T), (t.new_zeros(2), [0j, 0j]),
    ):  # fmt: skip
        assert found.is_complex() == np.iscomplexobj(expected)
        # Few operations; exp has the largest error, of about 4 units.
        np.testing.assert_allclose(found.numpy(), expected, rtol=5e-7)
    assert (fastnn.ones(2) == 1j).tolist() == [False, False]
    assert (fastnn.ones(2) != 1j).tolist() == [True, True]


@pytest.mark.parametrize(
    ("compute", "error"),
    [
        (lambda t: fastnn.tensor([1.0, 2j], dtype=fastnn.float32), TypeError),
        (lambda t: setattr(fastnn.ones(2), "data", t), RuntimeError),
        (lambda t: setattr(t, "data", fastnn.ones(2)), RuntimeError),
        (lambda t: nn.functional.linear(t, fastnn.ones(3, 2)), RuntimeError),
        (lambda t: nn.functional.linear(fastnn.ones(3, 2), t), RuntimeError),
        (lambda t: fastnn.where(t, 1.0, 2.0), RuntimeError),
        (lambda t: fastnn.where(fastnn.ones(2, 2), t, t), RuntimeError),
        (lambda t: fastnn.autograd.grad(fastnn.ones(2, 2, requires_grad=True) * 2, [], t), RuntimeError),
        (lambda t: t.div(2, rounding_mode="floor"), NotImplementedError),
        (lambda t: fastnn.ones(2).fill_(t[0, 0]), RuntimeError),
        (lambda t: t.fill_("a"), TypeError),
        (lambda t: t.new_full((2,), 1, dtype=fastnn.float32), TypeError),
        (lambda t: nn.Linear(2, 2).to(fastnn.complex64), TypeError),
    ],
)
def test_nothing_is_dropped_without_an_error(compute, error):
    t = fastnn.from_numpy(A.copy())
    with pytest.raises(error):
        compute(t)
    assert (t.numpy() == A).all()


def test_without_recording_they_take_tensors_that_require_gradients():
    w = fastnn.ones(4, requires_grad=True)
    with fastnn.no_grad():
        assert (w * 1j).tolist() == [1j] * 4
        assert fastnn.fft.fft(w).tolist() == [4, 0, 0, 0]
    with pytest.raises(NotImplementedError, match="derivatives"):
        fastnn.fft.fft(w)


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_batches_and_casts_of_modules():
    data = fastnn.utils.data.TensorDataset(fastnn.from_numpy(A.copy()), fastnn.arange(2))
    for workers in (0, 1):
        [(z, _)] = fastnn.utils.data.DataLoader(data, batch_size=2, num_workers=workers)
        assert z.tolist() == A.tolist()
    model = nn.Linear(1, 1)
    model.register_buffer("z", fastnn.from_numpy(A.copy()))
    assert model.double().z.dtype is fastnn.complex64
    assert model.to(fastnn.float64).z.dtype is fastnn.float64


def test_real_numbers_are_as_before():
    t = fastnn.ones(3, requires_grad=True)
    (t * 2).sum().backward()
    assert t.grad.tolist() == [2.0, 2.0, 2.0]
    assert type(fastnn.ones(2) + 1) is fastnn.Tensor
    assert type(fastnn.from_numpy(A.copy()).abs()) is fastnn.Tensor
    with pytest.raises(RuntimeError, match="can't be cast"):
        fastnn.ones(3).add_(1j)
