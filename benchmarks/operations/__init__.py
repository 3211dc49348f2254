"""The table of operations: one row each, read by the tests and by benchmarks.

A row (``row.Operation``) says how the operation is called, on which shapes and numbers, with which tolerance, and
which shapes it has in timings. The tests read the table for PyTorch's values, recorded and live, finite differences,
second derivatives, saved tensors, float64 references and guard pages.

Neither fastnn nor PyTorch is imported here: a row is a function of the library.

    tensors       operators and methods of tensors, the first activations and losses
    functions     functions of ``torch`` and ``torch.linalg``
    attention     attention of queries to keys
    networks      functions of ``torch.nn.functional``
    activations   the elementwise ones among these, with their kernels' float64 references and their layers
"""

from __future__ import annotations

from benchmarks.operations.activations import ACTIVATIONS as ACTIVATIONS
from benchmarks.operations.attention import ATTENTION
from benchmarks.operations.functions import FUNCTIONS, PLAIN_FUNCTIONS
from benchmarks.operations.networks import NETWORKS
from benchmarks.operations.row import Operation as Operation
from benchmarks.operations.row import Shape as Shape
from benchmarks.operations.tensors import PLAIN_TENSORS, TENSORS

OPERATIONS: list[Operation] = [*TENSORS, *NETWORKS, *ATTENTION, *FUNCTIONS]
# Without a gradient: numbers in, integers or booleans out.
PLAIN: list[Operation] = [*PLAIN_TENSORS, *PLAIN_FUNCTIONS]
