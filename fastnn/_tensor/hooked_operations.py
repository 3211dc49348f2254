"""Operations whose saved tensors go through hooks: ``torch.autograd.graph.saved_tensors_hooks``.

A node of the tape holds arrays, in many forms. While hooks are on, the nodes of an operation that saved something are
replaced by one that holds the operation and its operands, those that were saved in the form that the hooks gave them.
Its backward pass calls the operation again, with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastnn._autograd.engine import Node, next_sequence, run_backward
from fastnn._autograd.modes import _mode
from fastnn._autograd.saved_hooks import pack, state
from fastnn._tensor.tensor import Tensor, _recorded, _wrap


def call(generator: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call an operation with the hooks that are on; random operations draw from the generator."""
    pair, pairs = state.pairs[-1], state.pairs
    operands = list(_tensors([*args, *kwargs.values()]))
    if any(t._is_batch for t in operands):
        return original(*args, **kwargs)
    versions = [t._memory.version for t in operands]
    first, drawn_from = next_sequence(), generator.position(True)
    state.pairs = []
    try:
        result = original(*args, **kwargs)
    finally:
        state.pairs = pairs
    if not isinstance(result, Tensor) or result._view is not None or any(result is a for a in args):
        return result
    node = result._node
    if node is None or node.sequence < first or not _mode.enabled:
        return result
    memories = _saved_since(node, first)
    if not memories:
        return result
    if not _recorded(operands[0], *operands[1:]):
        return result
    # The hooks may draw numbers, too.
    start = None if generator.is_at(drawn_from) else drawn_from
    unpack: dict[int, Callable[[], Any]] = {}
    for t in operands:
        if id(t._memory) in memories and id(t) not in unpack:
            unpack[id(t)] = pack(pair, t)
    of_result = pack(pair, result.detach()) if id(result._memory) in memories else None

    def hold(value: Any) -> Any:
        # The packed values are not held here.
        return _Place(id(value)) if id(value) in unpack else value

    held, options = [_each(a, hold) for a in args], {k: _each(v, hold) for k, v in kwargs.items()}
    # Such as the running statistics of a batch normalization, which are updated once.
    written = {id(t) for t, version in zip(operands, versions, strict=True) if t._memory.version != version}
    wanted = [t for t in operands if t._requires_grad]
    places = [id(t) for t in wanted]
    made = Node(node.title, tuple(wanted), _absent, (), True)
    edges = dict(zip(places, made.edges, strict=True))

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        if of_result is not None:
            of_result()
        again = _mode.enabled
        tensors: dict[int, Tensor] = {}

        def operand(value: Any) -> Any:
            place = value.place if isinstance(value, _Place) else id(value)
            if place not in tensors:
                found = unpack[place]() if isinstance(value, _Place) else value
                found = found.clone() if place in written else found
                edge = edges.get(place)
                if edge is not None:
                    if again and not isinstance(edge, Node):
                        found = edge
                    elif again:
                        found = _wrap(found._data, edge)
                    else:
                        found = found.detach().requires_grad_()
                tensors[place] = found
            return tensors[place]

        given, more = [_each(a, operand) for a in held], {k: _each(v, operand) for k, v in options.items()}
        before, _mode.enabled = _mode.enabled, True
        now = None if start is None else generator.position(True)
        try:
            if now is not None:
                generator.go_to(start)
            out = original(*given, **more)
        finally:
            _mode.enabled = before
            if now is not None:
                generator.go_to(now)
        leaves = [tensors[p]._node or tensors[p] for p in places]
        found = run_backward([out], [grad], True, again, set(leaves), inner=True)
        grads = []
        for leaf in leaves:
            # An operand that was given twice gets its whole gradient at its first position.
            grads.append(found.pop(leaf, None))
        return tuple(grads)

    made.run = run
    result._node = made
    return result


class _Place:
    """In the place of a packed operand."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from _tensors(value)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """An argument with ``change`` of each tensor, or place of one, in it."""
    if isinstance(value, (Tensor, _Place)):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_each(v, change) for v in value])
    return value


def _absent(*args: Any) -> Any:
    raise AssertionError("the node has no function yet")


def _saved_since(node: Node, first: int) -> set[int]:
    """The memories that this node, and those before it since a number, have saved."""
    found: set[int] = set()
    seen, stack = {node}, [node]
    while stack:
        one = stack.pop()
        found.update(id(saved[0]) for saved in one.saved)
        for edge in one.edges:
            if isinstance(edge, Node) and edge.sequence >= first and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return found
