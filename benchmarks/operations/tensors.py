"""Operators and methods of tensors, for the table of operations."""

# ruff: noqa: E501  A line to each operation reads better than three.

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.operations.row import ANY, MATRIX, PAIRS, POSITIVE, Operation, square, vectors


def _index(lib: Any, values: Any) -> Any:
    return lib.tensor(np.array(values))


TENSORS: list[Operation] = [
    # Arithmetic
    Operation("add", lambda lib, x, y: x + y, PAIRS),
    Operation("sub", lambda lib, x, y: x - y, PAIRS),
    Operation("mul", lambda lib, x, y: x * y, PAIRS, terms=True),
    Operation("div", lambda lib, x, y: x / y, PAIRS, POSITIVE, terms=True),
    Operation("same_operand", lambda lib, x: x * x + x / x - x, ANY, terms=True),
    Operation("add_number", lambda lib, x: x + 1.5, ANY),
    Operation("radd_number", lambda lib, x: 2 + x, ANY),
    Operation("sub_number", lambda lib, x: x - 3, ANY),
    Operation("rsub_number", lambda lib, x: 1.25 - x, ANY),
    Operation("mul_number", lambda lib, x: x * 1.7, ANY),
    Operation("rmul_number", lambda lib, x: -3 * x, ANY),
    Operation("div_number", lambda lib, x: x / 1.7, ANY),
    Operation("rdiv_number", lambda lib, x: 1.7 / x, ANY, roundings=4),
    Operation("neg", lambda lib, x: -x, ANY),
    Operation("abs", lambda lib, x: x.abs(), ANY),
    Operation("exp", lambda lib, x: x.exp(), ANY, roundings=4),
    Operation("log", lambda lib, x: x.log(), ANY, POSITIVE, roundings=4, terms=True),
    Operation("sqrt", lambda lib, x: x.sqrt(), ANY, POSITIVE),
    *[Operation(f"pow_{e}", lambda lib, x, e=e: x**e, ANY, POSITIVE, roundings=8)
      for e in (0, 1, 2, 3, -1, -2, 0.5, 1.0, 2.5, -1.5)],
    Operation("pow_2_negative", lambda lib, x: x**2, ANY),
    Operation("pow_3_negative", lambda lib, x: x**3, ANY, roundings=4),
    # In place, of a result
    Operation("iadd", lambda lib, x, y: (x * 1).add_(y), [((2, 3), (3,)), ((2, 3), ()), ((0,), (0,))], scale=vectors(2)),
    Operation("iadd_alpha", lambda lib, x, y: (x * 1).add_(y, alpha=2.5), [((2, 3), (3,)), ((4,), (4,))], terms=True, scale=vectors(2)),
    Operation("isub_alpha", lambda lib, x, y: (x * 1).sub_(y, alpha=2), [((2, 3), (3,)), ((4,), (4,))], terms=True, scale=vectors(2)),
    Operation("imul", lambda lib, x, y: (x + y).mul_(2.5), [((2, 3), (3,))], terms=True, scale=vectors(2)),
    Operation("itruediv", lambda lib, x, y: (x + y).__itruediv__(2.5), [((2, 3), (3,))], terms=True, scale=vectors(2)),
    Operation("copy_", lambda lib, x, y: (x * 1).copy_(y) * y, [((2, 3), (3,)), ((2, 3), ()), ((2,), (2,))], scale=vectors(2)),
    Operation("fill_", lambda lib, x: (x * 1).fill_(2.5) + x, ANY),
    # Copies and dtypes
    Operation("clone", lambda lib, x: x.clone(), ANY),
    Operation("contiguous", lambda lib, x: x.contiguous(), ANY),
    Operation("transposed_contiguous", lambda lib, x: x.t().contiguous(), MATRIX),
    Operation("double", lambda lib, x: x.double(), ANY),
    Operation("to_same", lambda lib, x: x.to(x.dtype), ANY),
    # Reductions
    Operation("sum", lambda lib, x: x.sum(), ANY, terms=True),
    Operation("sum_no_dims", lambda lib, x: x.sum(()), MATRIX, terms=True),
    Operation("sum_0", lambda lib, x: x.sum(0), ANY, terms=True),
    Operation("sum_last_kept", lambda lib, x: x.sum(-1, keepdim=True), ANY, terms=True),
    Operation("sum_both", lambda lib, x: x.sum((0, 1)), MATRIX, terms=True),
    Operation("sum_list_kept", lambda lib, x: x.sum([1, 0], keepdim=True), MATRIX, terms=True),
    Operation("mean", lambda lib, x: x.mean(), ANY, terms=True),
    Operation("mean_0", lambda lib, x: x.mean(0), ANY, terms=True),
    Operation("mean_1_kept", lambda lib, x: x.mean(dim=1, keepdim=True), MATRIX, terms=True),
    Operation("max", lambda lib, x: x.max(), [s for s in ANY if 0 not in s[0]], scale=vectors(1)),
    Operation("max_0", lambda lib, x: x.max(0)[0], [s for s in ANY if s[0][:1] != (0,)], scale=vectors(1)),
    Operation("max_last_kept", lambda lib, x: x.max(-1, keepdim=True).values, [s for s in ANY if s[0][-1:] != (0,)], scale=vectors(1)),
    Operation("max_function", lambda lib, x: lib.max(x, 0)[0], [((2, 3),), ((4,),)], scale=vectors(1)),
    # Shapes
    Operation("reshape", lambda lib, x: x.reshape(3, -1), [((6,),), ((2, 3),), ((3, 0),), ((3, 2, 2),)]),
    Operation("reshape_tuple", lambda lib, x: x.reshape((6,)), [((2, 3),), ((6,),)]),
    Operation("reshape_empty", lambda lib, x: x.reshape(0, 7), [((0,),), ((3, 0),)]),
    Operation("reshape_to_nothing", lambda lib, x: x.reshape(()), [((1,),), ((1, 1),)]),
    Operation("view", lambda lib, x: x.view(-1), ANY),
    Operation("reshape_transposed", lambda lib, x: x.t().reshape(-1), [((2, 3),)], scale=square("M")),
    Operation("flatten", lambda lib, x: x.flatten(), ANY),
    Operation("flatten_1", lambda lib, x: x.flatten(1), [((2, 3, 4),), ((2, 3),), ((0, 2, 2),)]),
    Operation("flatten_0_1", lambda lib, x: x.flatten(0, 1), [((2, 3, 4),), ((2, 0, 4),)]),
    Operation("transpose", lambda lib, x: x.transpose(0, -1), ANY),
    Operation("t", lambda lib, x: x.t(), [((),), ((3,),), *MATRIX], scale=square("M")),
    Operation("T", lambda lib, x: x.T, MATRIX),
    Operation("permute", lambda lib, x: x.permute(2, 0, 1), [((2, 3, 4),), ((1, 0, 2),)]),
    Operation("permute_tuple", lambda lib, x: x.permute((-1, 0)), MATRIX),
    Operation("unsqueeze_0", lambda lib, x: x.unsqueeze(0), ANY),
    Operation("unsqueeze_last", lambda lib, x: x.unsqueeze(-1), ANY),
    Operation("squeeze", lambda lib, x: x.squeeze(), ANY),
    Operation("squeeze_0", lambda lib, x: x.squeeze(0), ANY),
    Operation("squeeze_tuple", lambda lib, x: x.squeeze((0, -1)), [((1, 2, 1),), ((2, 1),)]),
    # Elements
    Operation("item_0", lambda lib, x: x[0], [((4,),), ((2, 3),)], scale=vectors(1)),
    Operation("item_last", lambda lib, x: x[-1], [((4,),), ((2, 3),)], scale=vectors(1)),
    Operation("item_0_1", lambda lib, x: x[0, 1], [((2, 3),), ((2, 3, 2),)]),
    Operation("slice", lambda lib, x: x[1:3], [((4,),), ((5, 2),), ((0, 2),)], scale=vectors(1)),
    Operation("slice_step", lambda lib, x: x[::2], [((5,),), ((5, 2),)], scale=vectors(1)),
    Operation("slice_column", lambda lib, x: x[:, 1], [((2, 3),)]),
    Operation("ellipsis", lambda lib, x: x[..., 0], [((2, 3),), ((4,),), ((2, 3, 2),)], scale=vectors(1)),
    Operation("none", lambda lib, x: x[None, :, None], [((4,),), ((2, 3),)], scale=vectors(1)),
    Operation("whole", lambda lib, x: x[...], ANY),
    Operation("index_list", lambda lib, x: x[[0, 2, 0]], [((4,),), ((3, 2),)]),
    Operation("index_tensor", lambda lib, x: x[_index(lib, [2, 0, 0, -1])], [((4,),), ((3, 2),)]),
    Operation("index_int32", lambda lib, x: x[_index(lib, np.array([2, 0], "i4"))], [((4,),)]),
    Operation("index_0d", lambda lib, x: x[_index(lib, 1)], [((4,),), ((3, 2),)]),
    Operation("index_matrix", lambda lib, x: x[_index(lib, [[0, 1], [1, 1]])], [((4,),), ((3, 2),)]),
    Operation("index_pairs", lambda lib, x: x[_index(lib, [0, 1, 0]), _index(lib, [2, 1, 2])], [((2, 3),)]),
    Operation("index_mixed", lambda lib, x: x[:, _index(lib, [1, 1])], [((2, 3),)]),
    Operation("index_rows_of_labels", lambda lib, x: x[[0, 1], _index(lib, [2, 0])], [((2, 3),)]),
    Operation("mask", lambda lib, x: x[x > 0], ANY),
    Operation("mask_rows", lambda lib, x: x[_index(lib, [True, False, True])], [((3, 2),), ((3,),)]),
    Operation("iterate", lambda lib, x: [row * (i + 1) for i, row in enumerate(x)][-1], [((3,),), ((2, 3),)]),
    # Products
    Operation("matmul", lambda lib, x, y: x @ y, [((2, 3), (3, 4)), ((1, 1), (1, 1)), ((0, 3), (3, 2)),
              ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3,)), ((0,), (0,))],
              roundings=4, terms=True, scale=square("MM")),
    Operation("matmul_function", lambda lib, x, y: lib.matmul(x, y.t()), [((2, 3), (4, 3))], roundings=4, terms=True, scale=square("MM")),
    Operation("linear", lambda lib, x, w, b: lib.nn.functional.linear(x, w, b),
              [((2, 3), (4, 3), (4,)), ((3,), (4, 3), (4,)), ((0, 3), (4, 3), (4,)), ((2, 0), (4, 0), (4,)),
               ((2, 2, 3), (4, 3), (4,)), ((2, 0, 3), (4, 3), (4,)), ((2, 3), (0, 3), (0,)), ((2, 3), (4, 3), (1,))],
              roundings=4, terms=True, scale=square("MMV")),
    Operation("linear_no_bias", lambda lib, x, w: lib.nn.functional.linear(x, w),
              [((2, 3), (4, 3)), ((3,), (4, 3)), ((2, 3), (3,)), ((3,), (3,)), ((2, 2, 3), (4, 3))],
              roundings=4, terms=True, scale=square("MM")),
    # Activations
    Operation("relu", lambda lib, x: lib.relu(x), ANY),
    Operation("sigmoid", lambda lib, x: lib.sigmoid(x), ANY, roundings=8),
    Operation("tanh", lambda lib, x: lib.tanh(x), ANY, roundings=8, terms=True),
    Operation("leaky_relu", lambda lib, x: lib.nn.functional.leaky_relu(x, 0.2), ANY),
    Operation("leaky_relu_negative", lambda lib, x: lib.nn.functional.leaky_relu(x, -0.5), ANY),
    Operation("gelu", lambda lib, x: lib.nn.functional.gelu(x), ANY, roundings=8, terms=True),
    Operation("gelu_tanh", lambda lib, x: lib.nn.functional.gelu(x, approximate="tanh"), ANY, roundings=16, terms=True),
    Operation("relu_inplace", lambda lib, x: lib.nn.functional.relu(x * 1, inplace=True), ANY),
    Operation("leaky_relu_inplace", lambda lib, x: lib.nn.functional.leaky_relu(x * 1, 0.2, inplace=True), ANY),
    # Losses
    *[Operation(f"cross_entropy_{reduction}", lambda lib, x, reduction=reduction: lib.nn.functional.cross_entropy(
          x, _index(lib, np.arange(len(x)) % 3), reduction=reduction),
          [((2, 3),), ((7, 4),), ((0, 3),)], roundings=8, terms=True, scale=square("M")) for reduction in ("mean", "sum", "none")],
]  # fmt: skip

