"""Wrong input is rejected before a launch, with the right type of error and a helpful message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import DTypeError, ShapeError, nn
from fastnn._core.devices import DeviceError
from fastnn._core.errors import NoTensorError
from fastnn.kernels.runtime import launcher
from fastnn.nn import functional


def test_both_kinds_of_exception():
    """PyTorch raises RuntimeError where NumPy raises ValueError and TypeError; either ``except`` is right."""
    assert issubclass(ShapeError, ValueError)
    assert issubclass(ShapeError, RuntimeError)
    assert issubclass(DTypeError, TypeError)
    assert issubclass(DTypeError, RuntimeError)
    for kinds in ((ShapeError, (ValueError, RuntimeError)), (DTypeError, (TypeError, RuntimeError))):
        for expected in kinds[1]:
            with pytest.raises(expected, match="text"):
                raise kinds[0]("text")


def rows(*labels: int) -> Any:
    return fastnn.tensor(np.array(labels, np.int64))


X = fastnn.zeros(3, 10)
# The call, the error, and a part of its message.
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "label_10": (lambda: functional.cross_entropy(X, rows(0, 10, 1)), IndexError, "Target 10 is out of bounds"),
    "label_minus_1": (lambda: functional.cross_entropy(X, rows(0, -1, 1)), IndexError, "Target -1 is out of bounds"),
    "label_minus_101": (lambda: functional.cross_entropy(X, rows(0, -101, 1)), IndexError, "Target -101"),
    "label_huge": (lambda: functional.cross_entropy(X, rows(0, 2**62, 1)), IndexError, str(2**62)),
    "label_smallest": (lambda: functional.cross_entropy(X, rows(0, -(2**63), 1)), IndexError, str(-(2**63))),
    "label_last": (lambda: functional.cross_entropy(X, rows(0, 1, 10)), IndexError, "Target 10"),
    "label_uint8": (
        lambda: functional.cross_entropy(X, fastnn.tensor([0, 200, 1], dtype=fastnn.uint8)), IndexError, "Target 200",
    ),
    "label_sum": (lambda: functional.cross_entropy(X, rows(0, 10, 1), reduction="sum"), IndexError, "Target 10"),
    "label_none": (lambda: functional.cross_entropy(X, rows(0, 10, 1), reduction="none"), IndexError, "Target 10"),
    "label_ignored_elsewhere": (
        lambda: functional.cross_entropy(X, rows(0, -100, 1), ignore_index=5), IndexError, "Target -100",
    ),
    "label_beside_an_ignored_one": (lambda: functional.cross_entropy(X, rows(-100, 10, -100)), IndexError, "Target 10"),
    "label_1d": (lambda: functional.cross_entropy(fastnn.zeros(10), fastnn.tensor(10)), IndexError, "Target 10"),
    "label_module": (lambda: nn.CrossEntropyLoss()(X, rows(0, 10, 1)), IndexError, "Target 10"),
    "label_float64": (lambda: functional.cross_entropy(X.double(), rows(0, 10, 1)), IndexError, "Target 10"),
    "no_classes": (lambda: functional.cross_entropy(fastnn.zeros(2, 0), rows(0, 0)), IndexError, "Target 0"),
    "label_count": (lambda: functional.cross_entropy(X, rows(0, 1)), ShapeError, r"batch_size \(3\).*\(2,\)"),
    "label_matrix": (lambda: functional.cross_entropy(X, fastnn.zeros(3, 1).long()), ShapeError, r"\(3, 1\)"),
    "label_int32": (lambda: functional.cross_entropy(X, rows(0, 1, 2).int()), DTypeError, "int32"),
    "label_probabilities": (lambda: functional.cross_entropy(X, fastnn.zeros(3, 9)), ShapeError, r"\(3, 9\)"),
    "label_integer_probabilities": (
        lambda: functional.cross_entropy(X, fastnn.zeros(3, 10).long()), DTypeError, "floating point.*int64",
    ),
    "label_list": (lambda: functional.cross_entropy(X, [0, 1, 2]), NoTensorError, "must be a Tensor, found list"),
    "logits_int": (lambda: functional.cross_entropy(X.long(), rows(0, 1, 2)), DTypeError, "int64"),
    "logits_3d": (lambda: functional.cross_entropy(fastnn.zeros(3, 4, 5), rows(0, 1, 2)), ShapeError, r"\(3, 4, 5\)"),
    "logits_array": (lambda: functional.cross_entropy(np.zeros((3, 4)), rows(0, 1, 2)), NoTensorError, "found ndarray"),
    "reduction": (lambda: functional.cross_entropy(X, rows(0, 1, 2), reduction="max"), ValueError, "'none', 'mean'"),
    "features": (lambda: nn.Linear(5, 2)(fastnn.zeros(4, 3)), ShapeError, r"4x3 and 5x2.*5 features.*\(4, 3\)"),
    "features_1d": (lambda: nn.Linear(5, 2)(fastnn.zeros(3)), ShapeError, r"5 features.*\(3,\)"),
    "features_3d": (lambda: nn.Linear(5, 2)(fastnn.zeros(4, 5, 3)), ShapeError, r"20x3 and 5x2"),
    "features_of_nothing": (lambda: nn.Linear(5, 2)(fastnn.zeros(4, 0)), ShapeError, r"\(4, 0\)"),
    "features_scalar": (lambda: nn.Linear(5, 2)(fastnn.tensor(1.0)), ShapeError, "at least 1D, but they are 0D"),
    "features_fused": (
        lambda: nn.Sequential(nn.Linear(5, 2), nn.ReLU())(fastnn.zeros(4, 3)), ShapeError, "4x3 and 5x2",
    ),
    "float64_input": (lambda: nn.Linear(3, 2)(fastnn.zeros(4, 3).double()), DTypeError, "float64 and torch.float32"),
    "float32_input": (
        lambda: nn.Linear(3, 2, dtype=fastnn.float64)(fastnn.zeros(4, 3)), DTypeError, "float32 and torch.float64",
    ),
    "int_input": (lambda: nn.Linear(3, 2)(fastnn.zeros(4, 3).long()), DTypeError, "int64"),
    "int_everything": (
        lambda: functional.linear(X.long(), fastnn.zeros(2, 10).long()), DTypeError, "float32 and float64",
    ),
    "array_input": (lambda: nn.Linear(3, 2)(np.zeros((4, 3), np.float32)), NoTensorError, "found ndarray"),
    "weight_3d": (lambda: functional.linear(X, fastnn.zeros(2, 10, 1)), ShapeError, r"\(2, 10, 1\)"),
    "bias_shape": (lambda: functional.linear(X, fastnn.zeros(2, 10), fastnn.zeros(3)), ShapeError, r"\(2,\).*\(3,\)"),
    "bias_dtype": (lambda: functional.linear(X, fastnn.zeros(2, 10), fastnn.zeros(2).double()), DTypeError, "float64"),
    "bias_number": (lambda: functional.linear(X, fastnn.zeros(2, 10), 1.0), NoTensorError, "bias must be a Tensor"),
    "activation_int": (lambda: functional.leaky_relu(fastnn.tensor([1])), DTypeError, "int64"),
    "activation_list": (lambda: fastnn.tanh([1.0]), NoTensorError, "found list"),
    "gelu": (lambda: functional.gelu(X, approximate="erf"), RuntimeError, "'erf'"),
    "gelu_module": (lambda: nn.GELU(approximate="erf"), RuntimeError, "'erf'"),
    "matmul_shapes": (lambda: X @ X, ShapeError, "3x10 and 3x10"),
    "matmul_dimensions": (lambda: X @ fastnn.zeros(2, 11, 2), ShapeError, r"\[2, 10\].*\[2, 11\]"),
    "matmul_dtypes": (lambda: X @ X.t().double(), DTypeError, "float32 and torch.float64"),
    "matmul_number": (lambda: fastnn.matmul(X, 2), TypeError, "mat2 must be a Tensor, found int"),
    "layer_size": (lambda: nn.Linear(-1, 2), ShapeError, "in_features must not be negative, found -1"),
    "layer_dtype": (lambda: nn.Linear(1, 2, dtype=fastnn.int64), DTypeError, "int64"),
    "layer_device": (lambda: nn.Linear(1, 2, device="cuda"), DeviceError, "CUDA"),
    "parameter_dtype": (lambda: nn.Parameter(fastnn.tensor([1])), DTypeError, "int64"),
    "broadcast": (lambda: X + fastnn.zeros(4), ShapeError, r"\(3, 10\) and \(4,\)"),
    "reshape": (lambda: X.reshape(7, -1), ShapeError, r"\[7, -1\].*30"),
    "in_place": (lambda: fastnn.zeros(2).add_(X), ShapeError, r"\(2,\)"),
    "in_place_dtype": (lambda: fastnn.tensor([1]).add_(0.5), DTypeError, "float32.*int64"),
    "gradient": (lambda: (X * 1).requires_grad_().backward(fastnn.zeros(2)), ShapeError, r"shape of \(2,\).*\(3, 10\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_any_launch(name):
    function, error, text = REFUSED[name]
    launched: list[str] = []
    watched = launcher.recording(lambda kernel, *rest: launched.append(kernel.name))
    with watched, pytest.raises(error, match=text) as caught:
        function()
    # The kernel checks the labels before it writes anything.
    assert [n for n in launched if error is not IndexError or not n.startswith("softmax_cross_entropy")] == []
    assert type(caught.value) is error


def test_launches_are_seen():
    """The test above is meaningful: a valid call does launch."""
    launched: list[str] = []
    with launcher.recording(lambda kernel, *rest: launched.append(kernel.name)):
        functional.cross_entropy(X, rows(0, 9, 1))
    assert launched == ["softmax_cross_entropy.float32"]


def test_a_refused_step_leaves_the_model_as_it_was():
    """A label out of range during training does not affect the next step."""

    def train(with_mistake: bool) -> list[Any]:
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 3))
        optimizer = fastnn.optim.Adam(model.parameters(), lr=0.1)
        for step in range(3):
            if with_mistake and step == 1:
                with pytest.raises(IndexError):
                    nn.CrossEntropyLoss()(model(X), rows(0, 3, 1)).backward()
                with pytest.raises(RuntimeError):
                    model(fastnn.zeros(3, 9))
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(X + step), rows(0, 2, 1)).backward()
            optimizer.step()
        return [p.tolist() for p in model.parameters()]

    assert train(True) == train(False)


@pytest.mark.parametrize("index", [5, -6, 2**40])
def test_an_index_out_of_range_never_reaches_the_gather(index):
    data = fastnn.utils.data
    images = data.ImageDataset(np.zeros((5, 2, 2), np.uint8), np.zeros(5, int))
    launched: list[str] = []
    with launcher.recording(lambda kernel, *rest: launched.append(kernel.name)):
        for dataset in (images, data.TensorDataset(fastnn.zeros(5, 3))):
            with pytest.raises(IndexError, match=str(index)):
                dataset.batch([0, index])
            with pytest.raises(IndexError):
                list(data.DataLoader(dataset, batch_size=2, sampler=[0, index]))
    assert launched == []


def test_memory_that_may_not_be_written():
    """A read-only array is valid as data, and refused as a parameter to train."""
    a = np.ones((2, 3), np.float32)
    a.flags.writeable = False
    x = fastnn.from_numpy(a)
    assert nn.Linear(3, 2)(x).shape == (2, 2)
    with pytest.raises(RuntimeError, match="read-only"):
        x += 1
    w = fastnn.from_numpy(a).requires_grad_()
    w.grad = fastnn.ones(2, 3)
    with pytest.raises(ValueError, match="writeable"):
        fastnn.optim.SGD([w], lr=0.1).step()
    assert (a == 1).all()
