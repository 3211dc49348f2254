"""Gradients of elements of a batch, and batches of gradients."""

from __future__ import annotations

from typing import Any

from fastnn._autograd.modes import enable_grad
from fastnn._functorch.batched import Level, NoArrayError, at, front, is_in, outside_of, wrapped
from fastnn._functorch.vmap import batch, from_all_levels, to_all_levels
from fastnn._tensor.torch_function import running
from fastnn.autograd import grad, one_pass


def gradients_of_elements(
    outputs: list[Any], inputs: list[Any], seeds: list[Any], batches: tuple[Level, ...], retain: bool, create: bool
) -> list[Any]:
    """The gradients of inputs; None for those that no output depends on.

    Args:
        outputs, inputs: tensors with the dimensions of ``batches`` in front.
        seeds: elements of ``batches``, and of the batches of the enclosing calls of ``vmap``.
        batches: the enclosing ones when the outputs were computed.
        retain, create: of the graph.

    Returns: elements.
    """
    if not outputs:
        return [None] * len(inputs)
    more = [level for level in running.levels[len(batches) :] if any(is_in(s, level) for s in seeds)]
    if more:
        # The innermost.
        return _of_seeds(outputs, inputs, seeds, batches, more[-1], create, len(more) == 1)
    with enable_grad():
        found = grad(
            outputs, inputs, [to_all_levels(s, batches) for s in seeds], retain_graph=retain, create_graph=create,
            allow_unused=True,
        )  # fmt: skip
        return [None if g is None else from_all_levels(g, batches) for g in found]


def _of_seeds(
    outputs: list[Any], inputs: list[Any], seeds: list[Any], batches: tuple[Level, ...], level: Level, create: bool,
    alone: bool,
) -> list[Any]:  # fmt: skip
    """Gradients from a batch of those of the outputs: one backward pass in operations on this batch."""
    if alone and level.size:
        try:
            with enable_grad():
                return _in_one_pass(outputs, inputs, seeds, batches, level, create)
        except (NoArrayError, TypeError, NotImplementedError):
            # An operation whose backward pass works on arrays.
            pass
    return _one_by_one(outputs, inputs, seeds, batches, level, create)


def _in_one_pass(
    outputs: list[Any], inputs: list[Any], seeds: list[Any], batches: tuple[Level, ...], level: Level, create: bool
) -> list[Any]:
    count = len(batches)

    def to_front(s: Any) -> Any:
        if not is_in(s, level):
            return to_all_levels(s, batches)
        return wrapped(to_all_levels(s._value, batches).movedim(count, 0), level)

    # With `create_graph`, backward passes are operations on tensors, which have rules.
    found = grad(
        outputs, inputs, list(map(to_front, seeds)), retain_graph=True, create_graph=True, allow_unused=True
    )
    made: list[Any] = []
    for g in found:
        if g is not None and not create:
            g = g.detach()
        if g is None or not is_in(g, level):
            made.append(None if g is None else from_all_levels(g, batches))
        else:
            made.append(wrapped(from_all_levels(g._value.movedim(0, count), batches), level))
    return made


def _one_by_one(
    outputs: list[Any], inputs: list[Any], seeds: list[Any], batches: tuple[Level, ...], level: Level, create: bool
) -> list[Any]:
    from fastnn.ops.joining import stack

    rows = []
    # An empty batch gets one pass, for the shapes.
    for i in range(level.size or 1):
        with outside_of(level):
            one = [at(s, level, i) if level.size else s._value.new_zeros(s.shape) for s in seeds]
            rows.append(gradients_of_elements(outputs, inputs, one, batches, True, create))
    made = []
    for column in zip(*rows, strict=True):
        known = [g for g in column if g is not None]
        made.append(wrapped(stack(known)[: level.size], level) if known else None)
    return made


def batch_of_gradients(
    outputs: tuple[Any, ...], inputs: tuple[Any, ...], seeds: tuple[Any, ...], count: int, create: bool
) -> tuple[Any, ...]:
    """``torch.autograd.grad`` with ``is_grads_batched``; it retains the graph."""
    with batch(count, "error") as level:
        given = [wrapped(s, level) for s in seeds]
        found = gradients_of_elements(list(outputs), list(inputs), given, tuple(running.levels[:-1]), True, create)
        return tuple([None if g is None else front(g, level) for g in found])


one_pass[:] = [batch_of_gradients]
