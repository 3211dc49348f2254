"""The suite of libraries: its command line, its table and its page. `python -m tests.libraries` runs the programs."""

from __future__ import annotations

import ast

import pytest
from libraries import page, runs, table
from libraries.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonesuch"], "no library 'nonesuch'; --list lists them"),
        (["--record"], "--record needs --torch"),
        (["--rounds", "0"], "argument --rounds: '0' is not a positive integer"),
        (["--rounds", "many"], "argument --rounds: 'many' is not a positive integer"),
        (["--nonesuch"], "unrecognized arguments: --nonesuch"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"python -m tests.libraries: {message}\n"


def test_list(capsys):
    assert main(["--list", "einops"]) == 0
    assert capsys.readouterr().out.startswith("einops ")


def test_table():
    names = [library.name for library in table.LIBRARIES]
    assert names == sorted(set(names))
    for library in table.LIBRARIES:
        ast.parse(library.path.read_text())
        assert all("==" in package for package in library.dependencies), library.name
        assert not any(package.partition("==")[0].lower() == "torch" for package in library.dependencies)
    programs = {path.name for path in (table.FOLDER / "programs").glob("*.py")}
    assert programs == {library.path.name for library in table.LIBRARIES}


def test_page_has_the_table():
    assert page.table() in page.PAGE.read_text()


def test_differences():
    found = runs.read_output("a 0.5 0.1\nb nan 0\nc word 0\nEpoch 1 done\nd 1 0\nseconds 2\n")
    assert found.seconds == 2
    assert runs.differences(found, {"a": "0.55", "b": "nan", "c": "word", "d": "1"}) == []
    assert len(runs.differences(found, {"a": "0.65", "b": "1", "c": "words", "e": "1"})) == 5
