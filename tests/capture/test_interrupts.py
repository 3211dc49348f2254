"""Ctrl-C and other exceptions during a step: the step is done or not done, never half, and training can continue.

The interrupt is raised at each line of fastnn that a step runs, and at each return of one of its functions, one place
per run.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import kernels, nn
from fastnn._core import capture_state
from fastnn._core.last_traceback import forget_last_error
from fastnn.capture.guards import Inputs
from fastnn.kernels.runtime import allocation, compiler, launcher
from fastnn.kernels.runtime.program import Places, Program

pytestmark = pytest.mark.skipif(
    allocation.IS_POISONED, reason="with FASTNN_POISON each line of the checks would be a place"
)

FOLDERS = tuple(str(Path(module.__file__).parent) for module in (fastnn, kernels))
CONTEXTLIB = contextlib.__file__
# Python only reports exceptions raised in the first two; the others defer Ctrl-C.
NOT_THERE = ("__del__", "_forget", "_compiling", "_once")


def interrupted_at(n: int, call: Callable[[], Any]) -> BaseException | None:
    """Run ``call`` with a KeyboardInterrupt at the ``n``-th place; the interrupt, or None if there are fewer places."""
    left = n

    def trace(frame: Any, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        ours = name.startswith(FOLDERS) or name == CONTEXTLIB
        return places if ours and frame.f_code.co_name not in NOT_THERE else None

    def places(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        # No interrupt at a generator's return event, which is a yield, nor where contextlib has detected the end of a
        # block: CPython 3.11 would keep the StopIteration, with all its frames.
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if frame.f_code.co_filename == CONTEXTLIB and sys.exc_info()[1] is not None:
            return places
        if event == "line" or (event == "return" and not generator):
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return places

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(before)
    return None


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert not launcher._recorders
    assert not launcher._guards
    assert not capture_state.active
    assert fastnn.is_grad_enabled()
    assert is_free(compiler._compile_lock)


def is_free(lock: Any) -> bool:
    """Whether another thread could take it."""
    found: list[bool] = []

    def take() -> None:
        found.append(lock.acquire(blocking=False))
        if found[0]:
            lock.release()

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return found[0]


def batches(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return [
        (fastnn.tensor(rng.standard_normal((8, 6)).astype(np.float32)), fastnn.tensor(rng.integers(0, 3, 8)))
        for _ in range(count)
    ]


class Training:
    """A model and its optimizer, with access to their whole state."""

    def __init__(self, rule: str = "NAdam", **options: Any) -> None:
        fastnn.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3)
        )
        # The middle layer has separate options, so the parameters form three runs.
        groups = [
            {"params": [p for i in (0, 1, 6) for p in self.model[i].parameters()]},
            {"params": list(self.model[4].parameters()), "lr": 0.05},
        ]
        self.optimizer = getattr(fastnn.optim, rule)(groups, **options)
        self.criterion = nn.CrossEntropyLoss()

    def arrays(self) -> list[np.ndarray]:
        """Parameters, buffers, and the optimizer's state."""
        found = [t._data for t in (*self.model.parameters(), *self.model.buffers())]
        for entry in self.optimizer.state.values():
            found += [v._data for v in entry.values()]
        return found

    def learned(self) -> bytes:
        """Parameters and the optimizer's state, without the values that a forward pass changes."""
        skipped = len(list(self.model.buffers()))
        count = len(list(self.model.parameters()))
        arrays = self.arrays()
        return b"".join(a.tobytes() for a in arrays[:count] + arrays[count + skipped :])

    def read(self) -> list[Any]:
        """The whole state, including that of the random numbers."""
        return [a.copy() for a in self.arrays()] + [fastnn.get_rng_state()]

    def write(self, state: list[Any]) -> None:
        """Restore a state."""
        arrays = self.arrays()
        for array, values in zip(arrays, state, strict=False):
            array[...] = values
        fastnn.set_rng_state(state[len(arrays)])

    def bits(self) -> bytes:
        return bits_of(self.read())

    def plain_step(self, x: Any, y: Any) -> None:
        """The lines of a training loop."""
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()


