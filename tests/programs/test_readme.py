"""The README's commands, and the files that the README and the pages name. `test_pages.py` runs their code."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAGES = Path(__file__).parents[2] / "docs"


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
    # The page on reliability names its tests from the folder of tests.
    places = (root, root / "tests")
    missing = [
        name for name in named
        if not any((place / name).exists() for place in places) and not re.search(r"NAME|FAMILY", name)
    ]
    assert missing == []
