"""Probes of functions along dimensions: sums and extremes, cumulative sums, sorting, searching, counting."""

from __future__ import annotations

from probes.tables import MAIN_DTYPES, lines, product

# With a dimension or without one.
BOTH = "sum mean prod amax amin all any nansum nanmean logsumexp var std argmax argmin median nanmedian max min".split()
SOME = "sum mean amax all logsumexp var".split()
PAIRS = "max min median nanmedian mode cummax cummin sort aminmax std_mean var_mean".split()
CUMULATIVE = "cumsum cumprod logcumsumexp".split()
INPUTS = "matrix scalar empty narrow row transposed expanded holes tied".split()
DIMS = ("0", "1", "-1", "-2", "2", "-3")
OTHERS = """
torch.<f>(<x>)
torch.<f>(<x>, 0)
torch.<f>(<x>, dim=-1)
torch.<f>(<x>, dim=1, keepdim=True)
"""
EXPRESSIONS = """
<x>.norm()
<x>.norm(1)
<x>.norm(0)
<x>.norm(inf)
<x>.norm(-inf)
<x>.norm(3, dim=0)
<x>.norm(dim=-1, keepdim=True)
<x>.norm("fro")
<x>.norm(-1)
torch.linalg.vector_norm(<x>)
torch.linalg.vector_norm(<x>, 0.5)
torch.linalg.vector_norm(<x>, inf, dim=0)
torch.linalg.norm(<x>, dim=0)
torch.linalg.norm(<x>, 1)
torch.count_nonzero(<x>)
torch.count_nonzero(<x>, 0)
torch.quantile(<x>, 0.3)
torch.quantile(<x>, torch.tensor([0.25, 0.75]), dim=0)
torch.quantile(<x>, 0.5, dim=-1, keepdim=True)
torch.quantile(<x>, 0.4, interpolation="lower")
torch.quantile(<x>, 0.4, interpolation="midpoint")
torch.quantile(<x>, 1.5)
torch.nanquantile(<x>, 0.5)
torch.kthvalue(<x>, 1)
torch.kthvalue(<x>, 2, dim=0)
torch.kthvalue(<x>, 9)
torch.topk(<x>, 1)
torch.topk(<x>, 2, dim=0)
torch.topk(<x>, 2, largest=False)
torch.topk(<x>, 9)
torch.topk(<x>, 0)
torch.sort(<x>, descending=True, stable=True)
torch.sort(<x>, dim=0, stable=True)
torch.argsort(<x>, stable=True)
torch.argsort(<x>, dim=0, descending=True, stable=True)
torch.msort(<x>)
torch.unique(<x>)
torch.unique(<x>, return_counts=True)
torch.unique(<x>, return_inverse=True)
torch.unique(<x>, sorted=False).sort()[0]
torch.unique(<x>, dim=0)
torch.unique_consecutive(<x>)
torch.unique_consecutive(<x>, return_counts=True)
torch.var(<x>, correction=0)
torch.var(<x>, unbiased=False)
torch.std(<x>, 0, correction=2)
torch.var(<x>, dim=0, unbiased=True)
torch.std(<x>, (0, 1))
torch.var(<x>, 0, True, True)
torch.sum(<x>, dim=())
torch.sum(<x>, (0,))
torch.sum(<x>, [0, -1])
torch.sum(<x>, dtype=torch.float64)
torch.sum(<x>, 0, dtype=torch.int32)
torch.mean(<x>, (0, 0))
torch.mean(<x>, dtype=torch.float64)
torch.mean(<x>, dtype=torch.int64)
torch.prod(<x>, dtype=torch.float64)
torch.prod(<x>, (0, 1))
torch.amax(<x>, ())
torch.amax(<x>, (0, -1), keepdim=True)
torch.all(<x>, dim=(0,))
torch.any(<x>, dim=())
torch.logsumexp(<x>, (0, 1))
torch.cumsum(<x>, 0, dtype=torch.float64)
torch.diff(<x>)
torch.diff(<x>, dim=0)
torch.diff(<x>, n=2)
torch.diff(<x>, n=0)
torch.diff(<x>, prepend=<x>)
torch.trapezoid(<x>)
torch.trapezoid(<x>, dx=0.5, dim=0)
torch.cumulative_trapezoid(<x>)
torch.renorm(<x>, 2, 0, 1.0)
torch.cov(<x>)
torch.corrcoef(<x>)
torch.cov(<x>, correction=0)
torch.histc(<x>, 4)
torch.histc(<x>, bins=3, min=0, max=2)
torch.dist(<x>, <x>)
torch.nonzero(<x>)
torch.nonzero(<x>, as_tuple=True)
torch.argwhere(<x>)
torch.max(<x>, <x>)
torch.trace(<x>)
<x>.softmax(-1)
<x>.log_softmax(0)
<x>.softmax(5)
F.softmin(<x>, -1)
F.normalize(<x>)
F.normalize(<x>, p=1, dim=-1)
F.normalize(<x>, p=inf, dim=0)
F.layer_norm(<x>, <x>.shape[-1:])
"""
SEARCHES = """
torch.searchsorted(<s>, <v>)
torch.searchsorted(<s>, <v>, right=True)
torch.searchsorted(<s>, <v>, side="left", out_int32=True)
torch.bucketize(<v>, <s>)
torch.bucketize(<v>, <s>, right=True)
torch.isin(<v>, <s>)
torch.isin(<v>, <s>, invert=True)
"""
COUNTS = """
torch.bincount(<i>)
torch.bincount(<i>, minlength=5)
torch.bincount(<i>, weights=torch.ones(3))
torch.bincount(<i>, minlength=-1)
F.one_hot(<i>)
F.one_hot(<i>, 4)
F.one_hot(<i>, 1)
torch.histc(<i>, 3)
torch.combinations(<i>)
torch.cartesian_prod(<i>, <i>)
torch.vander(<i>, 2)
torch.unique(<i>)
torch.flip(<i>, (0,))
torch.roll(<i>, 1)
torch.repeat_interleave(<i>)
torch.nonzero_static(<i>, size=4)
"""