def bits_of(state: list[Any]) -> bytes:
    return b"".join(a.tobytes() for a in state[:-1]) + state[-1].numpy().tobytes()


RULES: list[tuple[str, dict[str, Any], float | None]] = [
    ("NAdam", {}, 0.1), ("ASGD", {"t0": 2}, None), ("SGD", {"lr": 0.1}, None),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "options", "limit"), RULES, ids=str)
def test_a_captured_step_is_done_or_not_done(rule: str, options: dict[str, Any], limit: float | None) -> None:
    training = Training(rule, **options)
    step = fastnn.compile_step(training.model, training.criterion, training.optimizer, max_grad_norm=limit)
    *first, last, after = batches(5)
    for batch in first:
        step(*batch)
    assert step.explain() == "captured: 1 program"
    start = training.read()
    step(*last)
    done = training.bits()
    step(*after)
    end = training.bits()
    outcomes = []
    for n in range(1, 10_000):
        training.write(start)
        interrupt = interrupted_at(n, lambda: step(*last))
        if interrupt is None:
            break
        outcomes.append(training.bits() == done)
        if not outcomes[-1]:
            assert training.bits() == bits_of(start), f"half a step at place {n}"
            # While the interrupt is still referenced, as by a debugger or the prompt.
            step(*last)
            assert training.bits() == done
        del interrupt
        step(*after)
        assert training.bits() == end
        assert "_clip" not in vars(training.optimizer)
    assert len(outcomes) > 100
    # First not done, later done.
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]
    step(*after)
    assert step.explain() == "captured: 1 program"


def test_a_capture_is_done_or_not_done() -> None:
    training = Training()
    *_, first, last, after = batches(3)

    def begun() -> Any:
        made = fastnn.compile_step(training.model, training.criterion, training.optimizer)
        made(*first)
        return made

    begun()
    origin = training.read()
    begun()
    start = training.read()
    step = fastnn.compile_step(training.model, training.criterion, training.optimizer)
    step(*last)
    done = training.bits()
    places = 0
    # There are thousands of places: test every 127th.
    for n in range(1, 100_000, 127):
        training.write(origin)
        step = begun()
        assert training.bits() == bits_of(start)
        if interrupted_at(n, lambda: step(*last)) is None:  # noqa: B023  # called at once
            break
        places += 1
        if training.bits() != done:
            assert training.bits() == bits_of(start), f"half a step at place {n}"
            step(*last)
            assert training.bits() == done
        step(*after)
        step(*after)
        assert step.explain() == "captured: 1 program"
    assert places > 10


def test_a_plain_loop_goes_on() -> None:
    """After an interrupt anywhere in the loop, the numbers are the same as without one."""
    training, twin = Training("Adam", lr=0.01), Training("Adam", lr=0.01)
    *first, last, after = batches(6)
    for other in (twin, training):
        for batch in first:
            other.plain_step(*batch)
        assert fastnn.explain(other.model).startswith("captured for")
    start = training.read()
    before = training.learned()
    training.plain_step(*last)
    done = training.learned()
    [kind] = training.model.__dict__["_replays"].kinds.values()
    outcomes = set()
    for n in range(1, 100_000):
        training.write(start)
        interrupt = interrupted_at(n, lambda: training.plain_step(*last))
        if interrupt is None:
            break
        state, learned = training.read(), training.learned()
        # Two groups are updated in sequence; the parameters and state of each belong to the same step.
        outcomes.add("before" if learned == before else "after" if learned == done else "between")
        if learned not in (before, done):
            steps = [entry["step"].item() for entry in training.optimizer.state.values()]
            changed = [p._data.tobytes() != a.tobytes() for p, a in zip(training.model.parameters(), start)]  # noqa: B905
            by_param = dict(zip(map(id, training.optimizer.state), steps, strict=True))
            assert [by_param[id(p)] - 4 for p in training.model.parameters()] == changed
        training.plain_step(*after)
        found = training.bits()
        twin.write(state)
        twin.plain_step(*after)
        assert twin.bits() == found, f"place {n}"
        del interrupt
    assert n > 100
    assert outcomes == {"before", "between", "after"}
    alive = [lane for lane in kind.made if lane() is not None]
    assert kind.free or len(alive) < kind.most
    assert fastnn.explain(training.model).startswith("captured for")


