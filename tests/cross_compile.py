"""Compiles fastnn for another processor and tests the result: test_cross_compile runs it, one process per target.

    python cross_compile.py TARGET [--kernels]

LLVM is set to the target before Numba is imported. Every compiled entry and the runner of the pool are compiled the
same way as for this machine. LLVM's code for each, optimised for the target, is searched for traces of the fault
described in ``kernels.runtime.memory``, then compiled for this machine and run. Slices that only count their calls
replace the kernels, and the pool has no threads, so that every run is the same. With ``--kernels`` every kernel is
compiled and searched as well.

Prints one line of JSON, the result of ``Look.everything``.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import itertools
import json
import os
import pkgutil
import platform
import re
import sys
import time
from collections.abc import Callable
from typing import Any

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
TARGETS = {
    "x86-64-v2": (X86, "x86-64-v2"),
    "x86-64-v3": (X86, "x86-64-v3"),
    "x86-64-v4": (X86, "x86-64-v4"),
    "generic": (ARM, "generic"),
    "neoverse-n1": (ARM, "neoverse-n1"),
    "apple-m1": (ARM, "apple-m1"),
}


def aim_at(target: str) -> None:
    """Let Numba, which must not have been imported, compile for a target."""
    import llvmlite.binding as llvm

    triple, cpu = TARGETS[target]
    os.environ |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.get_process_triple = lambda: triple
    llvm.get_default_triple = lambda: triple
    machine = triple.split("-")[0]
    platform.machine = lambda: machine


# --------------------------------------------------------------------------------------------
# LLVM's code for a function


def keep_optimised() -> None:
    """Make every library keep a copy of its code, as LLVM's code generator changes it."""
    from numba.core.codegen import CPUCodeLibrary

    finalize = CPUCodeLibrary._finalize_final_module

    def keep(self: Any) -> None:
        self.optimised = self._final_module.clone()
        finalize(self)

    CPUCodeLibrary._finalize_final_module = keep


_NO_PLACE = r"(?:null|undef|poison)\b"
# The remains of an access or a call at an address that LLVM considers null.
_NOWHERE = [
    re.compile(rf"\bload (?:atomic |volatile )*[^,\n]*, ptr {_NO_PLACE}"),
    re.compile(rf"\bstore [^\n]*, ptr {_NO_PLACE}"),
    re.compile(rf"\b(?:atomicrmw|cmpxchg)\b[^,\n]* ptr {_NO_PLACE}"),
    re.compile(rf"\bgetelementptr [^,\n]*, ptr {_NO_PLACE}"),
    re.compile(rf"\bcall [^\n(]*{_NO_PLACE}\("),
    re.compile(r"\binttoptr \(i64 (?:0|undef|poison) to ptr\)"),
    # Numba itself ends a function this way after a call that does not return.
    re.compile(r"\n(?!\s+call )[^\n]*\n\s+unreachable"),
]
# The default of a switch that LLVM has proved to be impossible.
_DEFAULT = re.compile(r"\n[^\n]*(?:default\.unreachable|unreachabledefault)[^\n]*:[^\n]*\n\s+unreachable")
_SUM = re.compile(r"^\s+(%[-\w.$]+) = (?:\w+ )*?(add|sub|mul|shl|or|and|xor|ptrtoint)\b", re.MULTILINE)
_POINTER = re.compile(r"^\s+(%[-\w.$]+) = inttoptr i64 (%[-\w.$]+) to ptr", re.MULTILINE)


def traces(name: str, code: str, with_geps: bool = True) -> list[str]:
    """Signs of the fault in LLVM's code, or of its cause: accesses to a null address, and pointers made from sums.

    ``with_geps``: whether CodeGenPrepare, which has changed the helpers, emits ``getelementptr``. Otherwise it
    emits sums of an address and an offset of its own, which are correct.
    """
    code = _DEFAULT.sub("", code)
    found = [f"{name}: {' '.join(match[0].split())}" for pattern in _NOWHERE for match in pattern.finditer(code)]
    for function in code.split("\ndefine ")[1:]:
        body = function.split("\n}")[0]
        sums = dict(_SUM.findall(body))
        for result, operand in _POINTER.findall(body):
            if operand in sums and (with_geps or not result.startswith("%sunkaddr")):
                found.append(f"{name}: {result}, a pointer, is made by '{sums[operand]}'")
    return found


