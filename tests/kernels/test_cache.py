"""The disk cache: hits, damage, read-only folders, keys, and concurrent processes."""

import ctypes
import hashlib
import os
import pickle
import shutil
import time
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from helpers import output_of, start_python
from numba import prange, types
from numba.core import registry

import fastnn
from fastnn.kernels import total
from fastnn.kernels.runtime import cache, compiler
from fastnn.kernels.runtime.compiler import Kernel, Words, array, integer
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import put_integer


def fill_slice(args, t, n):
    # out[n]; value
    array(args, 0, (n,), np.int64)[t] = integer(args, 1)


def run_fill(name="test.fill", function=fill_slice):
    """Run a fresh kernel, as a new process would; return whether it was compiled."""
    compiled = len(compiler.compilations)
    out = np.zeros(1, np.int64)
    launch(Kernel(name, function, Words("out; number")), 1, (out,), 7)
    assert out[0] == 7
    return len(compiler.compilations) > compiled


@pytest.fixture(autouse=True)
def launcher():
    """The serial launcher is compiled or loaded before any test changes the folder."""
    total(np.empty(1), np.ones(1))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------------
# Files


def test_a_kernel_is_compiled_once_and_then_loaded(folder):
    assert run_fill()
    [path] = folder.iterdir()
    assert path.name.startswith("test.fill-")
    assert path.suffix == ".bin"
    content = path.read_bytes()
    assert hashlib.sha256(path.name.encode() + b"\0" + content[32:]).digest() == content[:32]
    assert not run_fill()
    assert run_fill("test.other")
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_file_is_compiled_again(folder):
    assert run_fill()
    [path] = folder.iterdir()
    good = path.read_bytes()
    damages = [good[:length] for length in (0, 1, 31, 32, 33, len(good) // 2, len(good) - 1)]
    for position in (0, 40, len(good) // 2, len(good) - 1):
        damages.append(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
    damages += [good + b"\0", bytes(len(good)), b"not a kernel" * 100]
    for damaged in damages:
        path.write_bytes(damaged)
        assert run_fill()
        # The damaged file was replaced.
        assert not run_fill()


def test_a_file_of_another_cpu_is_not_loaded(folder, monkeypatch):
    """Files are chosen by name. One that was renamed must not be run: its code may be for another processor."""
    codegen = registry.cpu_target.target_context.codegen()
    other = (codegen.magic_tuple()[0], "another-cpu", "")
    with monkeypatch.context() as patch:
        patch.setattr(type(codegen), "magic_tuple", lambda self: other)
        assert run_fill()
    [foreign] = folder.iterdir()
    assert run_fill()
    [own] = set(folder.iterdir()) - {foreign}
    own.write_bytes(foreign.read_bytes())
    assert run_fill()
    assert not run_fill()


def test_a_file_whose_class_is_gone_is_compiled_again(folder, monkeypatch):
    assert run_fill()

    def gone(data):
        raise ModuleNotFoundError("no module named numba.core.moved")

    monkeypatch.setattr(cache.pickle, "loads", gone)
    assert run_fill()


def test_unfinished_files_of_killed_processes_are_removed(folder):
    old, new = folder / "old.tmp", folder / "new.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, time.time() - 2 * 86400))
    assert run_fill()
    assert not old.exists()
    assert new.exists()


def test_a_folder_in_place_of_the_file_is_no_error(folder):
    assert run_fill()
    [path] = folder.iterdir()
    path.unlink()
    path.mkdir()
    assert run_fill()
    assert list(folder.iterdir()) == [path]
    assert list(path.iterdir()) == []


def test_a_folder_that_vanished_is_no_error(folder):
    shutil.rmtree(folder)
    assert run_fill()
    assert not folder.exists()


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    assert run_fill()
    assert list(folder.iterdir()) == []


def test_without_a_folder_every_process_compiles(monkeypatch):
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert run_fill()
    assert run_fill()
    assert cache.CompiledCache("test.fill", compiler._report).cache_path is None
    cache.CompiledCache("test.fill", compiler._report).flush()


def test_flush_removes_the_files_of_one_kernel(folder):
    run_fill()
    run_fill("test.other")
    handle = cache.CompiledCache("test.fill", compiler._report)
    assert handle.cache_path == str(folder)
    handle.flush()
    assert [path.name.split("-")[0] for path in folder.iterdir()] == ["test.other"]
    handle.enable()
    handle.disable()
    assert run_fill()


def test_an_address_of_this_process_is_never_kept(folder):
    labs = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(abs)

    def call_slice(args, t, n):
        array(args, 0, (n,), np.int64)[t] = labs(integer(args, 1))

    with pytest.raises(RuntimeError, match=r"kernel test\.address holds an address of this process"):
        run_fill("test.address", call_slice)
    assert list(folder.iterdir()) == []


def test_the_file_name_depends_on_the_cpu(folder, monkeypatch):
    assert run_fill()
    codegen = registry.cpu_target.target_context.codegen()
    triple, name, features = codegen.magic_tuple()
    for other in [(triple, "another-cpu", features), (triple, name, features + ",+more"), ("arm64", name, features)]:
        monkeypatch.setattr(type(codegen), "magic_tuple", lambda self, other=other: other)
        assert run_fill()
        assert not run_fill()
    assert len(list(folder.iterdir())) == 4


# --------------------------------------------------------------------------------------------
# Loading


def add_and_scale(a, b, factor):
    return (a + b) * factor


def test_a_function_for_python_is_loaded_with_its_wrapper(folder):
    arguments = [types.int64, types.int64, types.float64]
    compiled = len(compiler.compilations)
    for _ in range(2):
        entry = compiler.Entry(add_and_scale, arguments, types.float64)
        # The first call compiles or loads, the second does not.
        assert [entry.call(2, -5, 0.5), entry.call(np.int64(7), 2**40, 1.0)] == [-1.5, 7.0 + 2**40]
        with pytest.raises(TypeError):
            entry.call(1)
    assert len(compiler.compilations) == compiled + 1


def test_parallel_code_is_loaded(folder):
    def double(address, count):
        for i in prange(count):
            put_integer(address, i, 2 * integer(address, i))

    values = np.arange(100)
    compiled = len(compiler.compilations)
    for factor in (2, 4):
        code = compiler.compile_callback(double, types.void(types.int64, types.int64), parallel=True)
        ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(code.address)(values.ctypes.data, values.size)
        assert (values == factor * np.arange(100)).all()
    assert len(compiler.compilations) == compiled + 1


def test_code_that_needs_what_only_the_compiler_brings(folder, monkeypatch):
    def externals(*names):
        monkeypatch.setattr(cache, "_content", lambda data: (content(data)[0], names, *content(data)[2:]))

    content, refreshed = cache._content, []
    monkeypatch.setattr(type(registry.cpu_target.target_context), "refresh", lambda self: refreshed.append(self))
    # A function of Numba's allocator, which exists in every process that compiles.
    externals("NRT_incref")
    assert run_fill()
    refreshed.clear()
    assert not run_fill()
    assert not refreshed
    # A function that does not exist: the code is compiled again; LLVM would end the process.
    externals("fastnn_nobody_has_this")
    assert run_fill("test.other")
    refreshed.clear()
    assert run_fill("test.other")
    assert refreshed


def test_externals_are_names_that_can_be_found(folder):
    assert run_fill()
    [path] = folder.iterdir()
    code, externals, functions, _, environment, _ = pickle.loads(path.read_bytes()[32:])
    assert code[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe") or os.name == "nt"
    assert all(llvm.address_of_symbol(name) is not None for name in externals)
    assert (functions, environment) == ([], None)


def test_what_is_remembered_is_asked_once(folder, monkeypatch):
    codegen, asked = registry.cpu_target.target_context.codegen(), []

    def find():
        asked.append(True)
        return 64, True

    for _ in range(2):
        assert cache.remembered("test.vectors", codegen, find) == (64, True)
    assert len(asked) == 1
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.remembered("test.vectors", codegen, find) == (64, True)
    assert len(asked) == 2
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert cache.remembered("test.vectors", codegen, find) == (64, True)
    assert len(asked) == 3


# --------------------------------------------------------------------------------------------
# Keys and folders


def test_the_key_changes_with_sources_versions_and_variables(tmp_path, monkeypatch):
    shutil.copytree(cache._KERNELS, tmp_path, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    monkeypatch.setattr(cache, "_KERNELS", tmp_path)
    keys = [cache.source_key.__wrapped__()]
    assert keys[0] == cache.source_key.__wrapped__()

    def key_is_new():
        keys.append(cache.source_key.__wrapped__())
        return keys[-1] not in keys[:-1]

    with (tmp_path / "matmul" / "gemm.py").open("a") as file:
        file.write("# An edit\n")
    assert key_is_new()
    (tmp_path / "matmul" / "gemm.py").rename(tmp_path / "matmul" / "gemm2.py")
    assert key_is_new()
    # The same file in another folder.
    (tmp_path / "matmul" / "gemm2.py").rename(tmp_path / "loss" / "gemm2.py")
    assert key_is_new()
    (tmp_path / "new.py").touch()
    assert key_is_new()
    for module in (cache.numba, cache.np, cache.llvmlite):
        monkeypatch.setattr(module, "__version__", "999.0")
        assert key_is_new()
    monkeypatch.setitem(cache.overrides, "FASTNN_GEMM_MR", "2")
    assert key_is_new()
    monkeypatch.setitem(cache.overrides, "FASTNN_GEMM_MR", "3")
    assert key_is_new()
    monkeypatch.setenv("FASTNN_QUIET", "1")
    assert not key_is_new()


def test_an_edited_kernel_in_a_folder_is_recompiled(tmp_path):
    root = tmp_path / "fastnn"
    shutil.copytree(Path(fastnn.__file__).parent, root / "fastnn", ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    shutil.copytree(cache._KERNELS, root / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    variables = {"FASTNN_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(root)}
    code = """
import numpy as np
from fastnn import kernels
p, g = np.zeros(3), np.ones(3)
kernels.sgd(p, g, lr=0.5)
print(p[0])
"""
    # -P: do not import from the checkout that the tests run in.
    assert output_of(start_python(code, "-P", **variables)).split() == ["-0.5"]
    file = root / "kernels" / "optim" / "sgd.py"
    file.write_text(file.read_text().replace("multiply_add(-lr, gradient", "multiply_add(-lr - lr, gradient"))
    assert output_of(start_python(code, "-P", **variables)).split() == ["-1.0"]


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """The three places of the cache, all below ``tmp_path``; root ignores permissions, but not a file as parent."""
    cache.source_key()
    places = {name: tmp_path / name for name in ("variable", "package", "user")}
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(places["variable"]))
    monkeypatch.setattr(cache, "_KERNELS", places["package"])
    monkeypatch.setattr(cache, "_user_cache", lambda: places["user"])
    return places


def test_the_first_folder_that_can_be_written(roots, monkeypatch):
    find, key = cache.cache_folder.__wrapped__, f"kernels-{cache.source_key()}"
    assert find() == roots["variable"] / key
    assert find().stat().st_mode & 0o777 == 0o700 or os.name == "nt"
    # A file blocks the path of the folder: not even root can write there.
    shutil.rmtree(roots["variable"])
    roots["variable"].touch()
    assert find() == roots["package"] / "__pycache__" / key
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    assert find() == roots["package"] / "__pycache__" / key
    shutil.rmtree(roots["package"])
    roots["package"].touch()
    assert find() == roots["user"] / "fastnn" / key
    shutil.rmtree(roots["user"])
    roots["user"].touch()
    assert find() is None


def test_a_folder_that_takes_no_files(roots, monkeypatch):
    def refuse(dir):
        if Path(dir).is_relative_to(roots["variable"]):
            raise PermissionError(13, "Permission denied")
        return open(os.devnull, "wb")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    assert cache.cache_folder.__wrapped__().is_relative_to(roots["package"])


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000])
def test_a_name_that_is_too_long_is_no_error(roots, monkeypatch, name):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(roots["variable"] / name))
    assert cache.cache_folder.__wrapped__().is_relative_to(roots["package"])


def test_a_user_without_a_home_is_no_error(roots, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache, "_user_cache", no_home)
    assert cache.cache_folder.__wrapped__().is_relative_to(roots["variable"])
    roots["variable"].parent.mkdir(exist_ok=True)
    shutil.rmtree(roots["variable"])
    roots["variable"].touch()
    roots["package"].touch()
    assert cache.cache_folder.__wrapped__() is None


def test_the_user_folder_of_each_system(monkeypatch):
    monkeypatch.setattr(cache.Path, "home", classmethod(lambda cls: Path("/home/me")))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for system, folder in [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")]:
        monkeypatch.setattr(cache.sys, "platform", system)
        assert cache._user_cache() == Path("/home/me") / folder
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache._user_cache() == Path("/local")
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache._user_cache() == Path("/xdg")


def test_folders_of_old_sources_are_removed_after_a_month(roots):
    old, recent, foreign = (roots["variable"] / name for name in ("kernels-old", "kernels-recent", "other"))
    for path in (old, recent, foreign):
        path.mkdir(parents=True)
        (path / "file").touch()
    for path in (old, foreign):
        os.utime(path, (0, time.time() - 31 * 86400))
    folder = cache.cache_folder.__wrapped__()
    assert {path.name for path in roots["variable"].iterdir()} == {folder.name, "kernels-recent", "other"}


# --------------------------------------------------------------------------------------------
# Processes

TOTAL = """
import numpy as np
from fastnn.kernels.runtime import compiler
from fastnn.kernels import sgd
p = np.ones(3)
sgd(p, np.full(3, 2.0), lr=0.25)
assert (p == 0.5).all()
print(*[name for name, _ in compiler.compilations])
"""


def test_processes_side_by_side_and_one_after_the_other(tmp_path):
    variables = {"FASTNN_CACHE_DIR": str(tmp_path)}
    first = [start_python(TOTAL, **variables) for _ in range(3)]
    compiled = [output_of(process).split() for process in first]
    assert set().union(*compiled) == {"sgd.float64", "_launch_block"}
    [folder] = tmp_path.iterdir()
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == ["_launch_block", "sgd.float64"]
    assert output_of(start_python(TOTAL, **variables)).split() == []


PARTS = """
import sys
import numpy as np
from fastnn.kernels.runtime import compiler, lowered
from fastnn.kernels import sgd
# Shipped code needs no compiler.
lowered.find = lambda name, origin: None
for dtype in DTYPES:
    p = np.ones(3, dtype)
    sgd(p, np.full(3, 2, dtype), lr=0.25)
    assert (p == 0.5).all()
# Numba imports this when it gets ready to compile.
print(len(compiler.compilations), "numba.np.linalg" in sys.modules)
"""


def test_kernels_of_several_processes_are_loaded_into_one_that_imports_no_compiler(tmp_path):
    variables = {"FASTNN_CACHE_DIR": str(tmp_path)}
    # Numba numbers functions in symbol names: two processes may give the same number to different kernels.
    for dtypes, expected in [(["float32"], "2 True"), (["float64"], "1 True"), (["float32", "float64"], "0 False")]:
        code = PARTS.replace("DTYPES", repr(dtypes))
        assert output_of(start_python(code, **variables)).strip() == expected


def test_a_process_that_can_write_nowhere_works_and_says_so(tmp_path):
    (tmp_path / "file").touch()
    code = f"""
from pathlib import Path
from fastnn.kernels.runtime import cache
cache._KERNELS = Path({str(tmp_path / "file")!r})
{TOTAL}
"""
    variables = {"FASTNN_CACHE_DIR": str(tmp_path / "file" / "a"), "XDG_CACHE_HOME": str(tmp_path / "file" / "b")}
    process = start_python(code, **variables, HOME=str(tmp_path / "file"), LOCALAPPDATA=variables["XDG_CACHE_HOME"],
                           FASTNN_QUIET="")  # fmt: skip
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert set(out.split()) == {"sgd.float64", "_launch_block"}
    assert err == (
        "fastnn: compiling kernels for this CPU, once; no folder can be written, so every process compiles\n"
    )
