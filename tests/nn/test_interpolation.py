"""F.interpolate and the layers of it, beside sums that are written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

NAMES = {3: "linear", 4: "bilinear", 5: "trilinear"}


def _source(i: int, size: int, out: int, align_corners: bool) -> float:
    if align_corners:
        return i * (size - 1) / (out - 1) if out > 1 else 0.0
    return (i + 0.5) * size / out - 0.5


def _keys(d: float) -> float:
    """Keys's cubic kernel with a = -0.75."""
    d = abs(d)
    if d <= 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def _matrix(mode: str, size: int, out: int, align_corners: bool = False) -> np.ndarray:
    """The linear map of one dimension, (out, size)."""
    found = np.zeros((out, size))
    for i in range(out):
        if mode == "nearest":
            found[i, i * size // out] = 1
        elif mode == "nearest-exact":
            found[i, int((i + 0.5) * size / out)] = 1
        elif mode == "area":
            window = slice(i * size // out, -(-(i + 1) * size // out))
            found[i, window] = 1 / (window.stop - window.start)
        else:
            x = _source(i, size, out, align_corners)
            if mode == "bicubic":
                for k in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    found[i, min(max(k, 0), size - 1)] += _keys(x - k)
            else:
                x = min(max(x, 0.0), size - 1.0)
                low = int(x)
                found[i, low] += 1 - (x - low)
                found[i, min(low + 1, size - 1)] += x - low
    return found


def _expected(x: np.ndarray, mode: str, sizes: tuple[int, ...], align_corners: bool) -> np.ndarray:
    for axis, out in enumerate(sizes, 2):
        x = np.moveaxis(np.tensordot(_matrix(mode, x.shape[axis], out, align_corners), x, (1, axis)), 0, axis)
    return x


@pytest.mark.parametrize("ndim", [3, 4, 5])
def test_values_and_gradients(lib: Any, ndim: int) -> None:
    rng = np.random.default_rng(0)
    modes = ["nearest", "nearest-exact", "area", NAMES[ndim], *(["bicubic"] if ndim == 4 else [])]
    shape = (2, 3, 5, 4, 6)[:ndim]
    for mode, target in product(modes, [(1, 1, 1), (10, 8, 3), (7, 9, 6), (5, 4, 6), (2, 3, 11)]):
        sizes = target[: ndim - 2]
        for corners in (None, False, True) if mode in ("bicubic", NAMES[ndim]) else (None,):
            data = rng.normal(size=shape)
            x = lib.tensor(data, requires_grad=True)
            y = lib.nn.functional.interpolate(x, sizes, mode=mode, align_corners=corners)
            # Sums of up to 120 terms.
            np.testing.assert_allclose(
                y.detach().numpy(), _expected(data, mode, sizes, bool(corners)), rtol=1e-12, atol=1e-12
            )
            weights = rng.normal(size=y.shape)
            y.backward(lib.tensor(weights))
            other = rng.normal(size=shape)
            forward = (weights * _expected(other, mode, sizes, bool(corners))).sum()
            np.testing.assert_allclose((other * x.grad.numpy()).sum(), forward, rtol=1e-11, atol=1e-11)


def test_factors(lib: Any) -> None:
    """Positions are those of the factor, or of the sizes with recompute_scale_factor."""
    x = lib.arange(5.0, dtype=lib.float64).reshape(1, 1, 5)
    resize = lib.nn.functional.interpolate
    assert resize(x, scale_factor=2)[0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert resize(x, scale_factor=1.5)[0, 0].tolist() == [0, 0, 1, 2, 2, 3, 4]
    given = resize(x, scale_factor=1.5, mode="linear")[0, 0].numpy()
    np.testing.assert_allclose(given, np.clip((np.arange(7) + 0.5) / 1.5 - 0.5, 0, 4), atol=1e-12)
    again = resize(x, scale_factor=1.5, mode="linear", recompute_scale_factor=True)[0, 0].numpy()
    np.testing.assert_allclose(again, np.clip((np.arange(7) + 0.5) * 5 / 7 - 0.5, 0, 4), atol=1e-12)
    assert resize(x.reshape(1, 1, 5, 1).expand(1, 1, 5, 2), scale_factor=(0.6, 2)).shape == (1, 1, 3, 4)


def test_dtypes(lib: Any) -> None:
    x = lib.arange(12).reshape(1, 2, 6)
    resize = lib.nn.functional.interpolate
    assert resize(x.to(lib.uint8), 3).dtype == lib.uint8
    for kind in (lib.float16, lib.bfloat16, lib.float32):
        y = resize(x.to(kind).requires_grad_(), 4, mode="linear")
        assert y.dtype == kind
        np.testing.assert_allclose(y.detach().double()[0, 0].numpy(), [0.25, 1.75, 3.25, 4.75])
    with pytest.raises(NotImplementedError):
        resize(x, 3, mode="linear")


def test_result_is_new_and_empty_batches(lib: Any) -> None:
    x = lib.ones(2, 1, 4)
    lib.nn.functional.interpolate(x, 4).zero_()
    assert x.sum().item() == 8
    assert lib.nn.functional.interpolate(lib.ones(0, 1, 4), 7, mode="linear").shape == (0, 1, 7)
    strided = lib.arange(24.0).reshape(2, 4, 3).transpose(1, 2)
    assert lib.nn.functional.interpolate(strided, 2)[1, 2].tolist() == [14, 20]


def test_second_derivatives(lib: Any) -> None:
    x = lib.tensor([[[1.0, 2.0, 4.0]]], dtype=lib.float64, requires_grad=True)
    y = (lib.nn.functional.interpolate(x, 5, mode="linear") ** 2).sum()
    (slope,) = lib.autograd.grad(y, x, create_graph=True)
    slope.sum().backward()
    m = _matrix("linear", 3, 5)
    np.testing.assert_allclose(x.grad.numpy()[0, 0], 2 * m.T @ m @ np.ones(3), rtol=1e-12)


def test_wrong_arguments(lib: Any) -> None:
    x = lib.ones(1, 1, 4)
    resize = lib.nn.functional.interpolate
    for error, wrong in (
        (ValueError, lambda: resize(x)),
        (ValueError, lambda: resize(x, 3, 2.0)),
        (ValueError, lambda: resize(x, (3, 3))),
        (ValueError, lambda: resize(x, scale_factor=(2.0, 2.0))),
        (ValueError, lambda: resize(x, 3, align_corners=True)),
        (ValueError, lambda: resize(x, 3, recompute_scale_factor=True)),
        (ValueError, lambda: resize(x, 3, mode="linear", antialias=True)),
        (TypeError, lambda: resize(x, (1.5,))),
        (NotImplementedError, lambda: resize(x, 3, mode="bilinear")),
        (NotImplementedError, lambda: resize(x[0], 3)),
        (NotImplementedError, lambda: resize(x, 3, mode="cubic")),
        (RuntimeError, lambda: resize(x, 0)),
        (RuntimeError, lambda: resize(lib.ones(1, 1, 0), 2)),
    ):
        with pytest.raises(error):
            wrong()


def test_layers(lib: Any) -> None:
    nn = lib.nn
    x = lib.arange(4.0).reshape(1, 1, 2, 2)
    assert repr(nn.Upsample(scale_factor=2)) == "Upsample(scale_factor=2.0, mode='nearest')"
    assert repr(nn.UpsamplingBilinear2d((3, 3))) == "UpsamplingBilinear2d(size=(3, 3), mode='bilinear')"
    assert nn.UpsamplingBilinear2d(3)(x)[0, 0].tolist() == [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]
    assert nn.UpsamplingNearest2d(scale_factor=2)(x).shape == (1, 1, 4, 4)
    model = nn.Sequential(nn.Linear(2, 2), nn.Upsample(size=(3,), mode="linear", align_corners=True), nn.Flatten())
    assert model(lib.ones(5, 1, 2)).shape == (5, 3)
