"""Every public function of tensors has a row in the table of operations, or a reason to have none here."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from operations import OPERATIONS, PLAIN

import fastnn
from fastnn import linalg, special
from fastnn.nn import functional

# Functions with tables of their own: cases_losses.py, cases_normalization.py, test_factorizations.py, and of random
# numbers.
OWN_TABLE = """
    multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss nll_loss binary_cross_entropy
    binary_cross_entropy_with_logits gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss mse_loss
    poisson_nll_loss smooth_l1_loss soft_margin_loss cosine_embedding_loss margin_ranking_loss triplet_margin_loss
    triplet_margin_with_distance_loss batch_norm group_norm instance_norm layer_norm rms_norm
    dropout alpha_dropout dropout1d dropout2d dropout3d feature_alpha_dropout gumbel_softmax
    bernoulli binomial multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm
    unravel_index interpolate upsample upsample_bilinear upsample_nearest
""".split()  # noqa: SIM905  # shorter than a list of strings
# Settings, state, questions about dtypes, and creation from no tensor.
NO_OPERATION = """
    saves_input named is_anomaly_enabled is_grad_enabled is_inference_mode_enabled explain
    set_capture compile_step get_default_device set_default_device can_cast get_default_dtype promote_types
    set_default_dtype set_default_tensor_type get_num_threads set_num_threads is_complex is_nonzero is_same_size is_conj
    is_inference is_neg is_signed is_storage is_tensor result_type swap_tensors typename set_printoptions get_rng_state
    initial_seed manual_seed seed set_rng_state are_deterministic_algorithms_enabled compile
    get_float32_matmul_precision get_num_interop_threads is_deterministic_algorithms_warn_only_enabled
    set_float32_matmul_precision set_num_interop_threads use_deterministic_algorithms fit
    arange as_tensor asarray from_dlpack from_file from_numpy frombuffer full linspace logspace ones range scalar_tensor
    vander tril_indices triu_indices one_hot
""".split()  # noqa: SIM905  # shorter than a list of strings
# Only raise: the results are complex.
RAISE = ["eig", "eigvals"]


@pytest.fixture(scope="module")
def called() -> set[Any]:
    """The code of every function that the rows call."""
    found: set[Any] = set()

    def watch(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call":
            found.add(frame.f_code)

    before = sys.getprofile()
    for operation in (*OPERATIONS, *PLAIN):
        shapes = max(operation.shapes, key=lambda shapes: min(int(np.prod(shape)) for shape in shapes))
        tensors = [fastnn.tensor(a) for a in operation.arrays(shapes, np.float32)]
        sys.setprofile(watch)
        try:
            operation.run(fastnn, *tensors)
        finally:
            sys.setprofile(before)
    return found


def codes_of(function: Any) -> Iterator[types.CodeType]:
    """The code of a function, and what it had before subclasses of ``Tensor`` gave it other code."""
    while function is not None:
        yield function.__code__
        function = getattr(function, "__wrapped__", None)


def test_every_function_has_a_row(called: set[Any]) -> None:
    missing = {
        name
        for place in (fastnn, functional, linalg, special)
        for name, function in vars(place).items()
        if not name.startswith("_") and isinstance(function, types.FunctionType)
        if function.__module__.startswith("fastnn.") and not called.intersection(codes_of(function))
    }
    assert missing == {*OWN_TABLE, *NO_OPERATION, *RAISE}


@pytest.mark.parametrize("name", RAISE)
def test_functions_without_a_row_raise(name: str) -> None:
    with pytest.raises(RuntimeError, match="are complex and not computed"):
        getattr(linalg, name)(fastnn.eye(2))


def test_names_are_unique() -> None:
    names = [operation.name for operation in (*OPERATIONS, *PLAIN)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("numbers", [1, 64, 4096])
def test_operations_run_at_the_sizes_of_timings(numbers: int) -> None:
    for operation in OPERATIONS:
        shapes = operation.sized(numbers)
        if shapes is not None:
            operation.run(fastnn, *[fastnn.tensor(a) for a in operation.arrays(shapes, np.float32)])


def test_no_operation_makes_a_cycle() -> None:
    """Memory is free when its last user goes, not at the next run of the garbage collector."""

    def unreachable(operation: Any) -> int:
        shapes = operation.shapes[0]
        operands = [fastnn.tensor(a, requires_grad=True) for a in operation.arrays(shapes)]
        operation.run(fastnn, *operands)
        gc.collect()
        operation.run(fastnn, *operands)
        return gc.collect()

    gc.collect()
    # What exists is left out: each run then takes microseconds.
    gc.freeze()
    try:
        assert {str(operation): found for operation in OPERATIONS if (found := unreachable(operation))} == {}
    finally:
        gc.unfreeze()
