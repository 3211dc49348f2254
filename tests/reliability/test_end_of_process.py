"""What the interpreter frees when it ends: nothing may read memory that is already free."""

from __future__ import annotations

import sys

import pytest
from helpers import run_python

from fastnn.kernels.runtime import cache

# All parts that keep addresses: functions of compiled code, programs, the pool, nodes of threads, a cycle at the end.
CODE = """
import threading
import fastnn as torch
from fastnn import nn

def differentiate():
    x, y = torch.randn(3, requires_grad=True), torch.randn(3)
    (torch.where(x > 0, x, y) * x + y).sum().backward()

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
step = torch.compile_step(model, nn.functional.mse_loss, optimizer)
for _ in range(3):
    step(torch.ones(5, 3), torch.ones(5, 2))
differentiate()
thread = threading.Thread(target=differentiate)
thread.start()
thread.join()
cycle = [model, optimizer, step]
cycle.append(cycle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc overwrites what is freed")
@pytest.mark.parametrize("byte", [0x55, 0xFF])
def test_the_interpreter_ends_with_freed_memory_overwritten(byte: int) -> None:
    """Python reads the definition of a built-in function while it frees the function: it must still be there."""
    compiled = cache.cache_folder()
    folder = {} if compiled is None else {"FASTNN_CACHE_DIR": str(compiled.parent)}
    run_python(CODE, PYTHONMALLOC="malloc", MALLOC_PERTURB_=str(byte), **folder)
