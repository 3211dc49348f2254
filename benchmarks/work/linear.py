"""Linear layer with bias and ReLU: ``linear_forward`` and ``linear_backward``.

Each library has the weight in its usual layout. Results go into existing arrays where the library
can do so (fastnn, NumPy; PyTorch's products); the backward starts from the saved output.
"""

from __future__ import annotations

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import numbers

SHAPES = (
    (64, 784, 256), (64, 256, 128), (64, 128, 64), (64, 64, 10), (512, 784, 256), (512, 1024, 1024),
    (2048, 1024, 1024), (1, 784, 256), (7, 33, 17),
)  # fmt: skip


def _cases(products: int) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{b}x{i}x{o}",
            {"batch": b, "in": i, "out": o},
            flops=2.0 * products * b * i * o,
            bytes=4.0 * (b * i + i * o + b * o) * products,
        )
        for b, i, o in SHAPES
    )


def _inputs(case: Case) -> Inputs:
    batch, m, n = case["batch"], case["in"], case["out"]
    x, weight, bias = numbers(1, batch, m), numbers(2, m, n) / np.float32(m) ** 0.5, numbers(3, n)
    out = np.maximum(x @ weight + bias, 0)
    return {"x": x, "weight": weight, "bias": bias, "out": out, "dout": numbers(4, batch, n)}


# -- forward ---------------------------------------------------------------------------------


def _forward_fastnn(inputs: Inputs, case: Case) -> Job:
    from fastnn import kernels

    x, bias, out = inputs["x"], inputs["bias"], np.empty_like(inputs["out"])
    weight = _parameter(inputs["weight"])

    def run() -> np.ndarray:
        kernels.linear_forward(out, x, weight, bias, "relu")
        return out

    return Job(run)


def _parameter(values: np.ndarray) -> np.ndarray:
    """The (in, out) array of the weight of an ``nn.Linear``."""
    import fastnn

    weight = fastnn.nn.Linear(*values.shape).weight.detach().numpy().T
    weight[...] = values
    return weight


def _forward_numpy(inputs: Inputs, case: Case) -> Job:
    x, weight, bias, out = inputs["x"], inputs["weight"], inputs["bias"], np.empty_like(inputs["out"])

    def run() -> np.ndarray:
        np.matmul(x, weight, out=out)
        np.add(out, bias, out=out)
        return np.maximum(out, 0, out=out)

    return Job(run)


def _forward_torch(inputs: Inputs, case: Case) -> Job:
    import torch

    x, bias = torch.tensor(inputs["x"]), torch.tensor(inputs["bias"])
    weight = torch.tensor(inputs["weight"].T.copy())
    linear = torch.nn.functional.linear
    # Measured: as fast as addmm(out=...), and faster than relu without the underscore.
    return Job(torch.inference_mode()(lambda: linear(x, weight, bias).relu_()))


def _forward_jax(inputs: Inputs, case: Case) -> Job:
    import jax

    x, weight, bias = (jax.numpy.asarray(inputs[name]) for name in ("x", "weight", "bias"))
    forward = jax.jit(lambda x, weight, bias: jax.nn.relu(x @ weight + bias))
    return Job(lambda: forward(x, weight, bias), wait=jax.block_until_ready)


# -- backward --------------------------------------------------------------------------------


def _backward_fastnn(inputs: Inputs, case: Case) -> Job:
    from fastnn import kernels

    x, out, dout = inputs["x"], inputs["out"], inputs["dout"]
    weight, dweight = _parameter(inputs["weight"]), _parameter(inputs["weight"])
    dx, dbias = np.empty_like(x), np.empty_like(inputs["bias"])

    def run() -> tuple[np.ndarray, ...]:
        kernels.linear_backward(dx, dweight, dbias, dout, x, weight, out, "relu")
        return dx, dweight, dbias

    return Job(run)


def _backward_numpy(inputs: Inputs, case: Case) -> Job:
    x, weight, out, dout = inputs["x"], inputs["weight"], inputs["out"], inputs["dout"]
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(inputs["bias"])
    dz, mask = np.empty_like(dout), np.empty(dout.shape, bool)

    def run() -> tuple[np.ndarray, ...]:
        np.greater(out, 0, out=mask)
        np.multiply(dout, mask, out=dz)
        return np.matmul(dz, weight.T, out=dx), np.matmul(x.T, dz, out=dweight), np.sum(dz, 0, out=dbias)

    return Job(run)


def _backward_torch(inputs: Inputs, case: Case) -> Job:
    import torch

    x, out, dout = (torch.tensor(inputs[name]) for name in ("x", "out", "dout"))
    weight = torch.tensor(inputs["weight"].T.copy())
    dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty(case["out"])

    # The function that autograd calls, without autograd: measured faster than autograd.grad on every shape.
    @torch.inference_mode()
    def run() -> tuple[torch.Tensor, ...]:
        dz = torch.ops.aten.threshold_backward(dout, out, 0)
        torch.mm(dz, weight, out=dx)
        torch.mm(dz.T, x, out=dweight)
        torch.sum(dz, 0, out=dbias)
        return dx, dweight, dbias

    return Job(run, read=lambda result: [np.array(r) for r in (result[0], result[1].T, result[2])])


def _backward_jax(inputs: Inputs, case: Case) -> Job:
    import jax
    from jax import numpy as jnp

    @jax.jit
    def backward(x, weight, out, dout):
        dz = jnp.where(out > 0, dout, 0)
        return dz @ weight.T, x.T @ dz, dz.sum(0)

    arrays = [jnp.asarray(inputs[name]) for name in ("x", "weight", "out", "dout")]
    return Job(lambda: backward(*arrays), wait=jax.block_until_ready)


WORKS = (
    Work(
        "linear_forward", _cases(1), _inputs, tolerance=2e-6,
        setups={
            "fastnn": _forward_fastnn, "numpy": _forward_numpy, "torch": _forward_torch, "jax": _forward_jax,
        },
    ),
    Work(
        "linear_backward", _cases(2), _inputs, tolerance=2e-6,
        setups={
            "fastnn": _backward_fastnn, "numpy": _backward_numpy, "torch": _backward_torch, "jax": _backward_jax,
        },
    ),
)  # fmt: skip
