"""Writing and reading of checkpoints, for their tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from comparison import as_array

import fastnn

GOLDEN = Path(__file__).with_name("golden")


def written(obj: Any, lib: Any = fastnn, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    lib.save(obj, file, **options)
    file.seek(0)
    return file


def again(obj: Any, **options: Any) -> Any:
    return fastnn.load(written(obj), **options)


def assert_equal(found: Any, expected: Any, lib: Any, source: Any) -> None:
    """All values are equal: those of ``lib`` on the left, those of ``source`` on the right."""
    if isinstance(expected, source.Tensor):
        assert isinstance(found, lib.Tensor)
        assert isinstance(found, lib.nn.Parameter) == isinstance(expected, source.nn.Parameter)
        assert str(found.dtype).rpartition(".")[2] == str(expected.dtype).rpartition(".")[2]
        np.testing.assert_array_equal(as_array(found), as_array(expected))
        assert found.requires_grad == expected.requires_grad
        assert found.is_contiguous() == expected.is_contiguous()
    elif isinstance(expected, (source.dtype, source.device)):
        assert str(found).rpartition(".")[2] == str(expected).rpartition(".")[2]
    elif isinstance(expected, source.Size):
        assert type(found) is lib.Size
        assert tuple(found) == tuple(expected)
    elif isinstance(expected, dict):
        assert type(found) is type(expected)
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key], lib, source)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert_equal(f, e, lib, source)
    else:
        assert type(found) is type(expected)
        assert found == expected