_CALL = re.compile(r"\bcall (?!void asm)[^@\n]* (?:%[-\w.$]+|@(?!llvm\.)[-\w.$]+|@\"[^\"\n]+\")\(")
_MACHINE_CALL = re.compile(r"^\s(?:blr?|callq?)\s", re.MULTILINE)


def lost_calls(name: str, code: str, assembly: str) -> list[str]:
    """Whether the machine code has fewer calls than LLVM's code; it has more if LLVM copies and fills memory.

    AArch64 has a separate instruction for indirect calls, and all calls of a launch are indirect: their number must
    be equal.
    """
    calls = [match[0] for match in _CALL.finditer(code)]
    by_address = sum("@" not in call for call in calls)
    found = len(_MACHINE_CALL.findall(assembly))
    lost = [f"{name}: {len(calls)} calls, {found} in the machine code"] if found < len(calls) else []
    found = len(re.findall(r"^\sblr\s", assembly, re.MULTILINE))
    if "aarch64" in code and found != by_address:
        lost.append(f"{name}: {by_address} calls by address, {found} in the machine code")
    return lost


# --------------------------------------------------------------------------------------------
# Run on this machine

# Target-specific functions of LLVM, in a portable form. A plain load and store replace AArch64's exclusive ones,
# because only one thread runs.
_STAND_INS = {
    "llvm.aarch64.ldaxr.p0": """
        define i64 @cross_ldaxr(ptr %place) {
          %found = load atomic i64, ptr %place seq_cst, align 8
          ret i64 %found
        }""",
    "llvm.aarch64.stlxr.p0": """
        define i32 @cross_stlxr(i64 %value, ptr %place) {
          store atomic i64 %value, ptr %place seq_cst, align 8
          ret i32 0
        }""",
    "llvm.aarch64.clrex": """
        define void @cross_clrex() {
          ret void
        }""",
    "llvm.aarch64.isb": """
        define void @cross_isb(i32 %kind) {
          ret void
        }""",
    "llvm.x86.atomic.bts.rm.i64": """
        define i8 @cross_bts(ptr %place, i64 %bit) {
          %one = shl i64 1, %bit
          %before = atomicrmw or ptr %place, i64 %one seq_cst, align 8
          %shifted = lshr i64 %before, %bit
          %low = trunc i64 %shifted to i8
          %found = and i8 %low, 1
          ret i8 %found
        }""",
    "llvm.x86.sse2.pause": """
        define void @cross_pause() {
          ret void
        }""",
}


