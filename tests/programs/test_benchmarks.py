"""The benchmark harness, without a clock: registry, workers, suites.

Needs neither PyTorch nor JAX. Times measured here are never compared.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# The folder is not part of the distribution: measurements need the checkout. Its imports follow this line, which
# makes it importable (E402).
sys.path.append(str(ROOT))

from benchmarks import libraries, machine, protocol, registry, worker  # noqa: E402
from benchmarks.pool import Client, Pool, WorkerLost, run_child  # noqa: E402
from benchmarks.registry import Case, Figure, Job, NotYet, ProcessWork, Unavailable, Work, all_works  # noqa: E402
from benchmarks.suite import Runner, VirtualClock  # noqa: E402

REPEATED = [work for work in all_works().values() if isinstance(work, Work)]
# The smaller cases represent the larger ones, whose inputs alone take seconds.
SMALL = [
    pytest.param(work, case, id=f"{work.name}-{case.name.replace(' ', '-')}")
    for work in REPEATED for case in work.cases
    if work.reference == "numpy"
    and case.flops < 7e8 and case.bytes < 1e7 and case["batch" if "batch" in case.sizes else "size"] <= 100_000
]  # fmt: skip


# -- The registry ----------------------------------------------------------------------------


def test_registry_names_cases_and_libraries() -> None:
    for name, work in all_works().items():
        assert work.name == name
        assert work.cases
        assert len({case.name for case in work.cases}) == len(work.cases)
        names = work.setups if isinstance(work, Work) else work.libraries
        assert "fastnn" in names
        assert set(work.extras) <= set(names) - {"fastnn"}
        for library in names:
            assert library.partition("@")[0] in {*libraries.MODULES, "numba"}
        if isinstance(work, Work):
            assert work.reference in names
            assert all(case.flops > 0 and case.bytes > 0 for case in work.cases)


@pytest.mark.parametrize("work", REPEATED, ids=lambda work: work.name)
def test_inputs_are_the_same_every_time(work: Work) -> None:
    case = min(work.cases, key=lambda case: case.bytes)
    first, second = work.inputs(work.checked(case)), work.inputs(work.checked(case))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert all(np.isfinite(array).all() for array in first.values())


@pytest.mark.parametrize(("work", "case"), SMALL)
def test_fastnn_agrees_with_the_reference(work: Work, case: Case) -> None:
    checked = work.checked(case)
    reference = work.results(work.prepare("numpy", checked))
    try:
        job = work.prepare("fastnn", checked)
    except NotYet as missing:
        pytest.skip(str(missing))
    assert protocol.difference(work.results(job), reference) <= work.tolerance


def test_difference() -> None:
    a = np.array([1.0, -4.0], np.float32)
    assert protocol.difference([a], [a]) == 0
    assert protocol.difference([a + np.float32(0.5)], [a]) == 0.125
    assert protocol.difference([a], [a, a]) == float("inf")
    assert protocol.difference([a[:1]], [a]) == float("inf")
    assert protocol.difference([a * np.float32("nan")], [a]) == float("inf")


# -- Workers ---------------------------------------------------------------------------------


PLAN = protocol.Plan(
    rounds=2, seconds=1e-4, warm=1e-4, brief=0.5, process_rounds=1, slow_rounds=1, more_rounds=0, more_seconds=60.0,
    most_seconds=300.0,
)  # fmt: skip


def repeated(name: str) -> Work:
    work = all_works()[name]
    assert isinstance(work, Work)
    return work


def measured(
    pool: protocol.Asks, work: Work, case: Case, names: tuple[str, ...], plan: protocol.Plan = PLAN, busy: float = 0.0
) -> protocol.Entry:
    """Compare and measure one row, while other programs have a share of the processors."""
    entry = protocol.compare(protocol.Comparison(pool), work, case, names)
    protocol.measure(pool, [entry], plan, lambda: protocol.Conditions(busy))
    return entry


class Answers:
    """A pool without processes: answers by name of library, in sequence or always the same."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        self.asked.append((name, request["do"]))
        if request["do"] == "check":
            result = self.answers.get(f"{name}_result", np.zeros(2))
            if isinstance(result, str):
                return {"status": result}
            np.savez(request["file"], result)
            return {}
        if request["do"] == "forget":
            return {}
        answer = self.answers[name]
        return {"seconds": answer.pop(0)} if isinstance(answer, list) else answer


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, timeout=60) as workers:
        yield workers


