"""``torch.func``: derivatives and batches of functions.

A function of tensors goes in, another function comes out: ``grad(f)`` is the gradient of ``f``, ``vmap(f)`` applies
``f`` to each element of a batch. They nest. Arguments and results may be nested tuples, lists and dictionaries of
tensors. Derivatives are those of the tape, to any order; forward derivatives are computed by differentiating the
backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn._autograd.modes import _mode, enable_grad
from fastnn._core.errors import ArgumentError
from fastnn._functorch.gradients import gradients_of_elements
from fastnn._functorch.vmap import from_all_levels, to_all_levels, unbatched, vmap
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.torch_function import running
from fastnn.nn.module import Module, without_recordings
from fastnn.nn.normalization import BatchNorm1d
from fastnn.ops.creation import eye, ones_like, zeros_like
from fastnn.utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "linearize", "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


# -- Trees of tensors ---------------------------------------------------------------------------


def _all_tensors(name: str, leaves: list[Any], what: str) -> None:
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ArgumentError(f"{name}: expected {what} only tensors, got unsupported type {type(leaf)}")


# -- One level of differentiation -----------------------------------------------------------------


class _Level:
    """The inputs of one function that is differentiated: new leaves, or aliases if they have a history themselves."""

    def __init__(self, inputs: list[Any]) -> None:
        self.outer = _mode.enabled
        # The calls of `vmap` around this one: there is one gradient for each element of the batch, and the inputs of
        # all elements are different tensors.
        self.batches = tuple(running.levels)
        self.inputs: list[Tensor] = []
        with enable_grad():
            for t in map(self.plain, inputs):
                if t.requires_grad and self.outer:
                    self.inputs.append(t.view_as(t))
                else:
                    self.inputs.append(t.detach().requires_grad_())
        self.own = {id(t) for t in self.inputs if t._node is None}

    def plain(self, t: Any) -> Any:
        """A tensor with the dimensions of all batches in front."""
        return to_all_levels(t, self.batches) if self.batches else t

    def element(self, t: Any) -> Any:
        """The reverse of ``plain``: an element of the batches."""
        return from_all_levels(t, self.batches) if self.batches else t

    def depends_on_others(self, tensors: Iterable[Any]) -> bool:
        """Whether tensors have a history that begins outside of this level."""
        if not self.outer:
            return False
        seen: set[int] = set()
        stack: list[Any] = [t._origin or unbatched(t) for t in tensors if isinstance(t, Tensor) and t.requires_grad]
        while stack:
            edge = stack.pop()
            if edge is None or id(edge) in seen:
                continue
            seen.add(id(edge))
            if isinstance(edge, Tensor):
                if id(edge) not in self.own:
                    return True
            elif not getattr(edge, "edges", ()):
                return True
            else:
                stack += edge.edges
        return False

    def result(self, value: Any) -> Any:
        """A result as the caller gets it: without a history, unless that begins outside."""
        if not isinstance(value, Tensor) or not value.requires_grad or self.depends_on_others([value]):
            return value
        return value.detach()

    def gradients(self, outputs: list[Any], seeds: list[Any], retain: bool, create: bool) -> list[Any]:
        """The gradients of the inputs, zeros where an output does not depend on them."""
        pairs = [(self.plain(o), s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
        found = gradients_of_elements(
            [o for o, _ in pairs], self.inputs, [s for _, s in pairs], self.batches, retain or create, create
        )
        return [
            self.element(_wrap(np.zeros_like(t._data))) if g is None else g if create else g.detach()
            for g, t in zip(found, self.inputs, strict=True)
        ]


# All positions, also if there are none.
_ALL = object()


def _chosen(argnums: Any, args: tuple[Any, ...]) -> tuple[list[int], bool]:
    """The positions to differentiate by, and whether it is one."""
    if argnums is _ALL:
        return list(range(len(args))), False
    if not (isinstance(argnums, int) or (isinstance(argnums, tuple) and all(isinstance(n, int) for n in argnums))):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if argnums == ():
        raise RuntimeError("argnums must be non-empty, found ()")
    given = argnums if isinstance(argnums, tuple) else (argnums,)
    for n in given:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    found = [n % len(args) for n in given]
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return found, isinstance(argnums, int)


class _Called:
    """A call of a function with new inputs at some positions."""

    def __init__(
        self, name: str, func: Callable[..., Any], argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any],
        has_aux: bool,
    ) -> None:  # fmt: skip
        positions, self.one = _chosen(argnums, args)
        leaves, self.spec = tree_flatten([args[n] for n in positions])
        _all_tensors(name, leaves, "the arguments to differentiate by to be")
        for leaf in leaves:
            if not leaf.is_floating_point():
                raise ArgumentError(f"only Tensors of floating point dtype can require gradients, found {leaf.dtype}")
        self.level = _Level(leaves)
        given = list(args)
        elements = map(self.level.element, self.level.inputs)
        for n, part in zip(positions, tree_unflatten(elements, self.spec), strict=True):
            given[n] = part
        self.aux: Any = None
        with enable_grad():
            out = func(*given, **kwargs)
        if has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise RuntimeError(
                    f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True, found "
                    f"{type(out).__name__}"
                )
            out, aux = out
            self.aux = tree_map(self.level.result, aux)
        self.out = out

    def by_argument(self, values: Iterable[Any]) -> Any:
        """Values for the inputs, in the structure of the arguments."""
        parts = tree_unflatten(values, self.spec)
        return parts[0] if self.one else tuple(parts)


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of ``func`` and its value.

    Args:
        func: returns a tensor without dimensions; a tuple of it and anything else if ``has_aux``.
        argnums: the positions of the arguments to differentiate by.
        has_aux: whether the value is followed by other results: the function returns (gradient, (value, aux)).

    Raises: RuntimeError, when the function is called, for another result or position.

    >>> import fastnn
    >>> fastnn.func.grad_and_value(lambda x: (x * x).sum())(fastnn.tensor([1.0, 2.0]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        name = "grad_and_value(f)(*args)"
        called = _Called(name, func, argnums, args, kwargs, has_aux)
        out, level = called.out, called.level
        if not isinstance(out, Tensor):
            raise RuntimeError(f"{name}: Expected f(*args) to return a Tensor, got {type(out)}")
        if out.ndim:
            raise RuntimeError(
                f"{name}: Expected f(*args) to return a scalar Tensor, got tensor with {out.ndim} dims. Maybe "
                "you wanted to use the vjp or jacrev APIs instead?"
            )
        outside = level.depends_on_others([out])
        found = level.gradients([out], [ones_like(out)], has_aux or outside, outside)
        gradient = called.by_argument(map(level.result, found) if outside else found)
        value = out if outside else out.detach()
        return (gradient, (value, called.aux)) if has_aux else (gradient, value)

    return wrapper


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``func``, in the structure of its argument.

    Args:
        func: returns a tensor without dimensions; a tuple of it and anything else if ``has_aux``.
        argnums: the positions of the arguments to differentiate by; a tuple of gradients for a tuple.
        has_aux: whether the value is followed by other results: the function returns (gradient, aux).

    Raises: RuntimeError, when the function is called, for another result or position.

    >>> import fastnn
    >>> fastnn.func.grad(lambda x: x**3)(fastnn.tensor(2.0))
    tensor(12.)
    >>> fastnn.func.grad(fastnn.func.grad(lambda x: x**3))(fastnn.tensor(2.0))
    tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of ``func``, and a function from cotangents of the value to a tuple of those of the arguments.

    Args:
        func: returns tensors; a tuple of these and anything else if ``has_aux``.
        primals: the arguments.
        has_aux: whether to return (value, function, aux).

    Raises: RuntimeError for results that are no tensors, and for cotangents of another structure or shape.

    >>> import fastnn
    >>> value, pull = fastnn.func.vjp(lambda x: x * x, fastnn.tensor([1.0, 2.0]))
    >>> pull(fastnn.ones(2))
    (tensor([2., 4.]),)
    """
    called = _Called("vjp(f, *primals)", func, _ALL, primals, {}, has_aux)
    level = called.level
    outputs, spec = tree_flatten(called.out)
    _all_tensors("vjp(f, *primals)", outputs, "f(*primals) to return")
    outside = level.depends_on_others(outputs)

    def wrapper(cotangents: Any) -> Any:
        seeds, found = tree_flatten(cotangents)
        if found != spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function, found {found} and {spec}"
            )
        for i, (s, o) in enumerate(zip(seeds, outputs, strict=True)):
            if s.shape != o.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {s.shape} and output[{i}] has a shape of "
                    f"{o.shape}."
                )
        create = outside or (_mode.enabled and any(s.requires_grad for s in seeds))
        grads = level.gradients(outputs, seeds, True, create)
        return called.by_argument(map(level.result, grads) if create else grads)

    value = tree_unflatten(map(level.result, outputs), spec)
    return (value, wrapper, called.aux) if has_aux else (value, wrapper)


