"""Reports of measured figures: verdicts on the targets, tables, charts, the command. Nothing is timed."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

# The folder is not part of the distribution: measurements need the checkout.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks import __main__ as command
from benchmarks import charts, check, report, targets
from benchmarks.registry import all_works
from benchmarks.results import Results, Row

ROOT = Path(__file__).resolve().parents[2]

# -- Verdicts and tables ---------------------------------------------------------------------


def row(work: str, case: str, **libraries: Any) -> Row:
    """Figures of one round or several; a text is a status."""
    figures = {
        name: {"status": value} if isinstance(value, str) else {"values": value if isinstance(value, list) else [value]}
        for name, value in libraries.items()
    }
    found = all_works()[work].case(case)
    limit = getattr(all_works()[work], "limit", "")
    unit = all_works()[work].unit
    return Row(work, case, unit, limit, found.flops, found.bytes, found.target, figures)


def results(*rows: Row) -> Results:
    header = {
        "date": "2000-01-01 00:00 UTC", "cpu": "a CPU", "cores": 2, "threads": 2, "system": "Linux", "quick": True,
        "rounds": 2, "low_latency": 1e-7,
        "libraries": {
            "fastnn": {"versions": {"fastnn": "1"}, "threads": 2, "blas": "its own"},
            "torch": {"status": "missing: torch"},
        },
    }  # fmt: skip
    return Results(header, {"flops": 1e12, "bytes": 1e11}, list(rows))


def verdict(target: targets.Target, *rows: Row) -> list[tuple[str, str]]:
    return [(found.state, found.figure) for found in target.verdicts(results(*rows))]


def test_ratios_are_taken_round_by_round() -> None:
    found = row("gather", "64x784", fastnn=[1.0, 2.0, 4.0], numpy=[2.0, 2.0, 4.4], torch="missing: torch")
    assert found.ratio("numpy") == pytest.approx((1.1, 1.0, 2.0))
    assert found.fastest(["numpy", "torch"])[0] == "numpy"
    assert results().share(found, "fastnn") == pytest.approx(5 * 64 * 784 / 1e11 / 2.0)
    assert results().share(found, "torch") is None


def test_a_target_of_ratios() -> None:
    target = targets.Faster("inference", ("batch 1", "batch 16"), peers=("onnxruntime",), mean=1.3, least=1.0)
    good, bad = row("inference", "batch 1", fastnn=1.0, onnxruntime=2.0), row(
        "inference", "batch 16", fastnn=1.0, onnxruntime=0.98
    )  # fmt: skip
    assert verdict(target, good, bad) == [("met", "1.40x"), ("missed", "0.98x")]
    detail = target.verdicts(results(good, bad))[1].detail
    assert detail == "batch 16 0.98x (onnxruntime)"
    gone = row("inference", "batch 16", fastnn=1.0, onnxruntime="missing: onnxruntime")
    assert verdict(target, good, gone) == [("not measured", "2.00x")] * 2
    assert verdict(target, good) == [("not measured", "2.00x")] * 2
    broken = row("inference", "batch 16", fastnn="differs from numpy by 1e-1", onnxruntime=1.0)
    assert verdict(target, good, broken) == [("missed", "2.00x")] * 2


def test_what_does_not_exist_yet_is_not_met() -> None:
    missing = row("training_step", "T 64", fastnn="not yet: nn.Dropout", fastnn_step="not yet: x", jax=1.0)
    target = targets.Faster("training_step", ("T 64",), ("fastnn_step", "fastnn"), peers=("jax",), mean=2.0)
    assert verdict(target, missing) == [("not yet", "-")]
    assert verdict(targets.AtMost("nonesuch", most=1.0)) == [("not yet", "-")]
    live = row("training_step", "T 64", fastnn=2.0, fastnn_step="not yet: x", jax=5.0)
    assert verdict(target, live) == [("met", "2.50x")]
    captured = row("training_step", "T 64", fastnn=2.0, fastnn_step=1.0, jax=5.0)
    assert verdict(target, captured) == [("met", "5.00x")]


def test_a_case_that_stands_in_is_not_met_either() -> None:
    target = targets.Faster("peak_memory", ("T",), peers=("torch",), least=2.0)
    rows = (
        row("peak_memory", "T", fastnn="not yet: nn.Dropout", torch="not measured"),
        row("peak_memory", "T plain", fastnn=1e8, torch=3e8),
    )
    assert verdict(target, *rows) == [("not yet", "3.00x")]
    assert "that of T plain" in target.verdicts(results(*rows))[0].detail


def test_a_target_of_shares() -> None:
    # 25.7 MFLOP take 25.7 us at 1 TFLOP/s.
    found = row("linear_forward", "64x784x256", fastnn=28e-6)
    assert verdict(targets.Share("linear_forward", ("64x784x256",), least=0.9), found) == [("met", "92%")]
    assert verdict(targets.Share("linear_forward", ("64x784x256",), least=0.95), found) == [("missed", "92%")]
    assert verdict(targets.Share("linear_forward", ("64x784x256",), most=1.2), found) == [("met", "1.09x")]
    assert verdict(targets.Share("linear_forward", ("64x784x256",), most=1.05), found) == [("missed", "1.09x")]


def test_a_target_of_seconds() -> None:
    found = row("import", "warm", fastnn=0.3, numba=0.2, torch=1.0)
    assert verdict(targets.AtMost("import", ("warm",), beyond="numba", most=0.15), found) == [("met", "0.10 s")]
    assert verdict(targets.AtMost("import", ("warm",), most=0.25), found) == [("missed", "0.30 s")]


def test_every_target_has_a_verdict() -> None:
    found = check.verdicts(results())
    assert len(found) >= len(targets.TARGETS)
    assert {v.state for v in found} == {"not measured"}
    assert check.exit_status(found) == 1
    assert check.exit_status([targets.Verdict("met", "", "")]) == 0
    assert [v.demand for v in check.verdicts(results(), ["adam"])] == [
        "adam, torch over fastnn: geometric mean at least 2x", "adam, torch over fastnn: none under 1x"
    ]  # fmt: skip
    text = check.lines([targets.Verdict("missed", "0.50x", "adam: faster", "1e4")])
    assert text == [
        "missed           0.50x  adam: faster", f"{'':24}1e4", "targets: 1 missed",
    ]  # fmt: skip
    for target in targets.TARGETS:
        work = all_works().get(target.work)
        assert work is None or set(target.cases) <= {case.name for case in work.cases}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.5, "s", "1.5 s"), (0.0123, "s", "12.3 ms"), (4.56e-6, "s", "4.56 us"), (3e-9, "s", "3 ns"),
     (12345.6, "s", "12346 s"), (2.25e8, "bytes", "225 MB")],
)  # fmt: skip
def test_amounts(value: float, unit: str, text: str) -> None:
    assert report.amount(value, unit) == text


@pytest.fixture
def canned() -> Results:
    disturbed = row("gather", "64x784", fastnn=2e-6, numpy=[1e-6], torch="missing: torch")
    return results(
        row("linear_forward", "64x784x256", fastnn=[5e-5, 5e-5], numpy=[1e-4, 1.1e-4], torch="missing: torch"),
        row("batch_norm_relu_dropout", "64x256", fastnn="not yet: nn.Dropout", numpy=1e-4),
        Row(**{**vars(disturbed), "busy": 0.4, "apart": [1e-7, 3e-7]}),
    )


def test_tables(canned: Results) -> None:
    screen = report.screen(canned).splitlines()
    assert any("50 us" in line and "51%" in line for line in screen)
    assert any("2.10x (2.00 to 2.20)" in line for line in screen)
    assert any("missing: torch" in line for line in screen)
    assert any("64x784 !~" in line for line in screen)
    assert any("100 ns while latency was low and up to 300 in 1 of 3 rows" in line for line in screen)
    assert any("40% of the processors beside 1 of 3 rows" in line for line in screen)
    assert not any(line != line.rstrip() for line in screen)
    long = report.docs_tables(canned)
    assert "|  | numpy | 105 us | 2.10x (2.00 to 2.20) | 24% |" in long
    assert "| not yet |" in long
    tables = [line for line in long.splitlines() if line.startswith("|")]
    assert tables
    assert all(line.endswith("|") for line in tables)


def test_scores_stand_in_the_last_column() -> None:
    found = row("speedrun", "MNIST 98.0%", fastnn=[0.4, 0.5, 0.6], torch="reached 97.96% only, not 98.0%")
    found.libraries["fastnn"]["scores"] = [0.9812, 0.9818, 0.9831]
    found.libraries["torch"] |= {"values": [1.0], "scores": [0.9796]}
    assert found.score("fastnn") == 0.9818
    assert any(line.endswith("98.18%") for line in report.screen(results(found)).splitlines())
    assert "|  | torch | reached 97.96% only, not 98.0% |  |  |" in report.docs_tables(results(found))
    assert verdict(targets.AtMost("speedrun", most=1.0), found) == [("met", "0.50 s")]
    assert verdict(targets.Faster("speedrun", peers=("torch",), least=3.0), found) == [("not measured", "-")]
    found.libraries["fastnn"]["status"] = "reached 97.00% only, not 98.0%"
    assert verdict(targets.AtMost("speedrun", most=1.0), found) == [("missed", "-")]


def test_results_survive_json(canned: Results) -> None:
    again = Results.from_json(json.loads(json.dumps(canned.as_json())))
    assert again == canned


def test_tables_go_between_the_markers(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert not report.replace_between(file, "table")
    file.write_text("before\nafter\n")
    assert not report.replace_between(file, "table")
    assert file.read_text() == "before\nafter\n"
    file.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    for body in ("new\n", "newer\n\n"):
        assert report.replace_between(file, body)
        assert file.read_text() == f"before\n{report.START}\n{body.strip()}\n{report.END}\nafter\n"


def test_the_picture() -> None:
    groups = [charts.Group(lines, "50 us", {"torch": 2.5, "jax": 0.7}) for _, _, lines in charts.GROUPS]
    drawn = ElementTree.fromstring(charts.picture(groups))
    assert int(drawn.attrib["height"]) <= 500
    assert len(groups) == 6
    texts = [text for element in drawn.iter() if (text := element.text)]
    assert sum("50 us" in text for text in texts) == 6


def test_the_readme_has_the_published_figures() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_speed.py"))
    found = make["figures"](make["PAGE"].read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert make["rows"](found).strip() in readme
    assert make["PICTURE"].read_text(encoding="utf-8") == make["picture"](found)


# -- The command -----------------------------------------------------------------------------


def test_the_command_without_measuring(
    canned: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, copy = tmp_path / "results.json", tmp_path / "copy.json"
    file.write_text(json.dumps(canned.as_json()))
    assert command.main(["--from", str(file), "--check", "--json", str(copy)]) == 1
    assert json.loads(copy.read_text()) == canned.as_json()
    out = capsys.readouterr().out
    assert "missed           " in out
    assert out.splitlines()[-1].startswith("targets: ")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    assert command.main(["--from", str(file), "--readme"]) == 0
    assert "docs/benchmarks.md has no lines" in capsys.readouterr().out
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text(f"{report.START}\n{report.END}\n")
    assert command.main(["--from", str(file), "--readme"]) == 0
    assert "wrote the tables of docs/benchmarks.md" in capsys.readouterr().out
    assert "| 64x784x256 | fastnn | 50 us |" in page.read_text()
    assert command.main(["--list"]) == 0
    assert "training_step: fastnn, fastnn_step, numpy, torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "no work 'nothing'"),
        (["--threads", "0"], "must be from 1 to"),
        (["--threads", "x"], "invalid number of threads value: 'x'"),
        (["--json", "/nonesuch/file"], "cannot write"),
        (["--json", "x" * 300], "cannot write"),
        (["--from", "/nonesuch"], "cannot be read"),
        (["--readme", "--only", "adam"], "goes without --only"),
        (["--quiet"], "unrecognized arguments: --quiet"),
    ],
)
def test_a_wrong_option_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_ctrl_c_ends_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any) -> Results:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.session.Session, "run", interrupted)
    assert command.main(["--quick"]) == 130
    assert "interrupted" in capsys.readouterr().err
