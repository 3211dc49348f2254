"""Fusion of recorded launches: the same bits with fewer launches, and no fusion if the result would differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, assert_same_bits, cut_in

import fastnn as torch
from fastnn import nn
from fastnn.kernels import activation_backward, gemm, linear_backward
from fastnn.kernels.matmul import fusion as peephole
from fastnn.kernels.runtime.program import Program


def names(program: Program) -> list[str]:
    return [launch[0].name.partition(".")[0] for launch in program.launches]


class Passes:
    """Backward through two layers with an activation between, as kernels; ``change`` adds to the recording."""

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: Any, activation: str = "relu", add: bool = False
    ) -> None:
        batch, before, between, behind = shape
        rng = np.random.default_rng(shape)
        self.x, self.dy, self.weight, self.hidden = (
            rng.standard_normal(s).astype(dtype)
            for s in ((batch, before), (batch, behind), (between, behind), (batch, between))
        )
        if batch and between > 2:
            self.hidden[0, :3] = np.nan, 0.0, -0.0
        self.activation, self.add = activation, add
        self.dh, self.dz = np.empty_like(self.hidden), np.empty_like(self.hidden)
        self.dbias, self.dweight = np.full(between, 0.5, dtype), np.full((before, between), 0.25, dtype)
        self.first_weight = np.zeros((before, between), dtype)
        self.twice = self.others = self.dz
        self.dweight2, self.dbias2 = np.empty_like(self.weight), np.empty(behind, dtype)

    def record(
        self, change: Callable[[Passes], None] | None = None, behind: Callable[[Passes], None] | None = None
    ) -> Program:
        program = Program()
        with program.recording():
            linear_backward(self.dh, self.dweight2, self.dbias2, self.dy, self.hidden, self.weight)
            if change is not None:
                change(self)
            activation_backward(self.dz, self.dh, self.hidden, self.activation)
            if behind is not None:
                behind(self)
            linear_backward(
                None, self.dweight, self.dbias, self.dz, self.x, self.first_weight, accumulate_weight=self.add,
                accumulate_bias=self.add,
            )  # fmt: skip
        return program

    def results(self) -> list[np.ndarray]:
        return [self.dz, self.dbias, self.dweight, self.dweight2, self.dbias2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("add", [False, True], ids=["written", "added"])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (5, 1, 33, 2), (64, 20, 128, 10), (13, 300, 47, 29), (512, 9, 100, 10), (64, 5, 601, 400)],
    ids=str,
)
def test_the_gate_has_the_same_bits(shape: Any, add: bool, dtype: Any) -> None:
    for parts in (1, 2, 5):
        with cut_in(parts):
            separate, together = Passes(shape, dtype, add=add), Passes(shape, dtype, add=add)
            program = separate.record()
            assert names(program) == ["gemm", "gemm", "activation_backward", "gemm"]
            program.replay()
            program = together.record()
            program.launches = peephole.fuse_relu_backward(program.launches, [])
            assert names(program) == ["gemm", "gemm", "gemm"]
            program.build()
            together.dh[...] = 7
            program.replay()
        for found, expected in zip(together.results(), separate.results(), strict=True):
            assert_same_bits(found, expected)
        assert (together.dh == 7).all()


def test_dot_products_are_left_alone() -> None:
    launches = Passes((1, 5, 7, 3), np.float32).record().launches
    assert peephole.fuse_relu_backward(launches, []) == launches


def _reads_the_product(p: Passes) -> None:
    gemm(np.empty((p.dh.shape[1], p.dh.shape[1]), p.dh.dtype), p.dh.T, p.dh)


def _reads_the_result(p: Passes) -> None:
    gemm(np.empty((p.dz.shape[1], p.dz.shape[1]), p.dz.dtype), p.dz.T, p.dz)


def _writes_what_was_saved(p: Passes) -> None:
    gemm(p.hidden, p.dy, p.weight.T)


@pytest.mark.parametrize("change", [_reads_the_product, _reads_the_result, _writes_what_was_saved])
def test_what_somebody_else_needs_is_left_alone(change: Callable[[Passes], None]) -> None:
    program = Passes((8, 6, 24, 4), np.float32).record(change)
    assert peephole.fuse_relu_backward(program.launches, []) == program.launches


def test_a_product_that_is_read_later_is_left_alone() -> None:
    program = Passes((8, 6, 24, 4), np.float32).record(None, _reads_the_product)
    assert peephole.fuse_relu_backward(program.launches, []) == program.launches
    program = Passes((8, 6, 24, 4), np.float32).record(None, _reads_the_result)
    assert len(peephole.fuse_relu_backward(program.launches, [])) == len(program.launches) - 1


def test_what_is_kept_is_left_alone() -> None:
    passes = Passes((8, 6, 24, 4), np.float32)
    launches = passes.record().launches
    for kept in (passes.dh, passes.dz[2:], passes.dh[-1:, -1:]):
        assert peephole.fuse_relu_backward(launches, [kept]) == launches
    assert len(peephole.fuse_relu_backward(launches, [passes.x, passes.dweight, passes.dbias, np.empty(0)])) == 3


def test_derivatives_that_follow_each_other() -> None:
    """The second reads the first's output, and waits for everything that the first waited for."""
    dtype = np.float32
    first, second = Passes((8, 6, 24, 4), dtype), Passes((8, 6, 24, 4), dtype)

    def again(p: Passes) -> None:
        activation_backward(p.twice, p.dz, p.others, "relu")

    results = []
    for p in (first, second):
        p.twice, p.others = np.empty_like(p.dz), np.random.default_rng(3).standard_normal(p.dz.shape).astype(dtype)
        program = p.record(None, again)
        if p is second:
            program.launches = peephole.fuse_relu_backward(program.launches, [])
            assert names(program) == ["gemm", "gemm", "activation_backward", "gemm"]
            assert program.launches[2][-1]
            program.build()
        program.replay()
        results.append([p.twice, p.dz, p.dbias, p.dweight])
    for found, expected in zip(*results, strict=True):
        assert_same_bits(found, expected)


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh", "sigmoid", "none"])
def test_other_activations_keep_their_launch(activation: str) -> None:
    launches = Passes((8, 6, 24, 4), np.float32, activation).record().launches
    assert peephole.fuse_relu_backward(launches, []) == launches


