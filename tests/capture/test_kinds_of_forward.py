"""Forwards of the styles that people write: what is captured computes the same bits as eagerly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastnn as torch
from fastnn import nn

F = nn.functional


class Parts(nn.Module):
    """Layers for the models below."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 8), nn.Linear(8, 6)
        self.wide, self.scale, self.prelu = nn.Linear(14, 4), nn.Parameter(torch.full((8,), 0.3)), nn.PReLU(8)

    def hidden(self, x: Any) -> Any:
        return F.relu(self.a(x))


class Reparametrized(Parts):
    def forward(self, x: Any) -> Any:
        z = self.b(self.hidden(x))
        mean, log_variance = z[:, :4], z[:, 4:]
        std = torch.exp(0.5 * log_variance)
        return mean + torch.randn_like(std) * std, mean, log_variance


class Noisy(Parts):
    def forward(self, x: Any) -> Any:
        return self.b(F.dropout(self.hidden(x), 0.3, self.training)) + 0.1 * torch.rand(8)


class Chunked(Parts):
    def forward(self, x: Any) -> Any:
        mean, log_std = self.b(self.hidden(x)).chunk(2, dim=-1)
        return mean, torch.tanh(log_std)


class Joined(Parts):
    def forward(self, x: Any) -> Any:
        return self.wide(torch.cat([self.b(self.hidden(x)), x], 1))


class Stacked(Parts):
    def forward(self, x: Any) -> Any:
        z = self.b(self.hidden(x))
        return torch.stack([z, z.tanh()], dim=1)


class StateIndependent(Parts):
    def forward(self, x: Any) -> Any:
        mean = self.b(self.hidden(x))
        return mean, self.scale.expand_as(mean).exp()


class Scaled(Parts):
    def forward(self, x: Any) -> Any:
        return self.b(self.hidden(x)) * self.scale.exp()


class Named(Parts):
    def forward(self, x: Any) -> Any:
        h = self.hidden(x)
        return {"features": h, "scores": self.b(h), "nothing": None}


class Nested(Parts):
    def forward(self, x: Any) -> Any:
        h = self.hidden(x)
        return self.b(h), (h, [h.mean(1), "text"])


class Loop(Parts):
    def forward(self, x: Any) -> Any:
        for layer in (self.a, self.b, self.c):
            x = torch.tanh(layer(x))
        return x


class Positive(Parts):
    def forward(self, x: Any) -> Any:
        z = self.b(self.hidden(x))
        return z[:, :4], F.softplus(z[:, 4:]) + 1e-4


class Rectified(Parts):
    def forward(self, x: Any) -> Any:
        return self.prelu(self.b(self.hidden(x)))


class Centred(Parts):
    def forward(self, x: Any) -> Any:
        z = self.b(self.hidden(x))
        return z[:, :1] + z[:, 1:] - z[:, 1:].mean(1, keepdim=True)


class Turned(Parts):
    def forward(self, x: Any) -> Any:
        return self.b(self.hidden(x)).t()


class Drawn(Parts):
    def forward(self, x: Any) -> Any:
        noise, mask, more = torch.randn_like(x), torch.rand(8), torch.rand(5, 4)
        return self.b(self.hidden(x + noise)) * mask, noise, {"mask": mask, "some": more[:, 1:3]}


class SmallProducts(Parts):
    def forward(self, x: Any) -> Any:
        z = self.b(self.hidden(x)).reshape(-1, 2, 1)
        return z @ z.mT


MODELS = [kind for kind in vars().values() if isinstance(kind, type) and issubclass(kind, Parts) and kind is not Parts]


def tensors_of(value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(part)


def shape_of(value: Any) -> Any:
    """The structure of outputs, with the shapes and strides of tensors."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.is_contiguous(), value.requires_grad
    if isinstance(value, dict):
        return {key: shape_of(part) for key, part in value.items()}
    return type(value)(map(shape_of, value)) if isinstance(value, (tuple, list)) else value


def trained(kind: type[Parts], on: bool, records: bool = True) -> tuple[list[Any], str]:
    torch.set_capture(on)
    try:
        torch.manual_seed(1)
        model = kind()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        found: list[Any] = []
        for step in range(7):
            x = torch.randn(5, 6)
            if not records:
                with torch.no_grad():
                    outs = model(x)
            else:
                outs = model(x.requires_grad_() if step % 2 else x)
                optimizer.zero_grad(set_to_none=step != 4)
                loss: Any = sum((t * t).mean() for t in tensors_of(outs))
                loss.backward()
                optimizer.step()
                found += [x.grad, *[p.grad for p in model.parameters()]]
            found += [shape_of(outs), *tensors_of(outs), *[p.detach().clone() for p in model.parameters()]]
        found.append(torch.randn(3))
        arrays = [t.detach().numpy().copy() if isinstance(t, torch.Tensor) else t for t in found]
        return arrays, torch.explain(model)
    finally:
        torch.set_capture(True)


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_the_same_bits_as_eagerly(kind: type[Parts], records: bool) -> None:
    captured, explained = trained(kind, True, records)
    expected, _ = trained(kind, False, records)
    # Noise needs no gradient.
    refused = "eager for float32 of shape (5, 6)" if kind is Drawn and records else "captured"
    assert explained.splitlines()[0].startswith(refused), explained
    for a, b in zip(captured, expected, strict=True):
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_an_output_twice_or_an_input_is_left_alone() -> None:
    class Twice(Parts):
        def forward(self, x: Any) -> Any:
            h = self.hidden(x)
            return h, h

    class Given(Parts):
        def forward(self, x: Any) -> Any:
            return self.hidden(x), x

    for kind in (Twice, Given):
        model = kind()
        for _ in range(4):
            x = torch.randn(2, 6)
            first, second = model(x)
            assert second is (first if kind is Twice else x)
        assert torch.explain(model).startswith("eager"), torch.explain(model)


class Shared(Parts):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        h = self.b(self.hidden(x))
        if self.kind == "a slice":
            return h, h[:, :2]
        if self.kind == "a slice first":
            return h[:, :2], h
        if self.kind == "overlapping slices":
            return h[:, :4], h[:, 3:]
        if self.kind == "the transpose":
            return h, h.t()
        if self.kind == "a view":
            return {"h": h, "flat": h.view(-1)}
        return [h, h.detach()]


@pytest.mark.parametrize(
    "kind", ["a slice", "a slice first", "overlapping slices", "the transpose", "a view", "without history"]
)
def test_outputs_that_share_numbers_go_on_sharing_them(kind: str) -> None:
    model = Shared(kind)
    for _ in range(4):
        with torch.no_grad():
            first, second = tensors_of(model(torch.randn(3, 6)))
            before = second.clone()
            first.add_(1)
        assert not torch.equal(before, second)
    assert "two outputs share memory" in torch.explain(model)


def test_draws_go_on_where_eager_ones_would_in_compiled_steps() -> None:
    found = []
    for compiled in (True, False):
        torch.manual_seed(3)
        model = Noisy()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = torch.compile_step(model, nn.MSELoss(), optimizer)
        x, y = torch.randn(4, 6), torch.randn(4, 8)
        for _ in range(5):
            if compiled:
                step(x, y)
            else:
                optimizer.zero_grad()
                F.mse_loss(model(x), y).backward()
                optimizer.step()
        found.append([torch.randn(2).numpy(), *[p.detach().numpy().copy() for p in model.parameters()]])
        assert not compiled or "captured" in step.explain(), step.explain()
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
