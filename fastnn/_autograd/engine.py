"""Reverse-mode automatic differentiation: the tape and the backward pass.

Each operation whose result needs a gradient makes a :class:`Node`. It keeps the edges to the operands
(the node that made each, or the leaf itself) and a function from the gradient of the result to the
gradients of the operands. This file does not import ``Tensor``: tensors come in as arguments.

With ``create_graph`` the same functions run with recording switched on, so that their results can be
differentiated again. A function that works on arrays has a substitute: the derivative in recorded operations
(:class:`KernelNode`), or ``recompute``, whose result is differentiated.
"""

from __future__ import annotations

import heapq
import itertools
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._autograd import leaf_writers
from fastnn._autograd.hooks import Hooks, RemovableHandle, leaf_hooks
from fastnn._autograd.modes import _mode
from fastnn._core.capture_state import active
from fastnn._core.errors import AnomalyError
from fastnn._core.errstate import quiet

if TYPE_CHECKING:
    from fastnn._tensor.tensor import Tensor

# A node, or a leaf: the receiver of a gradient.
Edge = Any
_Recompute = Callable[[], "Tensor"]

# The numbers of nodes, in the order of their recording.
next_sequence: Callable[[], int] = itertools.count().__next__
_by_sequence = operator.attrgetter("sequence")
# The number of operations whose backward pass was recorded for second derivatives.
differentiated = [0]


class Memory:
    """State shared by tensors over the same memory: the versions of its contents and of its history.

    The class attributes are the initial values; most tensors never write to this object.
    """

    # Counts in-place operations.
    version = 0
    # Counts in-place operations that gave the memory a new history, so that older views are out of date.
    history = 0
    # Whether it was made in `inference_mode`.
    inference = False

    def version_to_write(self) -> int:
        """``version``, read before a write to the memory."""
        return self.version


class InferenceMemory(Memory):
    """The memory of a tensor made in ``inference_mode``: it counts no versions.

    Reading its version outside of that mode is an error. Code that saves a tensor for a backward pass, or changes one
    in place, reads the version, and so needs no separate check.
    """

    inference = True

    @property
    def version(self) -> int:
        if _mode.inference:
            return 0
        raise RuntimeError(
            "Inference tensors cannot be saved for backward, and inplace update to inference tensor outside "
            "InferenceMode is not allowed: use a clone() of the tensor, or no_grad() instead of inference_mode()"
        )

    @version.setter
    def version(self, value: int) -> None:
        if not _mode.inference:
            _ = self.version


class DetachedInferenceMemory(InferenceMemory):
    """The memory of a tensor made in ``inference_mode`` and detached outside of it; it can be written to."""

    @property
    def version(self) -> int:
        return InferenceMemory.version.__get__(self)

    @version.setter
    def version(self, value: int) -> None:
        # Versions are not counted.
        pass

    def version_to_write(self) -> int:
        return 0


def memory_in_inference() -> Memory:
    """The memory of a new tensor while some thread is in ``inference_mode``."""
    return InferenceMemory() if _mode.inference else Memory()


def _version_or_zero(memory: Memory) -> int:
    return 0 if memory.inference else memory.version


class Alias(Memory):
    """The memory of a detached tensor: it shares the versions of the original, and has its own history."""

    def __init__(self, memory: Memory) -> None:
        self.shared: Memory = memory.shared if type(memory) is Alias else memory

    @property
    def inference(self) -> bool:  # type: ignore[override]  # of another's memory
        return self.shared.inference

    @property
    def version(self) -> int:
        return self.shared.version

    @version.setter
    def version(self, value: int) -> None:
        self.shared.version = value


