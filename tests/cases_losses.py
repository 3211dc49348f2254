"""Every loss in the registry of ``cases``: value, gradients and second derivatives, by reduction, option and dtype."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cases import CASES, Arrays, Case
from comparison import as_array
from scipy import special

Make = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _above(x):
    """``log(1 + exp(x))``; NaN at -inf, where PyTorch adds it to infinity."""
    return np.where(x == -np.inf, np.nan, np.logaddexp(0, x))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def inside(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities, away from 0 and 1."""
    return rng.uniform(0.05, 0.95, shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.3, 3, shape)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.poisson(3, shape).astype(float)


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows (the second dimension) of probabilities."""
    p = rng.uniform(0.05, 1, shape)
    return p / p.sum(1 if len(shape) > 1 else 0, keepdims=True)


@dataclass(frozen=True)
class Loss:
    """A loss of tensors.

    Args:
        call: computes the loss from the library's functions, the tensors and the reduction.
        operands: a maker of each operand.
        gradients: positions of the operands that need a gradient.
        shapes: of the operands, several sets.
        roundings: allowed for a value.
        least: see ``comparison.assert_matches``.
        second: whether the gradient is differentiated as well. Not if PyTorch returns no numbers because they are 0,
            nor for BCE, where it adds 1e-12 to the input.
        kernel: the kernels' name of the loss, in the first of its rows.
        reference: in float64, of (x, y, a) or (x, y, z, a): the losses, and the derivatives by x and z.
    """

    call: Callable[..., Any]
    operands: tuple[Make, ...]
    gradients: tuple[int, ...] = (0,)
    shapes: tuple[tuple[tuple[int, ...], ...], ...] = field(default=(((4, 3),) * 3, ((),) * 3, ((0, 2),) * 3))
    roundings: float = 8
    least: float | None = None
    second: bool = True
    kernel: str = ""
    reference: Callable[..., tuple[np.ndarray, ...]] | None = None


def _classes(*shapes: Any, parts: tuple[str, ...] = ("x", "y")) -> Any:
    return tuple([tuple(shape) for shape in shapes])


def label(classes: int, ignored: float = 0.0) -> Make:
    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        labels = rng.integers(0, classes, shape)
        return np.where(rng.random(shape) < ignored, -100, labels)

    return make


def label_lists(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of distinct labels, some of them terminated by -1."""
    made = [rng.permutation(shape[-1]) for _ in range(int(np.prod(shape[:-1])))]
    for i, row in enumerate(made):
        if i % 3:
            row[rng.integers(0, shape[-1])] = -1
    return np.array(made, np.int64).reshape(shape)


# References of kernels.