GROUPS = {
    "reductions by dimension": [
        *product("torch.<f>(<x>, dim=<d>)", f=BOTH, x="matrix scalar empty holes", d=DIMS),
        *product("torch.<f>(<x>, dim=None)", f=BOTH, x="matrix"),
        *product("torch.<f>(<x>, dim=None, keepdim=True)", f=SOME, x="scalar empty"),
        *product("torch.<f>(<x>, dim=<d>, keepdim=True)", f=SOME, x="matrix scalar empty narrow", d=DIMS),
        *product("<x>.<f>(<d>, True)", f="sum mean max argmin std", x="row transposed expanded cube permuted",
                 d="0 1 -1 3 None"),
        *product("torch.<f>(<x>)", f=[*BOTH, *PAIRS, *CUMULATIVE], x=INPUTS),
        *product("torch.<f>(cube, dim=<d>)", f="sum mean amax all any var logsumexp nansum",
                 d="(0,1) (0,2) [1,2] (-1,-3) (0,0) (0,3) (0,1,2)"),
    ],
    "reductions by dtype": [
        *product("torch.<f>(a_<d>)", f=[*BOTH, *PAIRS], d=MAIN_DTYPES),
        *product("torch.<f>(special_<d>)", f=BOTH, d=MAIN_DTYPES),
        *product("torch.<f>(a_<d>, dim=1)", f=[*BOTH, *PAIRS, *CUMULATIVE], d=MAIN_DTYPES),
        *product("torch.<f>(a_<d>, dim=0, dtype=torch.<e>)", f="sum prod cumsum cumprod mean nansum", d=MAIN_DTYPES,
                 e="float32 float64 int64 uint8 bool"),
    ],
    "values and indices": [
        *product(lines(OTHERS), f="max min median nanmedian mode cummax cummin sort", x=[*INPUTS, "cube", "nothing"]),
        *product("torch.<f>(<x>, <d>)", f=CUMULATIVE, x=[*INPUTS, "cube", "nothing"], d="0 1 -1 3"),
    ],
    "statistics": ["torch.logsumexp(matrix, ())", *product(lines(EXPRESSIONS), x="matrix scalar empty holes vector a_int64 half_matrix mask cube")],
    "searches": product(
        lines(SEARCHES), s="torch.arange(4.) torch.tensor([0.,1.,1.,nan]) nothing torch.arange(4) matrix.sort()[0]",
        v="torch.tensor([0.5,1.,9.,nan]) 1 tied scalar torch.tensor([[1,3],[2,0]]) matrix",
    ),
    "counts": product(lines(COUNTS), i="index z_int32 z_uint8 z_bool z_float32 nothing signs empty label"),
}  # fmt: skip