class Native:
    """Code that was optimised for a target, compiled for this machine."""

    def __init__(self, triple: str) -> None:
        """``triple``: of this machine."""
        import llvmlite.binding as llvm

        self.llvm, self.triple = llvm, triple
        self.target = llvm.Target.from_triple(triple)
        self.kept: list[Any] = []
        machine = triple.split("-")[0].lower()
        own = "x86" if machine in ("x86_64", "amd64") else "aarch64" if machine in ("aarch64", "arm64") else ""
        self.stand_ins = {name: code for name, code in _STAND_INS.items() if name.split(".")[1] != own}

    def compile(self, module: Any) -> Any:
        """An engine with the code of an optimised module."""
        machine = self.target.create_target_machine(
            cpu=self.llvm.get_host_cpu_name(), opt=2, jit=True, codemodel="jitdefault",
            reloc="static" if self.triple.startswith("x86") else "default",
        )  # fmt: skip
        code = re.sub(r"^target .*$", "", str(module), flags=re.MULTILINE)
        for name, stand_in in self.stand_ins.items():
            if f"@{name}(" in code:
                code = re.sub(rf"^declare .*@{re.escape(name)}\(.*$", "", code, flags=re.MULTILINE)
                code = re.sub(rf"@{re.escape(name)}\((.*)elementtype\(i64\) ", rf"@{name}(\1", code)
                code = code.replace(f"@{name}(", re.findall(r"@\w+\(", stand_in)[0]) + stand_in
        parsed = self.llvm.parse_assembly(code)
        parsed.triple, parsed.data_layout = self.triple, str(machine.target_data)
        parsed.verify()
        engine = self.llvm.create_mcjit_compiler(parsed, machine)
        engine.finalize_object()
        self.kept += engine, machine
        return engine

    def function(self, dispatcher: Any) -> Callable[..., Any]:
        """The function of a dispatcher with one signature, to be called with its arguments."""
        [(signature, result)] = dispatcher.overloads.items()
        address = self.compile(result.library.optimised).get_function_address(result.fndesc.llvm_func_name)
        kinds = [ctypes.c_double if str(kind) == "float64" else ctypes.c_int64 for kind in signature]
        places = [ctypes.c_void_p] * 2
        call = ctypes.CFUNCTYPE(ctypes.c_int32, *places, *kinds)(address)
        returned, raised = ctypes.c_int64(), ctypes.c_void_p()

        def function(*arguments: Any) -> int:
            pairs = zip(kinds, arguments, strict=True)
            numbers = [float(a) if kind is ctypes.c_double else int(a) for kind, a in pairs]
            status = call(ctypes.addressof(returned), ctypes.addressof(raised), *numbers)
            if status not in (0, -2):
                raise RuntimeError(f"{result.fndesc.llvm_func_name} returned {status}")
            return returned.value

        return function

    def callback(self, code: Any) -> int:
        """The address of a C callback."""
        return int(self.compile(code._library.optimised).get_function_address(code.native_name))


class Counter:
    """Slices that record each call: the first word of the block, the part and the number of parts."""

    def __init__(self, count: int) -> None:
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

        def slice_of(number: int) -> Any:
            def note(args: int, t: int, n: int) -> None:
                self.calls.append((number, ctypes.c_int64.from_address(args).value, t, n))

            return kind(note)

        self.calls: list[tuple[int, int, int, int]] = []
        self.slices = [slice_of(number) for number in range(count)]
        self.addresses = [_address(f) for f in self.slices]

    def wrong(self, slices: list[int], parts: list[int] | None, in_turn: bool = True) -> str:
        """Describe errors in the calls since the last check; empty if every part of every row was called once.

        Args:
            slices: of each row.
            parts: of each row; None for any number.
            in_turn: whether each row begins after the previous one has ended.
        """
        calls, self.calls = self.calls, []
        rows: dict[int, list[tuple[int, int, int]]] = {}
        for number, word, t, n in calls:
            rows.setdefault(word, []).append((number, t, n))
        all_once = all(
            sorted(row) == [(row[0][0], t, row[0][2]) for t in range(row[0][2])] for row in rows.values()
        )
        found = [row[0][0] for row in rows.values()]
        found_parts = [row[0][2] for row in rows.values()]
        order = [word for _, word, _, _ in calls]
        right = sorted(found) == sorted(slices) and all_once and parts in (None, found_parts)
        if in_turn:
            right = right and found == slices and order == [word for word, row in rows.items() for _ in row]
        if right:
            return ""
        return f"expected slices {slices} in {parts or 'any'} parts, found (slice, word, part, parts) {calls}"


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Alone:
    """The pool's words without threads: a callback performs the actions of a worker while the caller runs."""

    def __init__(self) -> None:
        import numpy as np

        from fastnn.kernels.runtime import pool

        self.pool = pool
        self.words = np.zeros(pool._SEATS + 32, np.int64)
        self.address = self.words.ctypes.data
        # Called where the caller yields the processor, takes a lock and releases one.
        self.yielding = self.acquiring = self.releasing = _nothing
        kinds = ctypes.c_void_p, ctypes.c_int32
        self.callbacks = [
            ctypes.CFUNCTYPE(ctypes.c_int32)(lambda: self.yielding() or 0),
            ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(lambda lock, wait: self.acquiring() or 1),
            ctypes.CFUNCTYPE(None, kinds[0])(lambda lock: self.releasing()),
        ]
        self.words[[pool._YIELD, pool._ACQUIRE, pool._RELEASE]] = [_address(f) for f in self.callbacks]
        self.words[[pool._CLOCK, pool._CLOCK_ID]] = pool._clock_address(), getattr(time, "CLOCK_MONOTONIC", 0)
        # A slow machine must not put the pool into its quiet state.
        self.words[pool._UNGOVERNED] = 1

    def open(self, table: Any) -> None:
        """Let workers into a table of launches."""
        pool = self.pool
        table[:, [pool.CLAIMED, pool.DONE]] = 0
        self.words[[pool._TABLE, pool._COUNT, pool._WANTED]] = table.ctypes.data, len(table), 2
        self.words[pool._GATE] += (1 << pool._RUN_BITS) + pool._OPEN

    def seat(self, column: int) -> int:
        return self.pool._SEATS + column