def _bce_with_logits(x: np.ndarray, y: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    value = (1 - y) * _above(x) + y * np.logaddexp(0, -x)
    return value, (1 - y) * special.expit(x) - y * special.expit(-x)


def _hinge_embedding(x: np.ndarray, y: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    value = np.where(y == 1, 0, np.maximum(a - x, 0)) + np.where(y == -1, 0, x)
    return value, -1.0 * ((y != 1) & (a - x >= 0)) + (y != -1)


def _bce(x: np.ndarray, y: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    value = -(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log1p(-x), -100))
    return value, (x - y) / np.maximum(x * (1 - x), 1e-12)


def _smooth_l1(x: np.ndarray, y: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    d = x - y
    near = np.abs(d) < a
    return np.where(near, d**2 / 2 / a, np.abs(d) - a / 2), np.where(near, d / a, np.sign(d))


def _huber(x: np.ndarray, y: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    d = x - y
    near = np.abs(d) <= a
    return np.where(near, d**2 / 2, a * (np.abs(d) - a / 2)), np.where(near, d, a * np.sign(d))


def _pos_weight(x: np.ndarray, y: np.ndarray, z: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    softplus = np.logaddexp(0, -x)
    value = (1 - y) * _above(x) + z * y * softplus
    return value, (1 - y) * special.expit(x) - z * y * special.expit(-x), y * softplus


def _gaussian_nll(x: np.ndarray, y: np.ndarray, z: np.ndarray, a: float) -> tuple[np.ndarray, ...]:
    v, d = np.maximum(z, a), x - y
    return (np.log(v) + d * d / v) / 2, d / v, (1 / v - (d / v) ** 2) / 2


ONE_SIZE = (((4, 3),) * 3, ((),) * 3, ((0, 2),) * 3, ((17,),) * 3)
NO_SCALARS = (((4, 3),) * 3, ((5,),) * 3)
# Scores and labels.
ROWS = (((7, 5), (7,)), ((5,), ()), ((1, 5), (1,)), ((2, 5, 3), (2, 3)), ((2, 5, 2, 2), (2, 2, 2)), ((0, 5), (0,)))
WEIGHTED = tuple((*shapes, (5,)) for shapes in ROWS)
ALIKE = tuple((shapes[0],) * 2 for shapes in ROWS)
ALIKE_WEIGHTED = tuple((*shapes, (5,)) for shapes in ALIKE)

LOSSES: dict[str, Loss] = {
    "mse": Loss(lambda F, x, y, r: F.mse_loss(x, y, reduction=r), (normal, normal), (0, 1), ONE_SIZE,
                kernel="mse", reference=lambda x, y, a: ((x - y) ** 2, 2 * (x - y))),
    "mse_weight": Loss(lambda F, x, y, w, r: F.mse_loss(x, y, reduction=r, weight=w), (normal, normal, positive),
                       (0, 1, 2), NO_SCALARS),
    "l1": Loss(lambda F, x, y, r: F.l1_loss(x, y, reduction=r), (normal, normal), (0, 1), ONE_SIZE, second=False,
               kernel="l1", reference=lambda x, y, a: (np.abs(x - y), np.sign(x - y))),
    "l1_weight": Loss(lambda F, x, y, w, r: F.l1_loss(x, y, reduction=r, weight=w), (normal, normal, positive),
                      (0, 1, 2), NO_SCALARS),
    "smooth_l1": Loss(lambda F, x, y, r: F.smooth_l1_loss(x, y, reduction=r), (normal, normal), (0, 1), ONE_SIZE,
                      kernel="smooth_l1", reference=_smooth_l1),
    "smooth_l1_beta": Loss(lambda F, x, y, r: F.smooth_l1_loss(x, y, reduction=r, beta=0.3), (normal, normal), (0, 1)),
    "smooth_l1_0": Loss(lambda F, x, y, r: F.smooth_l1_loss(x, y, reduction=r, beta=0.0), (normal, normal), (0, 1),
                        second=False),
    "huber": Loss(lambda F, x, y, r: F.huber_loss(x, y, reduction=r), (normal, normal), (0, 1), ONE_SIZE,
                  kernel="huber", reference=_huber),
    "huber_delta": Loss(lambda F, x, y, r: F.huber_loss(x, y, reduction=r, delta=0.4), (normal, normal), (0, 1)),
    "huber_weight": Loss(lambda F, x, y, w, r: F.huber_loss(x, y, reduction=r, weight=w), (normal, normal, positive),
                         (0, 1, 2), NO_SCALARS),
    "bce": Loss(lambda F, x, y, r: F.binary_cross_entropy(x, y, reduction=r), (inside, inside), (0,), ONE_SIZE,
                second=False,
                kernel="bce", reference=_bce),
    "bce_target": Loss(lambda F, x, y, r: F.binary_cross_entropy(x, y, reduction=r), (inside, inside), (0, 1),
                       roundings=16, second=False),
    "bce_weight": Loss(lambda F, x, y, w, r: F.binary_cross_entropy(x, y, w, reduction=r),
                       (inside, inside, positive), (0,), (((4, 3), (4, 3), (3,)), ((5,), (5,), (5,))), second=False),
    "bce_with_logits": Loss(lambda F, x, y, r: F.binary_cross_entropy_with_logits(x, y, reduction=r),
                            (normal, inside), (0,), ONE_SIZE,
                            kernel="bce_with_logits", reference=_bce_with_logits),
    "bce_with_logits_target": Loss(lambda F, x, y, r: F.binary_cross_entropy_with_logits(x, y, reduction=r),
                                   (normal, inside), (0, 1)),
    "bce_with_logits_weight": Loss(lambda F, x, y, w, r: F.binary_cross_entropy_with_logits(x, y, w, reduction=r),
                                   (normal, inside, positive), (0,), (((4, 3), (4, 3), (3,)), ((5,), (5,), (5,)))),
    "bce_with_logits_pos_weight": Loss(
        lambda F, x, y, w, r: F.binary_cross_entropy_with_logits(x, y, reduction=r, pos_weight=w),
        (normal, inside, positive), (0,), (((4, 3), (4, 3), (3,)), ((5,), (5,), ()), ((3, 2), (3, 2), (3, 1))),
        kernel="bce_with_logits_pos_weight", reference=_pos_weight),
    "bce_with_logits_everything": Loss(
        lambda F, x, y, w, r: F.binary_cross_entropy_with_logits(x, y, w, reduction=r, pos_weight=2 * w),
        (normal, inside, positive), (0, 1), (((4, 3), (4, 3), (3,)),), roundings=16),
    "kl_div": Loss(lambda F, x, y, r: F.kl_div(x, y, reduction=r), (normal, inside), (0,), ONE_SIZE,
                   kernel="kl_div", reference=lambda x, y, a: (special.xlogy(y, y) - y * x, -y)),
    "kl_div_target": Loss(lambda F, x, y, r: F.kl_div(x, y, reduction=r), (normal, inside), (0, 1)),
    "kl_div_batchmean": Loss(lambda F, x, y, r: F.kl_div(x, y, reduction="batchmean") * 1, (normal, inside), (0,),
                             (((4, 3),) * 2, ((5,),) * 2, ((),) * 2)),
    "kl_div_log": Loss(lambda F, x, y, r: F.kl_div(x, y, reduction=r, log_target=True), (normal, normal), (0, 1),
                       kernel="kl_div_log", reference=lambda x, y, a: (np.exp(y) * (y - x), -np.exp(y))),
    "kl_div_broadcast": Loss(lambda F, x, y, r: F.kl_div(x, y, reduction=r), (normal, inside), (0, 1),
                             (((4, 3), (3,)),)),
    "poisson_nll": Loss(lambda F, x, y, r: F.poisson_nll_loss(x, y, reduction=r), (normal, counts), (0,), ONE_SIZE,
                        kernel="poisson_nll_log", reference=lambda x, y, a: (np.exp(x) - y * x, np.exp(x) - y)),
    "poisson_nll_target": Loss(lambda F, x, y, r: F.poisson_nll_loss(x, y, reduction=r), (normal, counts), (0, 1)),
    "poisson_nll_plain": Loss(lambda F, x, y, r: F.poisson_nll_loss(x, y, log_input=False, eps=0.1, reduction=r),
                              (positive, counts), (0,),
                              kernel="poisson_nll", reference=lambda x, y, a: (x - y * np.log(x + a), 1 - y / (x + a))),
    "poisson_nll_full": Loss(lambda F, x, y, r: F.poisson_nll_loss(x, y, full=True, reduction=r), (normal, counts),
                             (0,), roundings=16),
    "gaussian_nll": Loss(lambda F, x, y, v, r: F.gaussian_nll_loss(x, y, v, reduction=r), (normal, normal, positive),
                         (0, 1, 2), (((4, 3),) * 3, ((4, 3), (4, 3), (4, 1)), ((4, 3), (4, 3), (4,)), ((0, 2),) * 3,
                                     ((4, 3), (3,), (4, 3))),
                         kernel="gaussian_nll", reference=_gaussian_nll),
    "gaussian_nll_full": Loss(lambda F, x, y, v, r: F.gaussian_nll_loss(x, y, v, full=True, eps=1.0, reduction=r),
                              (normal, normal, positive), (0, 1, 2), roundings=16),
    "gaussian_nll_number": Loss(lambda F, x, y, r: F.gaussian_nll_loss(x, y, 0.5, reduction=r), (normal, normal)),
    "soft_margin": Loss(lambda F, x, y, r: F.soft_margin_loss(x, y, reduction=r), (normal, signs), (0,), ONE_SIZE,
                        kernel="soft_margin",
                        reference=lambda x, y, a: (np.logaddexp(0, -x * y), -y * special.expit(-x * y))),
    "hinge_embedding": Loss(lambda F, x, y, r: F.hinge_embedding_loss(x, y, margin=0.7, reduction=r), (normal, signs),
                            (0,), ONE_SIZE,
                            kernel="hinge_embedding", reference=_hinge_embedding),
    "hinge_embedding_other": Loss(lambda F, x, y, r: F.hinge_embedding_loss(x, y, reduction=r), (normal, counts)),
    "margin_ranking": Loss(lambda F, x, y, t, r: F.margin_ranking_loss(x, y, t, margin=0.3, reduction=r),
                           (normal, normal, signs), (0, 1), (((4,),) * 3, ((4, 1), (1, 3), (4, 3)), ((0,),) * 3)),
    "cosine_embedding": Loss(lambda F, x, y, t, r: F.cosine_embedding_loss(x, y, t, margin=0.2, reduction=r),
                             (normal, normal, signs), (0, 1), (((5, 4), (5, 4), (5,)), ((4,), (4,), ())), 16, 1.0),
    "triplet": Loss(lambda F, x, y, z, r: F.triplet_margin_loss(x, y, z, reduction=r), (normal,) * 3, (0, 1, 2),
                    (((5, 4),) * 3, ((4,),) * 3), 16),
    "triplet_swap": Loss(lambda F, x, y, z, r: F.triplet_margin_loss(x, y, z, swap=True, p=3.0, reduction=r),
                         (normal,) * 3, (0, 1, 2), (((5, 4),) * 3,), 24),
    "triplet_p1": Loss(lambda F, x, y, z, r: F.triplet_margin_loss(x, y, z, p=1.0, margin=2.5, reduction=r),
                       (normal,) * 3, (0, 1, 2), (((5, 4),) * 3,), 16, second=False),
    "triplet_with_distance": Loss(
        lambda F, x, y, z, r: F.triplet_margin_with_distance_loss(
            x, y, z, distance_function=lambda a, b: (a - b).abs().max(1).values, swap=True, margin=2.0, reduction=r),
        (normal,) * 3, (0, 1, 2), (((5, 4),) * 3,), 16, second=False),
    "triplet_with_default_distance": Loss(
        lambda F, x, y, z, r: F.triplet_margin_with_distance_loss(x, y, z, reduction=r), (normal,) * 3, (0, 1, 2),
        (((5, 4),) * 3,), 16),
    "cross_entropy": Loss(lambda F, x, y, r: F.cross_entropy(x, y, reduction=r), (normal, label(5)), (0,), ROWS),
    "cross_entropy_ignored": Loss(lambda F, x, y, r: F.cross_entropy(x, y, reduction=r), (normal, label(5, 0.4)), (0,),
                                  ROWS[:1]),
    "cross_entropy_weight": Loss(lambda F, x, y, w, r: F.cross_entropy(x, y, w, reduction=r),
                                 (normal, label(5, 0.2), positive), (0,), WEIGHTED, 16),
    "cross_entropy_smooth": Loss(lambda F, x, y, r: F.cross_entropy(x, y, reduction=r, label_smoothing=0.1),
                                 (normal, label(5, 0.2)), (0,), ROWS, 16),
    "cross_entropy_even": Loss(lambda F, x, y, r: F.cross_entropy(x, y, reduction=r, label_smoothing=1.0),
                               (normal, label(5)), (0,), ROWS[:1], 16),
    "cross_entropy_smooth_weight": Loss(
        lambda F, x, y, w, r: F.cross_entropy(x, y, w, reduction=r, label_smoothing=0.3),
        (normal, label(5, 0.2), positive), (0,), WEIGHTED, 16),
    "cross_entropy_probabilities": Loss(lambda F, x, y, r: F.cross_entropy(x, y, reduction=r), (normal, shares), (0,),
                                        ALIKE, 16),
    "cross_entropy_probabilities_everything": Loss(
        lambda F, x, y, w, r: F.cross_entropy(x, y, w, reduction=r, label_smoothing=0.2),
        (normal, shares, positive), (0,), ALIKE_WEIGHTED, 16),
    "cross_entropy_probabilities_gradients": Loss(
        lambda F, x, y, w, r: F.cross_entropy(x, y, w, reduction=r, label_smoothing=0.2),
        (normal, shares, positive), (0, 1, 2), ALIKE_WEIGHTED[:4], 16),
    "nll": Loss(lambda F, x, y, r: F.nll_loss(x, y, reduction=r), (normal, label(5)), (0,), ROWS, second=False),
    "nll_weight": Loss(lambda F, x, y, w, r: F.nll_loss(x, y, w, reduction=r), (normal, label(5, 0.2), positive), (0,),
                       WEIGHTED, second=False),
    "multi_margin": Loss(lambda F, x, y, r: F.multi_margin_loss(x, y, reduction=r), (normal, label(5)), (0,),
                         ROWS[:3], 8, None, False),
    "multi_margin_everything": Loss(lambda F, x, y, w, r: F.multi_margin_loss(x, y, 2, 0.6, w, reduction=r),
                                    (normal, label(5), positive), (0,), WEIGHTED[:3], 8, None, False),
    "multilabel_margin": Loss(lambda F, x, y, r: F.multilabel_margin_loss(x, y, reduction=r), (normal, label_lists),
                              (0,), (((4, 6),) * 2, ((6,),) * 2), 8, None, False),
    "multilabel_soft_margin": Loss(lambda F, x, y, r: F.multilabel_soft_margin_loss(x, y, reduction=r),
                                   (normal, inside), (0,), NO_SCALARS, 16),
    "multilabel_soft_margin_weight": Loss(
        lambda F, x, y, w, r: F.multilabel_soft_margin_loss(x, y, w, reduction=r), (normal, inside, positive), (0, 2),
        (((4, 3), (4, 3), (3,)),), 16),
}  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")


def operands_of(loss: Loss, shapes: tuple[tuple[int, ...], ...], rng: np.random.Generator, kind: Any) -> list[Any]:
    """The arrays, floating-point ones in one dtype and integers unchanged."""
    made = [np.asarray(make(rng, shape)) for make, shape in zip(loss.operands, shapes, strict=False)]
    return [a.astype(kind) if a.dtype.kind == "f" else a for a in made]


def run_loss(lib: Any, loss: Loss, arrays: list[np.ndarray], reduction: str, second: bool) -> Arrays:
    """Loss, gradients, and the gradients of a product of the gradients with given numbers."""
    tensors = [lib.tensor(a, requires_grad=i in loss.gradients) for i, a in enumerate(arrays)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "reduction: 'mean' divides")
        out = loss.call(lib.nn.functional, *tensors, reduction)
    rng = np.random.default_rng(3)
    dy = lib.tensor(rng.uniform(0.5, 2, tuple(out.shape)).astype(arrays[0].dtype))
    found = {"out": as_array(out)}
    leaves = [tensors[i] for i in loss.gradients]
    if not second:
        out.backward(dy)
        return found | {f"d{i}": as_array(tensors[i].grad) for i in loss.gradients}
    # An operand that the loss does not read in PyTorch either has a gradient of 0.
    grads = lib.autograd.grad(out, leaves, dy, create_graph=True)
    weights = [lib.tensor(rng.standard_normal(tuple(g.shape)).astype(arrays[0].dtype)) for g in grads]
    total = sum((g * w).sum() for g, w in zip(grads, weights, strict=True))
    found |= {f"d{i}": as_array(g) for i, g in zip(loss.gradients, grads, strict=True)}
    if total.requires_grad:
        for i, g in zip(loss.gradients, lib.autograd.grad(total, leaves, allow_unused=True), strict=True):
            found[f"dd{i}"] = as_array(lib.zeros(*leaves[0].shape)) * 0 if g is None else as_array(g)
    return found


def _add(name: str, loss: Loss, kind: Any, reductions: tuple[str, ...], second: bool = False) -> None:
    title = f"{name}_{np.dtype(kind).name}" + ("_second" if second else "")

    def inputs(rng: np.random.Generator) -> Arrays:
        made = [operands_of(loss, shapes, rng, kind) for shapes in loss.shapes]
        return {f"{i}/{j}": a for i, arrays in enumerate(made) for j, a in enumerate(arrays)}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        # The results of all shapes are concatenated: a separate array costs 100 bytes in the file.
        found: dict[str, list[np.ndarray]] = {}
        for i in range(len(loss.shapes)):
            arrays = [a for n, a in inputs.items() if n.startswith(f"{i}/")]
            for reduction in reductions:
                for n, a in run_loss(lib, loss, arrays, reduction, second).items():
                    found.setdefault(f"{reduction}/{n}", []).append(np.ravel(a))
                    found.setdefault("shapes", []).append(np.array([a.ndim, *a.shape], np.int8))
        return {n: np.concatenate(arrays) for n, arrays in found.items()}

    CASES.append(Case("loss_functions", title, inputs, run, loss.roundings * (2 if second else 1), loss.least))


for _name, _loss in LOSSES.items():
    _add(_name, _loss, np.float32, REDUCTIONS)
    _add(_name, _loss, np.float64, ("mean",))
    if _loss.second:
        _add(_name, _loss, np.float64, ("mean", "none"), second=True)

__all__ = ["LOSSES", "Loss", "operands_of", "run_loss"]
