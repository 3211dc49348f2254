"""The kernels' runtime: blocks of words, launches, checks, compilations, and the vector code of the hot loops."""

import ast
import contextlib
import importlib
import itertools
import pathlib
import signal
import sys
import threading
import time

import llvmlite.binding as llvm
import numpy as np
import pytest
from helpers import (
    DTYPES,
    REGISTERS,
    Subclass,
    count_packed,
    cut_in,
    loop_register,
    misaligned,
    no_launch,
    read_only,
)
from numba.core import event, registry

from fastnn import kernels
from fastnn.kernels.activation import fused_activations as activations
from fastnn.kernels.llvm import micro_kernel, simd
from fastnn.kernels.reduce import reductions
from fastnn.kernels.runtime import cache, checks, compiler, cpu, launcher, lowered, thread_count
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Kernel, Words, array, integer, part, real
from fastnn.kernels.runtime.launcher import launch

# As attributes of the package these three names are the functions.
gather, gemm, softmax_cross_entropy = (
    sys.modules[f"fastnn.kernels.{name}"] for name in ("rows.gather", "matmul.gemm", "loss.softmax_cross_entropy")
)
linear = sys.modules["fastnn.kernels.matmul.linear"]
# One table for each optimizer, two for SGD's.
OPTIMIZERS = {
    name: getattr(importlib.import_module(f"fastnn.kernels.optim.{name.removesuffix('_momentum')}"), f"_{name.upper()}")
    for name in (
        "sgd", "sgd_momentum", "adam", "adamax", "nadam", "radam", "adagrad", "adadelta", "rmsprop", "rprop", "asgd",
    )
}  # fmt: skip
TABLES = [
    activations._FORWARD, activations.BACKWARD, *gather._KERNELS.values(), gemm.GEMM, linear._ACTIVATION_BIAS_BACKWARD,
    *OPTIMIZERS.values(), reductions._TOTAL, softmax_cross_entropy._KERNEL, softmax_cross_entropy._SOFT,
]  # fmt: skip
KERNELS = [kernel for table in TABLES for kernel in table.values()]


# --------------------------------------------------------------------------------------------
# Blocks and launches


@pytest.fixture
def uncached(monkeypatch):
    """Code compiled in this test is not kept on disk."""
    monkeypatch.setattr(cache, "cache_folder", lambda: None)


def copy_words_slice(args, t, n):
    # integers[3], reals[2], seen[8, 2]; three integers; two reals
    integers, reals = array(args, 0, (3,), np.int64), array(args, 1, (2,), np.float64)
    seen = array(args, 2, (8, 2), np.int64)
    for i in range(3):
        integers[i] = integer(args, 3 + i)
    for i in range(2):
        reals[i] = real(args, 6 + i)
    seen[t, 0], seen[t, 1] = t + 1, n


def test_words_and_parts_arrive(uncached):
    kernel = Kernel("test.copy_words", copy_words_slice, Words("a b c; i j k; x y"))
    for parts in (1, 2, 8):
        for numbers, values in [((1, -2, 3), (0.5, -1e300)), ((2**63 - 1, -(2**63), True), (np.inf, np.nan))]:
            integers, reals, seen = np.zeros(3, np.int64), np.zeros(2), np.zeros((8, 2), np.int64)
            launch(kernel, parts, (integers, reals, seen), *numbers, *values)
            np.testing.assert_array_equal(integers, numbers)
            np.testing.assert_array_equal(reals, values)
            np.testing.assert_array_equal(seen[:parts], [[t + 1, parts] for t in range(parts)])
            assert not seen[parts:].any()


def test_scalars_that_do_not_fit_are_refused(uncached):
    kernel = Kernel("test.copy_words", copy_words_slice, Words("a b c; i j k; x y"))
    arrays = np.zeros(3, np.int64), np.zeros(2), np.zeros((8, 2), np.int64)
    for scalars in [(1, 2, 3, 4.0), (1, 2, 3.5, 4.0, 5.0), (1, 2, 2**63, 4.0, 5.0), (1, 2, 3, "4", 5.0)]:
        with no_launch(), pytest.raises(TypeError, match=r"scalar argument of test.copy_words does not fit"):
            launch(kernel, 1, arrays, *scalars)
    assert not any(a.any() for a in arrays)


