"""The README's code runs unchanged."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    if "print(f" in block:
        accuracy = float(printed.rstrip("%\n"))
        assert accuracy > 94


def test_commands_are_word_for_word():
    for command in ("pip install -e . && python examples/train_mnist.py", "pip install -e '.[test]' && pytest"):
        assert f"python3 -m venv .venv && . .venv/bin/activate && {command}" in README
