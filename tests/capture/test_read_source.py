"""The source of a function is found wherever its class was made, and never that of another function."""

from __future__ import annotations

import argparse
import ast
import builtins
import doctest
import itertools
import linecache
import os
import runpy
import subprocess
import sys
import types
import zipapp
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import fastnn
from fastnn import nn
from fastnn.capture import guards as capture
from fastnn.capture import source_check as straight
from fastnn.capture.read_source import NoSource, parsed

ROOT = Path(__file__).resolve().parents[2]
NET = """
import fastnn as torch
from fastnn import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
"""
# What is said of a model after four calls.
SAID = """
def said(kind):
    model = kind()
    for _ in range(4):
        model(torch.ones(5, 4))
    return torch.explain(model)
"""
CAPTURED = "captured for float32 of shape (5, 4)"
_numbers = itertools.count()


@pytest.fixture
def remember() -> Iterator[Callable[..., str]]:
    """Give linecache a text without a file, as a prompt does; its name."""
    names = []

    def give(text: str, name: str | None = None) -> str:
        names.append(name or f"<cell {next(_numbers)}>")
        linecache.cache[names[-1]] = len(text), None, text.splitlines(keepends=True), names[-1]
        return names[-1]

    yield give
    for name in names:
        linecache.cache.pop(name, None)


def run(text: str, name: str, *, flags: int = 0, optimize: int = -1, apart: bool = False) -> dict[str, Any]:
    """The globals after a text has run, as a whole or one statement after the other."""
    scope: dict[str, Any] = {"__name__": "a_module_that_is_not_imported"}
    tree = ast.parse(text)
    for module in [ast.Module([s], []) for s in tree.body] if apart else [tree]:
        exec(compile(module, name, "exec", flags, True, optimize), scope)
    return scope


def said(kind: type[nn.Module]) -> str:
    model = kind()
    for _ in range(4):
        model(fastnn.ones(5, 4))
    return fastnn.explain(model)


def reason(function: Any) -> str:
    with pytest.raises(NoSource) as error:
        parsed(function)
    return str(error.value)


# --------------------------------------------------------------------------------------------
# The right tree, and no other


@pytest.mark.parametrize("module", [straight, capture, argparse, nn.module])
def test_each_function_of_a_file_is_found_where_it_is(module: types.ModuleType) -> None:
    members = list(vars(module).values())
    members += [member for kind in members if isinstance(kind, type) for member in vars(kind).values()]
    functions = [f for f in members if isinstance(f, types.FunctionType) and f.__module__ == module.__name__]
    functions = [f for f in functions if not f.__code__.co_flags & straight._RETURNS_LATER]
    functions = [f for f in functions if f.__code__.co_filename == module.__file__]
    assert functions
    for function in functions:
        tree = parsed(function)
        assert isinstance(tree, ast.FunctionDef)
        lines = [tree.lineno, *[d.lineno for d in tree.decorator_list]]
        assert (tree.name, min(lines)) == (function.__code__.co_name, function.__code__.co_firstlineno)


BODY = "def f(self, x, y=1):\n    return {}\n"
DIFFERENT = [
    ("x * 1", "x * True"), ("x * 1", "x * 1.0"), ("x * 0.0", "x * -0.0"), ("x * 1j", "x * -1j"),
    ("x, (1, 2)", "x, (1, 2.0)"), ("x in {1, 2}", "x in {1, 3}"), ("x + 'a'", "x + b'a'"), ("x.a", "x.b"),
    ("a", "b"), ("x", "y"), ("x(a=1)", "x(b=1)"), ("lambda: 1", "lambda: 2"), ("lambda: x", "lambda: y"),
    ("lambda z: z", "lambda *z: z"), ("lambda z=1: z", "lambda z=2: z"), ("lambda z: 0", "lambda z, /: 0"),
    ("[z for z in x]", "{z for z in x}"), ("[z for z in x if z]", "[z for z in x if not z]"),
    ("x.relu()", "self.relu()"), ("10 ** 5", "10 ** 5 + 1"), ("x if y else 1", "y if x else 1"),
]  # fmt: skip


@pytest.mark.parametrize(("other", "text"), DIFFERENT, ids=str)
def test_another_text_is_not_taken_for_it(other: str, text: str, remember: Callable[..., str]) -> None:
    name = remember(BODY.format(other))
    function = run(BODY.format(text), name)["f"]
    assert reason(function).startswith(f"as {name} does not contain the code that runs: reload the module")
    remember(BODY.format(text), name)
    assert parsed(function).lineno == 1


