"""Probes of indexing: reads, writes, gather and scatter, masks."""

from __future__ import annotations

from probes.tables import DTYPES, lines, product

INDICES = """
0
-1
1
2
-3
5
:
1:
:-1
::2
-1:
5:9
1:0
::-1
::0
...
None
True
False
(0, 1)
(0, -4)
(0, 5)
(1, 1, 1)
(0, 0, 0, 0)
(slice(None), 0)
(slice(None), slice(1, None))
(Ellipsis, 0)
(Ellipsis, -1, None)
(0, Ellipsis)
(None, 0)
(slice(None), None)
(None, Ellipsis, None)
(slice(0, 1), slice(None, None, 2))
[0]
[0, 1]
[0, -1]
[1, 5]
[]
[True, False]
[True, False, True]
(slice(None), [0, 1])
(slice(None), [2, 0, 2])
([0, 1], [1, 0])
([0, 1], [1, 0, 1])
([0, 1], slice(0, 2))
([[0], [1]], [0, 1])
(slice(None), [True, False, True])
()
index
labels
label
rows
mask
mask.logical_not()
~rows
(rows, 0)
(rows, slice(1, None))
(slice(None), index)
(slice(None), labels)
(labels, 0)
(label, label)
(index[:2], index[:2])
(index[:, None], labels)
(None, index)
(index, None)
(rows, [0])
(mask[0],)
(slice(None), mask[0])
index.int()
index.to(torch.uint8)
index.float()
index.short()
-index
torch.tensor([], dtype=torch.int64)
torch.tensor(True)
torch.tensor(0)
torch.tensor(-1)
torch.tensor(7)
torch.tensor([[0, 1], [1, 0]])
np.array([0, 1])
np.array([True, False])
np.int64(1)
np.array(0)
1.0
None, None
(0.5,)
range(2)
(range(2), 0)
matrix
slice(label, None)
slice(None, torch.tensor(1))
(label, slice(label))
"""
VALUES = "7 2.5 vector scalar matrix torch.tensor([9]) torch.zeros(2,1) torch.zeros(2) True nan".split()
_INDEXES = lines(INDICES)
SLICED = [i for i in _INDEXES if ":" in i and "(" not in i and "[" not in i]
WHOLE = [i for i in _INDEXES if i not in SLICED]
# Slices as written in ``x[...]``; as an argument a slice is a call.
_CALLED = [f"np.s_[{i}]" for i in SLICED] + WHOLE
METHODS = """
<x>.gather(<d>, <i>)
torch.take_along_dim(<x>, <i>, <d>)
<x>.scatter(<d>, <i>, 5.0)
<x>.scatter(<d>, <i>, torch.ones(2, 3))
<x>.scatter(<d>, <i>, 2.0, reduce="add")
<x>.scatter(<d>, <i>, 2.0, reduce="multiply")
<x>.scatter_add(<d>, <i>, torch.ones(2, 3))
<x>.scatter_reduce(<d>, <i>, torch.full((2, 3), 2.0), "sum")
<x>.scatter_reduce(<d>, <i>, torch.full((2, 3), 2.0), "prod", include_self=False)
<x>.scatter_reduce(<d>, <i>, torch.full((2, 3), 2.0), "mean")
<x>.scatter_reduce(<d>, <i>, torch.full((2, 3), 2.0), "amax")
<x>.scatter_reduce(<d>, <i>, torch.full((2, 3), 2.0), "amin", include_self=False)
"""
BY_INDEX = """
<x>.index_select(<d>, <i>)
<x>.index_fill(<d>, <i>, 3)
<x>.index_fill(<d>, <i>, scalar)
<x>.index_add(<d>, <i>, <x>.index_select(<d>, <i>))
<x>.index_add(<d>, <i>, <x>.index_select(<d>, <i>), alpha=2)
<x>.index_copy(<d>, <i>, <x>.index_select(<d>, <i>) * 2)
<x>.index_reduce(<d>, <i>, <x>.index_select(<d>, <i>), "prod")
<x>.index_reduce(<d>, <i>, <x>.index_select(<d>, <i>), "amax", include_self=False)
<x>.take(<i>)
<x>.put(<i>, torch.ones(3))
<x>.put(<i>, torch.ones(3), accumulate=True)
<x>.index_put((<i>,), scalar)
<x>.index_put((<i>,), scalar, accumulate=True)
<x>.select(<d>, 1)
<x>.narrow(<d>, 0, 1)
<x>.unbind(<d>)
<x>.repeat_interleave(<i>.abs(), dim=<d>)
"""
MASKS = """
<x>.masked_fill(<m>, 9)
<x>.masked_fill(<m>, 2.5)
<x>.masked_fill(<m>, scalar)
<x>.masked_fill(<m>, vector)
<x>.masked_select(<m>)
<x>.masked_scatter(<m>, torch.arange(6).to(<x>.dtype))
<x>[<m>]
torch.where(<m>, <x>, torch.zeros(()))
setting(<x>, <m>, 0)
setting(<x>, <m>, -1.5)
"""

GROUPS = {
    "indices read": [
        "matrix[..., ...]",
        'matrix["0"]',
        *product("<x>[<i>]", x="matrix cube vector scalar empty a_int64", i=_INDEXES),
        *product("(lambda t: (t.stride(), t.storage_offset()))(<x>[<i>])", x="cube permuted transposed",
                 i="0 1: ::2 ... None (0,1) (slice(None),0) (Ellipsis,-1,None) (0,slice(1,None,2))"),
    ],
    "indices written": [
        *product("setting(<x>, <i>, <v>)", x=["matrix"], i=_CALLED, v="7 vector scalar torch.zeros(2,1) row"),
        *product("setting(<x>, <i>, <v>)", x="vector cube scalar strided", i=_CALLED[::3], v="7 2.5 scalar"),
        *product("setting(a_int64, <i>, <v>)", i=_CALLED[::3], v="7 2.5"),
        *product("setting(a_<d>, <i>, <v>)", d=DTYPES, i="0 (0,1) mask [0,1] (Ellipsis,-1)", v="1 2.5 True -1 300"),
        *product("setting(matrix.requires_grad_(), <i>, <v>)", i="0 mask [0]", v="1.0 scalar"),
        *product("setting(matrix * 1, <i>, <v>.requires_grad_())", i="0 mask [0] (0,1)", v="scalar"),
    ],
    "gather and scatter": [
        'matrix.scatter_reduce(1, targets, other, "other")',
        *product(lines(METHODS), x="matrix square", d="0 1 -1 2", i="targets targets[:1] (targets-1) targets.int()"),
        *product("<x>.gather(<d>, <i>)", x="matrix a_int64 scalar mask", d="0 1", i="targets%2 label empty.long()"),
    ],
    "rows by index": product(lines(BY_INDEX), x="square cube", d="0 1 -1 3", i="index (-index) index.int() (index+9) labels"),
    "masks": product(lines(MASKS), x="matrix a_int64 cube.sum(2) strided mask",
                     m="mask rows mask[0] (~mask) mask.to(torch.uint8) (scalar>0) (matrix[:1]>0) (square>0)"),
}  # fmt: skip