class _Push:
    """The linear map from tangents of the arguments of a function to those of its value.

    It is the derivative of the backward pass by the gradient ``u`` that goes in: that pass is linear in ``u``.
    """

    def __init__(self, name: str, func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool) -> None:
        self.called = _Called(name, func, _ALL, primals, {}, has_aux)
        level = self.level = self.called.level
        self.outputs, self.spec = tree_flatten(self.called.out)
        _all_tensors(name, self.outputs, "f(*primals) to return")
        plain = list(map(level.plain, self.outputs))
        with enable_grad():
            self.u = [_wrap(np.zeros_like(o._data)).requires_grad_() for o in plain]
        level.own.update(map(id, self.u))
        self.outside = level.depends_on_others(self.outputs)
        self.products = level.gradients(self.outputs, list(map(level.element, self.u)), True, True)

    def value(self) -> Any:
        return tree_unflatten(map(self.level.result, self.outputs), self.spec)

    def __call__(self, tangents: Any) -> Any:
        seeds, spec = tree_flatten(list(tangents))
        if spec != self.called.spec:
            raise RuntimeError(
                "jvp(f, primals, tangents): Expected primals and tangents to have the same python structure, found "
                f"{self.called.spec} and {spec}"
            )
        level = self.level
        for s, t in zip(seeds, level.inputs, strict=True):
            size = t.shape[len(level.batches) :]
            if s.shape != size:
                raise RuntimeError(
                    "jvp(f, primals, tangents): a tangent has a different size than its primal: Tensor is of size "
                    f"{list(size)} while the given forward gradient is of size {list(s.shape)}."
                )
        create = self.outside or (_mode.enabled and any(s.requires_grad for s in seeds))
        pairs = [(level.plain(p), s) for p, s in zip(self.products, seeds, strict=True) if p.requires_grad]
        found = gradients_of_elements(
            [p for p, _ in pairs], self.u, [s for _, s in pairs], level.batches, True, create
        )
        parts = [
            level.element(_wrap(np.zeros_like(u._data))) if g is None else g for g, u in zip(found, self.u, strict=True)
        ]
        return tree_unflatten(map(level.result if create else _detached, parts), self.spec)