@pytest.mark.parametrize(
    "head", ["def f(self, y, x=1):", "def f(self, x, *y):", "def f(self, x, /, y=1):", "def f(self, x, *, y=1):"]
)
def test_other_arguments_are_another_function(head: str, remember: Callable[..., str]) -> None:
    text = BODY.format("x + y")
    name = remember(text.replace("def f(self, x, y=1):", head))
    assert "does not contain" in reason(run(text, name)["f"])


def test_names_of_other_places(remember: Callable[..., str]) -> None:
    """A global is not a variable of a closure, and a private name is that of its class."""
    inside = "def make(a=1):\n    def f(x):\n        return x * a\n    return f\nf = make()\n"
    outside = "a = 1\ndef f(x):\n    return x * a\n"
    for text, other in ((inside, outside), (outside, inside)):
        name = remember(other)
        assert "does not contain" in reason(run(text, name)["f"])
        del linecache.cache[name]
    private = "class {}:\n    def f(self):\n        return self.__x\n"
    name = remember(private.format("A"))
    assert "does not contain" in reason(run(private.format("B"), name)["B"].f)
    assert parsed(run(private.format("A"), name)["A"].f).lineno == 2


def test_lines_may_differ(remember: Callable[..., str]) -> None:
    text = BODY.format("x * y + 3")
    name = remember(f"# Edited since.\n\n\n{text}")
    assert parsed(run(text, name)["f"]).lineno == 4


def test_of_two_that_do_the_same_the_nearer_one(remember: Callable[..., str]) -> None:
    one = "class {}:\n    {}\n    def f(self):\n        return self.x\n"
    text = one.format("A", "@staticmethod") + one.format("B", "@property") + one.format("A", "")
    scope = run(text, remember(text))
    assert parsed(scope["A"].f).lineno == 11
    assert parsed(scope["B"].f.fget).decorator_list[0].id == "property"


def test_lambdas(remember: Callable[..., str]) -> None:
    text = "f = lambda x: x + 1\ng, h = lambda x: x + 2, lambda x: x + 3\ni, j = lambda x: x * 5, lambda x: x * 5\n"
    scope = run(text, remember(text))
    assert ast.unparse(parsed(scope["f"])) == "lambda x: x + 1"
    assert ast.unparse(parsed(scope["j"])) == "lambda x: x * 5"
    # They are told from each other by their columns.
    assert ast.unparse(parsed(scope["h"])) == "lambda x: x + 3"
    assert ast.unparse(parsed(scope["g"])) == "lambda x: x + 2"


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("optimize", [-1, 0, 1, 2])
@pytest.mark.parametrize("future", [(), ("annotations",), ("annotations", "barry_as_FLUFL")])
def test_however_it_was_compiled(
    apart: bool, optimize: int, future: tuple[str, ...], remember: Callable[..., str]
) -> None:
    import __future__

    text = NET.replace("(self, x)", "(self, x: int)").replace(
        "        return", '        """Of rows."""\n        assert x.ndim\n        return'
    )
    flags = sum(getattr(__future__, name).compiler_flag for name in future)
    kind = run(text, remember(text), flags=flags, optimize=optimize, apart=apart)["Net"]
    assert parsed(kind.forward).lineno == 10
    assert said(kind) == CAPTURED


def test_a_text_with_warnings_is_read_without_them(remember: Callable[..., str]) -> None:
    text = BODY.format('x, "\\d"')
    with pytest.warns((DeprecationWarning, SyntaxWarning), match="invalid escape"):
        function = run(text, name := remember(text))["f"]
    assert function.__code__.co_filename == name
    assert parsed(function).lineno == 1


# --------------------------------------------------------------------------------------------
# Wherever a class is made


def test_a_file_that_was_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edited_net.py"
    file.write_text(NET, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import edited_net

    assert said(edited_net.Net) == CAPTURED
    function = edited_net.Net.forward
    file.write_text("# More.\n" + NET.replace("relu", "tanh"), encoding="utf-8")
    # The text is that of the code, though not that of the file.
    assert parsed(function).lineno == 10
    linecache.clearcache()
    fastnn.capture.read_source._found.clear()
    assert "edited_net.py does not contain the code that runs: reload the module" in said(edited_net.Net)
    scope = run(file.read_text(encoding="utf-8"), str(file))
    assert said(scope["Net"]) == CAPTURED


def test_a_module_in_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "nets.zip", "w") as file:
        file.writestr("zipped/__init__.py", "")
        file.writestr("zipped/net.py", NET)
    monkeypatch.syspath_prepend(tmp_path / "nets.zip")
    from zipped.net import Net

    assert said(Net) == CAPTURED
    # By value, so without the module and its loader.
    fastnn.capture.read_source._found.clear()
    scope = {"__file__": Net.forward.__code__.co_filename}
    function = types.FunctionType(Net.forward.__code__.replace(co_filename="<dynamic-code>"), scope)
    assert parsed(function).lineno == 10


