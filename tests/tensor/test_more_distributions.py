"""Distributions, transforms, constraints and divergences: against PyTorch, live and recorded, and the draws."""

from __future__ import annotations

import copy
import gzip
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from cases_distributions import FAMILIES, GROUPS, f64
from comparison import as_array, assert_matches

import fastnn
from fastnn import distributions
from fastnn.ops.implicit_gradients import beta_slope, standard_gamma_slope

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "golden" / "distributions.json.gz").read_bytes())
)["results"]
CASES = [(group, name) for group, (_, names) in GROUPS.items() for name in names]
IDS = [f"{group} {name}".strip() for group, name in CASES]

# In float64: a few hundred roundings, for lgamma and digamma of two libraries, of numbers of size 1.
ROUNDINGS = 512
# Relative errors of what PyTorch computes with fewer digits: the derivative of digamma has nine digits, the Bessel
# functions of VonMises are polynomials of seven; Binomial's and Geometric's log-odds of 0 and 1 are limited.
COARSE = {
    "VonMises log_prob": 3e-6, "VonMises expanded_log_prob": 3e-6, "VonMises grad_1": 3e-6, "VonMises variance": 3e-5,
    # PyTorch takes the logarithm of the factorial of the number of draws in float32.
    **{f"Multinomial{s} {key}": 1e-7 for s in ("", "_logits") for key in ("entropy", "perplexity", "expanded_entropy")},
    "VonMises stddev": 3e-5,
}  # fmt: skip
# Where PyTorch's result is wrong: test_where_pytorch_is_wrong() has the right ones.
BETTER = {
    # NaN always, from the logarithm of a negative number.
    ("family Kumaraswamy", "mode"), ("family Kumaraswamy", "expanded_mode"),
    # An AttributeError: expand() loses a part.
    ("family Multinomial", "expanded_entropy"), ("family Multinomial_logits", "expanded_entropy"),
}  # fmt: skip


def is_coarse(case: str, key: str) -> float:
    """The relative error that is allowed for a gradient through digamma, or by a table; 0 for roundings."""
    label = f"{case.partition(' ')[2]} {key}"
    if case == "family GeneralizedPareto":
        return 16 * float(np.finfo(np.float32).eps)
    return COARSE.get(label, 1e-7 if "grad" in key else 0.0)


def compare(case: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for key, e in expected.items():
        f = found[key]
        if (case, key) in BETTER:
            continue
        if isinstance(e, dict):
            e = np.array(e["numbers"], e["dtype"])
        if not isinstance(e, np.ndarray):
            assert f == e, key
            continue
        assert isinstance(f, np.ndarray), (key, f)
        if tolerance := is_coarse(case, key):
            np.testing.assert_allclose(f, e, rtol=tolerance, atol=1e-7, err_msg=key)
        else:
            assert_matches(f, e.reshape(e.shape), ROUNDINGS, 1.0)


def results(lib: Any, group: str, name: str) -> dict[str, Any]:
    return GROUPS[group][0](lib, name)


@pytest.mark.parametrize(("group", "name"), CASES, ids=IDS)
def test_against_recorded_values(group, name):
    case = f"{group} {name}".strip()
    compare(case, results(fastnn, group, name), RECORDED[case])


@pytest.mark.torch
@pytest.mark.parametrize(("group", "name"), CASES, ids=IDS)
def test_against_pytorch(group, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the recorded values stand in for it")
    compare(f"{group} {name}".strip(), results(fastnn, group, name), results(torch, group, name))
