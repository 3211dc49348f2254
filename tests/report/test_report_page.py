"""The page of a report: well-formed, closed to the outside, accessible, bounded, and with the right numbers."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_pages import NAMES, PAGES, TITLE, Profile, classified, fitted, history

import fastnn
from fastnn import nn
from fastnn._core.errors import RangeError, ShapeError
from fastnn.report import report_html, write_report

VOID = {"br", "img", "link", "meta", "wbr"}


class Page(HTMLParser):
    """The elements of a page, in order: name, attributes and text with that of their children."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, "elements are left open"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        texts: list[str] = []
        self.elements.append((tag, {key: value or "" for key, value in attrs}, texts))
        if tag not in VOID:
            self._open.append((tag, texts))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, texts in self._open:
            texts.append(data)

    def all(self, *tags: str) -> list[tuple[dict[str, str], str]]:
        return [(attributes, "".join(texts)) for tag, attributes, texts in self.elements if tag in tags]

    def tiles(self) -> dict[str, str]:
        return dict(zip((t for _, t in self.all("dt")), (t for _, t in self.all("dd")), strict=True))

    def table(self, label: str) -> list[list[str]]:
        """The cells of a table by its label, row by row."""
        names = [tag for tag, _, _ in self.elements]
        start = next(i for i, e in enumerate(self.elements) if e[1].get("aria-label") == label)
        start = names.index("table", start)
        rows: list[list[str]] = []
        for tag, _, texts in self.elements[start + 1 :]:
            if tag in ("table", "section", "footer"):
                break
            if tag == "tr":
                rows.append([])
            elif tag in ("td", "th"):
                rows[-1].append("".join(texts))
        return rows