class Node:
    """One recorded operation.

    Args:
        name: of the operation, for messages; "Mul" is printed as PyTorch's ``MulBackward0``.
        operands: the tensors that it read, in order.
        run: from the gradient of the result to a tuple of gradients, one per operand; None for an
            operand that needs none, or whose gradient ``run`` has stored itself. Written in tensor
            operations it can be differentiated; one that works on arrays comes with ``recompute``.
        saved: those operands (and others) whose values ``run`` reads: they must not have changed.
        keeps: whether ``run`` holds other arrays, which are freed after the first backward pass.
        recompute: computes the result again from the operands, by plain recorded tensor operations.
            Called only with ``create_graph``, in place of ``run``, and then differentiated.
    """

    __slots__ = ("edges", "hooks", "keeps", "read", "recompute", "run", "saved", "sequence", "title", "width")

    # The number of results, for a node that is shared by the small nodes of several results.
    width: int

    # Whether `backward_for` is called, with the wanted gradients: for a node that replaces several operations.
    selective = False

    def __init__(
        self,
        name: str,
        operands: tuple[Tensor, ...],
        run: Callable[..., tuple[Tensor | None, ...]],
        saved: tuple[Tensor, ...] = (),
        keeps: bool = False,
        recompute: _Recompute | None = None,
    ) -> None:
        self.title, self.keeps, self.recompute = name, keeps, recompute
        # Subclasses give it more arguments than the gradient.
        self.run: Callable[..., tuple[Tensor | None, ...]] | None = run
        # A leaf is its own edge; everything else is reached through the node that made it.
        count = len(operands)
        # Without the call of a comprehension: it would take a third of the time of this function.
        if count == 2:
            a, b = operands
            self.edges: tuple[Edge, ...] = (
                (a._node or a) if a._requires_grad else None, (b._node or b) if b._requires_grad else None
            )  # fmt: skip
        elif count == 1:
            a = operands[0]
            self.edges = ((a._node or a) if a._requires_grad else None,)
        elif count == 3:
            a, b, c = operands
            self.edges = (
                (a._node or a) if a._requires_grad else None, (b._node or b) if b._requires_grad else None,
                (c._node or c) if c._requires_grad else None,
            )  # fmt: skip
        else:
            self.edges = tuple([(t._node or t) if t._requires_grad else None for t in operands])
        # The memory, not the tensor: the result may be saved too, and it holds this node.
        self.saved = [(t._memory, t._memory.version, t._data.shape) for t in saved] if saved else []
        self.read: Any = None
        if recompute is not None:
            # The operands that `recompute` reads, with their versions; it holds them in any case.
            try:
                self.read = operands, [t._memory.version for t in operands]
            except RuntimeError:
                # A tensor of `inference_mode`, which no gradient reads: it cannot change outside of that mode.
                self.read = operands, [_version_or_zero(t._memory) for t in operands]
        self.hooks: Hooks | None = None
        self.sequence = next_sequence()

    def guard(self, result: Tensor) -> Tensor:
        """Note that ``run`` reads the result, which then must not change either; return the result."""
        self.saved.append((result._memory, result._memory.version, result._data.shape))
        return result

    def name(self) -> str:
        """The name under which PyTorch shows this operation."""
        return self.title if self.title[-1].isdigit() or "Backward" in self.title else f"{self.title}Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The operations that made the operands; :class:`AccumulateGrad` for a leaf."""
        found = tuple([
            (edge if edge is None else with_type_name(edge) if isinstance(edge, Node) else AccumulateGrad(edge), 0)
            for edge in self.edges
        ])
        # In PyTorch a number is a second operand.
        return (*found, (None, 0)) if len(found) == 1 and self.title in _OF_TWO else found

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` after this operation's backward; it may return other inputs."""
        return _hooks_of(self).after.add(hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before this operation's backward; it may return others."""

        def before(grad: Tensor) -> Any:
            found = hook((grad,))
            if found is None:
                return None
            _check_replaced(hook, (grad,), found)
            if found[0] is None:
                # PyTorch goes on without a gradient, which adds nothing.
                return type(grad)._remade(np.zeros_like(grad._data), Memory(), None)
            return found[0]

        return _hooks_of(self).before.add(before)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"

    def check(self, saved: list[Any]) -> None:
        """RuntimeError for memory that has been written to since it was saved."""
        for memory, version, shape in saved:
            if memory.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor of shape {shape}, read by {self.title}, is at version {memory.version}; expected "
                    f"version {version} instead"
                )

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the operands, from that of the result."""
        if self.run is None:
            raise RuntimeError(_FREED)
        for memory, version, _ in self.saved:
            if memory.version != version:
                self.check(self.saved)
        return self.gradients(grad)

    def backward_for(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        """As :meth:`backward` of a ``selective`` node, if only some operands' gradients are wanted."""
        if self.run is None:
            raise RuntimeError(_FREED)
        for memory, version, _ in self.saved:
            if memory.version != version:
                self.check(self.saved)
        return self.gradients_for(grad, wants)

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the operands, of a node that is not freed and whose saved tensors have not changed."""
        assert self.run is not None
        if self.recompute is not None and _mode.enabled:
            return self._differentiated(self.recompute, grad)
        return self.run(grad)

    def gradients_for(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        """As :meth:`gradients`, of a ``selective`` node."""
        raise NotImplementedError("only selective nodes are asked for some of the gradients")

    def check_read(self, positions: Iterable[int] | None = None) -> None:
        """RuntimeError for an operand of ``recompute`` that has been written to; of some of them with positions."""
        assert self.read is not None
        operands, versions = self.read
        read = [(operands[i], versions[i]) for i in (range(len(operands)) if positions is None else positions)]
        self.check([(t._memory, v, t._data.shape) for t, v in read if not t._memory.inference])

    def _differentiated(self, recompute: _Recompute, grad: Tensor) -> tuple[Tensor | None, ...]:
        differentiated[0] += 1
        self.check_read()
        result = recompute()
        wanted = {edge for edge in self.edges if edge is not None}
        found: dict[Edge, Any] = {}
        if result._requires_grad:
            found = run_backward([result], [grad], True, True, wanted, inner=True)
        grads = []
        for edge in self.edges:
            # An operand that was given twice gets its whole gradient at its first position.
            grads.append(found.pop(edge, None) if edge is not None else None)
        return tuple(grads)

    def release(self) -> None:
        """Free what the operation saved, even if its result is kept. If it saved nothing, it may run again."""
        if self.saved or self.keeps:
            self.run, self.recompute, self.saved, self.read = None, None, [], None


class MethodNode(Node):
    """A node with a method in the place of ``run``, and its state in slots.

    It is made in half the time of a node with a function, and is one object for the garbage collector instead of ten.
    """

    __slots__ = ()

    def __init__(self, name: str, x: Tensor, reads: bool, keeps: bool = False) -> None:
        """The node of an operation on one tensor; ``reads``: its backward pass reads the operand."""
        self.title, self.keeps, self.run = name, keeps, by_method
        self.recompute = self.read = self.hooks = None
        self.edges = ((x._node or x) if x._requires_grad else None,)
        memory = x._memory
        self.saved = [(memory, memory.version, x._data.shape)] if reads else []
        self.sequence = next_sequence()


def by_method(*args: Any) -> Any:
    """In the place of a node's functions, until it is freed."""
    raise AssertionError("this node has a method instead")


# The slots of a node that keeps nothing but its own state, for a `Maker`.
PLAIN_NODE: dict[str, Any] = {"keeps": False, "run": by_method, "recompute": None, "read": None, "hooks": None}

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Specify retain_graph=True if you need to backward through the graph twice."
)


class SelectiveNode(Node):
    """A node whose ``run`` computes only wanted gradients: its second argument has a flag for each operand."""

    __slots__ = ()

    selective = True

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return self.gradients_for(grad, [edge is not None for edge in self.edges])

    def gradients_for(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        assert self.run is not None
        return self.run(grad, wants)


class KernelNode(Node):
    """A node whose ``run`` works on arrays, and ``again`` does the same in recorded operations of tensors.

    The second argument of both has a flag for each operand, whether its gradient is wanted; None: all of them are.
    """

    __slots__ = ("parts",)

    selective = True

    # What `again` reads.
    parts: Any

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return self.gradients_for(grad, None)

    def gradients_for(self, grad: Tensor, wants: list[bool] | None) -> tuple[Tensor | None, ...]:
        if _mode.enabled:
            differentiated[0] += 1
            return self.again(grad, [edge is not None for edge in self.edges] if wants is None else wants)
        assert self.run is not None
        return self.run(grad, wants)

    def again(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        """The gradients of the operands, in recorded operations."""
        raise NotImplementedError

    def release(self) -> None:
        if self.saved or self.keeps:
            self.run, self.parts, self.saved = None, None, []


_ZERO = {np.dtype(kind): np.zeros((), kind) for kind in (np.float32, np.float64)}
_ZERO_AT = frozenset(array.ctypes.data for array in _ZERO.values())


def zeros(operand: Tensor, like: np.ndarray) -> np.ndarray:
    """A gradient of 0 of ``operand``, with the shape and dtype of ``like``.

    In a pass that accumulates into the leaves it is one number, repeated, if the node of the operand passes it on as
    :func:`is_zero`, so that nothing is computed from it, not even NaN from infinite numbers.
    """
    node = operand._node
    if _mode.direct and isinstance(node, KernelNode) and node.hooks is None and like.dtype in _ZERO and not active:
        return np.broadcast_to(_ZERO[like.dtype], like.shape)
    return np.zeros(like.shape, like.dtype)


def is_zero(array: np.ndarray) -> bool:
    """Whether an array, which is not contiguous, is such a gradient of :func:`zeros`.

    Another repeated 0, as of ``0 * y.sum()``, is a number like any other, whose product with infinity is NaN. In a
    trace the numbers mean nothing yet.
    """
    if not array.size or any(array.strides) or active or array.item(0):
        return False
    return array.ctypes.data in _ZERO_AT


class ResultNode(Node):
    """A node whose ``run`` reads the result, which it gets as its second argument."""

    __slots__ = ("result",)

    result: Any

    def attach(self, result: Tensor) -> Tensor:
        """Remember the result of the operation, and that it must not change; return it."""
        # Not the tensor, which holds this node: the cycle would outlive its last user.
        self.result: Any = (type(result), result._data, result._memory)
        return self.guard(result)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        if self.run is not None:
            self.check(self.saved)
            kind, array, memory = self.result
            result = kind._remade(array, memory, self if _mode.enabled else None)
            return self.run(grad, result)
        return super().backward(grad)

    def release(self) -> None:
        self.result = None
        super().release()


# Operators that PyTorch has for two tensors only.
_OF_TWO = frozenset(("Add", "Div", "Mul", "Sub"))
_type_names: dict[tuple[type[Node], str], type[Node]] = {}


def with_type_name(node: Node) -> Node:
    """The node, after its type was renamed to the operation's name: programs that draw a graph print it."""
    kind, name = type(node), node.name()
    if kind.__name__ != name:
        plain: Any = kind.__base__ if (kind, "") in _type_names else kind
        if (plain, name) not in _type_names:
            # The same layout, so that `__class__` can be assigned.
            made = type(name, (plain,), {"__slots__": (), "__module__": plain.__module__})
            _type_names[plain, name] = _type_names[made, ""] = made
        node.__class__ = _type_names[plain, name]
    return node


class AccumulateGrad:
    """A leaf of the graph: adds to the gradient of ``variable``."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    next_functions = ()

    def name(self) -> str:
        """The name under which PyTorch shows it."""
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)


class Parts:
    """Gradients of some of the results of one operation, by position: the argument of its node.

    An operation with several results has one node, and a small node before it for each result.
    """

    __slots__ = ("grads",)

    def __init__(self, grads: dict[int, Any]) -> None:
        self.grads = grads

    def __add__(self, other: Parts) -> Parts:
        grads = dict(self.grads)
        for i, g in other.grads.items():
            grads[i] = grads[i] + g if i in grads else g
        return Parts(grads)

    def by_position(self, count: int) -> tuple[Any, ...]:
        """The gradients of all ``count`` results, with None for those that have none."""
        return tuple([self.grads.get(i) for i in range(count)])


class _PartNode(MethodNode):
    """The small node of one result. To the outside it is the operation, as in PyTorch, where all results share one."""

    __slots__ = ("position",)

    def __init__(self, node: Node, position: int) -> None:
        # Without the constructor of Node, and without a function: policies make one of these for each output.
        self.title, self.position, self.edges = node.title, position, (node,)
        self.recompute = self.read = self.hooks = None
        self.run, self.keeps, self.saved, self.sequence = by_method, False, [], next_sequence()

    def gradients(self, grad: Any) -> tuple[Any, ...]:
        return (Parts({self.position: grad}),)

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The operations that made the operands."""
        node: Any = self.edges[0]
        found: tuple[tuple[Any, int], ...] = node.next_functions
        return found

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` after the operation's backward, with those of all results."""
        return _hooks_of(self.edges[0]).after.add(hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before the operation's backward, with the gradients of all results."""
        node: Any = self.edges[0]

        def before(parts: Parts) -> Any:
            given = parts.by_position(node.width)
            found = hook(given)
            if found is None:
                return None
            _check_replaced(hook, given, found)
            return Parts({i: g for i, g in enumerate(found) if g is not None})

        return _hooks_of(node).before.add(before)


def part_node(node: Node, position: int) -> Node:
    """The node of result number ``position`` of an operation whose ``run`` takes a tuple of gradients.

    The ``width`` of ``node`` is set by its maker.
    """
    return _PartNode(node, position)


# -- The walk ----------------------------------------------------------------------------------

def _hooks_of(owner: Any) -> Hooks:
    """The hooks of a node or a leaf, made on first use."""
    if isinstance(owner, Node):
        if owner.hooks is None:
            owner.hooks = Hooks()
        return owner.hooks
    if owner._hooks is None:
        owner._hooks = Hooks()
    return owner._hooks


# Switched by `detect_anomaly`. "infinite": whether an infinite gradient is an error too. "describe": what is known of
# the layer of a node.
anomaly: dict[str, Any] = {"enabled": False, "check_nan": True, "infinite": False, "describe": lambda node: ""}
# Called when the mode was switched.
anomaly_listeners: list[Callable[[], None]] = []


def switch_anomaly(**values: Any) -> None:
    """Change the mode that looks for NaN."""
    anomaly.update(values)
    for listener in anomaly_listeners:
        listener()


def run_backward(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor],
    retain_graph: bool = False,
    create_graph: bool = False,
    wanted: set[Edge] | None = None,
    *,
    accumulate: bool = False,
    inner: bool = False,
) -> dict[Edge, Any]:
    """Run a backward pass from ``roots``. Accumulate into the leaves, or find the gradients of ``wanted``.

    Nodes run in the reverse order of their recording: each one after all nodes that read its result.

    Args:
        roots, grads: results, and their gradients.
        retain_graph: keep what the operations saved.
        create_graph: record the computation of the gradients.
        wanted: the edges whose gradients are returned; None to accumulate into all leaves.
        accumulate: accumulate into the leaves in ``wanted`` as well.
        inner: the pass is inside one operation of another pass: stop at the wanted edges, and call no hooks, as the
            outer pass calls them.
    """
    before = _mode.enabled, _mode.direct, _mode.retain, _mode.at_end
    try:
        # Gradients that kernels write into their places would not be looked at.
        direct = wanted is None and not create_graph and not anomaly["enabled"]
        _mode.enabled, _mode.direct, _mode.retain = create_graph, direct, retain_graph
        if not inner:
            _mode.at_end = {}
        # Overflow and division by zero are visible in the numbers, as in the kernels, not as warnings.
        found = quiet(_walk, roots, grads, retain_graph, wanted, accumulate, inner)
        if not inner and _mode.at_end:
            for call in list(_mode.at_end.values()):
                call()
        _mode.enabled, _mode.direct, _mode.retain, _mode.at_end = before
        return found
    except BaseException:
        # Not in a `finally` block, which Ctrl-C could interrupt.
        _mode.enabled, _mode.direct, _mode.retain, _mode.at_end = before
        leaf_writers.release_all()
        raise


