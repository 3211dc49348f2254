"""LLVM's code for other processors: it has every call of a launch, and no pointer is made from a sum.

Entries and the pool are compiled, and run as far as their code is the same on all processors (see ``cross_compile``).
With ``FASTNN_CROSS_COMPILE=all``, as in ``.ci/cross``, the tests cover six processors instead of two, and all kernels
are compiled and searched as well.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cross_compile
import pytest
from llvmlite.binding import llvm_version_info

from fastnn import kernels
from fastnn.kernels.runtime import compiler, direct_loops, instances, numpy_loops, pool, program, python_calls
from fastnn.kernels.runtime import raw_memory as words

_ALL = os.environ.get("FASTNN_CROSS_COMPILE") == "all"
# The two that differ most in the code that was wrong on arm64: without and with single-instruction atomics.
_TARGETS = list(cross_compile.TARGETS) if _ALL else ["generic", "apple-m1"]
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def looks(request: pytest.FixtureRequest) -> Iterator[dict[str, Future]]:
    """The results for the targets of the chosen tests; two processes at a time."""
    items = [item for item in request.session.items if getattr(item, "originalname", "") == _NAME]
    with ThreadPoolExecutor(2) as executor:
        yield {target: executor.submit(_look, target) for target in [item.callspec.params["target"] for item in items]}


def _look(target: str) -> dict[str, Any]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "FASTNN_"))}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, cross_compile.__file__, target, *(["--kernels"] if _ALL else [])]
    result = subprocess.run(
        command, env=variables | {"FASTNN_QUIET": "1"}, capture_output=True, text=True, timeout=7200 if _ALL else 300
    )
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    return json.loads(result.stdout)


@pytest.mark.parametrize("target", _TARGETS)
def test_compiled_for_another_processor(target: str, looks: dict[str, Future]) -> None:
    look = looks[target].result()
    assert look["found"] == []
    # Launches in eight numbers of parts and four states of the pool, 15 programs on three numbers of threads in four
    # ways, three tables run by a worker and three run with one, and for each dtype 15 calls in one and in three parts
    # and one more.
    assert look["runs"] == 8 * 4 + 15 * 3 * 4 + 3 + 3 + 2 * (15 * 2 + 1)
    cross_compile.import_kernels()
    assert {"_run_together", *_own(compiler.Entry)} == {name for name in look["compiled"] if name.startswith("_")}
    if _ALL:
        assert len(look["compiled"]) > 140
    # The fault is provoked and its code found. With LLVM's option all launches run; without it AArch64 loses one.
    assert all(any("'add'" in trace for trace in sums) for sums in look["sums"])
    with_option, without_option = look["lost"]
    assert with_option == ""
    is_arm = cross_compile.TARGETS[target][0] == cross_compile.ARM
    # Later versions may not have the fault.
    if not is_arm or llvm_version_info[0] <= 22:
        assert bool(without_option) == is_arm, without_option


_NAME = test_compiled_for_another_processor.__name__


def _own(kind: type) -> set[str]:
    modules = [module for name, module in sys.modules.items() if name.startswith("fastnn.kernels.")]
    return {value.function.__name__ for module in modules for value in vars(module).values() if isinstance(value, kind)}


_IR = """
define void @f(i64 %table, i64 %row) {{
entry:
  {}
  ret void
}}
"""


@pytest.mark.parametrize(
    ("code", "trace"),
    [
        ("%a = shl i64 %row, 7\n  %p = inttoptr i64 %a to ptr\n  %q = getelementptr i8, ptr %p, i64 %table", "'shl'"),
        ("%a = add nsw i64 %table, %row\n  %p = inttoptr i64 %a to ptr", "'add'"),
        ("%v = load i64, ptr null, align 8", "load i64, ptr null"),
        ("%v = load atomic i64, ptr undef acquire, align 8", "ptr undef"),
        ("store i64 %row, ptr poison, align 8", "ptr poison"),
        ("%v = getelementptr i8, ptr null, i64 %table", "ptr null"),
        ("tail call void null(i64 %table)", "void null("),
        ("%v = load i64, ptr inttoptr (i64 0 to ptr), align 8", "inttoptr (i64 0 to ptr)"),
        ("br label %b\nb:\n  unreachable", "unreachable"),
        ("store ptr null, ptr %place, align 8", ""),
        ("ret void\ndefault.unreachable.i:    ; preds = %B0\n  unreachable", ""),
        ("ret void\nB0.i.unreachabledefault:\n  unreachable", ""),
        ("%p = inttoptr i64 %table to ptr\n  %q = getelementptr i8, ptr %p, i64 %row", ""),
    ],
)
def test_traces_of_the_fault_are_seen(code: str, trace: str) -> None:
    found = cross_compile.traces("f", _IR.format(code))
    assert any(trace in one for one in found) if trace else found == []


_CALLS = """
target triple = "{}-unknown-linux-gnu"
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 8, i1 false)
  tail call void %slice(i64 %args, i64 0, i64 1)
  %r = call i32 @PyErr_Occurred()
