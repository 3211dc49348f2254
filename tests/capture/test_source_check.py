"""A forward that may do more than launch kernels is never replayed, and the reason is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_captured_forwards import batch, plain, train, twice

import fastnn
from fastnn import nn
from fastnn.nn import functional as F

LIMIT = 0.5


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.count, self.seen, self.on = nn.Linear(12, 12), 0, [], True
        self.parts = nn.ModuleList([nn.Linear(12, 12)])


class Prints(Base):
    def forward(self, x: Any) -> Any:
        print(x.shape)
        return self.layer(x)


class Counts(Base):
    def forward(self, x: Any) -> Any:
        self.count += 1
        return self.layer(x)


class Keeps(Base):
    def forward(self, x: Any) -> Any:
        self.seen.append(x)
        return self.layer(x)


class Global(Base):
    def forward(self, x: Any) -> Any:
        return F.leaky_relu(self.layer(x), LIMIT)


class Branches(Base):
    def forward(self, x: Any) -> Any:
        x = self.layer(x)
        if x.sum() > 0:
            x = F.relu(x)
        return x


class Loops(Base):
    def forward(self, x: Any) -> Any:
        while x.sum() > 1e9:
            x = self.layer(x)
        return self.layer(x)


class Draws(Base):
    def forward(self, x: Any) -> Any:
        return self.layer(x) * float(np.random.random())  # noqa: NPY002


class Reads(Base):
    def forward(self, x: Any) -> Any:
        return self.layer(x) * x.max().item()


class Tries(Base):
    def forward(self, x: Any) -> Any:
        try:
            return self.layer(x)
        finally:
            pass


class Wraps(Base):
    @fastnn.no_grad()
    def forward(self, x: Any) -> Any:
        return self.layer(x)


class Stars(Base):
    def forward(self, *x: Any) -> Any:
        return self.layer(x[0])


class Listed(Base):
    def forward(self, x: Any) -> Any:
        return sum([part(x) for part in self.parts])


class Pairs(Base):
    def forward(self, x: Any) -> Any:
        return self.layer(x), x


class Accumulates(Base):
    def forward(self, x: Any) -> Any:
        return self.layer(x) + x.cumsum(1)


class Returns(Base):
    def forward(self, x: Any) -> Any:
        return x


REFUSED = {
    Prints: "calls something whose result it does not use",
    Counts: "a statement of the kind AugAssign",
    Keeps: "calls something whose result it does not use",
    Global: "uses 'LIMIT', which may change",
    Branches: "a branch on 'x.sum()'",
    Loops: "a statement of the kind While",
    Draws: "calls 'np.random.random'|uses 'np.random",
    Reads: "calls 'item' of a tensor",
    Tries: "a statement of the kind Try",
    Wraps: "has decorators",
    Stars: "takes arguments by",
    Listed: "an expression of the kind ListComp",
    Pairs: "is an input or a parameter",
    Accumulates: "computes outside the kernels",
    Returns: "is an input or a parameter",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_is_not_straight_line_runs_as_it_is_written(kind: type[Base], capsys: pytest.CaptureFixture[str]) -> None:
    model = kind()
    for _ in range(5):
        model(batch()[0])
    said = fastnn.explain(model)
    assert said.startswith("eager for float32 of shape (16, 12)")
    assert any(reason in said for reason in REFUSED[kind].split("|")), said
    if kind is Prints:
        assert capsys.readouterr().out.count("\n") == 5
    if kind is Counts:
        assert model.count == 5
    if kind is Keeps:
        assert len(model.seen) == 5


def test_a_part_that_is_straight_is_captured_inside_one_that_is_not() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.calls = plain(), 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.body(x)

    def work() -> Any:
        model = Outer()
        losses = train(model)
        assert model.calls == 6
        return model, losses

    twice(work, None)
    model = Outer()
    train(model)
    assert "captured" in fastnn.explain(model.body)
    assert "AugAssign" in fastnn.explain(model)


def test_a_class_that_gets_another_forward() -> None:
    class Changed(Base):
        def forward(self, x: Any) -> Any:
            return self.layer(x)

    model, (x, _) = Changed(), batch()
    for _ in range(4):
        model(x)
    assert "captured" in fastnn.explain(model)
    Changed.forward = lambda self, x: x * 3
    assert model(x).tolist() == (x * 3).tolist()
