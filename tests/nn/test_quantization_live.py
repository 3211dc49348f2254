"""Dynamic quantization compared with PyTorch itself: the same weights, the same outputs, files both ways."""

from __future__ import annotations

import io
import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import fastnn

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def torch() -> Any:
    torch = pytest.importorskip("torch")
    if "x86" not in torch.backends.quantized.supported_engines or torch.backends.quantized.engine != "x86":
        pytest.skip("PyTorch's numbers are those of its x86 engine")
    return torch


def _network(lib: Any, widths: tuple[int, ...], activation: str) -> Any:
    layers = []
    for i, (m, n) in enumerate(itertools.pairwise(widths)):
        layers += [lib.nn.Linear(m, n, bias=i != 1), getattr(lib.nn, activation)()]
    return lib.nn.Sequential(*layers[:-1])


def _quantized(lib: Any, model: Any, by_channel: bool) -> Any:
    names = lib.ao.quantization
    spec = {lib.nn.Linear: names.per_channel_dynamic_qconfig} if by_channel else {lib.nn.Linear}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return names.quantize_dynamic(model, spec, dtype=lib.qint8)


def _pair(torch: Any, widths: tuple[int, ...], by_channel: bool, activation: str = "ReLU") -> tuple[Any, Any]:
    torch.manual_seed(sum(widths))
    theirs, ours = _network(torch, widths, activation), _network(fastnn, widths, activation)
    ours.load_state_dict({name: fastnn.tensor(t.detach().numpy()) for name, t in theirs.state_dict().items()})
    return _quantized(torch, theirs, by_channel), _quantized(fastnn, ours, by_channel)


def _batches(rows: int, columns: int) -> list[np.ndarray]:
    x = np.random.default_rng((rows, columns)).standard_normal((rows, columns)).astype(np.float32)
    # The last one has ties, and numbers that round to 128.
    return [x, np.abs(x), -np.abs(x), x * np.float32(1e-5), 3 + np.abs(x), np.rint(2 * x), np.zeros_like(x)]


WIDTHS = [(784, 256, 128, 64, 10), (33, 1, 9), (64, 17), (5, 40)]


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("widths", WIDTHS)
def test_weights_and_outputs_are_equal(torch: Any, widths: tuple[int, ...], by_channel: bool) -> None:
    theirs, ours = _pair(torch, widths, by_channel)
    assert repr(theirs) == repr(ours)
    for a, b in zip(theirs[::2], ours[::2], strict=True):
        assert np.array_equal(a.weight().int_repr().numpy(), b.weight().int_repr().numpy())
        assert str(a.weight().qscheme()) == str(b.weight().qscheme())
    for rows in (1, 2, 9, 64):
        for x in _batches(rows, widths[0]):
            assert np.array_equal(theirs(torch.tensor(x)).detach().numpy(), ours(fastnn.tensor(x)).numpy())


def test_outputs_after_other_activations_are_close(torch: Any) -> None:
    """Their last bits differ, so that single numbers round to another quantum."""
    theirs, ours = _pair(torch, (40, 50, 30, 7), False, "Tanh")
    for x in _batches(20, 40):
        expected = theirs(torch.tensor(x)).detach().numpy()
        assert np.abs(ours(fastnn.tensor(x)).numpy() - expected).max() <= 2 / 127


# Of PyTorch itself, where it saves a quantized tensor.
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("by_channel", [False, True])
def test_files_both_ways(torch: Any, by_channel: bool) -> None:
    theirs, ours = _pair(torch, (12, 9, 4), by_channel)
    x = _batches(6, 12)[0]
    expected = ours(fastnn.tensor(x)).numpy()
    file = io.BytesIO()
    fastnn.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file))
    assert np.array_equal(theirs(torch.tensor(x)).detach().numpy(), expected)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    other = _quantized(fastnn, _network(fastnn, (12, 9, 4), "ReLU"), False)
    other.load_state_dict(fastnn.load(file))
    assert np.array_equal(other(fastnn.tensor(x)).numpy(), expected)
    assert str(list(other.state_dict())) == str(list(theirs.state_dict()))


def test_quantized_tensors(torch: Any) -> None:
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    x[0] = [np.inf, -np.inf, 0.05, -0.15, 1e9]
    for kind in ("qint8", "quint8"):
        results = []
        for lib in (torch, fastnn):
            whole = lib.quantize_per_tensor(lib.tensor(x), 0.1, 3, getattr(lib, kind))
            scales, zeros = lib.tensor([0.1, 0.2, 0.3, 0.05, 0.01]), lib.tensor([0, 1, 2, 3, 4])
            channel = lib.quantize_per_channel(lib.tensor(x), scales, zeros, 1, getattr(lib, kind))
            found = [whole.int_repr(), channel.int_repr(), whole.dequantize(), channel.dequantize()]
            results.append(([t.numpy() for t in found], repr(whole), repr(channel)))
        assert all(map(np.array_equal, results[0][0], results[1][0]))
        assert results[0][1:] == results[1][1:]


def test_observers(torch: Any) -> None:
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    for name, schemes in (("MinMaxObserver", "per_tensor"), ("PerChannelMinMaxObserver", "per_channel")):
        for scheme, kind in itertools.product(("symmetric", "affine"), ("qint8", "quint8")):
            found = []
            for lib in (torch, fastnn):
                scheme_of = getattr(lib, f"{schemes}_{scheme}")
                observer = getattr(lib.ao.quantization, name)(dtype=getattr(lib, kind), qscheme=scheme_of)
                observer(lib.tensor(x))
                found.append([t.numpy() for t in observer.calculate_qparams()])
            assert all(map(np.array_equal, *found)), (name, scheme, kind)
