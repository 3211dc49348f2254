"""Fourier transforms of real and complex numbers."""

from __future__ import annotations

import numpy as np
import pytest

NORMS = [None, "ortho", "forward", "backward"]


def _numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [None, 5, 6, 9])
@pytest.mark.parametrize("dim", [-1, 0])
def test_transforms(lib, n, dim, norm):
    x = _numbers((6, 7))
    z = x + 1j * _numbers((6, 7), 1)
    pair = lib.view_as_complex(lib.tensor(np.stack([z.real, z.imag], -1)))
    for name, given, number in (("fft", x, z), ("ifft", x, z), ("rfft", x, None), ("irfft", x, z)):
        for array, tensor in ((given, lib.tensor(given)), (number, pair)):
            if array is None:
                continue
            found = getattr(lib.fft, name)(tensor, n=n, dim=dim, norm=norm)
            # The transforms have no more than 4 stages here.
            expected = getattr(np.fft, name)(array, n, dim, norm)
            np.testing.assert_allclose(found.resolve_conj().numpy(), expected, rtol=0, atol=1e-13)
    assert lib.fft.rfft(lib.tensor(x, dtype=lib.float32), n, dim, norm).real.dtype == lib.float32


def test_arithmetic(lib):
    a, b = (_numbers(5, seed) + 1j * _numbers(5, seed + 1) for seed in (2, 4))
    p, q = (lib.view_as_complex(lib.tensor(np.stack([z.real, z.imag], -1))) for z in (a, b))
    for found, expected in (
        (p + q, a + b), (p - q, a - b), (p * q, a * b), (p / q, a / b), (2 * p, 2 * a), (-p, -a), (p.conj(), a.conj()),
        (p[1:3], a[1:3]), (p * 2j, a * 2j), (1 - p, 1 - a),
    ):  # fmt: skip
        np.testing.assert_allclose(found.resolve_conj().numpy(), expected, rtol=1e-14, atol=1e-15)
    wide = p.unsqueeze(0).expand(3, 5).transpose(0, 1).resolve_conj().numpy()
    np.testing.assert_array_equal(wide, np.repeat(a[:, None], 3, 1))
    np.testing.assert_allclose(p.abs().numpy(), np.abs(a), rtol=1e-14)
    np.testing.assert_allclose(p.angle().numpy(), np.angle(a), rtol=1e-14)
    assert p.is_complex()
    assert p.shape == (5,)
    p.unsqueeze(-1).expand_as(lib.ones(5, 1)).mul_(2)
    np.testing.assert_array_equal(p.numpy(), 2 * a)


def test_wrong_arguments(lib):
    x = lib.ones(4)
    for wrong in (
        lambda: lib.fft.rfft(x, n=0), lambda: lib.fft.fft(x, norm="none"), lambda: lib.view_as_real(x),
        lambda: lib.view_as_complex(lib.ones(3)), lambda: lib.view_as_complex(lib.ones(2).long()),
        lambda: lib.fft.fftn(lib.ones(4, 4), dim=(0, 0)), lambda: lib.fft.fftn(lib.ones(4, 4), dim=(0, -2)),
        lambda: lib.fft.fftn(lib.ones(4, 4), s=(2,), dim=(0, 1)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            wrong()
    with pytest.raises(IndexError):
        lib.fft.rfft(x, dim=1)


def test_size_of_minus_one(lib):
    """The size of the dimension; in the last one of irfftn, whose input is half of the numbers, that without s."""
    half = np.fft.rfftn(_numbers((3, 6)))
    pair = lib.view_as_complex(lib.tensor(np.stack([half.real, half.imag], -1)))
    for s, expected in (((3, -1), (3, 6)), ((-1, 5), (3, 5)), ((-1, -1), (3, 6))):
        found = lib.fft.irfftn(pair, s=s)
        np.testing.assert_allclose(found.numpy(), np.fft.irfftn(half, expected, axes=(0, 1)), rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        lib.fft.fft2(pair, s=(-1, 2)).resolve_conj().numpy(), np.fft.fft2(half, (3, 2)), rtol=0, atol=1e-13
    )