def _detached(t: Any) -> Any:
    return t.detach()


def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The value of ``func``, and its derivative in the direction of ``tangents``.

    Args:
        func: returns tensors; a tuple of these and anything else if ``has_aux``.
        primals: a tuple of the arguments.
        tangents: a tuple of the same structure and shapes.
        strict: accepted; a value that does not depend on the arguments has the derivative 0.
        has_aux: whether to return (value, derivative, aux).

    Raises: RuntimeError for other structures and shapes.

    >>> import fastnn
    >>> fastnn.func.jvp(lambda x: x * x, (fastnn.tensor([1.0, 2.0]),), (fastnn.tensor([1.0, 0.0]),))
    (tensor([1., 4.]), tensor([2., 0.]))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals). "
            f"Found {type(primals).__name__}"
        )
    push = _Push("jvp(f, primals, tangents)", func, primals, has_aux)
    found = push(tangents)
    return (push.value(), found, push.called.aux) if has_aux else (push.value(), found)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of ``func``, and the function of tangents that ``jvp`` computes, without calling ``func`` again.

    >>> import fastnn
    >>> value, push = fastnn.func.linearize(lambda x: x * x, fastnn.tensor([1.0, 2.0]))
    >>> push(fastnn.tensor([1.0, 0.0]))
    tensor([2., 0.])
    """
    push = _Push("linearize(f, *primals)", func, primals, False)
    return push.value(), lambda *tangents: push(tangents)


def jacrev(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False,
    chunk_size: int | None = None, _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:  # fmt: skip
    """A function that returns the derivatives of each element of the value by each element of the arguments.

    There is one backward pass for all elements of the value, a batch of them; see ``vmap``.

    Args:
        func: returns tensors; a tuple of these and anything else if ``has_aux``.
        argnums: the positions of the arguments to differentiate by.
        has_aux: whether the function returns (derivatives, aux).
        chunk_size: for how many elements of the value the derivatives are computed at once; None for all of them.

    Shape: (*value, *argument), in the structure of the value, and in each of its places that of the arguments.

    >>> import fastnn
    >>> fastnn.func.jacrev(lambda x: x * x)(fastnn.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"jacrev: `chunk_size` should be greater than 0, found {chunk_size}.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        called = _Called("jacrev(f)(*args)", func, argnums, args, kwargs, has_aux)
        level = called.level
        outputs, spec = tree_flatten(called.out)
        _all_tensors("jacrev(f)(*args)", outputs, "f(*args) to return")
        outside = level.depends_on_others(outputs)
        rows = []
        for out in outputs:
            shape, count = tuple(out.shape), out.numel()

            def of_seed(seed: Any, out: Any = out) -> Any:
                return level.gradients([out], [seed], True, outside)

            with enable_grad():
                if count == 1:
                    found = [g.unsqueeze(0) for g in of_seed(ones_like(out))]
                elif count:
                    seeds = eye(count, dtype=out.dtype).reshape(count, *shape)
                    found = vmap(of_seed, chunk_size=chunk_size)(seeds)
                else:
                    found = [g.unsqueeze(0)[:0] for g in map(level.element, level.inputs)]
                blocks = [level.result(g.reshape(*shape, *g.shape[1:])) for g in found]
            rows.append(called.by_argument(blocks))
        result = tree_unflatten(rows, spec)
        return (result, called.aux) if has_aux else result

    return wrapper


def jacfwd(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """As ``jacrev``: the same derivatives, computed by ``vmap`` of ``jvp``, one column of them for each element.

    Args:
        func, argnums, has_aux: as for ``jacrev``.
        randomness: as for ``vmap``.

    >>> import fastnn
    >>> fastnn.func.jacfwd(lambda x: x * x)(fastnn.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        positions, one = _chosen(argnums, args)
        leaves, spec = tree_flatten([args[n] for n in positions])
        _all_tensors("jacfwd(f)(*args)", leaves, "the arguments to differentiate by to be")

        def of_leaves(*given: Any) -> Any:
            changed = list(args)
            for n, part in zip(positions, tree_unflatten(given, spec), strict=True):
                changed[n] = part
            return func(*changed, **kwargs)

        push = _Push("jacfwd(f)(*args)", of_leaves, tuple(leaves), has_aux)
        with enable_grad():
            columns = []
            for k, leaf in enumerate(leaves):
                count = leaf.numel()

                def of_seed(seed: Any, k: int = k) -> Any:
                    return tree_flatten(push([seed if i == k else zeros_like(t) for i, t in enumerate(leaves)]))[0]

                seeds = eye(count, dtype=leaf.dtype).reshape(count, *leaf.shape)
                found = vmap(of_seed, randomness=randomness)(seeds)
                columns.append([
                    push.level.result(g.movedim(0, -1).reshape(*g.shape[1:], *leaf.shape)) for g in found
                ])
        rows = []
        for parts in zip(*columns, strict=True):
            made = tree_unflatten(parts, spec)
            rows.append(made[0] if one else tuple(made))
        result = tree_unflatten(rows, push.spec)
        return (result, push.called.aux) if has_aux else result

    return wrapper


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the second derivatives of ``func``: ``jacfwd(jacrev(func))``.

    >>> import fastnn
    >>> fastnn.func.hessian(lambda x: (x**3).sum())(fastnn.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


# -- Modules --------------------------------------------------------------------------------------


def functional_call(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """Call a module with other tensors in place of its parameters and buffers, which stay as they are.

    Args:
        module: the module.
        parameter_and_buffer_dicts: a dictionary from names to tensors, or several of them with different names.
        args: the positional argument, or a tuple of them.
        kwargs: the keyword arguments.
        tie_weights: whether a parameter that the module has under several names is replaced under all of them.
        strict: whether each name of the module must be there, and no other.

    Raises: RuntimeError if ``strict`` does not hold; ValueError for names that are in several dictionaries.

    >>> import fastnn
    >>> layer = fastnn.nn.Linear(2, 1)
    >>> tensors = {"weight": fastnn.ones(1, 2), "bias": fastnn.zeros(1)}
    >>> fastnn.func.functional_call(layer, tensors, fastnn.tensor([1.0, 2.0]))
    tensor([3.])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        tensors = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, (tuple, list)):
        tensors = {}
        for part in parameter_and_buffer_dicts:
            if not isinstance(part, dict):
                found = type(part).__name__
                raise ValueError(
                    f"Expected all elements of parameter_and_buffer_dicts to be dictionaries, found {found}"
                )
            repeated = sorted(tensors.keys() & part.keys())
            if repeated:
                raise ValueError(
                    f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
                )
            tensors.update(part)
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    places = _places(module)
    if strict:
        missing, unknown = sorted(places.keys() - tensors.keys()), sorted(tensors.keys() - places.keys())
        if missing or unknown:
            lines = [f"Error(s) in reparametrizing for {type(module).__name__}:"]
            lines += [f"\tUnexpected key(s): {', '.join(map(repr, unknown))}."] if unknown else []
            lines += [f"\tMissing key(s): {', '.join(map(repr, missing))}."] if missing else []
            raise RuntimeError("\n".join(lines))
    tensors = {name: t for name, t in tensors.items() if name in places}
    if tie_weights:
        given = {id(places[name][0][places[name][1]]): t for name, t in tensors.items()}
        for name, (registry, key) in places.items():
            if name not in tensors and registry[key] is not None and id(registry[key]) in given:
                tensors[name] = given[id(registry[key])]
    before = [(registry, key, registry[key]) for registry, key in map(places.__getitem__, tensors)]
    try:
        for name, tensor in tensors.items():
            registry, key = places[name]
            registry[key] = tensor
        given_args = () if args is None else args if isinstance(args, tuple) else (args,)
        # A recording would have the module's own parameters.
        with without_recordings():
            return module(*given_args, **(kwargs or {}))
    finally:
        for (registry, key, old), name in zip(before, tensors, strict=True):
            changed = registry.get(key)
            if changed is not tensors[name] and isinstance(parameter_and_buffer_dicts, dict):
                # The call gave a buffer another tensor: the caller finds it in the dictionary.
                parameter_and_buffer_dicts[name] = changed
            registry[key] = old


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where the parameters and buffers are, by name; those that are None, too."""
    found = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for registry in (part._parameters, part._buffers):
            for key, value in registry.items():
                if value is not None:
                    found[f"{prefix}.{key}" if prefix else key] = (registry, key)
    return found


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of several models of one class, each stacked, and their buffers: an ensemble for ``vmap``.

    Args:
        models: modules of the same class and structure, all training or none.

    Raises: RuntimeError for other modules.

    >>> import fastnn
    >>> models = [fastnn.nn.Linear(2, 1) for _ in range(3)]
    >>> params, buffers = fastnn.func.stack_module_state(models)
    >>> params["weight"].shape
    torch.Size([3, 1, 2])
    >>> def one(params, x):
    ...     return fastnn.func.functional_call(models[0], params, x)
    >>> fastnn.func.vmap(one, in_dims=(0, None))(params, fastnn.ones(4, 2)).shape
    torch.Size([3, 4, 1])
    """
    from fastnn.ops.joining import stack

    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(m.training for m in models) and not all(m.training for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode, found training="
            f"{[m.training for m in models]}"
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to be of the same class, found "
            f"{sorted({type(m).__name__ for m in models})}"
        )
    stacked = []
    for tables in ([dict(m.named_parameters()) for m in models], [dict(m.named_buffers()) for m in models]):
        table = {}
        for name in tables[0]:
            made = stack([t[name].detach() for t in tables])
            table[name] = made.requires_grad_(tables[0][name].requires_grad)
        stacked.append(table)
    return stacked[0], stacked[1]


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Make all batch normalizations of a module use the statistics of each batch, and keep none; the module itself.

    >>> import fastnn
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 3), fastnn.nn.BatchNorm1d(3))
    >>> list(dict(fastnn.func.replace_all_batch_norm_modules_(model).named_buffers()))
    []
    """
    for module in root.modules():
        if isinstance(module, BatchNorm1d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return root


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """The tensor of all elements of a batch, from one inside of ``vmap``; another tensor as it is.

    Args:
        recurse: also out of the calls of ``vmap`` around the innermost one.
    """
    return unbatched(tensor) if recurse or not tensor._is_batch else tensor._value


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """The function itself: there are no graphs here from which to remove changes in place."""
    return func