def test_a_recording_of_a_forward_goes_on() -> None:
    """An interrupt during a recording leaves nothing of the trace, and the next call records."""
    *_, first, last = batches(2)
    places = 0
    warm = Training("SGD", lr=0.1)
    for _ in range(4):
        warm.plain_step(*first)
    for n in range(1, 100_000, 127):
        training = Training("SGD", lr=0.1)
        training.plain_step(*first)
        training.plain_step(*first)
        flags = [p.requires_grad for p in training.model.parameters()]
        before = training.learned()
        if interrupted_at(n, lambda: training.model(last[0])) is None:  # noqa: B023  # called at once
            break
        places += 1
        assert training.learned() == before
        assert [p.requires_grad for p in training.model.parameters()] == flags
        assert not launcher._recorders
        assert not capture_state.active
        for _ in range(30):
            training.plain_step(*last)
        assert fastnn.explain(training.model).startswith("captured for")
    assert places > 10


class Broken(Exception):
    pass


@pytest.mark.parametrize("where", ["inputs", "places", "draw", "build"])
def test_any_exception_leaves_the_step_undone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training("Adam")
    step = fastnn.compile_step(training.model, training.criterion, training.optimizer)
    *first, last = batches(4)
    for batch in first:
        step(*batch)
    start = training.bits()

    def breaks(*args: Any) -> Any:
        raise Broken

    with monkeypatch.context() as patched:
        if where == "draw":
            [captured] = step._programs.values()
            draws = captured.watch.draws
            patched.setattr(captured.watch, "draws", [draws[0], *[(state, breaks) for state, _ in draws]])
        else:
            if where == "build":
                training.optimizer.param_groups[0]["amsgrad"] = True
            kind = {"inputs": Inputs, "places": Places, "build": Program}[where]
            patched.setattr(kind, "build" if where == "build" else "replay", breaks)
        with pytest.raises(Broken):
            step(*last)
    # The state for the new option exists, but has no effect yet.
    training.optimizer.param_groups[0]["amsgrad"] = False
    if where != "build":
        assert training.bits() == start
    assert all(p.grad is None for p in training.model.parameters())
    assert [entry["step"].item() for entry in training.optimizer.state.values()] == [3.0] * 8
    step(*last)
    assert step.explain() == "captured: 1 program"
    assert [entry["step"].item() for entry in training.optimizer.state.values()] == [4.0] * 8


@pytest.mark.parametrize("rule", ["Adam", "NAdam", "ASGD", "SGD"])
def test_an_option_that_the_kernel_refuses_is_no_step(rule: str) -> None:
    """The previous group has taken the step, this one has not, and neither has half of it."""
    training = Training(rule, lr=0.01)
    training.plain_step(*batches(1)[0])
    steps = [entry["step"].item() for entry in training.optimizer.state.values() if "step" in entry]
    training.optimizer.param_groups[1]["weight_decay"] = "much"
    before = [p.detach().clone() for p in training.model[4].parameters()]
    with pytest.raises(TypeError):
        training.optimizer.step()
    assert all((p == was).all().item() for p, was in zip(training.model[4].parameters(), before, strict=True))
    found = [entry["step"].item() for entry in training.optimizer.state.values() if "step" in entry]
    assert found == [s + (i < 6) for i, s in enumerate(steps)]


