"""Derivatives of functions: ``torch.autograd.functional``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from fastnn._autograd.modes import enable_grad
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.autograd import grad, one_pass

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _single_or_tuple(name: str, what: str, verb: str, value: Any) -> tuple[Any, ...]:
    """A tensor, or a tuple, as a tuple."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, Tensor):
        return (value,)
    raise TypeError(
        f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the given "
        f"{what.split()[0]} {verb} type {type(value)}."
    )


def _prepared(name: str, inputs: Any, create_graph: bool) -> tuple[tuple[Tensor, ...], bool]:
    """The inputs as tensors to differentiate, and whether they were a single tensor."""
    given = _single_or_tuple(name, "inputs", "have", inputs)
    for t in given:
        if not isinstance(t, Tensor):
            raise TypeError(
                f"The inputs given to {name} must be either a Tensor or a tuple of Tensors but the given inputs "
                f"contain {type(t).__name__}"
            )
    made = [t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in given]
    return tuple(made), isinstance(inputs, Tensor)


def _called(name: str, func: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], bool]:
    with enable_grad():
        outputs = func(*inputs)
    results = _single_or_tuple(name, "outputs of the user-provided function", "have", outputs)
    for t in results:
        if not isinstance(t, Tensor):
            raise TypeError(
                f"The outputs of the user-provided function given to {name} must be either a Tensor or a tuple of "
                f"Tensors but the given outputs contain {type(t).__name__}"
            )
    return results, isinstance(outputs, Tensor)


def _one_or_all(values: Any, one: bool) -> Any:
    return values[0] if one else tuple(values)


def _seeds(name: str, v: Any, like: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0]._data.size != 1:
            raise RuntimeError(
                f"The vector v can only be None if the user-provided function's {what} is a single number, found "
                f"shapes {[tuple(t.shape) for t in like]}"
            )
        return (_wrap(np.ones_like(like[0]._data)),)
    given = _single_or_tuple(name, "v", "has", v)
    if len(given) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}.")
    for i, (g, t) in enumerate(zip(given, like, strict=True)):
        if g._data.shape != t._data.shape:
            raise ShapeError(
                f"Entry {i} in v has invalid size: should be {list(t._data.shape)} but got {list(g._data.shape)}."
            )
    return given