@cache
def text_of(name: str) -> str:
    fastnn.manual_seed(0)
    return report_html(**PAGES[name]())


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_well_formed_and_accessible(name: str) -> None:
    text = text_of(name)
    text.encode("utf-8")
    page = Page(text)
    ids = [e[1]["id"] for e in page.elements if "id" in e[1]]
    assert len(set(ids)) == len(ids)
    links = [a["href"] for a, _ in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels)), "a level of headings is left out"
    assert all(a.get("alt") for a, _ in page.all("img"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a, _ in page.all("svg"))
    assert all(a.get("scope") for a, _ in page.all("th"))
    assert all(t.strip() for _, t in page.all("th", "h1", "h2", "h3", "summary", "title"))
    assert all(
        a.get("aria-label") and a.get("tabindex") == "0" for a, _ in page.all("div") if a.get("class") == "scroll"
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_page_lets_nothing_in(name: str) -> None:
    text = text_of(name)
    page = Page(text)
    [sheet] = [t for _, t in page.all("style")]
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    [policy] = [a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert {tag for tag, _, _ in page.elements} <= {
        "a", "bdi", "body", "br", "caption", "circle", "code", "dd", "details", "div", "dl", "dt", "figcaption",
        "figure", "footer", "g", "h1", "h2", "h3", "head", "header", "html", "image", "img", "li", "link", "main",
        "meta", "nav", "p", "path", "rect", "section", "span", "strong", "style", "summary", "svg", "table", "tbody",
        "td", "text", "th", "thead", "time", "title", "tr", "ul", "wbr",
    }  # fmt: skip
    for tag, attributes, _ in page.elements:
        assert not any(key.startswith("on") or key == "style" for key in attributes), tag
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("data:", "#")), attributes[key]
    assert "url(" not in sheet
    assert "@import" not in sheet
    assert not re.search("nan|inf|None", " ".join(a.get("d", "") + a.get("width", "") for _, a, _ in page.elements))


def test_names_are_shown_as_they_are() -> None:
    page = Page(text_of("names"))
    assert [t for _, t in page.all("h1", "title")][:2] == [TITLE, TITLE]
    cells = [row[0] for row in page.table("Scores of the classes")[1 : len(NAMES) + 1]]
    assert cells == [
        NAMES[0], "a" * 47 + "…", *NAMES[2:6], "\ufffd\ufffdbad", "(no name)", *NAMES[8:],
    ]  # fmt: skip
    assert page.table("Settings")[1] == ["<b>", "</style><script>1</script>"]
    # A name that is cut is there as a whole, up to a limit.
    assert "a" * 200 in [a.get("title") for a, _ in page.all("bdi")]


def test_numbers_of_a_classification() -> None:
    case = classified(200, 3, model=nn.Linear(4, 3), history=history(3), profile=Profile(), settings={"lr": 0.1})
    page = Page(report_html(**case))
    predictions = case["outputs"].argmax(1)
    wrong = int((predictions != case["targets"]).sum())
    tiles = page.tiles()
    assert tiles["Accuracy"] == f"{100 - wrong / 2:.2f}%{wrong} wrong of 200 rows"
    assert tiles["Validation loss"] == "1.78after the last epoch"
    assert (tiles["Epochs"], tiles["Training time"], tiles["Parameters"]) == ("3", "750 mswithout validation", "15")
    matrix = fastnn.report.confusion_matrix(case["targets"], predictions)
    rows = page.table("Confusion matrix: true classes in rows, predicted classes in columns")[2:]
    assert [row[1:] for row in rows] == [[str(count) for count in row] for row in matrix.tolist()]
    scores = fastnn.report.classification_report(case["targets"], predictions)
    for row, key in zip(
        page.table("Scores of the classes")[1:], ("0", "1", "2", "macro avg", "weighted avg"), strict=True
    ):
        values = [f"{scores[key][name]:.3f}" for name in ("precision", "recall", "f1-score")]
        assert row[1:] == [*values, str(scores[key]["support"])]
    first = page.table("Most frequent confusions")[1]
    assert int(first[2]) == (matrix - np.diag(np.diag(matrix))).max()
    worst = fastnn.report.worst_errors(case["targets"], case["outputs"])
    assert [row[0] for row in page.table("Worst errors")[1:]] == [str(row) for row in worst.rows.tolist()]
    assert page.table("Numbers of the epochs")[2] == ["2", "1.8", "1.98", "55.00%", "0.097", "250 ms"]
    timings = page.table("Timings by kernel")
    assert timings[1] == ["gemm.float0", "", "300 ms", "60.0%", "7", "3.33 Gflop/s"]
    assert [row[0] for row in timings[-3:]] == [
        "5 other kernels", "starting: compilation and threads", "Python, between kernels",
    ]  # fmt: skip
    assert page.table("Layers of the model")[1:] == [
        ["model", "Linear(in_features=4, out_features=3, bias=True)", "3 × 4, 3", "15"],
        ["all", "15 trained, 0 frozen; 60 bytes", "", "15"],
    ]
    assert page.table("Settings")[1:] == [["lr", "0.1"], ["training step", "captured: 2 programs"]]


def test_numbers_of_a_regression() -> None:
    page = Page(report_html(**fitted(2) | {"targets": [1.0, 2.0], "outputs": [[1.5], [1.75]], "data": [[1], [3]]}))
    assert page.tiles() == {
        "R²": "0.3751 is best", "MAE": "0.375mean absolute error", "RMSE": "0.3953root of the mean squared error",
    }  # fmt: skip
    assert page.table("Worst errors")[1:] == [
        ["0", "1", "1.50", "−0.50", "1"], ["1", "2", "1.75", "0.25", "3"],
    ]  # fmt: skip
    circles = [a for a, _ in page.all("circle")]
    assert len(circles) == 4


def test_lines_stop_where_a_loss_is_not_finite() -> None:
    page = Page(text_of("not finite"))
    [notice, other] = [t for a, t in page.all("p") if a.get("class") == "notice"]
    assert notice == "The outputs of 40 rows of 60 are not finite. The results leave them out."
    assert other.startswith("The training loss is not finite in 12 epochs, first in epoch 9.")
    [line, _] = [a["d"] for a, _ in page.all("path") if a.get("class") == "line first"][:2]
    assert line.count("M") == 1
    assert line.count("L") == 7
    assert page.tiles()["Accuracy"].endswith("of 20 rows")
    [notice] = [t for a, t in Page(text_of("no rows")).all("p") if a.get("class") == "notice"]
    assert notice.startswith("There are no rows to evaluate")
    assert "No epoch has a finite value." in text_of("no values")


def test_the_best_epoch_and_the_reason_of_an_early_end_are_shown() -> None:
    case = classified(30, 3, history=SimpleNamespace(epochs=history(9).epochs, best_epoch=4, stopped="no better loss"))
    page = Page(report_html(**case))
    assert page.tiles()["Epochs"] == "9no better loss"
    assert [a.get("class") for a, _ in page.all("path")].count("mark") == 2
    assert "the vertical line is epoch 4, the best." in page.all("figcaption")[0][1]


def test_one_logit_is_that_of_class_1() -> None:
    page = Page(text_of("one logit"))
    assert page.tiles()["Accuracy"] == "66.67%1 wrong of 3 rows"
    two = report_html(**PAGES["one logit"]() | {"class_names": ["no", "yes"]})
    assert [row[0] for row in Page(two).table("Scores of the classes")[1:3]] == ["no", "yes"]
    one_hot = classified(20, 3) | {"targets": np.eye(3)[classified(20, 3)["targets"]]}
    assert Page(report_html(**one_hot)).tiles() == Page(report_html(**classified(20, 3))).tiles()


def test_the_size_is_bounded() -> None:
    sizes = {name: len(text_of(name)) for name in PAGES}
    assert max(sizes.values()) < 600_000, sizes
    for rows in (2_000, 20_000):
        page = Page(report_html(**fitted(rows)))
        assert len(page.all("circle")) <= 2_000
    large = Page(report_html(**classified(3_000, 300)))
    assert len(large.table("Scores of the classes")) == 1 + 30 + 2
    assert len(Page(text_of("colours")).table("Numbers of the epochs")) == 201


def decoded(source: str) -> np.ndarray:
    """The pixels of a PNG whose lines are not filtered."""
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        [size] = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        place += 12 + size
    width, height, _, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3 if colour == 2 else 1).squeeze(2 if colour != 2 else ())


def test_pictures_are_those_of_the_rows_and_weights() -> None:
    case = PAGES["pictures"]()
    page = Page(report_html(**case))
    images = [a for a, _ in page.all("img")]
    worst = fastnn.report.worst_errors(case["targets"], case["outputs"]).rows.tolist()
    rows = [a for a in images if a["alt"].startswith("Row")]
    assert [int(re.findall(r"\d+", a["alt"])[0]) for a in rows] == worst
    np.testing.assert_array_equal(decoded(rows[0]["src"]), case["data"][worst[0]])
    units = [a for a in images if a["alt"].startswith("Weights")]
    assert len(units) == 60
    weight = fastnn.report.weight_images(case["model"])[int(re.findall(r"\d+", units[0]["alt"])[0])]
    levels = decoded(units[0]["src"]).astype(int) - 128
    assert (np.sign(levels) == np.sign(weight))[np.abs(levels) > 0].all()
    colour = next(a["src"] for a, _ in Page(text_of("colours")).all("img"))
    assert decoded(colour).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("shape", "names", "given", "pictures"),
    [
        ((64,), None, None, True),
        ((64,), [f"pixel_{i // 8}_{i % 8}" for i in range(64)], None, True),
        ((64,), [f"column {'abcdefgh'[i % 8]}{i}" for i in range(64)], None, False),
        ((49,), None, None, False),
        ((49,), None, (7, 7), True),
        ((65,), None, None, False),
        ((4, 5), None, None, True),
        ((1, 4, 5), None, None, True),
        ((2, 4, 5), None, None, False),
        ((64,), None, (), False),
    ],
)
def test_what_is_taken_for_a_picture(shape: Any, names: Any, given: Any, pictures: bool) -> None:
    case = classified(40, 3, 0.0, data=np.random.default_rng(0).random((40, *shape)))
    page = Page(report_html(**case, feature_names=names, image_shape=given))
    assert bool(page.all("img")) is pictures