def _walk(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor],
    retain_graph: bool,
    wanted: set[Edge] | None,
    accumulate: bool,
    inner: bool,
) -> dict[Edge, Any]:
    found: dict[Edge, Any] = {}
    needed = None if wanted is None else on_the_way(roots, wanted)
    # Edges along which gradients are needed.
    useful = None if needed is None or wanted is None else needed | wanted
    waiting: dict[Edge, Any] = {}
    # The edges whose waiting gradient is a new array, to which more can be added in place.
    summed: set[Edge] = set()
    queue: list[tuple[int, Any]] = []
    leaves: dict[Any, Any] = {}
    # How many gradients each leaf has yet to receive; counted when the first leaf with hooks is reached.
    uses: dict[Any, int] | None = None
    edge: Any
    for root, g in zip(roots, grads, strict=True):
        edge = root._node
        if edge is None:
            _leaf(root, g, leaves, wanted, summed)
        elif edge in waiting:
            waiting[edge] = waiting[edge] + g
        else:
            waiting[edge] = g
            heapq.heappush(queue, (-edge.sequence, edge))
    # The next operation and its gradient, if nothing else waits: in a chain the queue is not used.
    following: Any = None
    while following is not None or queue:
        if following is not None:
            node, grad = following
            following = None
        else:
            node = heapq.heappop(queue)[1]
            grad = waiting.pop(node)
        hooks = None if inner else node.hooks
        if hooks is not None:
            grad = _run_hooks(hooks, grad)
        if needed is not None:
            if node in wanted:  # type: ignore[operator]  # it is not None either
                found[node] = grad
                if inner:
                    continue
            if node not in needed:
                continue
        watched = hooks if hooks is not None and hooks.after else None
        if watched is not None:
            # The hooks receive all gradients, so none is written directly into its slot.
            direct, _mode.direct = _mode.direct, False
        if useful is not None and node.selective:
            operand_grads = node.backward_for(grad, [edge in useful for edge in node.edges])
        else:
            operand_grads = node.backward(grad)
        if watched is not None:
            _mode.direct = direct
            given = grad.by_position(node.width) if isinstance(grad, Parts) else (grad,)
            operand_grads = _run_after(watched, operand_grads, given)
        if anomaly["enabled"]:
            _check_nan(node, operand_grads)
        if not queue and useful is None and len(node.edges) == 1:
            # As below, in two thirds of the time.
            (edge,), (g,) = node.edges, operand_grads
            if g is not None and isinstance(edge, Node):
                following = edge, g
                if not retain_graph:
                    node.release()
                continue
        for edge, g in zip(node.edges, operand_grads, strict=True):
            if edge is None or g is None:
                continue
            if edge in waiting:
                waiting[edge] = _sum(waiting[edge], g, edge, summed)
            elif isinstance(edge, Node):
                if useful is not None and edge not in useful:
                    continue
                if following is None and not queue:
                    following = edge, g
                    continue
                if following is not None:
                    # Not a chain: both have to wait for their turns.
                    first, first_grad = following
                    following = None
                    waiting[first] = first_grad
                    heapq.heappush(queue, (-first.sequence, first))
                    if edge is first:
                        waiting[edge] = _sum(first_grad, g, edge, summed)
                        continue
                waiting[edge] = g
                heapq.heappush(queue, (-edge.sequence, edge))
            elif edge._node is not None:
                raise RuntimeError(
                    f"leaf variable of shape {tuple(edge._data.shape)} has been moved into the graph interior: an "
                    "in-place operation gave it a history between forward and backward pass"
                )
            elif wanted is not None or (edge._hooks is not None and leaf_hooks(edge) is not None):
                _leaf(edge, g, leaves, wanted, summed)
                if uses is None and edge._hooks is not None and not inner:
                    ahead = [following[0]] if following is not None else [other for _, other in queue]
                    uses = _uses([node, *ahead], needed)
            elif edge._requires_grad:
                # The leaf may have been frozen since the forward.
                edge._accumulate_grad(g)
        if uses is not None:
            # PyTorch's order: the hooks of a leaf are called as soon as its gradient is complete.
            for edge in node.edges:
                if edge in uses:
                    uses[edge] -= 1
                    if not uses[edge] and edge in leaves:
                        _finish_leaf(edge, leaves.pop(edge), found, wanted, accumulate)
        if not retain_graph:
            node.release()
    if inner:
        found.update(leaves)
        return found
    for leaf, g in leaves.items():
        _finish_leaf(leaf, g, found, wanted, accumulate)
    return found