def _gradients(
    outputs: Any, inputs: tuple[Tensor, ...], seeds: Any, create_graph: bool, strict: bool, retain: bool = False
) -> list[Tensor]:
    """``grad``, with zeros for inputs that an output does not depend on."""
    pairs = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
    if strict and len(pairs) < len(outputs):
        raise RuntimeError(
            "The output of the user-provided function is independent of the input. This is not allowed in strict "
            "mode."
        )
    if not pairs:
        return [_wrap(np.zeros_like(t._data)) for t in inputs]
    found = grad(
        [o for o, _ in pairs], inputs, [s for _, s in pairs], retain_graph=retain or create_graph,
        create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    if strict and any(g is None for g in found):
        raise RuntimeError(
            "The output of the user-provided function is independent of an input. This is not allowed in strict mode."
        )
    return [_wrap(np.zeros_like(t._data)) if g is None else g for g, t in zip(found, inputs, strict=True)]


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The result of ``func``, and ``v`` times its Jacobian.

    >>> import fastnn
    >>> fastnn.autograd.functional.vjp(lambda x: x * x, fastnn.tensor([1.0, 2.0]), fastnn.ones(2))[1]
    tensor([2., 4.])
    """
    x, one = _prepared("vjp", inputs, create_graph)
    outputs, one_out = _called("vjp", func, x)
    found = _gradients(outputs, x, _seeds("vjp", v, outputs, "output"), create_graph, strict)
    results = outputs if create_graph else [o.detach() for o in outputs]
    return _one_or_all(results, one_out), _one_or_all(found, one)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The result of ``func``, and its Jacobian times ``v``, by differentiating the linear map ``u -> u J``."""
    x, _ = _prepared("jvp", inputs, create_graph)
    weights = _seeds("jvp", v, x, "input")
    outputs, one_out = _called("jvp", func, x)
    u = [_wrap(np.zeros_like(o._data)).requires_grad_() for o in outputs]
    with enable_grad():
        products = _gradients(outputs, x, u, True, strict)
    found = _gradients(products, tuple(u), weights, create_graph, False)
    results = outputs if create_graph else [o.detach() for o in outputs]
    return _one_or_all(results, one_out), _one_or_all(found, one_out)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivative of each element of the result by each element of the inputs.

    Args:
        func: returns a tensor, or a tuple of tensors.
        inputs: a tensor or several.
        create_graph: record the computation, for higher derivatives.
        strict: whether a result that does not depend on an input is a RuntimeError.
        vectorize: one backward pass for all elements of the result instead of one for each; see ``torch.func.vmap``.
        strategy: 'reverse-mode', or with ``vectorize`` 'forward-mode', which is accepted and computed in the same way.

    Returns: a tensor of shape (*output, *input); a tuple of them for several inputs, and a tuple of
    these tuples for several outputs.

    >>> import fastnn
    >>> fastnn.autograd.functional.jacobian(lambda x: x * x, fastnn.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    from fastnn.ops.joining import stack

    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            f'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode". Got '
            f"{strategy}"
        )
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` are not supported '
            'together (yet). Please either set `create_graph=False` or `strategy="reverse-mode"`.'
        )
    if strategy == "forward-mode" and strict:
        raise RuntimeError(
            'torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not supported '
            'together (yet). Please either set `strict=False` or `strategy="reverse-mode"`.'
        )
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for "
            "`vectorize=True`."
        )
    if vectorize and strict:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    if vectorize and not one_pass:
        # It fills in `one_pass`. This file may not know it.
        import_module("fastnn.func")
    x, one = _prepared("jacobian", inputs, create_graph)
    outputs, one_out = _called("jacobian", func, x)
    rows: list[Any] = []
    for out in outputs:
        if vectorize and out.requires_grad and out._data.size > 1 and one_pass:
            seeds = _wrap(np.eye(out._data.size, dtype=out._data.dtype).reshape(-1, *out._data.shape))
            with enable_grad():
                by_rows = grad(out, x, seeds, True, create_graph, allow_unused=True, is_grads_batched=True)
                rows.append(_one_or_all([
                    _wrap(np.zeros((*out._data.shape, *t._data.shape), t._data.dtype)) if g is None
                    else g.reshape(*out._data.shape, *t._data.shape)
                    for g, t in zip(by_rows, x, strict=True)
                ], one))  # fmt: skip
            continue
        found: list[list[Tensor]] = []
        for k in range(out._data.size):
            seed = np.zeros_like(out._data)
            seed.reshape(-1)[k] = 1
            found.append(_gradients([out], x, [_wrap(seed)], create_graph, strict, retain=True))
        blocks = []
        for j, t in enumerate(x):
            shape = (*out._data.shape, *t._data.shape)
            if not found:
                blocks.append(_wrap(np.zeros(shape, t._data.dtype)))
            else:
                blocks.append(stack([row[j] for row in found]).reshape(shape))
        rows.append(_one_or_all(blocks, one))
    return _one_or_all(rows, one_out)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function with a scalar result.

    >>> import fastnn
    >>> fastnn.autograd.functional.hessian(lambda x: (x**3).sum(), fastnn.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """

    def gradient(*x: Tensor) -> Any:
        return jacobian(_scalar(func), x, create_graph=True, strict=strict)

    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    result = jacobian(
        gradient, _single_or_tuple("hessian", "inputs", "have", inputs), create_graph=create_graph, strict=strict,
        vectorize=vectorize, strategy=outer_jacobian_strategy,
    )  # fmt: skip
    return result[0][0] if isinstance(inputs, Tensor) else result


def _scalar(func: Callable[..., Any]) -> Callable[..., Tensor]:
    def checked(*x: Tensor) -> Tensor:
        out = func(*x)
        if not isinstance(out, (Tensor, tuple)):
            _single_or_tuple("hessian", "outputs of the user-provided function", "have", out)
        if not isinstance(out, Tensor) or out._data.size != 1:
            found = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise RuntimeError(
                f"The Tensor returned by the function given to hessian should contain a single element, found {found}"
            )
        return out.reshape(())

    return checked


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The result of ``func``, and ``v`` times its second derivatives."""
    x, one = _prepared("vhp", inputs, create_graph)
    weights = _seeds("vhp", v, x, "input")
    outputs, _ = _called("vhp", _scalar(func), x)
    with enable_grad():
        first = _gradients(outputs, x, [_wrap(np.ones_like(o._data)) for o in outputs], True, strict)
    found = _gradients(first, x, weights, create_graph, False)
    return outputs[0] if create_graph else outputs[0].detach(), _one_or_all(found, one)


# The second derivatives are symmetric.
hvp = vhp
