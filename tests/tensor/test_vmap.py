"""``vmap``: each operation on a batch is compared with itself on each element, and with a live PyTorch."""

# ruff: noqa: B023, E501, SIM905  A table, one case a line.

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import HAS_TORCH

import fastnn

B = 3  # elements of the batch


@functools.cache
def table(torch: Any) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The cases of one library: a function of one element, and the batches of its arguments."""
    F, vmap = torch.nn.functional, torch.func.vmap
    draw = np.random.default_rng(0)

    def R(*s):
        return torch.tensor(draw.standard_normal(s))

    def N(*s):
        return torch.tensor(draw.integers(0, 3, s))

    x23 = R(B, 2, 3)
    y23 = R(B, 2, 3)
    x3 = R(B, 3)
    y3 = R(B, 3)
    s = R(B)
    m33 = R(B, 3, 3)
    u3 = R(3)
    u23 = R(2, 3)
    u33 = R(3, 3)
    ints = N(B, 2)
    cls = N(B, 2)
    mask = x23 > 0
    spd = m33 @ m33.mT + 3 * torch.eye(3, dtype=torch.float64)
    w = R(B, 4, 3)
    b = R(B, 4)
    uw = R(4, 3)
    ub = R(4)
    C: dict[str, Any] = {}

    def fixed(module):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(R(*p.shape))
        return module

    R133 = R(1, 3, 3)

    def case(name, f, *args):
        C[name] = (f, args)

    for n in "abs sin exp tanh sigmoid neg square relu erf log1p expm1 floor sign reciprocal clone".split():
        case(n, (lambda n: lambda x: getattr(torch, n)(x))(n), x23)
    for n in "relu gelu silu elu celu selu leaky_relu hardtanh hardsigmoid hardswish mish softplus softsign tanhshrink softshrink hardshrink relu6 logsigmoid".split():
        case("F." + n, (lambda n: lambda x: getattr(F, n)(x))(n), x23)
    for n in "ReLU GELU SiLU Tanh Sigmoid LeakyReLU ELU Softplus Hardtanh Dropout Identity LogSoftmax Softmax Flatten".split():
        mod = getattr(torch.nn, n)(
            *((-1,) if "Soft" in n and n != "Softplus" else (0,) if n == "Flatten" else ())
        ).eval()
        case("nn." + n, mod, x23)
    for n in "add sub mul div maximum atan2 hypot".split():
        case(n, (lambda n: lambda x, y: getattr(torch, n)(x, y))(n), x23, y23)
        case(n + "_bc", (lambda n: lambda x, y: getattr(torch, n)(x, y))(n), x23, x3)
        case(n + "_u", (lambda n: lambda x: getattr(torch, n)(x, u23))(n), x3)
        case(n + "_u0", (lambda n: lambda x: getattr(torch, n)(u23, x))(n), s)
    case("ops", lambda x, y: 2 - x + y * 3 / (1 + x * x) - x**2 + 2**y, x23, x3)
    case("rops", lambda x: 2 - u23 * x + u23 / (x * x + 1) - u23, x3)
    case("where", lambda m, x, y: torch.where(m, x, y), mask, x23, x3)
    case("where2", lambda x: torch.where(x > 0, x, 0.0), x23)
    case("masked_fill", lambda x, m: x.masked_fill(m, 0.5), x23, mask)
    case("clamp", lambda x, y: torch.clamp(x, -0.5, 0.5) + x.clamp(min=y), x23, y3)
    case("lerp", lambda x, y, t: torch.lerp(x, y, t), x23, y23, s)
    case("addcmul", lambda x, y, t: torch.addcmul(x, y, t, value=0.5), x23, y23, s)
    for n in "sum mean prod amax amin logsumexp std var nansum nanmean".split():
        if n != "logsumexp":
            case(n, (lambda n: lambda x: getattr(x, n)())(n), x23)
        case(n + "0", (lambda n: lambda x: getattr(x, n)(0))(n), x23)
        case(n + "-1k", (lambda n: lambda x: getattr(torch, n)(x, dim=-1, keepdim=True))(n), x23)
        if n not in ("prod",):
            case(n + "01", (lambda n: lambda x: getattr(torch, n)(x, dim=(0, -1)))(n), x23)
    case("sum scalar", lambda x: x.sum() + x.mean(0) + x.sum(-1), s)
    case("var_mean", lambda x: torch.var_mean(x, dim=1, correction=0), x23)
    case("std un", lambda x: x.std(unbiased=False) + x.var(0, False).sum(), x23)
    for n in "max min median".split():
        case(n, (lambda n: lambda x: getattr(x, n)())(n), x23)
        case(n + "0", (lambda n: lambda x: getattr(x, n)(0))(n), x23)
        case(n + "k", (lambda n: lambda x: getattr(x, n)(1, keepdim=True)[0])(n), x23)
    case("max2", lambda x, y: torch.max(x, y), x23, y3)
    for n in "argmax argmin all any count_nonzero".split():
        case(n, (lambda n: lambda x: getattr(x, n)())(n), x23)
        case(n + "1", (lambda n: lambda x: getattr(x, n)(dim=1))(n), x23)
    case("aminmax", lambda x: torch.aminmax(x, dim=1), x23)
    case("quantile", lambda x: torch.quantile(x, 0.3, dim=1), x23)
    case("norm", lambda x: x.norm() + x.norm(dim=1).sum() + x.norm(1), x23)
    case(
        "linalg.norm",
        lambda x: torch.linalg.norm(x) + torch.linalg.norm(x, dim=1).sum() + torch.linalg.vector_norm(x, 3),
        x23,
    )
    case("linalg.norm v", lambda x: torch.linalg.norm(x, 1) + torch.linalg.matrix_norm(u33 * x), x3)
    for n in "cumsum cumprod logcumsumexp cummax".split():
        case(n, (lambda n: lambda x: getattr(x, n)(-1))(n), x23)
        case(n + "s", (lambda n: lambda x: getattr(x, n)(0))(n), s)
    for n in "softmax log_softmax softmin".split():
        case(n, (lambda n: lambda x: getattr(F, n)(x, dim=0))(n), x23)
        case(n + "s", (lambda n: lambda x: getattr(F, n)(x, dim=-1))(n), s)
    case("softmaxm", lambda x: x.softmax(-1) + torch.softmax(x, 0), x23)
    case("sort", lambda x: torch.sort(x, descending=True), x23)
    case("argsort", lambda x: x.argsort(0), x23)
    case("topk", lambda x: x.topk(2), x23)
    case("kthvalue", lambda x: x.kthvalue(2, dim=-1), x23)
    case("flip", lambda x: x.flip(0) + torch.flip(x, (0, 1)) + x.fliplr() + x.flipud(), x23)
    case("roll", lambda x: x.roll(1) + torch.roll(x, 1, 0) + x.roll((1, 2), (0, 1)), x23)
    case("rot90", lambda x: torch.rot90(x), x23)
    case("diff", lambda x: torch.diff(x), x23)
    case("unbind", lambda x: x.unbind(1), x23)
    case("chunk", lambda x: x.chunk(2, 1) + x.split(1) + x.split([1, 2], dim=1) + torch.tensor_split(x, 2, 1), x23)
    case("narrow", lambda x: (x.narrow(1, 1, 2), x.select(0, 1)), x23)
    case("iter", lambda x: sum(r.sum() * i for i, r in enumerate(x)), x23)
    case(
        "reshape",
        lambda x: (x.reshape(3, 2), x.view(-1), x.flatten(), x.unflatten(1, (3, 1)), x.reshape(-1, 3), x.ravel()),
        x23,
    )
    case(
        "squeeze",
        lambda x: (x.unsqueeze(0).squeeze(), x.unsqueeze(-1).squeeze(-1), x.unsqueeze(1), x.unsqueeze(-1)),
        x23,
    )
    case(
        "perm",
        lambda x: (x.permute(1, 0), x.transpose(0, 1), x.t(), x.T, x.mT, x.movedim(0, 1), x.swapaxes(-1, 0)),
        x23,
    )
    case(
        "expand",
        lambda x: (
            x.expand(4, 2, 3),
            x.unsqueeze(0).expand(2, -1, -1),
            x[0].expand(2, 3),
            x[0].expand_as(u23),
            torch.broadcast_to(x, (1, 2, 3)),
        ),
        x23,
    )
    case(
        "repeat",
        lambda x: (x.repeat(2, 1), x.repeat(2, 1, 1), x.tile(2), torch.tile(x, (2, 1, 2)), x.repeat_interleave(2, 1)),
        x23,
    )
    case(
        "diag",
        lambda x: (
            x.diagonal(),
            torch.diag(x),
            x.trace(),
            torch.diag(x[0]),
            torch.diag_embed(x),
            x.tril(),
            x.triu(1),
            torch.linalg.diagonal(x),
        ),
        m33,
    )
    case(
        "cat",
        lambda x, y: (
            torch.cat([x, y]),
            torch.cat([x, u23], -1),
            torch.stack([x, y, u23]),
            torch.stack((x, y), -1),
            torch.hstack([x, y]),
            torch.vstack([x, u23]),
        ),
        x23,
        y23,
    )
    case(
        "cat1",
        lambda x, y: (
            torch.cat((x, u3)),
            torch.hstack((x, y)),
            torch.vstack((x, y)),
            torch.dstack((x, y)),
        ),
        x3,
        y3,
    )
    case(
        "index", lambda x: (x[0], x[:, 1], x[..., 1:], x[None], x[-1, -1], x[:, ::2], x[...], x[0, None, :, None]), x23
    )
    idx = torch.tensor([0, 2])
    case(
        "index u",
        lambda x: (
            x[:, idx],
            x[torch.tensor([1, 0])],
            x[[0, 1], [2, 0]],
            x[torch.tensor([0, 1]), torch.tensor([2, 0])],
            x[0, idx],
            x[:, None, idx],
            x[torch.tensor([[0], [1]]), idx],
        ),
        x23,
    )
    case("index b", lambda x, i: (x[:, i], x[:, i.unsqueeze(0)], x[0, i], x[0][i]), x23, ints)
    case("index bu", lambda i: (u33[i], u33[:, i], u33[i, idx], u3[i]), ints)
    x4 = R(B, 2, 3, 4)
    case(
        "index sep", lambda x, i: (x[idx[:1], :, i], x[:, i], x[:, i, idx], x[0, :, i], x[i[:1] * 0, :, idx]), x4, ints
    )
    case("index_select", lambda x, i: (x.index_select(1, i), x.index_select(0, torch.tensor([1, 0, 1]))), x23, ints)
    case(
        "gather",
        lambda x, i: (
            x.gather(1, i.unsqueeze(0)),
            torch.gather(x, 1, torch.tensor([[0], [1]])),
            torch.take_along_dim(x, i.unsqueeze(0), 1),
        ),
        x23,
        ints,
    )
    case(
        "scatter",
        lambda x, i, y: (
            x.scatter(1, i.unsqueeze(0), y[:1, :2]),
            x.scatter_add(1, i.unsqueeze(0), y[:1, :2]),
            x.scatter(1, i.unsqueeze(0), 2.0),
        ),
        x23,
        ints,
        y23,
    )
    case(
        "index_add",
        lambda x, y: (
            x.index_add(1, torch.tensor([0, 2, 0]), y),
            x.index_fill(1, idx, 0.5),
            x.index_copy(0, torch.tensor([1, 0]), y),
        ),
        x23,
        y23,
    )
    case(
        "matmul",
        lambda a, b: (
            a @ b.mT,
            a @ b[0],
            b[0] @ a.mT,
            a[0] @ b[1],
            torch.mm(a, b.t()),
            torch.mv(a, b[0]),
            torch.dot(a[0], b[0]),
        ),
        x23,
        y23,
    )
    case(
        "matmul u",
        lambda a: (
            a @ u33,
            u33 @ a[0],
            a @ u3,
            u33 @ a.mT,
            a[0] @ u33,
            torch.matmul(u23, a[0]),
            u3 @ a.mT,
            torch.outer(a[0], u3),
        ),
        x23,
    )
    x5 = R(B, 4, 2, 3)
    ux = R(4, 3, 2)
    case(
        "matmul nd",
        lambda a, b: (a @ b.mT, b @ a.mT, a @ u33, a @ ux, ux @ a, b[0] @ ux, a @ b[0], torch.bmm(a, ux), a @ a.mT),
        x5,
        x23,
    )
    case(
        "addmm",
        lambda a, b: (
            torch.addmm(b[:, :2], a, u33[:, :2]),
            torch.addmm(a[:, :2] @ u33[:2, :2], a, b.t(), beta=0.5, alpha=2),
            torch.addmv(a[:, 0], a, u3),
            torch.baddbmm(a.unsqueeze(0) @ u33, a.unsqueeze(0), u33.unsqueeze(0)),
            torch.addr(u33, a[0], b[0]),
        ),
        x23,
        y23,
    )
    case(
        "einsum",
        lambda a, b: (
            torch.einsum("ij,kj->ik", a, b),
            torch.einsum("ij,j", a, u3),
            torch.einsum("...j,kj->...k", a, u33),
            torch.einsum("ii", u33 * a[0]),
        ),
        x23,
        y23,
    )
    case(
        "tensordot",
        lambda a, b: (
            torch.tensordot(a, u33, 1),
            torch.tensordot(a, b, ([1], [1])),
            torch.kron(a, b),
            torch.inner(a, b),
            torch.linalg.multi_dot([a, u33, b.t()]),
        ),
        x23,
        y23,
    )
    case(
        "cross",
        lambda a, b: (
            torch.cross(a, b, dim=1),
            torch.linalg.cross(a, u23),
            torch.cdist(a, b),
            torch.linalg.vecdot(a, b),
        ),
        x23,
        y23,
    )
    case(
        "linalg",
        lambda a: (
            torch.linalg.inv(a),
            torch.linalg.det(a),
            torch.linalg.cholesky(a),
            torch.linalg.slogdet(a),
            torch.logdet(a),
            torch.linalg.solve(a, u3),
            torch.linalg.solve(a, a[:, :2]),
            torch.linalg.eigvalsh(a),
            torch.linalg.svdvals(a),
            torch.linalg.pinv(a),
            torch.linalg.matrix_power(a, 2),
        ),
        spd,
    )
    case("linear", lambda x: (F.linear(x, uw, ub), F.linear(x[0], uw), F.linear(x, u3)), x23)
    case(
        "linear bw",
        lambda w, b: (
            F.linear(u3, w, b),
            F.linear(u23, w, b),
            F.linear(R0, w, b),
            F.linear(u23, uw, b),
            F.linear(u23, w),
        ),
        w,
        b,
    )
    R0 = R(2, 2, 3)
    case(
        "linear all",
        lambda x, w, b: (F.linear(x, w, b), F.linear(x[0], w, b), F.linear(x[0], w), F.linear(x.unsqueeze(0), w, b)),
        x23,
        w,
        b,
    )
    case("bilinear", lambda a, b: (F.bilinear(a, b, R133),), x23, y23)
    case(
        "layer_norm",
        lambda x, w, b: (
            F.layer_norm(x, (3,)),
            F.layer_norm(x, (2, 3), u23, u23),
            F.layer_norm(x, (3,), w, b),
            F.rms_norm(x, (3,), u3),
            F.rms_norm(x, (3,), w),
        ),
        x23,
        x3,
        y3,
    )
    xbn = R(B, 5, 3)
    rm = R(B, 3)
    rv = R(B, 3).abs() + 0.1
    case(
        "batch_norm",
        lambda x, w, b, m, v: (
            F.batch_norm(x, m.detach(), v.detach(), w, b),
            F.batch_norm(x, u3, u3.abs(), u3, u3),
            F.batch_norm(x, None, None, w, b, True),
            F.batch_norm(x, None, None, training=True),
        ),
        xbn,
        x3,
        y3,
        rm,
        rv,
    )
    case("group_norm", lambda x, w: (F.group_norm(x, 2, w, None), F.group_norm(x, 1)), R(B, 5, 4, 3), R(B, 4))
    bn = fixed(torch.nn.BatchNorm1d(3, dtype=torch.float64)).eval()
    ln = fixed(torch.nn.LayerNorm(3, dtype=torch.float64))
    case("nn.BN", lambda x: bn(x), xbn)
    case("nn.LN", lambda x: ln(x), xbn)
    bn2 = fixed(torch.nn.BatchNorm1d(3, track_running_stats=False, dtype=torch.float64))
    case("nn.BN2", lambda x: bn2(x), xbn)
    seq = fixed(
        torch.nn.Sequential(
            torch.nn.Linear(3, 4),
            torch.nn.LayerNorm(4),
            torch.nn.GELU(),
            torch.nn.Linear(4, 2),
            torch.nn.ReLU(),
            torch.nn.PReLU(),
        ).double()
    )
    case("nn.Seq", lambda x: seq(x), x23)
    case("nn.Seq1", lambda x: seq(x), x3)
    emb = fixed(torch.nn.Embedding(3, 4, dtype=torch.float64))
    case("nn.emb", lambda i: emb(i), ints)
    case("emb bw", lambda i, w: (F.embedding(i, w.t()), F.one_hot(i, 5)), ints, w)
    case("prelu", lambda x, a: (F.prelu(x, a[:1]), F.prelu(x, a), F.prelu(x, u3)), xbn, x3)
    case(
        "normalize",
        lambda x, y: (
            F.normalize(x),
            F.normalize(x, dim=0),
            F.cosine_similarity(x, y),
            F.pairwise_distance(x, y),
            F.glu(x, 0),
        ),
        x23,
        y23,
    )
    case("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 2, 0, 1), value=3.0)), x23)
    p01 = torch.sigmoid(x23)
    t01 = torch.sigmoid(y23)
    for n in "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div soft_margin_loss hinge_embedding_loss poisson_nll_loss".split():
        for red in ("mean", "sum", "none"):
            case(n + red, (lambda n, red: lambda x, y: getattr(F, n)(x, y.detach(), reduction=red))(n, red), p01, t01)
    case("kl batch", lambda x, y: F.kl_div(x, y, reduction="batchmean"), p01, t01)
    case("mse u", lambda x: F.mse_loss(x, u23) + F.mse_loss(u23, x) + torch.nn.MSELoss()(x, u23), x23)
    case(
        "bce w",
        lambda x, y: (
            F.binary_cross_entropy_with_logits(x, y, pos_weight=u3.abs())
            + F.binary_cross_entropy(torch.sigmoid(x), y, weight=u3.abs())
        ),
        x23,
        t01,
    )
    for red in ("mean", "sum", "none"):
        case(
            "ce" + red,
            (
                lambda red: (
                    lambda x, t: (
                        F.cross_entropy(x, t, reduction=red),
                        F.cross_entropy(x[0], t[0], reduction=red),
                        F.cross_entropy(x, t, u3.abs(), reduction=red),
                        F.cross_entropy(x, t, ignore_index=1, reduction=red),
                        F.cross_entropy(x, t, label_smoothing=0.1, reduction=red),
                        F.nll_loss(x, t, reduction=red),
                        F.nll_loss(x, t, u3.abs(), ignore_index=1, reduction=red),
                    )
                )
            )(red),
            x23,
            cls,
        )
    sign = (N(B, 2) > 0).to(torch.float64) * 2 - 1
    for red in ("mean", "sum", "none"):
        case(
            "rows " + red,
            (
                lambda red: (
                    lambda x, y, s, t: (
                        F.cosine_embedding_loss(x, y, s, reduction=red),
                        F.triplet_margin_loss(x, y, x * 2, reduction=red),
                        F.multi_margin_loss(x, t, reduction=red),
                        F.multilabel_soft_margin_loss(x, (y > 0).double(), u3.abs(), reduction=red),
                        F.triplet_margin_loss(x[0], y[0], x[1], reduction=red),
                    )
                )
            )(red),
            x23,
            y23,
            sign.clone(),
            cls,
        )
    case("dist", lambda x, y: (torch.dist(x, y), torch.cholesky_solve(x.t(), u33.tril() + 3)), x23, y23)
    case("lu", lambda x: (torch.linalg.lu(x)[1:], torch.linalg.lu_factor(x)[0]), spd)
    case("ce prob", lambda x, t: (F.cross_entropy(x, t.softmax(-1)), F.cross_entropy(x[0], t[0].softmax(-1))), x23, y23)
    case("nn.CE", lambda x, t: torch.nn.CrossEntropyLoss()(x, t), x23, cls)

    def inplace(x, y):
        z = x.clone()
        z.add_(y)
        z *= 2
        z[0] = y[1]
        z[:, 1] = 3.0
        z[0, 0] = y.sum()
        z.clamp_(-1, 1)
        z[..., 2].zero_()
        z.copy_(z + y)
        z[0, 1:] = y[0, :2]
        return z

    case("inplace", inplace, x23, y23)
    case("meta", lambda x: x * x.shape[0] + x.size(1) * x.dim() + x.numel() + len(x), x23)
    case(
        "new",
        lambda x: (
            x.new_zeros(3) + x[0],
            x.new_ones((2,)) + x[:, 0],
            torch.zeros_like(x) + x,
            torch.full_like(x, 2.0) * x,
            x.new_full((3,), 2.0) * x[0],
        ),
        x23,
    )
    case(
        "dtype",
        lambda x: (
            x.float(),
            x.to(torch.float32) * u3.float(),
            x.int(),
            x.type_as(u3.float()),
            x.bool(),
            x > 0,
            ~(x > 0),
            (x > 0) & (x < 1),
        ),
        x23,
    )
    case("promote", lambda x: (torch.zeros(3) * x, torch.zeros(2, 3) + x), s)
    case("vmap2", lambda x: vmap(lambda r, k: (r * k).sum(), in_dims=(0, None))(x, x[0]), x23)
    case(
        "vmap2b",
        lambda x: (
            vmap(lambda a: vmap(lambda b: F.linear(a, uw, ub) @ ub * b)(x[0]), in_dims=1, out_dims=1)(u33) * x.sum()
        ),
        x23,
    )
    case("grad in", lambda x: torch.func.grad(lambda a: (a.sin() * u23).pow(2).sum())(x), x23)
    case(
        "jac in",
        lambda x: (
            torch.func.jacrev(lambda a: F.linear(a, uw).tanh())(x),
            torch.func.jacfwd(lambda a: F.linear(a, uw).tanh())(x),
        ),
        x3,
    )
    case("hess in", lambda x: torch.func.hessian(lambda a: F.linear(a, uw).tanh().sum())(x), x3)
    for first in (False, True):
        heads = fixed(torch.nn.MultiheadAttention(3, 3, batch_first=first, dtype=torch.float64))
        several = R(B, 2, 2, 3)
        case(
            f"attention {first}",
            lambda x, y, m, heads=heads: (
                *heads(x, x, x),
                heads(y, x.unsqueeze(1).expand(2, 2, 3), y, attn_mask=m.detach()[:2, :2], need_weights=False)[0],
                heads(y, y, y, attn_mask=u33[:2, :2].expand(6, 2, 2), need_weights=False)[0],
            ),
            x23, several, m33,
        )  # fmt: skip
    return C


NAMES = list(table(fastnn))


def flat(result: Any) -> list[Any]:
    """The tensors of a result."""
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [result]


def run(lib: Any, name: str, batched: bool) -> list[Any]:
    """The results and the gradients of a case, in float64."""
    function, args = table(lib)[name]
    leaves = [a.detach().clone().requires_grad_(a.is_floating_point()) for a in args]
    if batched:
        results = flat(lib.func.vmap(function)(*leaves))
    else:
        columns = zip(*[flat(function(*[t[i] for t in leaves])) for i in range(B)], strict=True)
        results = [lib.stack(c) for c in columns]
    total = sum([(t * lib.arange(1, t.numel() + 1).reshape(t.shape)).sum() for t in results if t.requires_grad])
    if isinstance(total, lib.Tensor):
        total.backward()
    grads = [t.grad for t in leaves]
    return [*[(str(t.dtype), tuple(t.shape), t.requires_grad) for t in results],
            *[np.array([]) if t is None else np.asarray(t.detach().numpy(), np.float64) for t in [*results, *grads]]]  # fmt: skip


def check(found: list[Any], expected: list[Any], rtol: float = 1e-9) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if isinstance(a, tuple):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=rtol if a.dtype.kind == "f" else 0, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:reduction")
def test_as_a_loop(name):
    check(run(fastnn, name, True), run(fastnn, name, False))


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_as_in_pytorch(name):
    import torch

    # PyTorch's derivative of hardsigmoid is a number in float32.
    check(run(fastnn, name, True), run(torch, name, True), 1e-7 if name == "F.hardsigmoid" else 1e-9)


def _ensemble(lib: Any, ways: int = 4) -> Any:
    nn = lib.nn
    models = [
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double() for _ in range(ways)
    ]
    return models, *lib.func.stack_module_state(models)


def test_an_ensemble_trains_as_its_models_do(lib):
    """Parameters, buffers and gradients of each model are those of the model alone."""
    models, params, buffers = _ensemble(lib)
    x = lib.arange(15.0, dtype=lib.float64).reshape(5, 3).sin()

    def call(p, b, x):
        return lib.func.functional_call(models[0], (p, b), (x,))

    found = lib.func.vmap(call, in_dims=(0, 0, None))(params, buffers, x)
    (found**2).sum().backward()
    for i, model in enumerate(models):
        out = model(x)
        (out**2).sum().backward()
        assert lib.allclose(found[i], out, rtol=1e-12)
        for name, p in model.named_parameters():
            assert lib.allclose(params[name].grad[i], p.grad, rtol=1e-9, atol=1e-12)
        for name, b in model.named_buffers():
            assert lib.allclose(buffers[name][i].double(), b.double(), rtol=1e-12)


def test_gradients_of_each_sample(lib):
    models, _, _ = _ensemble(lib, 1)
    model = models[0].eval()
    params = {name: p.detach() for name, p in model.named_parameters()}
    x = lib.arange(12.0, dtype=lib.float64).reshape(4, 3).cos()
    y = lib.tensor([0, 1, 1, 0])

    def loss(p, x, y):
        out = lib.func.functional_call(model, p, (x.unsqueeze(0),))
        return lib.nn.functional.cross_entropy(out, y.unsqueeze(0))

    found, values = lib.func.vmap(lib.func.grad_and_value(loss), in_dims=(None, 0, 0))(params, x, y)
    for i in range(4):
        model.zero_grad()
        one = lib.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        one.backward()
        assert lib.allclose(values[i], one)
        for name, p in model.named_parameters():
            assert lib.allclose(found[name][i], p.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_random_numbers(lib):
    x, drop = lib.ones(8, 50), lib.nn.functional.dropout
    vmap = lib.func.vmap

    def kinds(function: Callable[..., Any], how: str) -> bool:
        found = vmap(function, randomness=how)(x)
        return bool((found == found[0]).all())

    functions = [
        lambda a: drop(a, 0.5),
        lambda a: a + lib.rand(50),
        lambda a: a * lib.randn_like(a),
        lambda a: drop(lib.ones(50), 0.5) + a,
    ]
    if lib is fastnn:
        # PyTorch's has no 'same' for it.
        functions.append(lambda a: lib.bernoulli(a * 0.5))
    for function in functions:
        assert kinds(function, "same")
        assert not kinds(function, "different")
        with pytest.raises(RuntimeError, match="randomness"):
            vmap(function)(x)
    assert drop(x, 0.5, training=False).equal(vmap(lambda a: drop(a, 0.5, training=False))(x))


REFUSED: dict[str, Callable[[Any], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "branch": lambda x: x if x.sum() > 0 else -x,
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "backward": lambda x: x.sum().backward(),
    "random": lambda x: x.uniform_(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(lib, name):
    with pytest.raises(RuntimeError):
        lib.func.vmap(REFUSED[name])(lib.ones(2, 3))


def test_a_batch_is_not_written_into_a_single_tensor(lib):
    out = lib.zeros(3)
    with pytest.raises(RuntimeError):
        lib.func.vmap(lambda x: out.add_(x))(lib.ones(2, 3))
    assert out.tolist() == [0, 0, 0]


def test_chunks_and_nested_batches(lib):
    vmap, x = lib.func.vmap, lib.arange(24.0).reshape(4, 3, 2)
    calls = []

    def twice(a: Any) -> Any:
        calls.append(a.shape)
        return {"twice": a * 2, "sum": a.sum()}

    found = vmap(twice, in_dims=1, out_dims={"twice": 1, "sum": 0}, chunk_size=2)(x)
    assert calls == [(4, 2), (4, 2)]
    assert found["twice"].equal(x * 2)
    assert found["sum"].equal(x.sum((0, 2)))
    outer = vmap(vmap(lambda a, b: a - b, in_dims=(0, None)), in_dims=(None, 0))(x[0, :, 0], x[:, 0, 0])
    assert outer.equal(x[0, :, 0] - x[:, 0, 0].unsqueeze(1))
    rows = lib.func.jacrev(lambda a: a.sin(), chunk_size=2)(x[0, :, 0])
    assert lib.allclose(rows.diagonal(), x[0, :, 0].cos())


def test_an_operation_without_a_rule_says_so_once():
    x = fastnn.arange(12.0).reshape(3, 4)
    with pytest.warns(UserWarning, match="performance drop"):
        found = fastnn.vmap(lambda a: fastnn.histc(a, 4))(x)
    assert found.tolist() == [fastnn.histc(row, 4).tolist() for row in x]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastnn.vmap(lambda a: fastnn.histc(a, 4))(x)


def test_operations_get_their_own_code_back():
    """Some collections of garbage after the last call, unless a program has subclasses of its own."""
    import gc

    from fastnn._tensor import torch_function

    fastnn.vmap(fastnn.sin)(fastnn.ones(3))
    assert not torch_function._suspended
    if not torch_function._for_good:
        for _ in range(torch_function._PATIENCE + 1):
            gc.collect(0)
        assert torch_function._suspended
        assert "torch_function" not in fastnn.sin.__code__.co_filename
    assert fastnn.vmap(fastnn.sin)(fastnn.ones(3)).equal(fastnn.ones(3).sin())


@pytest.mark.filterwarnings("ignore")
def test_functions_with_their_own_derivative(lib):
    class Square(lib.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    class Own(Square):
        generate_vmap_rule = False

        @staticmethod
        def vmap(info, dims, x):
            return Own.apply(x) * info.batch_size, dims[0]

    class Neither(Square):
        generate_vmap_rule = False

    x, vmap = lib.arange(3.0), lib.func.vmap
    assert vmap(Square.apply)(x).tolist() == [0, 1, 4]
    assert vmap(lib.func.grad(Square.apply))(x).tolist() == [0, 2, 4]
    assert vmap(Own.apply)(x).tolist() == [0, 3, 12]
    with pytest.raises(RuntimeError, match="vmap support"):
        vmap(Neither.apply)(x)


@pytest.mark.filterwarnings("ignore")
def test_jacobians_in_one_pass(lib):
    functional, x = lib.autograd.functional, lib.arange(3.0, dtype=lib.float64)
    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.LayerNorm(4), lib.nn.Linear(4, 2)).double()
    expected = functional.jacobian(model, x)
    for strategy in ("reverse-mode", "forward-mode"):
        found = functional.jacobian(model, x, vectorize=True, strategy=strategy)
        assert lib.allclose(found, expected, rtol=1e-10, atol=1e-14)
    for function in (lib.func.jacrev(model), lib.func.jacfwd(model)):
        assert lib.allclose(function(x), expected, rtol=1e-10, atol=1e-14)
    second = functional.hessian(lambda a: model(a).prod(), x)
    assert lib.allclose(functional.hessian(lambda a: model(a).prod(), x, vectorize=True), second, atol=1e-13)
    assert lib.allclose(lib.func.hessian(lambda a: model(a).prod())(x), second, atol=1e-13)
    with pytest.raises(RuntimeError, match="together"):
        functional.jacobian(model, x, vectorize=True, strict=True)


def test_recordings_of_modules_go_on_after_vmap():
    """Also after calls in several threads at once."""
    from concurrent.futures import ThreadPoolExecutor

    from fastnn.nn.module import runner

    model, before = fastnn.nn.Sequential(fastnn.nn.Linear(3, 2), fastnn.nn.ReLU()), runner[:]
    x = fastnn.ones(4, 3)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: fastnn.vmap(model)(x), range(8)))
    assert all(t.equal(found[0]) for t in found)
    assert runner == before