def test_workers_answer(pool: Pool) -> None:
    work = repeated("linear_forward")
    figures = measured(pool, work, work.case("7x33x17"), ("fastnn", "numpy")).figures
    assert list(figures) == ["fastnn", "numpy"]
    for figure in figures.values():
        assert len(figure["values"]) == 2
        assert all(seconds > 0 for seconds in figure["values"])
    for name in figures:
        assert pool.descriptions[name]["threads"] == 1
        assert pool.descriptions[name]["versions"][name]
    assert pool.cpu_seconds() > 0
    pool.forget()


def test_a_library_that_is_not_there(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(libraries.MODULES, "nonesuch", ("nonesuch",))
    with pytest.raises(libraries.MissingLibrary, match=r"^nonesuch$"):
        libraries.start("nonesuch", 1)
    answers = Answers(numpy=[1.0, 2.0], torch_result="missing: torch")
    work = repeated("gather")
    figures = measured(answers, work, work.cases[0], ("numpy", "torch")).figures
    assert figures == {"numpy": {"values": [1.0, 2.0]}, "torch": {"status": "missing: torch"}}


def test_what_a_worker_cannot_do_is_a_status() -> None:
    found = worker.Worker("fastnn", 1)
    assert found.answer({"do": "hello"})["versions"].keys() == {"fastnn"}
    answer = found.answer({"do": "time", "work": "linear_forward", "case": "none", "seconds": 0, "warm": 0})
    assert answer["status"].startswith("failed: StopIteration")
    assert worker.Worker("sklearn", 1).answer(
        {"do": "time", "work": "import", "case": "", "seconds": 0, "warm": 0}
    ) == {"status": "failed: TypeError: import is a measure of whole processes"}


def script(tmp_path: Path, code: str) -> list[str]:
    file = tmp_path / "worker.py"
    file.write_text(code)
    return [sys.executable, str(file)]


def test_a_worker_that_dies(tmp_path: Path) -> None:
    client = Client("x", 1, script(tmp_path, "import sys; print('no', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(WorkerLost, match=r"^died: exit status 3: no$"):
        client.ask(30, do="hello")
    client.close()


def test_a_worker_that_is_silent(tmp_path: Path) -> None:
    client = Client("x", 1, script(tmp_path, "import time; time.sleep(60)"))
    with pytest.raises(WorkerLost, match=r"^timeout: no answer within 0 s$"):
        client.ask(0.2, do="hello")


def test_a_lost_worker_is_restarted(tmp_path: Path) -> None:
    code = "import json\nfor line in iter(input, None): print(json.dumps({'at': json.loads(line)['do']}), flush=True)"
    commands = [script(tmp_path, "import sys; sys.exit(1)"), [sys.executable, "-c", code]]

    class Scripted(Pool):
        def _start(self, name: str) -> Client:
            return Client(name, 1, commands.pop(0))

    with Scripted(1) as workers:
        assert workers.ask("x", do="time")["status"].startswith("died: exit status 1")
        assert workers.ask("x", do="time") == {"at": "time"}


def test_noise_on_standard_output_does_not_reach_the_answers(tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import os, sys",
            f"sys.path.append({str(ROOT)!r})",
            "from benchmarks import worker",
            "class Noisy(worker.Worker):",
            "    def do_hello(self):",
            "        print('noise'); os.write(1, b'more noise')",
            "        return {'quiet': True}",
            "worker.Worker = Noisy",
            "sys.exit(worker.main(sys.argv[1:]))",
        ]
    )
    client = Client("numpy", 1, script(tmp_path, code))
    answer = client.ask(30, do="hello")
    assert answer.pop("cpu") > 0
    assert answer == {"quiet": True}
    client.close()


def test_the_environment_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that configure a library are removed, those that only name a place are kept."""
    forced = (
        "OPENBLAS_CORETYPE", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "NUMBA_THREADING_LAYER",
        "NUMBA_DISABLE_JIT", "MKL_CBWR", "XLA_FLAGS", "TORCH_LOGS", "FASTNN_QUIET", "PYTHONDONTWRITEBYTECODE",
    )  # fmt: skip
    for name in (*forced, *libraries.KEPT, "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    found = libraries.environment(3)
    assert not set(forced) & set(found)
    assert {*libraries.KEPT, "PYTHONPATH", "PATH"} <= set(found)
    assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == found["NUMBA_NUM_THREADS"] == "3"
    assert found["JAX_PLATFORMS"] == "cpu"
    assert os.environ["OPENBLAS_CORETYPE"] == "1"


def test_the_loop_waits_for_each_result_or_for_the_last() -> None:
    log: list[str] = []
    job = Job(lambda: log.append("run"), wait=lambda _: log.append("wait"))
    for chained, expected in ((False, ["run", "wait"] * 3), (True, [*["run"] * 3, "wait"])):
        assert worker.timed(job, chained)(3) >= 0
        assert log == expected
        log.clear()
    worker.timed(Job(lambda: log.append("run")), False)(2)
    assert log == ["run", "run"]


def test_a_figure_is_the_median_of_blocks() -> None:
    asked: list[int] = []

    def loop(calls: int) -> float:
        asked.append(calls)
        # One block is interrupted by other work.
        return calls * 1e-3 + (1.0 if len(asked) == 5 else 0.0)

    assert worker.measure(loop, seconds=0.07, warm=0.0) == pytest.approx(1e-3)
    assert asked == [1, 10, 10, 10, 10, 10, 10, 10]


def test_processes_that_are_measured_as_a_whole() -> None:
    child = run_child(["import", "json"], 1)
    assert 0 <= child.value <= child.seconds
    with pytest.raises(Unavailable, match=r"^missing: nonesuch$"):
        run_child(["import", "nonesuch"], 1)
    with pytest.raises(Unavailable, match=r"^died: exit status 1: .*TypeError"):
        run_child([], 1)


def test_peers_of_what_cannot_be_done_yet_are_not_measured() -> None:
    def measure(library: str, case: Case, threads: int, number: int) -> Figure:
        if library == "fastnn":
            raise NotYet("nn.Thing")
        raise AssertionError(library)

    work = ProcessWork("start", (Case("T", {}),), ("fastnn", "torch"), measure)
    figures = protocol.measure_processes(work, work.cases[0], ("fastnn", "torch"), 1, protocol.QUICK)
    assert figures == {"fastnn": {"status": "not yet: nn.Thing"}, "torch": {"status": "not measured"}}


def test_a_score_below_the_goal_takes_the_figure_away() -> None:
    asked: list[tuple[str, int]] = []
    scores = {"fastnn": [0.99, 0.97, 0.98], "torch": [0.979, 0.99, 0.9796]}

    def measure(library: str, case: Case, threads: int, number: int) -> Figure:
        asked.append((library, number))
        return Figure(1.0 + number, scores[library][number])

    work = ProcessWork("run", (Case("T", {}),), ("fastnn", "torch"), measure, goal=0.98)
    plan = replace(PLAN, process_rounds=3)
    figures = protocol.measure_processes(work, work.cases[0], work.libraries, 1, plan)
    # Each round has a number, the same for both.
    assert asked == [(library, number) for number in range(3) for library in ("fastnn", "torch")]
    assert figures["fastnn"] == {"values": [1.0, 2.0, 3.0], "scores": [0.99, 0.97, 0.98]}
    assert figures["torch"]["status"] == "reached 97.96% only, not 98.0%"


def test_rounds_alternate() -> None:
    answers, work = Answers(numpy=[1.0, 2.0], fastnn=[3.0, 4.0]), repeated("gather")
    entry = measured(answers, work, work.cases[0], ("fastnn", "numpy"))
    assert entry.figures == {"fastnn": {"values": [3.0, 4.0]}, "numpy": {"values": [1.0, 2.0]}}
    assert [name for name, do in answers.asked if do == "time"] == ["fastnn", "numpy"] * 2


def test_results_that_differ_are_not_timed() -> None:
    answers, work = Answers(numpy=[1.0, 1.0], fastnn_result=np.ones(2)), repeated("gather")
    figures = measured(answers, work, work.cases[0], ("fastnn", "numpy")).figures
    assert figures["fastnn"]["status"].startswith("differs from numpy by 1.0e+00, tolerance")
    assert ("fastnn", "time") not in answers.asked


def test_a_worker_lost_amid_the_rounds() -> None:
    answers, work = Answers(numpy=[1.0, 2.0], fastnn={"status": "died: exit status 1"}), repeated("gather")
    figures = measured(answers, work, work.cases[0], ("fastnn", "numpy")).figures
    assert figures == {"fastnn": {"status": "died: exit status 1"}, "numpy": {"values": [1.0, 2.0]}}


def test_the_best_rounds_count() -> None:
    work, plan = repeated("gather"), replace(PLAN, rounds=5, more_rounds=3)
    quiet, low, high = protocol.Conditions(), protocol.Conditions(0.0, 1e-7), protocol.Conditions(0.0, 4e-7)
    noisy = protocol.Conditions(0.5, 1e-7)

    def kept(*rounds: protocol.Conditions, seconds: float = 0.0) -> list[float]:
        # Conditions are read before the first round and after each round.
        asked = iter([quiet, *rounds])
        entry = protocol.Entry(work, work.cases[0], {"numpy": {"values": []}})
        answers = Answers(numpy=[float(i) for i in range(8)])
        clock = itertools.count(0.0, seconds)
        protocol.measure(answers, [entry], plan, lambda: next(asked), clock=lambda: next(clock))
        assert len(entry.conditions) == len(entry.figures["numpy"]["values"])
        return entry.figures["numpy"]["values"]

    assert kept(*[low] * 5) == [0, 1, 2, 3, 4]
    assert kept(low, noisy, low, high, low, low, low, low) == [0, 2, 5, 6, 7]
    # Too few of the best: those with high core-to-core latency alone, then mixed, then all, to be marked.
    assert kept(low, low, high, high, high, high, high, noisy) == [2, 3, 4, 5, 6]
    assert kept(low, low, low, high, low, noisy, noisy, noisy) == [0, 1, 2, 3, 4]
    assert kept(*[noisy] * 8) == [0, 1, 2, 3, 4, 5, 6, 7]
    # The time for more rounds ends after one of them.
    assert kept(*[noisy] * 8, seconds=plan.more_seconds * 0.6) == [0, 1, 2, 3, 4, 5]
    assert kept(*[noisy] * 8, seconds=plan.more_seconds * 2) == [0, 1, 2, 3, 4]


def test_rounds_that_disagree_are_followed_by_more() -> None:
    work, plan = repeated("gather"), replace(PLAN, rounds=5, more_rounds=6)

    def played(ratios: list[float], started: float = 0.0) -> int:
        entry = protocol.Entry(work, work.cases[0], {"fastnn": {"values": []}, "numpy": {"values": []}})
        answers = Answers(fastnn={"seconds": 1.0}, numpy=ratios.copy())
        protocol.measure(answers, [entry], plan, protocol.Conditions, clock=lambda: 0.0, started=started)
        return len(entry.conditions)

    assert played([2.0, 2.0, 2.1, 2.0, 1.9]) == 5
    assert protocol.uncertainty([2.0, 3.0, 2.5, 1.0, 4.0]) == pytest.approx(1.253 / 1.349 / 5**0.5 / 2.5)
    # After nine rounds the two at 2 are below the lower quartile.
    assert played([2.0, 3.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]) == 9
    # The number of rounds is limited, and so is the time of the run.
    assert played([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]) == 11
    assert played([1.0, 2.0, 3.0, 4.0, 5.0], started=-plan.most_seconds - 1) == 5


def test_brief_works_take_less_time() -> None:
    brief, other = repeated("classic_functions"), repeated("gather")
    assert PLAN.lengths(brief) == {"seconds": 0.5e-4, "warm": 0.5e-4}
    assert PLAN.lengths(other) == {"seconds": 1e-4, "warm": 1e-4}
    assert protocol.FULL.lengths(brief) == protocol.FULL.lengths(other)


def test_jax_has_a_worker_whose_calls_wait() -> None:
    chained, other = repeated("training_step"), repeated("linear_forward")
    assert chained.worker_of("jax") == "jax"
    assert other.worker_of("jax") == registry.WAITING
    assert registry.row_of(registry.WAITING) == "jax"
    assert other.worker_of("torch") == registry.row_of("torch") == "torch"
    answers = Answers(numpy=[1.0, 2.0], jax_waiting=[3.0, 4.0])
    figures = measured(answers, other, other.cases[0], ("numpy", "jax")).figures
    assert figures == {"numpy": {"values": [1.0, 2.0]}, "jax": {"values": [3.0, 4.0]}}


def test_a_worker_rests_until_its_threads_sleep() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    spinning = threading.Thread(target=spin)
    spinning.start()
    try:
        # It may be waiting for this thread to yield, which also counts if the system reports it.
        found = worker._others_run() or not Path("/proc/self/task").is_dir()
    finally:
        stop.set()
        spinning.join()
    assert found
    worker.rest()


def test_other_programs_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, ours = iter([(10.0, 100.0), (14.0, 110.0), (14.0, 110.0)]), iter([5.0, 6.0, 6.0])
    monkeypatch.setattr(machine, "_seconds", lambda: next(seconds))
    others = machine.Others(lambda: next(ours))
    assert others.share() == pytest.approx(0.3)
    assert others.share() == 0.0
    assert machine.cpu_name()


# -- The pytest-benchmark suites -------------------------------------------------------------


def test_the_fixture_finds_what_the_worker_found(tmp_path: Path) -> None:
    """pytest-benchmark's own statistics are computed from the figures that a worker reports."""
    known = [0.004, 0.001, 0.002, 0.0015, 0.0025, 0.0035, 0.003]
    (tmp_path / "test_inner.py").write_text(
        f"""
import sys, time
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests" / "programs")!r}, {str(ROOT)!r}]
import pytest
from benchmarks import suite
from benchmarks.registry import all_works
from test_benchmarks import Answers

class Slow(Answers):
    def ask(self, name, **request):
        time.sleep(0.02)  # what the conversation costs, which must not be seen
        return super().ask(name, **request)

@pytest.fixture
def runner():
    return suite.Runner(Slow(numpy={known!r}, numpy_result=[1.0], fastnn_result="not yet: x", torch_result=[3.0]))

test_gather = suite.benchmarks_of("gather", ("numpy", "fastnn", "torch"))
"""
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-c", os.devnull, "-k", "64x784",
         "--benchmark-json=found.json", "test_inner.py"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed, 1 skipped" in run.stdout, run.stdout + run.stderr
    assert "torch: differs from numpy by" in run.stdout
    assert "not yet: x" in run.stdout
    (found,) = json.loads((tmp_path / "found.json").read_text())["benchmarks"]
    assert found["group"] == "gather 64x784"
    assert found["name"] == "test_gather[64x784-numpy]"
    assert found["stats"]["data"] == pytest.approx(known, abs=1e-12)
    assert found["stats"]["median"] == pytest.approx(0.0025, abs=1e-12)


def test_the_clock_moves_by_hand_only() -> None:
    clock = VirtualClock()
    before = clock()
    time.sleep(0.001)
    assert clock() == before
    clock.advance(0.25)
    assert clock() == before + 0.25


def test_suites_cover_the_registry() -> None:
    text = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("bench_*.py"))
    missing = [work.name for work in REPEATED if f'("{work.name}"' not in text]
    # The comparison of one thread with two has no suite.
    assert missing == ["threads"]


def test_the_suites_are_collected_and_no_test_run_meets_them() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "benchmarks"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "benchmarks/bench_linear.py::test_linear_forward[64x784x256-fastnn]" in listed
    assert "benchmarks/bench_training_step.py::test_training_step[T-64-torch]" in listed
    assert all(line.startswith("benchmarks/bench_") for line in listed.splitlines() if "::" in line)
    assert Runner.run.__doc__
    settings = (ROOT / "pyproject.toml").read_text()
    assert 'testpaths = ["tests", "fastnn"]' in settings
    assert "--benchmark-disable" in settings
