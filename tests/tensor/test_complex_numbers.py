"""Complex tensors: their place beside the other tensors, and what is refused. Values: tests/behaviour/probes."""

from __future__ import annotations

import copy
import io
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
        lambda t: nn.BatchNorm1d(2)(t), lambda t: t.new_zeros(2), lambda t: t.untyped_storage(),
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


def test_real_numbers_are_as_before():
    t = fastnn.ones(3, requires_grad=True)
    (t * 2).sum().backward()
    assert t.grad.tolist() == [2.0, 2.0, 2.0]
    assert type(fastnn.ones(2) + 1) is fastnn.Tensor
    assert type(fastnn.from_numpy(A.copy()).abs()) is fastnn.Tensor
    with pytest.raises(RuntimeError, match="can't be cast"):
        fastnn.ones(3).add_(1j)
