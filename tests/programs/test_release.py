"""The files of a release agree with each other."""

import re
import tomllib
from pathlib import Path

import fastnn

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _field(name: str) -> str:
    found = re.search(rf"^{name}: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_version_is_one() -> None:
    assert PROJECT["version"] == fastnn.__version__ == _field("version")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {PROJECT['version']} - {_field('date-released')}\n" in changelog


def test_the_citation_has_the_licences_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for licence in PROJECT["license"].split(" AND "):
        assert f"  - {licence}\n" in citation


def test_actions_are_pinned() -> None:
    assert len(WORKFLOWS) == 2
    for workflow in WORKFLOWS:
        used = re.findall(r"uses: (\S+)", workflow.read_text(encoding="utf-8"))
        assert used
        assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []


def test_scripts_that_workflows_run_exist() -> None:
    named = {name for file in WORKFLOWS for name in re.findall(r"run: (\.ci/\w+)", file.read_text(encoding="utf-8"))}
    assert named == {".ci/run", ".ci/package"}
    assert all((ROOT / name).stat().st_mode & 0o100 for name in named)
