"""``torch.multiprocessing`` is Python's, and tensors can be sent to other processes and back."""

from __future__ import annotations

import multiprocessing
import operator
import os

import pytest

import fastnn
import fastnn.multiprocessing as mp


def test_names_are_pythons():
    assert mp.Queue.__name__ == multiprocessing.Queue.__name__
    assert set(multiprocessing.__all__) <= set(mp.__all__)
    assert fastnn.multiprocessing is mp
    assert all(hasattr(mp, name) for name in mp.__all__)


def test_tensors_go_to_another_process_and_back():
    with mp.get_context("spawn").Pool(1) as pool:
        assert pool.map(operator.neg, [fastnn.ones(2)])[0].tolist() == [-1.0, -1.0]


def test_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    before = mp.get_sharing_strategy()
    mp.set_sharing_strategy("file_system")
    assert mp.get_sharing_strategy() == "file_system"
    mp.set_sharing_strategy(before)
    with pytest.raises(ValueError, match="telepathy"):
        mp.set_sharing_strategy("telepathy")


def test_spawn():
    assert mp.spawn(operator.add, (1,), nprocs=2) is None
    [process] = mp.spawn(operator.add, (1,), join=False)
    process.join()
    assert process.exitcode == 0
    with pytest.raises(RuntimeError, match="process 1 terminated with exit code 1"):
        mp.spawn(os._exit, (), nprocs=2)