"""


@pytest.mark.parametrize(
    ("machine", "assembly", "lost"),
    [
        ("x86_64", "\tcallq\t*%rax\n\tcallq\t*%rcx\n", 0),
        ("x86_64", "\tcallq\t*%rax\n", 1),
        ("aarch64", "\tblr\tx8\n\tbl\tPyErr_Occurred\n", 0),
        ("aarch64", "\tbl\tmemset\n\tbl\tPyErr_Occurred\n", 1),
        ("aarch64", "\tbl\tPyErr_Occurred\n", 2),
    ],
)
def test_lost_calls_are_seen(machine: str, assembly: str, lost: int) -> None:
    assert len(cross_compile.lost_calls("f", _CALLS.format(machine), assembly)) == lost


# --------------------------------------------------------------------------------------------
# The sources: no arithmetic on addresses

# The names of parameters that are addresses to read or write.
_ADDRESSES = {"address", "args", "array", "context", "lock", "pool", "pooled", "runner", "source", "table"}


def _takes_address() -> dict[str, list[int]]:
    """For each helper of compiled code, the positions of addresses among its arguments."""
    found: dict[str, list[int]] = {"array": [0]}
    for module in (words, pool, program, numpy_loops, python_calls, direct_loops, instances):
        for name, value in vars(module).items():
            function = getattr(value, "_defn", None) or getattr(value, "py_func", None)
            if function is not None:
                names = [parameter for parameter in inspect.signature(function).parameters if parameter != "typingctx"]
                found[name] = [place for place, parameter in enumerate(names) if parameter in _ADDRESSES]
    return found


_TAKES_ADDRESS = _takes_address()


def sums_as_addresses(source: str) -> list[str]:
    """Calls whose address is computed, in place or in an assignment to a name."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        computed = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None
            for target, value in _pairs(node)
            if isinstance(target, ast.Name) and (isinstance(node, ast.AugAssign) or _computes(value))
        }
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            for place in _TAKES_ADDRESS.get(call.func.id, []):
                address = call.args[place] if place < len(call.args) else None
                if _computes(address) or (isinstance(address, ast.Name) and address.id in computed):
                    found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return sorted(set(found))


def _pairs(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Pairs of a target and its value, with tuples unpacked."""
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        assert node.value is not None
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=True)
        else:
            yield target, node.value


def _computes(value: ast.expr | None) -> bool:
    """Whether an expression may be a sum."""
    if isinstance(value, ast.IfExp):
        return _computes(value.body) or _computes(value.orelse)
    return isinstance(value, ast.BinOp)


def test_no_address_is_a_sum() -> None:
    folder = Path(kernels.__file__).parent
    files = {path.name: sums_as_addresses(path.read_text()) for path in sorted(folder.rglob("*.py"))}
    assert len(files) > 40
    assert {name: found for name, found in files.items() if found} == {}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("integer(table + row * 128, 2)", 1),
        ("at = table + row * 128\n    integer(at, 2)", 1),
        ("at, other = table, table + 8\n    put_integer(other, 0, integer(at, 1))", 1),
        ("table += 128\n    load_acquire(table, 0)", 1),
        ("atomic_or(table if row == 0 else table + 8, 0, 1)", 1),
        ("at = row * 16\n    integer(table, at + 2)", 0),
    ],
)
def test_sums_in_sources_are_seen(body: str, wrong: int) -> None:
    assert len(sums_as_addresses(f"def f(table, row):\n    {body}\n")) == wrong