def _sum(a: Any, b: Any, edge: Edge, summed: set[Edge]) -> Any:
    """``a + b`` of two gradients; of arrays, unless the sum has to be recorded, and in place the second time."""
    if _mode.enabled or active or type(a) is Parts:
        return a + b
    x, y = a._data, b._data
    if x.shape != y.shape or x.dtype != y.dtype:
        return a + b
    if not y.flags.c_contiguous and is_zero(y):
        return a
    if not x.flags.c_contiguous and is_zero(x):
        return b
    if edge in summed:
        np.add(x, y, x)
        return a
    summed.add(edge)
    return a._over(np.asarray(x + y))


def _leaf(leaf: Any, grad: Any, leaves: dict[Any, Any], wanted: set[Edge] | None, summed: set[Edge]) -> None:
    """Sum the gradients of a leaf that is wanted, or whose hooks need the complete gradient."""
    if wanted is None or leaf in wanted:
        if leaf in leaves:
            leaves[leaf] = _sum(leaves[leaf], grad, leaf, summed)
        else:
            leaves[leaf] = grad
            summed.discard(leaf)


def _finish_leaf(leaf: Any, grad: Any, found: dict[Edge, Any], wanted: set[Edge] | None, accumulate: bool) -> None:
    hooks = leaf._hooks
    if hooks is not None:
        grad = hooks.before.apply(grad)
    if wanted is not None and not accumulate:
        found[leaf] = grad
        return
    if leaf._requires_grad:
        leaf._accumulate_grad(grad)
    if hooks is not None:
        for hook in list(hooks.after.values()):
            result = hook(leaf)
            if result is not None:
                # PyTorch's kinds of error for a tensor and for something else.
                kind = RuntimeError if type(result) is type(leaf._grad) else TypeError
                raise kind(f"Tensor post accumulate grad hooks should return None, found {type(result).__name__}")