def test_a_block_has_room_for_so_many_words():
    Kernel("test.full", copy_words_slice, Words(" ".join(f"a{i}" for i in range(compiler.MAX_WORDS))))
    with pytest.raises(ValueError, match=r"kernel test\.wide must have at most 32 words, found 33"):
        Kernel("test.wide", copy_words_slice, Words(" ".join(f"a{i}" for i in range(30)) + "; i j; x"))


def test_words_have_positions_by_name(uncached):
    words = Words("out x; count index; slope")
    assert [words.out, words.x, words.count, words.index, words.slope, len(words)] == [0, 1, 2, 3, 4, 5]
    assert len(Words("")) == 0
    for wrong in ("out x; x", "out x; size; slope; eps"):
        with pytest.raises(ValueError, match=f"each word must have a name of its own, found '{wrong}'"):
            Words(wrong)

    def slice_(args, t, n):
        x = array(args, words.x, (integer(args, words.count),), np.float64)
        array(args, words.out, (1,), np.float64)[0] = real(args, words.slope) * x[integer(args, words.index)]

    out = np.zeros(1)
    launch(Kernel("test.by_name", slice_, words), 1, (out, np.arange(4.0)), 4, 3, 2.5)
    assert out[0] == 7.5


def test_slices_read_their_words_by_name():
    by_name, by_number = 0, []
    for path in pathlib.Path(kernels.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(args=[ast.Name("args" | "block"), ast.Attribute(), *_]):
                    by_name += 1
                case ast.Call(args=[ast.Name("args" | "block"), ast.Constant(), *_]):
                    by_number.append(f"{path.name}:{node.lineno}")
    assert by_number == []
    assert by_name > 300


def test_what_a_kernel_declares():
    words = Words("out x bias; rows; slope")
    kernel = Kernel("test.facts", copy_words_slice, words, outputs="out", stand_in="out", shared="bias")
    assert kernel.place == {"out": 0, "x": 1, "bias": 2, "rows": 0, "slope": 1}
    assert (kernel.arrays, kernel.words, kernel.outputs, kernel.stand_in, kernel.shared) == (3, 5, (0,), 0, (2,))
    with pytest.raises(ValueError, match="outputs must name arrays among out, x, found 'y'"):
        Kernel("test.other", copy_words_slice, Words("out x"), outputs="y")
    with pytest.raises(ValueError, match="stand_in must be an output, found 'x'"):
        Kernel("test.input", copy_words_slice, Words("out x"), outputs="out", stand_in="x")


def test_names_of_kernels_are_their_own():
    names = [kernel.name for kernel in KERNELS]
    assert len(set(names)) == len(names)
    assert repr(gemm.GEMM[FLOAT32]) == "<kernel gemm.float32>"


def test_parts_cover_everything_once():
    for size in (0, 1, 7, 16, 1023):
        for n in (1, 2, 3, 8, 2000):
            bounds = [part.py_func(size, t, n) for t in range(n)]
            assert bounds[0][0] == 0
            assert bounds[-1][1] == size
            assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
            assert all(size // n <= last - first <= -(-size // n) for first, last in bounds)


def test_recording():
    outer, inner = [], []
    out, x = np.empty(1), np.ones(3)
    with launcher.recording(lambda *launch: outer.append(launch)):
        kernels.total(out, x, 2.0)
        with contextlib.suppress(ZeroDivisionError), launcher.recording(lambda *launch: inner.append(launch)):
            kernels.total(out, x)
            raise ZeroDivisionError
        kernels.total(out, x)
    kernels.total(out, x)
    assert (len(outer), len(inner)) == (2, 1)
    kernel, parts, arrays, scalars = outer[0]
    assert kernel is reductions._TOTAL[FLOAT64]
    assert parts == 1
    assert arrays[0] is out
    assert arrays[1] is x
    assert scalars == (3, 2.0)


# --------------------------------------------------------------------------------------------
# Threads by the size of the work


def test_number_of_threads():
    before = thread_count.get_num_threads()
    try:
        for n in (1, 3, np.int32(5)):
            thread_count.set_num_threads(n)
            assert thread_count.get_num_threads() == n
            assert type(thread_count.get_num_threads()) is int
            assert thread_count.chunks_for(thread_count.SERIAL_OPERATIONS - 1) == 1
            assert thread_count.chunks_for(thread_count.SERIAL_OPERATIONS) == min(n, 2)
            assert thread_count.chunks_for(3 * thread_count.SERIAL_OPERATIONS) == n
        thread_count.set_num_threads(10**9)
        assert thread_count.chunks_for(10 * thread_count.SERIAL_OPERATIONS) == 20
        thread_count.set_num_threads(5)
        for n, exception, message in [
            (0, ValueError, "n must be positive, found 0"),
            (-2, ValueError, "found -2"),
            (2.0, TypeError, "n must be an integer, found float"),
            (True, TypeError, "found bool"),
            ("2", TypeError, "found str"),
            (None, TypeError, "found NoneType"),
        ]:
            with pytest.raises(exception, match=message):
                thread_count.set_num_threads(n)
        assert thread_count.get_num_threads() == 5
    finally:
        thread_count.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5), ({"cpu.max": "max 100000\n"}, 0.0), ({}, 0.0), ({"cpu.max": "x"}, 0.0),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 0.0), ({"cpu.max": "100000 0\n"}, 0.0),
        ({"inner/cpu.max": "max 100000\n", "cpu.max": "200000 100000\n"}, 2.0),
        ({"inner/cpu.max": "400000 100000\n", "cpu.max": "200000 100000\n"}, 2.0),
        ({"inner/cpu.max": "100000 100000\n", "cpu.max": "200000 100000\n"}, 1.0),
    ],
)  # fmt: skip
def test_the_limit_of_a_container_limits_threads(files, limit, tmp_path, monkeypatch):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(thread_count, "_groups", lambda: [tmp_path / "nonesuch", tmp_path / "inner", tmp_path])
    monkeypatch.setattr(thread_count.config, "NUMBA_NUM_THREADS", 8)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert thread_count.cpu_limit() == limit
    assert thread_count._available() == (-(-limit // 1) if limit else 8)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "8")
    assert thread_count._available() == 8


@pytest.mark.parametrize(("text", "numba", "count"), [
    ("1", None, 1), ("2,1", None, 2), ("99", None, 4), ("0", None, 4), ("many", None, 4), ("", None, 4), ("1", "4", 4),
])  # fmt: skip
def test_threads_of_openmp(monkeypatch, text, numba, count):
    monkeypatch.setattr(thread_count.config, "NUMBA_NUM_THREADS", 4)
    monkeypatch.setattr(thread_count, "cpu_limit", lambda: 0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if numba is not None:
        monkeypatch.setenv("NUMBA_NUM_THREADS", numba)
    assert thread_count._available() == count


def test_small_work_runs_on_this_thread():
    launches = []
    a = np.ones((8, 8), np.float32)
    big = np.ones((200, 200), np.float32)
    before = thread_count.get_num_threads()
    try:
        thread_count.set_num_threads(4)
        with launcher.recording(lambda kernel, parts, *_: launches.append(parts)):
            kernels.gemm(a.copy(), a, a)
            kernels.gemm(big.copy(), big, big)
    finally:
        thread_count.set_num_threads(before)
    assert launches == [1, 4]


# --------------------------------------------------------------------------------------------
# Checks


def test_checks_pass_what_is_right():
    a = np.zeros((3, 5), np.float32)
    checks.check("a", a, FLOAT32, (3, 5))
    checks.check("a", read_only(a), FLOAT32, (3, 5))
    checks.check_output("a", a, FLOAT32, (3, 5))
    assert checks.matrix_shape("a", a) == (3, 5)
    assert checks.check_strided("a", a, FLOAT32, (3, 5)) == (5, 1)
    assert checks.check_strided("a", a.T, FLOAT32, (5, 3)) == (1, 5)
    assert checks.check_strided("a", a[::-1, ::-2], FLOAT32, (3, 3)) == (-5, -2)
    assert checks.check_strided("a", np.broadcast_to(a[:1], (7, 5)), FLOAT32, (7, 5)) == (0, 1)
    assert checks.check_rows("a", a[:, 1:4], FLOAT32, (3, 3), output=True) == 5
    assert checks.check_rows("a", a[::2], FLOAT32, (2, 5), output=True) == 10
    assert checks.check_rows("a", a[::-1], FLOAT32, (3, 5)) == -5
    # A single column, a single row and no element at all may have any strides.
    checks.check_rows("a", a[:, 2:3], FLOAT32, (3, 1), output=True)
    checks.check_rows("a", a[1:2, :], FLOAT32, (1, 5), output=True)
    for shape in [(0, 4), (4, 0), (0, 0)]:
        empty = np.empty(shape, np.float32)
        assert np.prod(empty.shape) == 0
        checks.check_rows("a", empty, FLOAT32, shape, output=True)


def test_checks_name_the_argument_and_what_they_found():
    a = np.zeros((3, 5), np.float32)
    for bad, exception, message in [
        ([1.0], TypeError, "^weight must be a NumPy array, found list$"),
        (None, TypeError, "^weight must be a NumPy array, found NoneType$"),
        (a.view(Subclass), TypeError, "^weight must be a plain NumPy array, found the subclass Subclass$"),
        (a.astype(np.float64), TypeError, "^weight must have dtype float32, found float64$"),
        (a.astype(">f4"), TypeError, "^weight must have dtype float32, found >f4$"),
        (a.T.copy(), ValueError, r"^weight must have shape \(3, 5\), found \(5, 3\)$"),
        (misaligned(a), ValueError, r"weight must be (.*)aligned(.|\n)*misaligned"),
    ]:
        for check in (checks.check, checks.check_output, checks.check_strided, checks.check_rows):
            with pytest.raises(exception, match=message):
                check("weight", bad, FLOAT32, (3, 5))
    for bad, check in [
        (np.asfortranarray(a), checks.check),
        (np.asfortranarray(a), checks.check_output),
        (np.asfortranarray(a), checks.check_rows),
        (np.repeat(a, 2, 0)[::2], checks.check),
        (read_only(a), checks.check_output),
        (np.broadcast_to(a[:1], (3, 5)), checks.check),
    ]:
        with pytest.raises(ValueError, match=r"weight must be .*contiguous.*, found strides"):
            check("weight", bad, FLOAT32, (3, 5))
    overlapping = np.lib.stride_tricks.as_strided(a, (3, 5), (8, 4))
    for bad in (read_only(a), a[::-1], np.broadcast_to(a[:1], (3, 5)), overlapping):
        with pytest.raises(ValueError, match="weight must be aligned, with contiguous rows"):
            checks.check_rows("weight", bad, FLOAT32, (3, 5), output=True)
    for bad, exception in [(a[0], ValueError), (a[None], ValueError), ([[1.0]], TypeError), (np.float32(1), TypeError)]:
        with pytest.raises(exception, match="weight must"):
            checks.matrix_shape("weight", bad)


def test_no_kernel_for_other_dtypes():
    for bad in (np.zeros(3, np.int32), np.zeros(3, np.float16), np.zeros(3, ">f8"), [1.0], None, "x"):
        with pytest.raises(TypeError, match="x must have dtype float32 or float64, found"):
            checks.kernel_for(reductions._TOTAL, "x", bad)


# --------------------------------------------------------------------------------------------
# Compilations


def call_everything(dtype, size):
    """Every public kernel, with all of its arguments."""
    a, v = np.ones((size, size), dtype), np.ones(size, dtype)
    labels = np.zeros(size, np.int64)
    for activation in activations.CODES:
        kernels.linear_forward(a.copy(), a, a, v, activation, z=a.copy())
        kernels.linear_backward(a.copy(), a.copy(), v.copy(), a, a, a, a, activation)
        kernels.linear_backward(None, None, v.copy(), a, a, a, a, activation)
        kernels.activation_forward(v.copy(), v, activation)
        kernels.activation_backward(v.copy(), v, v, activation)
    kernels.gemm(a.copy(), a, a.T, accumulate=True)
    kernels.softmax_cross_entropy(v.copy(), a.copy(), a, labels)
    kernels.softmax_cross_entropy(v.copy(), None, a, labels)
    kernels.softmax_cross_entropy(v.copy(), a.copy(), a, labels, label_smoothing=0.1)
    kernels.softmax_cross_entropy(v.copy(), a.copy(), a, a)
    kernels.sgd(v.copy(), v, lr=0.1)
    kernels.sgd_momentum(v.copy(), v, v.copy(), step=1, lr=0.1, momentum=0.9)
    kernels.adam(v.copy(), v, v.copy(), v.copy(), step=1, lr=0.1)
    kernels.adam(v.copy(), v, v.copy(), v.copy(), v.copy(), step=1, lr=0.1)
    for kernel in (kernels.adamax, kernels.radam):
        kernel(v.copy(), v, v.copy(), v.copy(), step=1, lr=0.1)
    kernels.nadam(v.copy(), v, v.copy(), v.copy(), step=1, lr=0.1, mu_product=0.5)
    kernels.adagrad(v.copy(), v, v.copy(), step=1, lr=0.1)
    for kernel in (kernels.adadelta, kernels.rprop):
        kernel(v.copy(), v, v.copy(), v.copy())
    kernels.rmsprop(v.copy(), v, v.copy(), v.copy(), v.copy())
    kernels.asgd(v.copy(), v, v.copy(), eta=0.1, mu=0.5)
    kernels.total(np.empty(1, dtype), v)
    for data in (np.uint8, np.float32):
        kernels.gather(np.empty((size, size), np.float32), np.ones((size, size), data), labels)


def test_the_second_call_compiles_nothing():
    used = set()
    with launcher.recording(lambda kernel, *_: used.add(kernel)):
        for dtype in DTYPES:
            call_everything(dtype, 3)
            with cut_in(2):
                call_everything(dtype, 3)
    assert used == set(KERNELS)
    for parts in (1, 3):
        # A recording calls neither the launchers nor the compiled entry functions.
        with cut_in(parts):
            call_everything(DTYPES[0], 5)
    addresses, compiled = [kernel.address for kernel in KERNELS], len(compiler.compilations)
    with event.install_recorder("numba:compile") as recorder:
        for dtype in DTYPES:
            for parts, size in [(1, 5), (3, 40)]:
                with cut_in(parts):
                    call_everything(dtype, size)
    assert recorder.buffer == []
    assert len(compiler.compilations) == compiled
    assert [kernel.address for kernel in KERNELS] == addresses


def test_threads_that_need_a_kernel_at_once_compile_it_once(uncached):
    kernel = Kernel("test.copy_words", copy_words_slice, Words("a b c; i j k; x y"))
    compiled, addresses = len(compiler.compilations), []
    start = threading.Barrier(4)

    def compile_it():
        start.wait()
        addresses.append(kernel.compile())

    threads = [threading.Thread(target=compile_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(addresses) == 4
    assert set(addresses) == {kernel.address}
    assert [name for name, _ in compiler.compilations[compiled:]] == ["test.copy_words"]


# --------------------------------------------------------------------------------------------
# Vector code


def assembly_of(kernel):
    """The assembly of the code that programs run: of the shipped code, if this processor has some."""
    codegen = registry.cpu_target.target_context.codegen()
    shipped = lowered.find(kernel.name, lowered.Origin(cpu.find_vectors(codegen), cache.settings_text()))
    if shipped is not None:
        return codegen._tm.emit_assembly(llvm.parse_assembly(shipped[0]))
    code = kernel._code
    if code is None or code.cache_hits:
        # Not compiled by this process.
        code = kernel.build()
        code.compile()
    return code._library.get_asm_str()


def test_vector_bytes_is_what_the_compiler_uses():
    register = loop_register()
    assert simd.vector_bytes() in REGISTERS
    # LLVM's loops prefer half of AVX-512 on some CPUs.
    assert register in (REGISTERS[simd.vector_bytes()], "ymm" if simd.vector_bytes() == 64 else None)
    assert (simd.lanes(4), simd.lanes(8)) == (simd.vector_bytes() // 4, simd.vector_bytes() // 8)
    assert simd.has_fma() or simd.vector_bytes() == 16


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm_tiles_are_vector_code(dtype):
    loop_register()  # Skips if there is no x86-64 assembly.
    assembly = assembly_of(gemm.GEMM[np.dtype(dtype)])
    sizes = [(rows, micro_kernel.most_vectors(rows)) for rows in range(1, micro_kernel.most_rows() + 1)]
    accumulators = sum(rows * width for rows, most in sizes for width in range(1, most + 1))
    multiply = "fmadd" if simd.has_fma() else "mul"
    assert count_packed(assembly, multiply, dtype, REGISTERS[simd.vector_bytes()]) >= accumulators


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy_is_vector_code(dtype):
    register = loop_register()
    assembly = assembly_of(softmax_cross_entropy._KERNEL[np.dtype(dtype)])
    # Two loops of exponentials, a search for the largest logit, a product with 1 / sum.
    assert count_packed(assembly, "fmadd|mul", dtype, register) >= 2 * 7
    assert count_packed(assembly, "max", dtype, register) >= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_is_vector_code(dtype):
    register = loop_register()
    if simd.vector_bytes() == 16:
        pytest.skip("LLVM finds square roots in vectors of 16 bytes no faster than one by one")
    assembly = assembly_of(OPTIMIZERS["adam"][np.dtype(dtype)])
    # Adam and AMSGrad.
    assert count_packed(assembly, "sqrt", dtype, register) >= 2
    assert count_packed(assembly, "div", dtype, register) >= 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_vector_code(name):
    assembly = assembly_of(OPTIMIZERS[name][FLOAT32])
    assert count_packed(assembly, "fn?madd|fmadd|mul", np.float32, loop_register()) >= 2


def test_gather_is_vector_code():
    register = loop_register()
    assembly = assembly_of(gather._KERNELS[np.dtype(np.uint8)][FLOAT32])
    assert count_packed(assembly, "cvtdq2", np.float32, register) >= 1
    assert count_packed(assembly, "fmadd|mul", np.float32, register) >= 1


def test_bias_gradient_is_vector_code():
    register = loop_register()
    assembly = assembly_of(linear._ACTIVATION_BIAS_BACKWARD[FLOAT32])
    assert count_packed(assembly, "add", np.float32, register) >= 2


def test_activations_are_vector_code():
    register = loop_register()
    assembly = assembly_of(activations._FORWARD[FLOAT32])
    # Sigmoid, tanh, GELU and its approximation divide.
    assert count_packed(assembly, "div", np.float32, register) >= 4


def test_only_functions_that_return_sums_may_be_reordered():
    """LLVM reorders a loop's vectors and its remainder differently, so elements of arrays must not depend on it."""
    reordered = []
    for path in pathlib.Path(compiler.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            for keyword in getattr(node, "keywords", []):
                # Only `inline` takes flags; other functions that make kernels take them in the runtime alone.
                if keyword.arg == "fastmath" and path.name != "compiler.py":
                    assert ast.unparse(keyword.value) in ("STRICT", "FAST", "('nsz',)"), path
                    assert isinstance(node, ast.Call)
                    assert ast.unparse(node.func) in ("inline", "builder.call"), path
            if isinstance(node, ast.FunctionDef) and "inline(fastmath=FAST)" in map(ast.unparse, node.decorator_list):
                reordered.append(node.name)
                targets = [n for n in ast.walk(node) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
                assert targets == [], f"{path.name}: {node.name} writes to an array"
    assert "sum_of" in reordered
    assert not compiler.STRICT
    assert compiler.Kernel("nothing", lambda args, t, n: None, Words("")).fastmath == set()


def test_an_output_over_the_labels_stays_in_bounds():
    n = 4096
    memory = np.zeros(n + 1, np.int64)
    kernels.softmax_cross_entropy(memory.view(np.float64)[1:], np.empty((n, 3)), np.ones((n, 3)), memory[:-1])
    memory = np.zeros((n, 2), np.int64)
    indices = memory.reshape(-1)[:n]
    kernels.gather(memory.reshape(-1)[:n].view(np.float32).reshape(n, 2), np.ones((3, 2), np.float32), indices)
    assert np.isfinite(memory).all()


@pytest.mark.parametrize("raises", [True, False])
def test_ctrl_c_does_not_wait_for_the_compiler(raises, monkeypatch, uncached):
    """LLVM takes seconds. The other thread goes on, and the kernel can be compiled later; a handler may also go on."""
    kernel = Kernel("interrupted", lambda args, t, n: None, Words(""))
    compile_now, release, seen = type(kernel.build()).compile, threading.Event(), []

    def interrupted(code):
        signal.raise_signal(signal.SIGINT)
        assert release.wait(60)
        compile_now(code)
        seen.append("compiled")

    def note(*_):
        seen.append("handler")
        release.set()

    monkeypatch.setattr(type(kernel.build()), "compile", interrupted)
    # A process started in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler if raises else note)
    try:
        if raises:
            started = time.perf_counter()
            with pytest.raises(KeyboardInterrupt):
                kernel.compile()
            assert time.perf_counter() - started < 30
            assert (seen, kernel.address) == ([], 0)
            assert compiler._compile_lock.acquire(timeout=1)
            compiler._compile_lock.release()
        else:
            assert kernel.compile() == kernel.address != 0
            assert seen == ["handler", "compiled"]
    finally:
        release.set()
        signal.signal(signal.SIGINT, before)
    for thread in compiler._abandoned:
        thread.join(60)
    assert seen[-1] == "compiled"
    monkeypatch.undo()
    assert kernel.compile() == kernel.address != 0