def test_a_product_with_more_to_do_is_left_alone() -> None:
    passes = Passes((8, 6, 24, 4), np.float32)
    bias = np.zeros(24, np.float32)
    for options in ({"bias": bias}, {"activation": "relu"}, {"accumulate": True}):
        program = Program()
        with program.recording():
            gemm(passes.dh, passes.dy, passes.weight.T, **options)  # type: ignore[arg-type]  # one of them
            activation_backward(passes.dz, passes.dh, passes.hidden, "relu")
            gemm(passes.dweight, passes.x.T, passes.dz)
        assert peephole.fuse_relu_backward(program.launches, []) == program.launches


@pytest.mark.parametrize(
    "between", [[nn.ReLU(), nn.ReLU()], [nn.ReLU(), nn.Dropout(0.0), nn.ReLU()]], ids=["two", "three"]
)
def test_activations_in_a_row(between: list[nn.Module]) -> None:
    def trained(captured: bool) -> list[Any]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.ReLU(), nn.Linear(8, 16), *between, nn.Linear(16, 16), *between, nn.Linear(16, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(32, 8, requires_grad=True)
        torch.set_capture(captured)
        try:
            for i in range(6):
                if i != 4:
                    optimizer.zero_grad()
                model(x).pow(2).sum().backward()
                if i != 3:
                    optimizer.step()
        finally:
            torch.set_capture(True)
        assert torch.explain(model).startswith("captured") == captured
        assert x.grad is not None
        return [p.tolist() for p in (*model.parameters(), x.grad)]

    assert trained(True) == trained(False)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("frozen", [None, 0, 2])
@pytest.mark.parametrize("batch", [1, 6, 64])
def test_a_model_learns_the_same(batch: int, frozen: int | None, bias: bool) -> None:
    """Plain and captured steps, with gradients written and accumulated, compared with eager execution."""

    def trained(way: str) -> list[Any]:
        torch.manual_seed(0)
        layers = [nn.Linear(20, 33, bias=bias), nn.ReLU(), nn.Linear(33, 48, bias=bias), nn.ReLU(), nn.Linear(48, 10)]
        model = nn.Sequential(*layers)
        if frozen is not None:
            layers[frozen].requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        criterion = nn.CrossEntropyLoss()
        step = torch.compile_step(model, criterion, optimizer)
        x, y = torch.randn(8, batch, 20), torch.randint(0, 10, (8, batch))
        torch.set_capture(way != "eager")
        try:
            for i in range(8):
                if way == "step" and i < 6:
                    step(x[i], y[i])
                    continue
                if i != 7:
                    optimizer.zero_grad()
                criterion(model(x[i]), y[i]).backward()
                if i != 6:
                    optimizer.step()
        finally:
            torch.set_capture(True)
        if way == "plain":
            assert torch.explain(model).startswith("captured")
        if way == "step":
            assert step.explain() == "captured: 1 program"
            [captured] = step._programs.values()
            assert "activation_backward" not in names(captured.program)
        return [p.tolist() for p in model.parameters()]

    expected = trained("eager")
    assert trained("plain") == expected
    assert trained("step") == expected