def test_a_report_is_written_and_replaced(tmp_path: Any) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(str(path), **fitted(5)) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<html")
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "no folder" / "report.html", **fitted(5))


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"kind": "ranking"}, ValueError, "kind must be 'classification' or 'regression', found 'ranking'"),
    ({"model": 3}, TypeError, "model must be a Module or None, found int"),
    ({"history": {}}, TypeError, "history must be the History of fit, or None, found dict"),
    ({"profile": 3}, TypeError, "profile must be a fastnn.profile or None, found int"),
    ({"settings": [1]}, TypeError, "settings must be a dict or None, found list"),
    ({"targets": [0, 1]}, ShapeError, "outputs must have a row for each of the 2 targets, found 3"),
    ({"targets": [0, 1, 2]}, RangeError, "targets must be labels from 0 to 1, found 2"),
    ({"targets": [0.5, 0, 1]}, TypeError, "targets must be integer labels"),
    ({"targets": np.ones((3, 2))}, ValueError, "a single 1 in each row"),
    ({"outputs": np.zeros((3, 0))}, ShapeError, r"outputs must have shape \(rows, classes\)"),
    ({"outputs": [["a", "b"]] * 3}, TypeError, "outputs must be real numbers"),
    ({"class_names": ["a"]}, ValueError, "class_names must have a name for each of 2 classes, found 1"),
    ({"class_names": "ab"}, TypeError, "class_names must be a list of names, found str"),
    ({"data": np.zeros((2, 4))}, ShapeError, "data must have a row for each of the 3 targets"),
    ({"data": np.zeros((3, 4)), "feature_names": ["a"]}, ValueError, "a name for each of 4 features, found 1"),
    ({"data": np.zeros((3, 4)), "image_shape": (3, 3)}, ShapeError, "image_shape must have 4 numbers"),
    ({"kind": "regression"}, ShapeError, "targets and outputs must have the same shape"),
    ({"kind": "regression", "targets": np.ones((3, 2)), "target_name": "y"}, ValueError, "each of 2 outputs, found 1"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_are_refused_before_anything_is_written(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Any
) -> None:
    with pytest.raises(error, match=message):
        write_report(tmp_path / "report.html", **classified(3, 2) | {"targets": [0, 1, 1]} | change)
    assert not (tmp_path / "report.html").exists()


def luminance(colour: np.ndarray) -> float:
    parts = colour / 255
    parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(parts @ [0.2126, 0.7152, 0.0722])


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(scheme: int) -> None:
    [sheet] = [t for _, t in Page(text_of("exact")).all("style")]
    root = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)[scheme]

    def colour(name: str) -> np.ndarray:
        [value] = re.findall(rf"--{name}: ([^;]+);", root)
        if "," in value:
            return np.array([float(part) for part in value.split(",")])
        return np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)], float)

    for ground in ("page", "card", "warn"):
        for name in ("ink", "soft", "link")[: 1 if ground == "warn" else 3]:
            assert contrast(colour(name), colour(ground)) >= 4.5, (name, ground)
    for name in ("first", "second"):
        assert contrast(colour(name), colour("card")) >= 3, name
    for kind, name in (("r", "right"), ("w", "wrong")):
        for level in range(1, 11):
            [(opacity, white)] = re.findall(
                rf"\.{kind}{level} \{{ background: rgba\(var\(--\w+\), ([\d.]+)\)(.*?) \}}", sheet
            )
            ground = float(opacity) * colour(name) + (1 - float(opacity)) * colour("card")
            text = np.full(3, 255.0) if "color" in white else colour("ink")
            assert contrast(text, ground) >= 4.5, (kind, level)