def comprehensions_in(node: ast.AST) -> Iterator[ast.AST]:
    """The comprehensions that run in these lines; functions that are defined in them run later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.Lambda)):
            continue
        if isinstance(child, (ast.ListComp, ast.SetComp, ast.DictComp)):
            yield child
        yield from comprehensions_in(child)


def is_handled(block: ast.Try) -> bool:
    """Whether Ctrl-C in this block runs a handler."""
    kinds = ["BaseException" if h.type is None else ast.unparse(h.type) for h in block.handlers]
    return bool(block.finalbody) or any("BaseException" in kind or "KeyboardInterrupt" in kind for kind in kinds)


def test_no_comprehension_skips_a_handler() -> None:
    """In CPython 3.12 and 3.13, Ctrl-C in a comprehension leaves a ``try`` block without its handlers."""
    found = []
    for path in [path for folder in FOLDERS for path in Path(folder).rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        blocks = [node for node in ast.walk(tree) if isinstance(node, ast.Try) and is_handled(node)]
        nodes = [
            inner for block in blocks for line in block.body for inner in comprehensions_in(ast.Module([line], []))
        ]
        found += [f"{path}:{node.lineno}" for node in nodes]  # type: ignore[attr-defined]  # an expression has it
    assert not found


def test_no_finalizer_is_written_in_python() -> None:
    # Ctrl-C during a finalizer is printed and lost.
    folder = Path(fastnn.__file__).parent
    files = [*folder.rglob("*.py"), *Path(kernels.__file__).parent.rglob("*.py")]
    assert len(files) > 100
    assert [file.name for file in files if "def __del__" in file.read_text(encoding="utf-8")] == []


class Frozen(Exception):
    """An exception that refuses attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Frozen, ExceptionGroup])
def test_the_last_error_holds_no_gradient(kind: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook keeps a reference to a displayed error, with the arrays in the frames of the interrupted backward."""
    inside = str(Path(fastnn.__file__).parent / "somewhere.py")
    names: dict[str, Any] = {"kind": Frozen if kind is ExceptionGroup else kind}
    exec(compile("def interrupted(held):\n    raise kind", inside, "exec"), names)
    place = np.zeros(3)
    alone = sys.getrefcount(place)

    def of_the_user(mine: np.ndarray) -> None:
        names["interrupted"](place[:1])

    try:
        of_the_user(np.ones(1))
    except BaseException as error:
        kept = error
    frames = [frame for frame, _ in traceback.walk_tb(kept.__traceback__)]
    assert "held" in frames[-1].f_locals  # as IPython reads it
    assert sys.getrefcount(place) > alone
    shown = ExceptionGroup("several", [kept]) if kind is ExceptionGroup else kept  # type: ignore[list-item]
    monkeypatch.setattr(sys, "last_value", shown, raising=False)
    assert forget_last_error()
    assert not forget_last_error()
    assert sys.getrefcount(place) == alone
    assert "mine" in frames[-2].f_locals


def test_what_still_runs_in_the_last_error_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = str(Path(fastnn.__file__).parent / "somewhere.py")
    names: dict[str, Any] = {"forget": forget_last_error, "monkeypatch": monkeypatch, "sys": sys}
    code = """
def waiting():
    kept = 1
    try:
        yield 1
    except ValueError:
        pass
    yield kept

def running():
    here = [1]
    try:
        raise ValueError(here)
    except ValueError as error:
        monkeypatch.setattr(sys, "last_value", error, raising=False)
        return forget(), forget(), here
"""
    exec(compile(code, inside, "exec"), names)
    assert names["running"]() == (False, False, [1])
    generator, error = names["waiting"](), ValueError()
    next(generator)

    def thrown() -> None:
        assert generator.throw(error) == 1
        monkeypatch.setattr(sys, "last_value", error, raising=False)
        forget_last_error()

    thrown()
    assert generator.gi_frame is not None
