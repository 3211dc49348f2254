"""The code of every page runs as it is printed there.

The suite runs the Python of the quick pages. `.ci/docs` sets FASTNN_PAGES=all: the slow pages and the commands, too.
"""

import os
import runpy
import textwrap
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    "README.md", "CONTRIBUTING.md", "SECURITY.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted([*DOCS.rglob("*.md"), *ROOT.glob("examples/**/*.md")])),
]  # fmt: skip
ALL = os.environ.get("FASTNN_PAGES") == "all"
# Pages that only `.ci/docs` runs.
SLOW = {
    "docs/command-line.md": "reads what its commands write",
    "docs/start-here.md": "reads what its commands write",
    "docs/how-to/hyper-parameters.md": "trains many models",
    "docs/how-to/notebooks.md": "draws with matplotlib",
    "docs/files.md": "compiles what ONNX graphs need",
    "docs/classic.md": "trains on MNIST in float64",
    "docs/scikit-learn.md": "searches a grid",
    "docs/using.md": "trains on MNIST",
}
# Packages that a page needs and that a test environment may not have.
NEEDS = {
    "docs/how-to/export.md": ("onnx", "onnxruntime"),
    "docs/how-to/hyper-parameters.md": ("sklearn", "optuna"),
    "docs/how-to/notebooks.md": ("matplotlib", "pandas"),
    "docs/files.md": ("sklearn", "safetensors", "onnx"),
    "docs/scikit-learn.md": ("sklearn",),
}


def _has_code(page: str) -> bool:
    return any(
        block.language in pages.RUN and not block.reason and (ALL or block.language != "sh")
        for block in pages.blocks((ROOT / page).read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_block_names_its_language(page: str) -> None:
    assert pages.mistakes((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", [page for page in PAGES if _has_code(page) and (ALL or page not in SLOW)])
def test_page_runs(page: str, tmp_path: Path) -> None:
    for package in () if ALL else NEEDS.get(page, ()):
        pytest.importorskip(package)
    printed = pages.run(ROOT / page, tmp_path, commands=ALL)
    if page == "README.md":
        assert float(printed[0].rstrip("%\n")) > 94


def test_slow_pages_exist() -> None:
    assert [page for page in (*SLOW, *NEEDS) if page not in PAGES] == []


def test_drawings_are_up_to_date() -> None:
    for file, text in runpy.run_path(str(DOCS / "make_drawings.py"))["drawings"]().items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: run python docs/make_drawings.py"


def _page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "example.md"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_blocks_share_a_namespace_and_a_folder(tmp_path: Path) -> None:
    page = _page(tmp_path, '''
        ```csv title="numbers.csv"
        1,2
        ```

        ```python
        from pathlib import Path

        numbers = Path("numbers.csv").read_text()
        print(numbers, 3)
        ```

        ```text
        1,...
         3
        ```

        ```pycon
        >>> len(numbers)
        4
        ```

        <!-- not run: it needs
        a network -->
        ```sh
        exit 1
        ```

        ```sh
        cat numbers.csv
        ```
    ''')
    assert pages.run(page, tmp_path) == ["1,2\n 3\n", ""]
    assert pages.run(page, tmp_path, commands=True) == ["1,2\n 3\n", "", "1,2\n"]


@pytest.mark.parametrize(("text", "error"), [
    ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "Expected"),
    ("```pycon\n>>> 1\n2\n```\n", "Expected"),
    ("```\nprint(1)\n```\n", "language ''"),
    ("Words\n\n    print(1)\n", "line 3: an indented block"),
    ("```sh\nfalse\n```\n", "exit status 1"),
])  # fmt: skip
def test_what_is_wrong_is_an_error(text: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(pages.PageError, match=error):
        pages.run(_page(tmp_path, text), tmp_path, commands=True)


def test_a_traceback_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = _page(tmp_path, "Words.\n\n```python\nx = 1\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as raised:
        pages.run(page, tmp_path)
    assert raised.traceback[-1].lineno == 4
