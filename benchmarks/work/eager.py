"""Single operations of tensors, nothing captured: forward, and backward where there is one, at three sizes.

The operations are the rows of ``benchmarks.operations`` that have shapes for timings, and some others:
indices, labels, changes in place, distributions and random numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.operations import OPERATIONS, PLAIN
from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import labels

SIZES = (1, 64, 4096)
Operation = Callable[[Any, Any], Any]
# The rows of the table with shapes for timings, and those of them with a gradient.
TABLE = {row.name: row for row in (*OPERATIONS, *PLAIN) if row.sized(SIZES[0]) is not None}
SMOOTH = [row.name for row in OPERATIONS if row.name in TABLE and row.most != 0]


class Operands:
    """The tensors of one library that operations read; ``x`` and ``y`` have no zeros and are positive."""

    def __init__(self, lib: Any, inputs: Inputs, size: int, recorded: bool) -> None:
        columns = min(size, 8)
        self.x, self.y = lib.tensor(inputs["x"]), lib.tensor(inputs["y"])
        self.m = lib.tensor(inputs["x"].reshape(-1, columns))
        self.target = lib.tensor(inputs["y"].reshape(-1, columns) / 4)
        self.probabilities = lib.tensor(inputs["x"].reshape(-1, columns) / 4)
        for t in (self.x, self.m, self.probabilities):
            t.requires_grad_(recorded)
        self.scratch = lib.tensor(inputs["y"])
        self.mask = lib.tensor(inputs["mask"])
        self.index = lib.tensor(inputs["index"])
        self.classes = lib.tensor(inputs["classes"][: size // columns] % columns)
        self.column = self.classes.unsqueeze(1)
        self.weight = lib.tensor(np.full((8, columns), 0.1, np.float32), requires_grad=recorded)
        self.scale = lib.ones(columns)


# Operations whose result has a gradient.
DIFFERENTIABLE: dict[str, Operation] = {
    "index": lambda t, o: o.x[o.index], "index mask": lambda t, o: o.x[o.mask],
    "index_select": lambda t, o: o.x.index_select(0, o.index), "gather": lambda t, o: o.m.gather(1, o.column),
    "take": lambda t, o: o.x.take(o.index), "scatter": lambda t, o: o.m.scatter(1, o.column, 0.5),
    "sum 1": lambda t, o: o.m.sum(1), "max 1": lambda t, o: o.m.max(1)[0], "amax": lambda t, o: o.m.amax(1),
    "softmax": lambda t, o: o.m.softmax(1),
    "expand": lambda t, o: o.x.expand(2, -1), "chunk": lambda t, o: o.x.chunk(2)[0],
    "mse_loss": lambda t, o: t.nn.functional.mse_loss(o.x, o.y),
    "l1_loss": lambda t, o: t.nn.functional.l1_loss(o.x, o.y),
    "smooth_l1_loss": lambda t, o: t.nn.functional.smooth_l1_loss(o.x, o.y),
    "cross_entropy": lambda t, o: t.nn.functional.cross_entropy(o.m, o.classes),
    "nll_loss": lambda t, o: t.nn.functional.nll_loss(o.m, o.classes),
    "binary_cross_entropy": lambda t, o: t.nn.functional.binary_cross_entropy(o.probabilities, o.target),
    "bce_with_logits": lambda t, o: t.nn.functional.binary_cross_entropy_with_logits(o.m, o.target),
    "layer_norm": lambda t, o: t.nn.functional.layer_norm(o.m, o.scale.shape, o.scale),
    "Categorical log_prob": lambda t, o: t.distributions.Categorical(logits=o.m).log_prob(o.classes),
    "Categorical probs log_prob": lambda t, o: t.distributions.Categorical(o.probabilities).log_prob(o.classes),
    "Categorical entropy": lambda t, o: t.distributions.Categorical(logits=o.m).entropy(),
    "Normal log_prob": lambda t, o: t.distributions.Normal(o.x, o.y).log_prob(o.y),
    "Normal entropy": lambda t, o: t.distributions.Normal(o.y, o.x).entropy(),
    "Bernoulli log_prob": lambda t, o: t.distributions.Bernoulli(logits=o.x).log_prob(o.mask.float()),
    "Bernoulli entropy": lambda t, o: t.distributions.Bernoulli(logits=o.x).entropy(),
}  # fmt: skip
# Operations without a gradient; those on `scratch` leave it as it is, up to rounding, or overwrite it.
OTHERS: dict[str, Operation] = {
    "and": lambda t, o: o.mask & o.mask, "any of bools": lambda t, o: o.mask.any(),
    "argmax": lambda t, o: o.m.argmax(1), "add_ alpha": lambda t, o: o.scratch.add_(o.y, alpha=0.0),
    "add_ number": lambda t, o: o.scratch.add_(0.0), "mul_": lambda t, o: o.scratch.mul_(1.0),
    "div_": lambda t, o: o.scratch.div_(1.0), "sub_": lambda t, o: o.scratch.sub_(0.0),
    "addcmul_ value": lambda t, o: o.scratch.addcmul_(o.y, o.y, value=0.0),
    "clamp_": lambda t, o: o.scratch.clamp_(0.0, 9.0), "copy_ alone": lambda t, o: o.scratch.copy_(o.y),
    "fill_ alone": lambda t, o: o.scratch.fill_(1.5), "zero_": lambda t, o: o.scratch.zero_(),
    "zeros": lambda t, o: t.zeros(o.y.shape), "tensor": lambda t, o: t.tensor([1.0, 2.0]),
    "setitem": lambda t, o: (o.scratch.__setitem__(0, 1.5), o.scratch)[1],
}  # fmt: skip
# Operations whose results are random: their shapes are compared.
RANDOM: dict[str, Operation] = {
    "randn_like": lambda t, o: t.randn_like(o.y), "rand_like": lambda t, o: t.rand_like(o.y),
    "Categorical sample": lambda t, o: t.distributions.Categorical(logits=o.m).sample(),
    "Normal sample": lambda t, o: t.distributions.Normal(o.y, o.y).sample(),
    "Normal rsample": lambda t, o: t.distributions.Normal(o.y, o.y).rsample(),
    "Bernoulli sample": lambda t, o: t.distributions.Bernoulli(logits=o.y).sample(),
}  # fmt: skip
_QUICK = ("add", "index", "gather", "softmax", "cat", "where", "add_ alpha", "copy_ alone", "Categorical log_prob")


def _case(name: str, size: int, backward: bool) -> Case:
    sizes = {"operation": name, "size": size, "backward": backward}
    # At least one operation on each number, which is read and written.
    title, is_quick = f"{name} {size}{' backward' * backward}", size == 64 and name in _QUICK
    return Case(title, sizes, flops=1.0 * size, bytes=8.0 * size, target=is_quick)


CASES = tuple(
    _case(name, size, backward)
    for table, ways in (
        (TABLE, (False,)), (SMOOTH, (True,)), (DIFFERENTIABLE, (False, True)), (OTHERS, (False,)), (RANDOM, (False,)),
    )
    for name in table for size in SIZES for backward in ways
)  # fmt: skip


def _inputs(case: Case) -> Inputs:
    size, row = case["size"], TABLE.get(case["operation"])
    if row is not None:
        arrays = row.arrays(row.sized(size) or (), np.float32)
        # No equal numbers, as a sort may take any of them first, and no sums that cancel.
        arrays = [a + np.linspace(0, 1e-3, a.size, dtype=a.dtype).reshape(a.shape) for a in arrays]
        return {str(i): np.abs(a) if row.terms else a for i, a in enumerate(arrays)}
    rng = np.random.default_rng([1, size])
    return {
        "x": rng.uniform(0.3, 2.0, size).astype(np.float32), "y": rng.uniform(0.4, 2.1, size).astype(np.float32),
        "index": labels(2, size, size), "mask": np.arange(size) % 2 == 0, "classes": labels(3, 8, size),
    }  # fmt: skip


def _setup(library: str, inputs: Inputs, case: Case) -> Job:
    lib = __import__(library)
    if library == "fastnn":
        lib.set_capture(False)
    name, backward = case["operation"], case["backward"]
    operands: Any
    if name in TABLE:
        operands = leaves = [lib.tensor(a, requires_grad=backward) for a in inputs.values()]
        operation: Operation = lambda lib, tensors: TABLE[name].run(lib, *tensors)  # noqa: E731  # as in the other tables
    else:
        operands = Operands(lib, inputs, case["size"], recorded=backward)
        operation = {**DIFFERENTIABLE, **OTHERS, **RANDOM}[name]
        leaves = [operands.x, operands.m, operands.probabilities, operands.weight]
    if not backward:

        def read(result: Any) -> list[np.ndarray]:
            return [np.zeros(tuple(result.shape)) if name in RANDOM else np.array(result.detach().tolist(), np.float64)]

        return Job(functools.partial(operation, lib, operands), read)
    shape = tuple(operation(lib, operands).shape)
    # Not the same number everywhere, for which the gradient of a softmax is rounding only.
    gradient = lib.tensor(np.cos(np.arange(math.prod(shape), dtype=np.float32)).reshape(shape))

    def run() -> Any:
        for leaf in leaves:
            leaf.grad = None
        operation(lib, operands).backward(gradient)
        return leaves

    return Job(run, lambda found: [t.grad.detach().numpy().copy() for t in found if t.grad is not None])


WORKS = (
    Work(
        "eager", CASES, _inputs, tolerance=1e-5, brief=True, reference="torch",
        setups={name: functools.partial(_setup, name) for name in ("fastnn", "torch")},
    ),
)  # fmt: skip
