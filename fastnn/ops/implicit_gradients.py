"""Derivatives of gamma and Dirichlet draws with respect to their parameters, on arrays.

A draw x with the distribution function F(x; a) moves with its parameter so that F stays the same:
``dx/da = -(dF/da) / (dF/dx)`` (M. Figurnov, S. Mohamed and A. Mnih, "Implicit reparameterization gradients", 2018).
``dF/da`` is an integral of the density times ``log(t) - E[log(t)]``, whose sign changes once: the part of the integral
below x or above x, whichever has no change of sign, is computed without cancellation, by a series for small x and
otherwise by Gauss-Legendre quadrature up to where the density has fallen by exp(-40). About ten digits are right,
fewer for parameters above 1e9 (Dirichlet: M. Jankowiak and F. Obermeyer, "Pathwise derivatives beyond the
reparameterization trick", 2018).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn.kernels.runtime import allocation

_NODES = 32
_CUT = 40.0
_TERMS = 80


def standard_gamma_slope(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``dx/da`` of draws x of gamma distributions with shape parameters a and rate 1; float64.

    >>> standard_gamma_slope(np.array([1.0]), np.array([1.0])).round(6)
    array([1.173563])
    """
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    x = np.maximum(x, np.finfo(np.float64).tiny)
    return _by_region(x <= 2, (a, x), _gamma_series, _gamma_integral)


def beta_slope(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``dx/da / (1 - x)`` of draws x of beta distributions with the exponents a and b; float64.

    >>> beta_slope(np.array([1.0]), np.array([1.0]), np.array([0.5])).round(6)
    array([0.693147])
    """
    a, b, x = np.broadcast_arrays(*[np.asarray(v, np.float64) for v in (a, b, x)])
    x = np.clip(x, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).eps / 2)
    near_0 = (x <= 0.5) & ((a + b) * x <= 4)
    near_1 = (x > 0.5) & ((a + b) * (1 - x) <= 4)
    return _by_region(
        near_0, (a, b, x), _beta_series,
        lambda *rest: _by_region(near_1[~near_0], rest, _beta_series_from_1, _beta_integral),
    )  # fmt: skip


def _by_region(
    mask: np.ndarray, values: tuple[np.ndarray, ...], inside: Callable[..., np.ndarray],
    outside: Callable[..., np.ndarray],
) -> np.ndarray:  # fmt: skip
    """The first function where the mask holds and the second one elsewhere."""
    out = allocation.empty(mask.shape, np.float64)
    with np.errstate(all="ignore"):
        for part, function in ((mask, inside), (~mask, outside)):
            if part.any():
                out[part] = function(*[v[part] for v in values])
    return out


def _gamma_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``x * sum of x**n (digamma(a + n + 1) - log(x)) / (a (a + 1) ... (a + n))``."""
    from scipy import special

    term, psi, log = 1 / a, special.psi(a + 1), np.log(x)
    total = term * (psi - log)
    for n in range(1, _TERMS // 2):
        a_n = a + n
        term = term * x / a_n
        psi = psi + 1 / a_n
        total += term * (psi - log)
    return x * total


def _gamma_integral(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The integral over ``s``, with ``t = x * exp(s)``: below x where ``log(x) < E[log(t)]``, otherwise above."""
    from scipy import special

    gap = np.log(x) - special.psi(a)
    side = np.where(gap < 0, -1.0, 1.0)

    # The exponent of the density is minus this function of the distance s, which is convex.
    def fall(s: np.ndarray) -> np.ndarray:
        return x * np.expm1(side * s) - a * (side * s)

    def slope(s: np.ndarray) -> np.ndarray:
        return side * (x * np.exp(side * s) - a)

    d = x - a
    far = np.where(side > 0, (-d + np.sqrt(d * d + 2 * _CUT * x)) / x, (_CUT + x) / a)
    return x * _quadrature(far, fall, slope, lambda s: np.abs(gap + side * s))


def _quadrature(
    far: np.ndarray, fall: Callable[..., np.ndarray], slope: Callable[..., np.ndarray],
    factor: Callable[..., np.ndarray],
) -> np.ndarray:  # fmt: skip
    """The integral of ``exp(-fall(s)) * factor(s)`` over s > 0; ``fall(far)`` is above the cut, and convex."""
    for _ in range(60):
        # Newton's method comes from the right and stays there.
        value = fall(far)
        if not (value > _CUT + 20).any():
            break
        far = np.where(value > _CUT + 20, far - (value - _CUT) / slope(far), far)
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    total = np.zeros(far.shape)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        s = far * point
        total += weight * np.exp(-fall(s)) * factor(s)
    return total * far


def _beta_series(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``x * sum of u_n (digamma(a + n + 1) - digamma(a + b + n) - log(x))``, ``u_n = x**n (a + b)_n / (a)_(n + 1)``."""
    from scipy import special

    term, psi, log = 1 / a, special.psi(a + 1) - special.psi(a + b), np.log(x)
    total = term * (psi - log)
    for n in range(1, _TERMS):
        term = term * x * (a + b + (n - 1)) / (a + n)
        psi = psi + 1 / (a + n) - 1 / (a + b + (n - 1))
        total += term * (psi - log)
    return x * total


def _beta_series_from_1(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``x * sum of v_n (log(x) - digamma(a) + digamma(a + b + n))``, ``v_n = (1 - x)**n (a + b)_n / (b)_(n + 1)``."""
    from scipy import special

    y = 1 - x
    term, psi = 1 / b, np.log1p(-y) - special.psi(a) + special.psi(a + b)
    total = term * psi
    for n in range(1, _TERMS):
        term = term * y * (a + b + (n - 1)) / (b + n)
        psi = psi + 1 / (a + b + (n - 1))
        total += term * psi
    return x * total


def _beta_integral(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The integral over ``s``, the distance of t from x as a difference of log-odds."""
    from scipy import special

    y = 1 - x
    gap = np.log(x) - special.psi(a) + special.psi(a + b)
    side = np.where(gap < 0, -1.0, 1.0)

    def log_ratio(s: np.ndarray) -> np.ndarray:
        """``log(t / x)``."""
        return -np.log1p(y * np.expm1(-side * s))

    def fall(s: np.ndarray) -> np.ndarray:
        return a * np.log1p(y * np.expm1(-side * s)) + b * np.log1p(x * np.expm1(side * s))

    def slope(s: np.ndarray) -> np.ndarray:
        return side * ((a + b) * x * np.exp(log_ratio(s)) - a)

    far = np.where(side > 0, (_CUT - (a + b) * np.log(x)) / b, (_CUT - (a + b) * np.log(y)) / a)
    return x * _quadrature(far, fall, slope, lambda s: np.abs(gap + log_ratio(s)))
