"""A batch from a data set of bytes: rows gathered, converted to float32 and scaled."""

from __future__ import annotations

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import labels

ROWS, FEATURES = 60_000, 784
_SCALE = np.float32(1 / 255)


def _case(batch: int) -> Case:
    # One byte is read and four are written.
    size = batch * FEATURES
    return Case(f"{batch}x{FEATURES}", {"batch": batch}, flops=2.0 * size, bytes=5.0 * size, target=False)


def _inputs(case: Case) -> Inputs:
    return {
        "data": labels(1, 256, ROWS, FEATURES).astype(np.uint8),
        "indices": labels(2, ROWS, case["batch"]),
    }


def _fastnn(inputs: Inputs, case: Case) -> Job:
    from fastnn import kernels

    data, indices = inputs["data"], inputs["indices"]
    out = np.empty((case["batch"], FEATURES), np.float32)

    def run() -> np.ndarray:
        kernels.gather(out, data, indices, float(_SCALE))
        return out

    return Job(run)


def _numpy(inputs: Inputs, case: Case) -> Job:
    data, indices = inputs["data"], inputs["indices"]
    out = np.empty((case["batch"], FEATURES), np.float32)
    return Job(lambda: np.multiply(data[indices], _SCALE, out=out))


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    data, indices = torch.tensor(inputs["data"]), torch.tensor(inputs["indices"])
    out, scale = torch.empty(case["batch"], FEATURES), float(_SCALE)
    # Measured: index_select takes half the time of data[indices] for 64 rows, and a sixth for 512.
    return Job(torch.inference_mode()(lambda: torch.mul(data.index_select(0, indices), scale, out=out)))


def _jax(inputs: Inputs, case: Case) -> Job:
    import jax

    data, indices = jax.numpy.asarray(inputs["data"]), jax.numpy.asarray(inputs["indices"])
    gather = jax.jit(lambda data, indices: data[indices].astype(jax.numpy.float32) * _SCALE)
    return Job(lambda: gather(data, indices), wait=jax.block_until_ready)


WORKS = (
    Work(
        "gather", (_case(64), _case(512)), _inputs, tolerance=2e-7, limit="copy",
        setups={"fastnn": _fastnn, "numpy": _numpy, "torch": _torch, "jax": _jax},
    ),
)  # fmt: skip
