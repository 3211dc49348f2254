"""The parent's side of the workers, and of the children that measure whole processes.

A worker that is missing, dies or does not answer becomes a status, never a traceback.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from benchmarks import ROOT, libraries, machine
from benchmarks.registry import Unavailable


class WorkerLost(Exception):
    """A worker died or did not answer in time; the message is the status of its row."""


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return lines[-1][:200] if lines else "no message"


class Client:
    """One worker process.

    Args:
        name: of the library, followed by ``@n`` for another number of threads.
        threads: how many it may use.
        command: instead of ``python -m benchmarks.worker``, for tests.
    """

    def __init__(self, name: str, threads: int, command: list[str] | None = None) -> None:
        _, _, own = name.partition("@")
        threads = int(own) if own else threads
        command = command or [sys.executable, "-m", "benchmarks.worker"]
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed by close()
        self._process = subprocess.Popen(
            [*command, name, str(threads)], cwd=ROOT, env=libraries.environment(threads), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            # Ctrl-C is for the parent, which then ends its workers.
            start_new_session=True,
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, timeout: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; raises WorkerLost if there is none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise WorkerLost(f"timeout: no answer within {timeout:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            status = self._process.wait()
            message = _last_line(self._log)
            self.close()
            raise WorkerLost(f"died: exit status {status}: {message}")
        return json.loads(line)

    def close(self) -> None:
        """End the process; kill it if it is busy."""
        if self._log.closed:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # It may be dead already.
            self._process.stdin.close()
        try:
            self._process.wait(timeout=0.3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._log.close()


class Pool:
    """Workers by name, started when first asked; a context manager that ends them.

    Args:
        threads: for every worker.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, threads: int, timeout: float = 300.0) -> None:
        self.threads, self.timeout = threads, timeout
        self.descriptions: dict[str, dict[str, Any]] = {}
        self._clients: dict[str, Client] = {}
        self._cpu: dict[str, float] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """A worker's answer, or ``{"status": why there is none}``. A lost worker is restarted on the next call."""
        try:
            if name not in self._clients:
                description = self.descriptions.get(name, {})
                if description.get("status", "").startswith("missing"):
                    return description
                self._clients[name] = self._start(name)
                self.descriptions[name] = self._answer(name, do="hello")
            if "status" in self.descriptions[name]:
                return self.descriptions[name]
            return self._answer(name, **request)
        except WorkerLost as lost:
            self._clients.pop(name, None)
            # From now on its time is counted with the ended children.
            self._cpu.pop(name, None)
            return {"status": str(lost)}

    def _answer(self, name: str, **request: Any) -> dict[str, Any]:
        answer = self._clients[name].ask(self.timeout, **request)
        self._cpu[name] = answer.pop("cpu", 0.0)
        return answer

    def _start(self, name: str) -> Client:
        return Client(name, self.threads)

    def start(self, names: Iterable[str]) -> None:
        """Start these workers in parallel, as each needs a second for its imports."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda name: self.ask(name, do="forget"), dict.fromkeys(names)))

    def cpu_seconds(self) -> float:
        """Processor seconds of this process, of its workers until their last answers, and of its ended children."""
        return machine.own_seconds() + sum(self._cpu.values())

    def forget(self) -> None:
        """Make every worker drop its setup."""
        for name in list(self._clients):
            self.ask(name, do="forget")

    def close(self) -> None:
        """End all workers."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._cpu.clear()


@dataclass(frozen=True)
class Child:
    """The result of a child process: its figure, the seconds until it was printed, its messages, and a score."""

    value: float
    seconds: float
    messages: str
    score: float | None = None


def run_child(
    arguments: list[str], threads: int, variables: dict[str, str] | None = None, timeout: float = 300.0
) -> Child:
    """Run ``python -m benchmarks.child`` and wait for its end; raises Unavailable if it gives no figure."""
    env = {**libraries.environment(threads), **(variables or {})}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", *arguments], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
        killer = threading.Timer(timeout, child.kill)
        killer.start()
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            seconds = time.perf_counter() - start
            child.stdout.read()
        except BaseException:
            child.kill()  # Ctrl-C: its figure is not needed any more.
            raise
        finally:
            killer.cancel()
            if child.poll() is None:
                try:
                    child.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            child.stdout.close()
        try:
            answer = json.loads(line)
        except ValueError:
            raise Unavailable(f"died: exit status {child.returncode}: {_last_line(log)}") from None
        if "status" in answer:
            raise Unavailable(answer["status"])
        log.seek(0)
        return Child(float(answer["value"]), seconds, log.read(), answer.get("score"))
