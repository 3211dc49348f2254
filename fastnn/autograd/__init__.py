"""Automatic differentiation under PyTorch's names: ``grad``, ``backward``, ``Function``, checks and modes.

The tape is in ``engine``; ``modes`` decides what is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fastnn._autograd.engine import (
    AccumulateGrad,
    Alias,
    Memory,
    Node,
    Parts,
    ResultNode,
    anomaly,
    part_node,
    run_backward,
    switch_anomaly,
)
from fastnn._autograd.gradients import _all_of, _as_tuple, _edge, _output_grads, backward
from fastnn._autograd.hooks import HookList, Hooks, RemovableHandle
from fastnn._autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from fastnn.autograd.function import Function, once_differentiable

__all__ = [
    "AccumulateGrad",
    "Alias",
    "Function",
    "HookList",
    "Hooks",
    "Memory",
    "Node",
    "Parts",
    "RemovableHandle",
    "ResultNode",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "once_differentiable",
    "part_node",
    "run_backward",
    "set_detect_anomaly",
    "set_grad_enabled",
]


# Computes a batch of gradients in one backward pass; `torch.func` puts it here.
one_pass: list[Callable[..., Any]] = []


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Any:
    """The gradients of the sum of ``outputs`` with respect to ``inputs``; leaves do not accumulate.

    Args:
        outputs: a tensor or several.
        inputs: the tensors to differentiate with respect to, leaves or results; for a dictionary of tensors the
            result is a dictionary with the same keys.
        grad_outputs: the gradient of each output; optional for outputs of one element.
        retain_graph: keep the saved tensors of operations; None means the value of ``create_graph``.
        create_graph: record the computation, for higher derivatives.
        only_inputs: always True.
        allow_unused: return None instead of raising RuntimeError for an input that no output depends on.
        is_grads_batched: ``grad_outputs`` and the results have an additional first dimension.
        materialize_grads: return zeros instead of None.

    >>> import fastnn
    >>> x = fastnn.tensor(3.0, requires_grad=True)
    >>> (first,) = fastnn.autograd.grad(x**3, x, create_graph=True)
    >>> fastnn.autograd.grad(first, x)
    (tensor(18.),)
    """
    if type(inputs) is dict:
        found = grad(
            outputs, tuple(inputs.values()), grad_outputs, retain_graph, create_graph, only_inputs, allow_unused,
            is_grads_batched, materialize_grads,
        )  # fmt: skip
        return dict(zip(inputs, found, strict=True))
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, found allow_unused=False"
        )
    results, leaves = _all_of(outputs), _all_of(inputs)
    if not leaves:
        raise RuntimeError("grad requires non-empty inputs, found none.")
    retain = bool(create_graph if retain_graph is None else retain_graph)
    if is_grads_batched:
        from fastnn.ops.joining import stack

        given = _as_tuple(grad_outputs)
        count = len(given[0])
        _output_grads(results, given, batched=True)
        if one_pass and materialize_grads is False and allow_unused:
            return one_pass[0](results, leaves, given, count, bool(create_graph))
        rows = [
            grad(results, leaves, tuple([g[i] for g in given]), retain or i < count - 1, create_graph,
                 only_inputs, allow_unused, False, materialize_grads)
            for i in range(count)
        ]  # fmt: skip
        return tuple([None if column[0] is None else stack(column) for column in zip(*rows, strict=True)])
    grads = _output_grads(results, grad_outputs)
    for i, t in enumerate(leaves):
        if not hasattr(t, "_data"):
            raise TypeError(f"inputs must be Tensors, found {type(t).__name__}")
        if not t.requires_grad:
            raise RuntimeError(
                f"One of the differentiated Tensors does not require grad: inputs[{i}] of shape {tuple(t.shape)}"
            )
    found = run_backward(results, grads, retain, bool(create_graph), {_edge(t) for t in leaves})
    answer: list[Any] = []
    for i, t in enumerate(leaves):
        g = found.get(_edge(t))
        if g is None:
            if materialize_grads:
                g = t.new_zeros(t._data.shape)
            elif not allow_unused:
                raise RuntimeError(
                    f"One of the differentiated Tensors appears to not have been used in the graph: inputs[{i}] of "
                    f"shape {tuple(t.shape)}. Set allow_unused=True if this is the desired behavior."
                )
        answer.append(g)
    return tuple(answer)


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        from fastnn._tensor.tensor import Tensor

        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """The old name of Tensor: ``Variable(x)`` is a tensor over the same memory.

    >>> import fastnn
    >>> fastnn.autograd.Variable(fastnn.ones(1), requires_grad=True)
    tensor([1.], requires_grad=True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Any:
        from fastnn._tensor.tensor import Tensor

        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)


class set_detect_anomaly:
    """Switch the search for NaN on or off, permanently or for a block; see :class:`detect_anomaly`."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = dict(anomaly)
        switch_anomaly(enabled=bool(mode), check_nan=bool(check_nan))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        switch_anomaly(enabled=self.before["enabled"], check_nan=self.before["check_nan"])


class detect_anomaly(set_detect_anomaly):
    """A block that looks for NaN and names the layer; everything in it runs eagerly, and slowly.

    A backward pass raises RuntimeError for a gradient with NaN, naming the operation, as in PyTorch. The error, in a
    note, and a warning name the layer of the operation, and the first layer whose output had NaN or infinity.

    A step of :func:`fastnn.compile_step` or :func:`fastnn.fit` raises a RuntimeError, which is a FloatingPointError
    too, at the first NaN or infinity in its input, in the output of a layer, in the loss, in a gradient or in an
    updated parameter. It names the layer and the step, in ``fit`` also the epoch and the batch.

    >>> import fastnn, warnings
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 2), fastnn.nn.ReLU())
    >>> _ = model[0].weight.data.fill_(float("inf"))
    >>> sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
    >>> step = fastnn.compile_step(model, fastnn.nn.MSELoss(), sgd)
    >>> with fastnn.autograd.set_detect_anomaly(True):
    ...     step(fastnn.ones(1, 2), fastnn.zeros(1, 2))
    Traceback (most recent call last):
    fastnn._core.errors.AnomalyError: step 1: layer '0' (Linear) made infinity in the forward pass
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.before = dict(anomaly)
        switch_anomaly(enabled=True, check_nan=self.check_nan)


def is_anomaly_enabled() -> bool:
    """Whether a backward pass looks for NaN."""
    return anomaly["enabled"]


def gradcheck(func: Callable[..., Any], inputs: Any, **options: Any) -> bool:
    """Compare the gradient of ``func`` with finite differences; see :func:`fastnn.autograd.checks.gradcheck`."""
    from fastnn.autograd import checks

    return checks.gradcheck(func, inputs, **options)


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """As ``gradcheck``, for the gradient of the gradient."""
    from fastnn.autograd import checks

    return checks.gradgradcheck(func, inputs, grad_outputs, **options)


def _profiler_enabled() -> bool:
    """Whether a profile of ``fastnn.profiler`` is recording in this thread."""
    from fastnn.autograd import profiler

    return bool(profiler.active_profiles())


def __getattr__(name: str) -> Any:
    # Imported on first use: few programs need it.
    if name in ("functional", "checks", "grad_mode", "graph", "profiler", "profiler_util", "variable"):
        import importlib

        return importlib.import_module(f"fastnn.autograd.{name}")
    raise AttributeError(f"module 'fastnn.autograd' has no attribute {name!r}")
