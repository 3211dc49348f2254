"""The code of the README and of the pages runs as it is printed there."""

import re
import runpy
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAGES = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
OF_PAGES = [
    pytest.param(block, id=f"{page}-{i}")
    for page in ("capture.md", "classic.md", "report.md", "scikit-learn.md", "training.md", "using.md")
    for i, block in enumerate(
        re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    )
]


def test_there_are_examples():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    if "print(f" in block:
        accuracy = float(printed.rstrip("%\n"))
        assert accuracy > 94


@pytest.mark.parametrize("block", OF_PAGES)
def test_example_of_a_page_runs(block, tmp_path, monkeypatch):
    # In a folder of its own: some write files.
    monkeypatch.chdir(tmp_path)
    # In a file: a forward is captured by its source.
    (tmp_path / "example.py").write_text(block)
    runpy.run_path(str(tmp_path / "example.py"), run_name="__main__")


def test_the_page_about_capture_shows_what_explain_says(tmp_path, capsys):
    page = (PAGES / "capture.md").read_text(encoding="utf-8")
    block, shown = re.findall(r"```python\n(.*?)```\n\n    (.*?)\n", page, flags=re.DOTALL)[0]
    (tmp_path / "example.py").write_text(block)
    runpy.run_path(str(tmp_path / "example.py"), run_name="__main__")
    assert capsys.readouterr().out.strip() == shown


def test_commands_are_word_for_word():
    for command in ("pip install -e . && python examples/train_mnist.py", "pip install -e '.[test]' && pytest"):
        assert f"python3 -m venv .venv && . .venv/bin/activate && {command}" in README


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(PAGES.parent)) for p in sorted(PAGES.rglob("*.md")))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document):
    root = PAGES.parent
    text = (root / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:fastnn|kernels|tests|benchmarks|docs|examples|\.ci)/[\w./]+)`", text))
    named |= {
        str((root / document).parent.joinpath(link).resolve().relative_to(root))
        for link in re.findall(r"\]\(([\w./-]+\.\w+)(?:#[\w-]+)?\)", text)
    }
    missing = [name for name in named if not (root / name).exists() and not re.search(r"NAME|FAMILY", name)]
    assert missing == []
