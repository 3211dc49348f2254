"""``fastnn.convert`` without PyTorch; ``training/test_convert_live.py`` has the rest."""

from __future__ import annotations

import sys

import pytest

import fastnn
from fastnn import convert


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for function in (convert.from_torch, convert.to_torch):
        with pytest.raises(ImportError, match="needs PyTorch, which is not installed"):
            function(fastnn.nn.Linear(1, 1))
    monkeypatch.setitem(sys.modules, "torch", fastnn)
    with pytest.raises(ImportError, match="under fastnn run"):
        convert.to_torch(fastnn.nn.Linear(1, 1))