def _run_hooks(hooks: Hooks, grad: Any) -> Any:
    if isinstance(grad, Parts):
        for before in list(hooks.before.values()):
            found = before(grad)
            grad = grad if found is None else found
        return grad
    grad = hooks.before.apply(grad)
    if hooks.retain is not None:
        result = hooks.retain()
        if result is not None:
            # Accumulated over several passes, as for a leaf.
            result._accumulate_grad(grad)
    return grad


def _run_after(hooks: Hooks, operand_grads: tuple[Any, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
    for hook in list(hooks.after.values()):
        replaced = hook(operand_grads, given)
        if replaced is not None:
            _check_replaced(hook, operand_grads, replaced)
            operand_grads = replaced
    return operand_grads


def _check_replaced(hook: Any, grads: tuple[Any, ...], replaced: Any) -> None:
    """TypeError or RuntimeError, as PyTorch's, unless what a hook returns can take the place of the gradients."""
    if not isinstance(replaced, tuple):
        raise TypeError(f"expected tuple, but hook returned {type(replaced).__name__!r}")
    name = getattr(hook, "__name__", type(hook).__name__)
    if len(replaced) != len(grads):
        raise RuntimeError(
            f"hook '{name}' has returned an incorrect number of values (got {len(replaced)}, but expected {len(grads)})"
        )
    for old, new in zip(grads, replaced, strict=True):
        if new is None:
            continue
        if old is None:
            raise RuntimeError(
                f"hook '{name}' can't replace a None gradient with a non-None value, found {type(new).__name__}"
            )
        if not hasattr(new, "_data"):
            raise TypeError(f"expected Variable, but hook returned {type(new).__name__!r}")
        if new._data.shape != old._data.shape:
            raise RuntimeError(
                f"hook '{name}' has changed the size of value: expected {list(old.shape)}, found {list(new.shape)}"
            )
        if new._data.dtype != old._data.dtype:
            raise RuntimeError(f"hook '{name}' has changed the type of value: expected {old.dtype}, found {new.dtype}")


def _check_nan(node: Node, grads: tuple[Any, ...]) -> None:
    if not anomaly["check_nan"]:
        return
    for i, g in enumerate(grads):
        if not hasattr(g, "_data") or g._data.dtype.kind not in "fcV":
            continue
        if np.isnan(g._data).any():
            found, error = "nan", AnomalyError if anomaly["infinite"] else RuntimeError
        elif anomaly["infinite"] and not np.isfinite(g._data).all():
            found, error = "infinite", AnomalyError
        else:
            continue
        known = anomaly["describe"](node)
        warnings.warn(f"Error detected in {node.name()}. {known}".rstrip(), stacklevel=2)
        raised = error(f"Function '{node.name()}' returned {found} values in its {i}th output.")
        if known:
            raised.add_note(known)
        raise raised


def _uses(nodes: list[Node], needed: set[Node] | None) -> dict[Any, int]:
    """How often each leaf is an operand of these operations and their ancestors."""
    counts: dict[Any, int] = {}
    seen, stack = set(nodes), list(nodes)
    while stack:
        for edge in stack.pop().edges:
            if not isinstance(edge, Node):
                if edge is not None:
                    counts[edge] = counts.get(edge, 0) + 1
            elif edge not in seen and (needed is None or edge in needed):
                seen.add(edge)
                stack.append(edge)
    return counts


def on_the_way(roots: Sequence[Tensor], wanted: set[Edge]) -> set[Node]:
    """The nodes with a path to a wanted edge."""
    reached: set[Node] = set()
    stack = [root._node for root in roots if root._node is not None]
    while stack:
        node = stack.pop()
        if node not in reached:
            reached.add(node)
            for edge in node.edges:
                if edge is not None and edge not in reached and isinstance(edge, Node):
                    stack.append(edge)
    needed: set[Node] = set()
    useful = set(wanted)
    # An operand is older than its results.
    for node in sorted(reached, key=_by_sequence):
        if not useful.isdisjoint(node.edges):
            needed.add(node)
            useful.add(node)
    return needed