def _nothing() -> int | None:
    return None


def main(target: str, with_kernels: bool) -> dict[str, Any]:
    """Compile for a target, and test the result."""
    import llvmlite.binding as llvm

    native_triple = llvm.get_process_triple()
    aim_at(target)
    keep_optimised()
    return Look(Native(native_triple)).everything(with_kernels)


class Look:
    """Everything to compile, and the faults found."""

    def __init__(self, native: Native) -> None:
        from fastnn.kernels.runtime import cache, compiler, launcher, lowered, pool, program
        from fastnn.kernels.runtime.raw_memory import IS_X86

        cache.cache_folder = lambda: None
        # Compile everything.
        lowered.find = lambda name, origin: None
        # The check computes with code for this machine.
        compiler._check = None
        self.native, self.compiler, self.launcher, self.pool = native, compiler, launcher, pool
        self.program, self.counter = program, Counter(3)
        self.with_geps = IS_X86
        self.found: list[str] = []
        self.compiled: list[str] = []
        self.seconds: dict[str, float] = {}
        self.runs = 0
        self.results: dict[str, int] = {}

    def everything(self, with_kernels: bool) -> dict[str, Any]:
        """All steps.

        Returns: ``found``: every fault; ``compiled``: names; ``runs``: how many launches and programs were run;
        ``seconds`` of CPU time; ``sums``, ``lost``: the results of :meth:`fault` with and without LLVM's option.
        """
        steps = [
            self.compile_entries, self.run_launches, self.run_programs, self.run_worker, self.run_beside_worker,
            self.run_entries, *([self.compile_kernels] if with_kernels else []),
        ]  # fmt: skip
        for step in steps:
            start = time.process_time()
            step()
            self.seconds[step.__name__] = time.process_time() - start
        import llvmlite.binding as llvm

        sums, lost = self.fault()
        # From here on without the option that ``compiler`` sets.
        llvm.set_option("", "-addr-sink-using-gep=1")
        sums_without, lost_without = self.fault()
        return {
            "found": self.found, "compiled": self.compiled, "runs": self.runs, "seconds": self.seconds,
            "sums": [sums, sums_without], "lost": [lost, lost_without],
        }  # fmt: skip

    def read(self, name: str, library: Any, has_calls: bool = True) -> None:
        self.compiled.append(name)
        code = str(library.optimised)
        self.found += traces(name, code, self.with_geps)
        if has_calls:
            self.found += lost_calls(name, code, library.get_asm_str())

    def expect(self, what: str, slices: list[int], parts: list[int] | None = None, in_turn: bool = True) -> None:
        self.runs += 1
        wrong = self.counter.wrong(slices, parts, in_turn)
        if wrong:
            self.found.append(f"{what}: {wrong}")

    def expect_true(self, what: str, is_true: bool) -> None:
        if not is_true:
            self.found.append(f"not so: {what}")

    # -- Compiling ---------------------------------------------------------------------------

    def compile_entries(self) -> None:
        """From here on this process launches with code compiled for the target."""
        import llvmlite.binding as llvm
        from numba import types

        # Keep two branches that end in the same call separate, so that calls can be counted.
        for option in ("-enable-tail-merge=0", "-aarch64-enable-atomic-cfg-tidy=0"):
            llvm.set_option("", option)
        pool = self.pool
        for name, entry in sorted(self.entries().items()):
            code = entry.build()
            [result] = code.overloads.values()
            self.read(name, result.library)
            entry.call = self.noting(name, self.native.function(code))
        runner = self.compiler.compile_callback(pool._run_together, types.void(*[types.int64] * 5))
        self.read("_run_together", runner._library)
        self.alone = Alone()
        pool._context[:] = self.native.callback(runner), self.alone.address, 1
        pool.is_started, pool.start = True, lambda: True

    def noting(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.results[name] = result = function(*arguments)
            return result

        return call

    def entries(self) -> dict[str, Any]:
        # Some are in modules that are loaded at their first use.
        import_kernels()
        return {value.function.__name__: value for value in values_of(self.compiler.Entry)}

    def compile_kernels(self) -> None:
        import_kernels()
        for kernel in sorted(values_of(self.compiler.Kernel), key=lambda kernel: kernel.name):
            if kernel.name.startswith("counting."):
                continue
            code = kernel.build()
            code.compile()
            self.read(kernel.name, code._library, has_calls=False)
            if not any(f.name == code.native_name for f in code._library.optimised.functions):
                self.found.append(f"{kernel.name}: has no code")

    # -- Running -----------------------------------------------------------------------------

    def counting(self, number: int = 0) -> Any:
        """A kernel of one array that only counts."""
        kernel = self.compiler.Kernel(f"counting.{number}", lambda args, t, n: None, self.compiler.Words("array"))
        kernel.address = self.counter.addresses[number]
        return kernel

    def run_launches(self) -> None:
        import numpy as np

        pool, words = self.pool, self.alone.words
        kernel, array = self.counting(), np.zeros(1)
        runner = int(pool._context[pool.RUNNER])
        # Without a pool, in the pool, and while the pool is quiet or in use by another thread.
        for state in ("serial", "free", "quiet", "owned"):
            pool._context[pool.RUNNER] = 0 if state == "serial" else runner
            words[pool._UNTIL], words[pool._OWNER] = 2**62 * (state == "quiet"), state == "owned"
            for parts in (1, 2, 3, 8, 9, 63, 64, 100):
                run = int(words[pool._GATE])
                self.launcher.launch(kernel, parts, (array,))
                self.expect(f"launch, {state}, {parts} parts", [0], [parts])
                is_new = int(words[pool._GATE]) - run == 1 << pool._RUN_BITS
                self.expect_true(f"launch, {state}, {parts} parts: its way", is_new == (state == "free" and parts > 1))
        words[[pool._UNTIL, pool._OWNER]] = 0

    def recorded(self, arrays: list[Any], slices: list[int], parts: list[int]) -> Any:
        kernels = [self.counting(number) for number in range(3)]
        program = self.program.Program()
        with program.recording():
            for array, number, n in zip(arrays, slices, parts, strict=True):
                self.launcher.launch(kernels[number], n, (array,))
        return program

    def run_programs(self) -> None:
        import numpy as np

        for count in (1, 2, 3, 8, 9):
            for parts in ([1] * count, [i % 4 + 1 for i in range(count)], [63 - i for i in range(count)]):
                arrays, slices = [np.zeros(1) for _ in range(count)], [i % 3 for i in range(count)]
                recorded = self.recorded(arrays, slices, parts)
                for threads in (1, 2, 3):
                    recorded.threads = threads
                    what = f"program of {count} rows in {parts} parts on {threads} threads"
                    recorded.replay()
                    self.expect(what, slices, parts)
                    others = [np.zeros(1) for _ in range(count)]
                    places = self.program.Places(recorded, [[(i, 0, 0)] for i in range(count)])
                    places.replay(others)
                    self.expect(f"{what}, over other arrays", slices, parts)
                    places.replay(arrays)
                    self.expect(f"{what}, over its own", slices, parts)
                    batches = [(array, np.zeros(3)) for array in arrays]
                    recorded.replay_over(batches, 3)
                    self.expect(f"{what}, three times", slices * 3, parts * 3)

    def run_worker(self) -> None:
        """A worker goes to sleep, is let into a table when it wakes, and is told to end when it sleeps again."""
        import numpy as np

        alone, pool = self.alone, self.pool
        words = alone.words
        asleep = alone.seat(pool._ASLEEP)
        for count in (1, 3, 9):
            slices, parts = [i % 3 for i in range(count)], [i % 4 + 1 for i in range(count)]
            recorded = self.recorded([np.zeros(1) for _ in range(count)], slices, parts)
            # More parts than a word has bits: they are claimed by a counter.
            parts[-1] = recorded._table[-1, pool.PARTS] = 100
            locked = []

            def acquiring(table: Any = recorded._table, locked: list[int] = locked) -> None:
                locked.append(int(words[asleep]))
                words[asleep] = 0
                if len(locked) == 1:
                    alone.open(table)
                else:
                    words[pool._STOP] = 1

            alone.acquiring = acquiring
            # In a quiet pool a worker sleeps at once.
            words[[pool._UNTIL, pool._STOP]] = 2**62, 0
            pool._WORK.call(alone.address, 0)
            self.expect(f"worker, {count} rows", slices, parts)
            gate = int(words[pool._GATE])
            self.expect_true(f"worker, {count} rows: slept twice, marked so", locked == [1, 1])
            self.expect_true(f"worker, {count} rows: has left", gate & pool._INSIDE == 0)
            words[pool._GATE] -= pool._OPEN
        alone.acquiring = _nothing
        words[[pool._UNTIL, pool._STOP]] = 0

    def run_beside_worker(self) -> None:
        """The caller wakes a worker, waits for the part that it has claimed, and then until it has left."""
        import numpy as np

        alone, pool = self.alone, self.pool
        words = alone.words
        words[pool._WORKERS] = 1
        for count in (1, 3, 9):
            slices, parts = [i % 3 for i in range(count)], [i % 3 + 2 for i in range(count)]
            recorded = self.recorded([np.zeros(1) for _ in range(count)], slices, parts)
            table, last, events = recorded._table, parts[0] - 1, []

            def releasing(table: Any = table, last: int = last, events: list[str] = events) -> None:
                events.append("wakes")
                words[pool._GATE] += 1
                table[0, pool.CLAIMED] |= 1 << last

            def yielding(table: Any = table, last: int = last, events: list[str] = events) -> None:
                if events == ["wakes"]:
                    events.append("is done")
                    self.counter.slices[0](int(table[0, pool.BLOCK]), last, last + 1)
                    table[0, pool.DONE] += 1
                else:
                    events.append("leaves")
                    words[pool._GATE] -= 1

            alone.releasing, alone.yielding = releasing, yielding
            words[alone.seat(pool._ASLEEP)] = 1
            recorded.replay()
            self.expect(f"beside a worker, {count} rows", slices, parts)
            self.expect_true(f"beside a worker, {count} rows: {events}", events == ["wakes", "is done", "leaves"])
            gate = int(words[pool._GATE])
            self.expect_true(f"beside a worker, {count} rows: closed", gate & (pool._OPEN | pool._INSIDE) == 0)
        alone.releasing, alone.yielding = _nothing, _nothing
        words[pool._WORKERS] = 0

    def run_entries(self) -> None:
        import numpy as np

        from fastnn.kernels import self_check

        gemm, linear, loss = (
            sys.modules[f"fastnn.kernels.{name}"]
            for name in ("matmul.gemm", "matmul.linear", "loss.softmax_cross_entropy")
        )
        self.program.grow_scratch(2**20)
        batch, depth, columns = 40, 70, 200
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            tables = gemm.GEMM, linear.BACKWARD, linear._ACTIVATION_BIAS_BACKWARD
            for table, address in zip(tables, self.counter.addresses, strict=True):
                table[dtype].address = address
            x, weight, dy = (np.zeros(s, dtype) for s in ((batch, depth), (depth, columns), (batch, columns)))
            bias = np.zeros(columns, dtype)
            for parts in (1, 3):
                with self_check._cut_in(parts):
                    what = f"{dtype} in {parts} parts"
                    gemm.gemm(np.empty_like(dy), x, weight, bias, activation="relu")
                    self.expect_entry("_enter_gemm", what, [0], parts)
                    for wanted, activation in itertools.product(range(1, 8), ("none", "relu")):
                        dx, dweight, dbias = (
                            np.empty_like(a) if wanted & bit else None for bit, a in ((1, x), (2, weight), (4, bias))
                        )
                        linear.linear_backward(dx, dweight, dbias, dy, x, weight, dy, activation)
                        is_alone = dbias is not None and dweight is None
                        slices = [2] if is_alone else [1] if activation == "relu" else []
                        slices += [0] * ((dx is not None) + (dweight is not None))
                        self.expect_entry("_enter_linear_backward", f"{what}, {wanted}, {activation}", slices, parts)
            loss._KERNEL[dtype].address = self.counter.addresses[0]
            # The kernel's result: no label is wrong, and all count.
            self.program.scratch()[: 8 * loss.HEAD].view(np.float64)[:] = -1.0, batch, 1.0
            out, labels = np.zeros((), dtype), np.zeros(batch, np.int64)
            with self_check._cut_in(1):
                loss.softmax_cross_entropy_in_one_call(np.empty_like(dy), dy, labels, True, -100, out)
            self.expect_entry("_enter_softmax_cross_entropy", f"{dtype}", [0], 1, batch)

    def expect_entry(self, name: str, what: str, slices: list[int], parts: int, result: int = 1) -> None:
        most = max((call[3] for call in self.counter.calls), default=0)
        self.expect_true(f"{name} {what}: done", self.results.pop(name, None) == result)
        self.expect_true(f"{name} {what}: {parts} parts, not {most}", most == parts)
        self.expect(f"{name} {what}", slices, in_turn=parts == 1)

    # -- The fault itself --------------------------------------------------------------------

    def fault(self) -> tuple[list[str], str]:
        """Two launches from a table whose rows are addressed by sums.

        Returns: the traces in its code, and the errors of the calls.
        """
        import numpy as np
        from numba import types

        from fastnn.kernels.runtime.raw_memory import call_slice, integer, put_integer, stack_words

        inline, room = self.compiler.inline, stack_words(32)

        @inline
        def put(table, row, address, block):
            at = table + row * 128
            put_integer(at, 0, address)
            put_integer(at, 1, block)
            put_integer(at, 2, 1)

        @inline
        def run(table, count):
            for row in range(count):
                at = table + row * 128
                parts = integer(at, 2)
                for t in range(parts):
                    call_slice(integer(at, 0), integer(at, 1), t, parts)

        def fault(first, second, block, other_block):
            table, rows = room(), 0
            if first != 0:
                put(table, rows, first, block)
                rows += 1
            if second != 0:
                put(table, rows, second, other_block)
                rows += 1
            run(table, rows)

        code = self.compiler.Entry(fault, [types.int64] * 4, types.void).build()
        [result] = code.overloads.values()
        blocks = np.arange(2)
        self.native.function(code)(*self.counter.addresses[:2], blocks.ctypes.data, blocks[1:].ctypes.data)
        return traces("fault", str(result.library.optimised)), self.counter.wrong([0, 1], [1, 1])


def import_kernels() -> None:
    """Import all modules of kernels, and make those that are otherwise made at their first use."""
    from fastnn import kernels

    for info in pkgutil.walk_packages(kernels.__path__, "fastnn.kernels."):
        importlib.import_module(info.name)
    from fastnn.kernels.activation import elementwise_activations, math_functions

    for name in elementwise_activations.FUNCTIONS:
        elementwise_activations._kernels(name)
    for name in math_functions.FUNCTIONS:
        math_functions._kernel(name)


def values_of(kind: type) -> list[Any]:
    """All kernels, or entries, of all imported modules, including those in tables."""
    # By type: ``isinstance`` resolves weak proxies, including those of dead objects.
    return [value for value in gc.get_objects() if issubclass(type(value), kind)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], "--kernels" in sys.argv)))