# Without a gradient: numbers in, integers or booleans out.
PLAIN_TENSORS: list[Operation] = [
    Operation("eq", lambda lib, x, y: x == y, PAIRS),
    Operation("ne", lambda lib, x, y: x != y, PAIRS),
    Operation("lt", lambda lib, x, y: x < y, PAIRS),
    Operation("le", lambda lib, x, y: x <= y, PAIRS),
    Operation("gt", lambda lib, x, y: x > y, PAIRS),
    Operation("ge", lambda lib, x, y: x >= y, PAIRS),
    Operation("argmax", lambda lib, x: x.argmax(), [s for s in ANY if 0 not in s[0]]),
    Operation("argmax_kept", lambda lib, x: x.argmax(keepdim=True), [s for s in ANY if 0 not in s[0]]),
    Operation("argmax_0", lambda lib, x: x.argmax(0), [s for s in ANY if s[0][:1] != (0,)]),
    Operation("argmax_last_kept", lambda lib, x: lib.argmax(x, -1, keepdim=True), [((4,),), ((2, 3),)]),
    Operation("max_indices", lambda lib, x: x.max(-1)[1], [((),), ((4,),), ((2, 3),), ((0, 3),)]),
    Operation("max_indices_kept", lambda lib, x: x.max(0, keepdim=True).indices, [((4,),), ((2, 3),)]),
    Operation("long", lambda lib, x: x.long(), ANY),
    Operation("int", lambda lib, x: x.int(), ANY),
    Operation("bool", lambda lib, x: x.bool(), ANY),
    Operation("float", lambda lib, x: x.float(), ANY),
    Operation("detach", lambda lib, x: x.detach(), ANY),
    Operation("data", lambda lib, x: x.data, ANY),
]
