"""The page of PyTorch's names lists the names that fastnn has, and the recorded names are PyTorch's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import HAS_TORCH

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_torch_api", DOCS / "make_torch_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_true(make):
    message = "docs/torch-api.md is not what fastnn has: run python docs/make_torch_api.py"
    assert (DOCS / "torch-api.md").read_text(encoding="utf-8") == make.page(), message


def test_the_page_has_every_recorded_name(make):
    answers, text = make.compare(), (DOCS / "torch-api.md").read_text(encoding="utf-8")
    assert list(answers) == list(make.SECTIONS)
    for section, names in make.read_names().items():
        assert len(names) >= 3
        assert list(answers[section]) == list(names)
        [part] = [part for part in text.split("\n## ") if part.startswith(f"{section}\n")]
        assert set(names) <= set(part.split("`")[1::2])
    # Well-known names, present and missing.
    expected = {
        "torch": {"tensor": "yes", "conv2d": "no"}, "torch.nn": {"Linear": "yes", "LSTM": "name"},
        "torch.optim": {"Adam": "yes"}, "torchvision.datasets": {"MNIST": "yes", "CIFAR10": "no"},
    }  # fmt: skip
    for section, names in expected.items():
        for name, answer in names.items():
            assert answers[section][name] == answer
    assert "stream of random numbers" in answers["torch"]["randn"]


def test_notes_are_about_names_that_are_there(make):
    answers = make.compare()
    for name in make.NOTES:
        section, _, last = name.rpartition(".")
        assert answers[section][last] not in ("no", "name", "yes"), name


def test_missing_arguments_are_seen(make):
    def function(input, dim=0, *, out=None):
        pass

    assert make.missing_arguments(function, ["input", "dim", "keepdim", "out"]) == ["keepdim"]
    assert make.missing_arguments(lambda *args, **kwargs: None, ["keepdim"]) == []
    assert make.missing_arguments(abs, ["input"]) == ["input"]


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: the recorded names stand in for it")
def test_recorded_names_are_those_of_pytorch(make):
    recorded = make.read_names()
    for section in make.SECTIONS:
        if section.startswith("torch."):
            make._object(section)
    for section in make.SECTIONS:
        if section.partition(".")[0] == "torch":
            found = make.public_names(make._object(section))
            assert {name: make.arguments(name, found[name]) for name in sorted(found)} == recorded[section], section
    assert sys.modules["torch"].__version__.partition("+")[0] == make.TORCH_VERSION
