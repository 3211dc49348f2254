"""Numba's variables: those that affect machine code are in the cache's key; NUMBA_DISABLE_JIT changes no kernel."""

import numpy as np
import pytest
from helpers import output_of, run_python, start_python
from numba import njit
from numba.core import config, registry

from fastnn.kernels.runtime import cache, compiler
from fastnn.kernels.runtime.compiler import Kernel, Words, array
from fastnn.kernels.runtime.launcher import launch

# Three steps of gradient descent on the logits themselves: a kernel with an entry of its own, and an optimizer.
TRAINING = """
import numpy as np
from fastnn import kernels
from fastnn.kernels.runtime import compiler
logits, labels = np.linspace(-1, 1, 24).reshape(8, 3), np.arange(8) % 3
losses, gradient = np.empty(8), np.empty((8, 3))
for _ in range(3):
    kernels.softmax_cross_entropy(losses, gradient, logits, labels)
    kernels.sgd(logits.ravel(), gradient.ravel(), lr=0.5)
print(len(compiler.compilations), *logits.ravel().tolist())
"""


def expected_logits():
    """The result of TRAINING, computed with NumPy."""
    logits, labels = np.linspace(-1, 1, 24).reshape(8, 3), np.arange(8) % 3
    for _ in range(3):
        e = np.exp(logits - logits.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        p[np.arange(8), labels] -= 1
        logits = logits - 0.5 * p
    return logits.ravel()


def check_training(printed, compiled):
    count, *logits = printed.split()
    assert int(count) == compiled
    # Each step rounds a few numbers of magnitude below 2.
    np.testing.assert_allclose(np.array(logits, float), expected_logits(), rtol=0, atol=32 * 2.0**-52)


def test_training_without_optimization(tmp_path):
    for compiled in (3, 0):
        check_training(run_python(TRAINING, NUMBA_OPT="0", FASTNN_CACHE_DIR=str(tmp_path)), compiled)


UPDATE = """
import numpy as np
from fastnn.kernels.runtime import compiler
from fastnn.kernels import sgd
p = np.ones(3)
sgd(p, np.full(3, 2.0), lr=0.25)
assert (p == 0.5).all()
print(*[name for name, _ in compiler.compilations])
"""


def test_processes_with_other_settings_share_no_files(tmp_path):
    settings = [{}, {"NUMBA_OPT": "1"}, {"NUMBA_LOOP_VECTORIZE": "0"}]
    # The second time each process loads its own compiled code.
    for compiled in ({"sgd.float64", "_launch_block"}, set()):
        processes = [start_python(UPDATE, FASTNN_CACHE_DIR=str(tmp_path), **variables) for variables in settings]
        assert [set(output_of(process).split()) for process in processes] == [compiled] * 3
    [folder] = tmp_path.iterdir()
    assert len(list(folder.glob("sgd.float64-*"))) == len(settings)


@pytest.mark.parametrize("setting", cache._NUMBA_SETTINGS)
def test_a_setting_is_part_of_the_key(monkeypatch, tmp_path, setting):
    # A setting renamed by Numba would be missing from the key without an error.
    assert hasattr(config, setting)
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    codegen = registry.cpu_target.target_context.codegen()
    path = cache._path("name", "signature", codegen)
    assert path == cache._path("name", "signature", codegen)
    monkeypatch.setattr(config, setting, "another value")
    assert cache._path("name", "signature", codegen) != path


# --------------------------------------------------------------------------------------------
# NUMBA_DISABLE_JIT

LAYERS = """
import hashlib
import fastnn as torch
from fastnn import nn
from numba import njit

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
step = torch.compile_step(model, nn.CrossEntropyLoss(), optimizer)
x, y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.arange(8) % 2
for _ in range(3):
    step(x, y)
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
print(hasattr(njit(lambda: 0), "py_func"))
"""


def test_disable_jit_leaves_the_numbers_and_the_users_functions_alone():
    bits, is_compiled = run_python(LAYERS).split()
    assert is_compiled == "True"
    assert run_python(LAYERS, NUMBA_DISABLE_JIT="1").split() == [bits, "False"]


def test_kernels_are_compiled_with_disable_jit(tmp_path):
    check_training(run_python(TRAINING, NUMBA_DISABLE_JIT="1", FASTNN_CACHE_DIR=str(tmp_path)), 3)


def test_disable_jit_set_after_the_import(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    # Numba reads changed variables again when it compiles.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr(config, "DISABLE_JIT", 1)

    @compiler.inline
    def seven():
        return 7

    def fill(args, t, n):
        # out[n]
        array(args, 0, (n,), np.int64)[t] = seven()

    out = np.zeros(1, np.int64)
    launch(Kernel("test.seven", fill, Words("out")), 1, (out,))
    assert out[0] == 7
    assert "test.seven" in [name for name, _ in compiler.compilations]
    assert config.DISABLE_JIT
    assert not hasattr(njit(lambda: 0), "py_func")
    monkeypatch.undo()
    config.reload_config()
    assert not config.DISABLE_JIT