def test_a_path_that_is_run(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(NET + SAID + "now = said(Net)\n", encoding="utf-8")
    scope = runpy.run_path(str(file))
    assert scope["now"] == CAPTURED
    # The module is gone, the globals of its functions are not.
    assert said(scope["Net"]) == CAPTURED


def test_a_doctest(tmp_path: Path) -> None:
    lines = (NET.replace("\n\n    def", "\n    def") + SAID).strip().splitlines()
    statements = [f"{'...' if line.startswith(' ') else '>>>'} {line}" for line in lines if line]
    text = "\n".join([*statements, "", ">>> said(Net)", repr(CAPTURED)])
    test = doctest.DocTestParser().get_doctest(text, {}, "net", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0


def _python(*arguments: str) -> str:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_zip_application(tmp_path: Path) -> None:
    """Its main program, and that class once more after cloudpickle has had it."""
    (tmp_path / "app").mkdir()
    again = "import cloudpickle\nprint(said(cloudpickle.loads(cloudpickle.dumps(Net))))\n"
    (tmp_path / "app" / "__main__.py").write_text(NET + SAID + "print(said(Net))\n" + again, encoding="utf-8")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    assert _python(str(tmp_path / "app.pyz")).splitlines() == [CAPTURED, CAPTURED]


def test_a_command() -> None:
    assert _python("-c", NET + SAID + "print(said(Net))", "-c", "other") == CAPTURED


def by_value(kind: type[nn.Module]) -> type[nn.Module]:
    """The class that another process gets; this one would get its own back."""
    data = cloudpickle.dumps(kind)
    cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    found = cloudpickle.loads(data)
    assert found is not kind
    return found


def test_a_class_that_went_through_cloudpickle(tmp_path: Path, remember: Callable[..., str]) -> None:
    # cloudpickle leaves the name of the file out. That of the module is left, and the texts that were typed in.
    file = tmp_path / "net.py"
    file.write_text(NET, encoding="utf-8")
    scope = {"__name__": "__main__", "__file__": str(file)}
    exec(compile(NET, str(file), "exec"), scope)
    assert said(by_value(scope["Net"])) == CAPTURED
    text = NET.replace("relu", "tanh")
    scope = {"__name__": "__main__"}
    name = remember(text)
    exec(compile(text, name, "exec"), scope)
    assert said(by_value(scope["Net"])) == CAPTURED
    fastnn.capture.read_source._found.clear()
    del linecache.cache[name]
    assert said(by_value(scope["Net"])) == (
        "eager for float32 of shape (5, 4): Net.forward has no source that can be read, as it was pickled by value, "
        "and this process does not have the text: put the class into a module that this process can import"
    )


def test_why_there_is_no_source(tmp_path: Path) -> None:
    text = NET.replace("relu", "sigmoid")
    assert said(run(text, "<string>")["Net"]).endswith(
        "Net.forward has no source that can be read, as it was compiled from a string, or typed at a prompt: "
        "put the class into a file or a notebook cell"
    )
    gone = str(tmp_path / "gone.py")
    assert said(run(text, gone)["Net"]).endswith(
        f"has no source that can be read, as there is no file {gone} to be read: "
        "put the class into a module whose source this process can read"
    )
    assert "was pickled by value" in said(run(text, "/tmp/ipykernel_12/34.py")["Net"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    # Nobody writes to it: to open it would wait for ever.
    os.mkfifo(tmp_path / "pipe")
    assert "as there is no file" in said(run(NET.replace("relu", "exp"), str(tmp_path / "pipe"))["Net"])


def test_forwards_that_return_later() -> None:
    class Later(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            yield self.layer(x)

    assert said(Later).endswith("Later.forward is a generator or a coroutine")


def test_a_loader_that_fails_is_no_reason_to_fail() -> None:
    class Loader:
        def get_source(self, name: str) -> str:
            raise ZeroDivisionError

    scope = {"__name__": "net", "__loader__": Loader()}
    exec(compile(NET.replace("relu", "sin"), "net_of_a_loader.py", "exec"), scope)
    assert "as there is no file net_of_a_loader.py to be read" in said(scope["Net"])


# --------------------------------------------------------------------------------------------
# What is looked up in each call


def test_globals_of_no_module_are_watched(remember: Callable[..., str]) -> None:
    text = NET.replace("torch.relu", "act") + "act = torch.relu\n"
    scope = run(text, remember(text))
    assert said(scope["Net"]) == CAPTURED
    model, x = scope["Net"](), fastnn.randn(5, 4)
    for _ in range(4):
        model(x)
    assert fastnn.explain(model) == CAPTURED
    scope["act"] = fastnn.tanh
    assert model(x).tolist() == model.last(fastnn.tanh(model.first(x))).tolist()


def test_builtins_are_those_of_the_function(remember: Callable[..., str]) -> None:
    text = NET.replace("torch.relu(", "len(")
    name = remember(text)
    scope: dict[str, Any] = {"__name__": "net", "__builtins__": {**vars(builtins), "len": lambda x: x * 2}}
    exec(compile(text, name, "exec"), scope)
    assert said(scope["Net"]).endswith("Net.forward calls 'len'")


class Slow(dict[str, Any]):
    pass


def test_globals_of_another_kind(remember: Callable[..., str]) -> None:
    scope = Slow(__name__="net")
    exec(compile(NET, remember(NET), "exec"), scope)
    assert said(scope["Net"]).endswith("Net.forward has globals that are no plain dictionary")


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def head(self, x: Any) -> Any:
        return fastnn.relu(x)

    def forward(self, x: Any, times: Any = 3) -> Any:
        return self.head(self.layer(x)).unflatten(1, (times - 1, 2))


def test_code_and_defaults_that_are_replaced_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As autoreload does it: the function stays the same object."""
    model, x = Scaled(), fastnn.randn(5, 4)

    def found() -> Any:
        out = model(x).tolist()
        for _ in range(4):
            assert model(x).tolist() == out
        assert fastnn.explain(model) == CAPTURED
        return out

    assert found() == fastnn.relu(model.layer(x)).view(5, 2, 2).tolist()
    monkeypatch.setattr(Scaled.head, "__code__", (lambda self, x: fastnn.tanh(x)).__code__)
    assert found() == fastnn.tanh(model.layer(x)).view(5, 2, 2).tolist()
    monkeypatch.setattr(Scaled.forward, "__defaults__", (2,))
    with pytest.raises(RuntimeError):
        model(x)
    monkeypatch.setattr(Scaled.forward, "__code__", (lambda self, x, times: fastnn.tanh(self.layer(x))).__code__)
    assert found() == fastnn.tanh(model.layer(x)).tolist()


def test_a_forward_that_was_refused_and_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mended(Scaled):
        def forward(self, x: Any) -> Any:
            print(end="")
            return self.layer(x)

    model = Mended()
    for _ in range(30):
        model(fastnn.ones(5, 4))
    assert "calls something" in fastnn.explain(model)
    monkeypatch.setattr(Mended.forward, "__code__", (lambda self, x: self.layer(x)).__code__)
    for _ in range(4):
        model(fastnn.ones(5, 4))
    assert fastnn.explain(model) == CAPTURED


def test_a_step_that_was_refused_and_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = Scaled(), fastnn.randn(5, 4), fastnn.zeros(5, 4)
    step = fastnn.compile_step(model, loss, fastnn.optim.SGD(model.parameters(), lr=0.0))
    with monkeypatch.context() as patch:
        other = lambda out, y: nn.functional.mse_loss(out.view(5, 4), y) * out.max().item()  # noqa: E731  # its code
        patch.setattr(loss, "__code__", other.__code__)
        for _ in range(4):
            step(x, y)
        assert "eager for float32 of shape (5, 4)" in step.explain()
    step(x, y)
    assert step.explain() == "captured: 1 program"


def loss(out: Any, y: Any) -> Any:
    return nn.functional.mse_loss(halved(out), y)


def halved(x: Any) -> Any:
    return x.view(5, 4)


@pytest.mark.parametrize(
    ("function", "other"),
    [
        (Scaled.forward, lambda self, x, times=2: fastnn.tanh(self.layer(x)).view(5, 2, 2)),
        (Scaled.head, lambda self, x: fastnn.tanh(x)),
        (loss, lambda out, y: nn.functional.l1_loss(out.view(5, 4), y)),
        (halved, lambda x: fastnn.tanh(x.view(5, 4))),
    ],
    ids=["forward", "method", "criterion", "function"],
)
def test_code_that_a_compiled_step_runs(function: Any, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = Scaled(), fastnn.randn(5, 4), fastnn.zeros(5, 4)
    step = fastnn.compile_step(model, loss, fastnn.optim.SGD(model.parameters(), lr=0.0))
    before = [step(x, y).item() for _ in range(3)][-1]
    assert step.explain() == "captured: 1 program"
    monkeypatch.setattr(function, "__code__", other.__code__)
    after = step(x, y).item()
    assert after == pytest.approx(loss(model(x), y).item())
    assert after != before
    for _ in range(3):
        assert step(x, y).item() == after
    assert step.explain() == "captured: 1 program"
