"""``vmap``: a function of one element, called once for a whole batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastnn._functorch.activate import prepare
from fastnn._functorch.batched import BatchedTensor, Level, front, is_in, running, wrapped
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.torch_function import release
from fastnn.nn.module import without_recordings
from fastnn.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten


@contextmanager
def batch(size: int, randomness: str) -> Iterator[Level]:
    """A block in which tensors may be elements of a batch."""
    prepare()
    before = running.levels
    level = Level(size, randomness, len(before) + 1)
    running.levels = [*before, level]
    try:
        # A recording has no elements of a batch.
        with without_recordings():
            yield level
    finally:
        running.levels = before
        release()


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """A function that applies ``func`` to each element of a batch, and stacks the results.

    ``func`` is called once, with tensors that stand for one element and hold the batch: its operations compute all
    elements at once. An operation without a rule for batches is called once for each element, and a UserWarning says
    so, once for each operation.

    Args:
        func: returns tensors.
        in_dims: the dimension of the batch in each argument, None for the same value in each call: an int for all
            of them, or a structure of ints.
        out_dims: the dimension of the batch in each result: an int for all of them, or a structure of ints.
        randomness: 'different' and 'same' allow random operations, with other or the same numbers for each element.
        chunk_size: how many elements are computed at once; None for all of them.

    Raises: ValueError for other arguments, dimensions and results; RuntimeError for a random operation without
        leave, for ``item()`` and branches by the numbers of a tensor, for results whose shape depends on the numbers,
        and for writing a batch into a tensor that is none.

    >>> import fastnn
    >>> fastnn.func.vmap(fastnn.dot)(fastnn.ones(2, 3), fastnn.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", repr(func))
    title = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, spec, dims, size = _flattened(title, in_dims, args)

        def call(parts: list[Any], count: int) -> Any:
            with batch(count, randomness) as level:
                given = [t if d is None else wrapped(t, level) for t, d in zip(parts, dims, strict=True)]
                found = func(*tree_unflatten(given, spec), **kwargs)
                return _results(name, found, out_dims, level)

        moved = [t if d is None or d == 0 else t.movedim(d, 0) for t, d in zip(leaves, dims, strict=True)]
        if chunk_size is None or chunk_size >= size:
            return call(moved, size)
        made = []
        for start in range(0, size, chunk_size):
            count = min(chunk_size, size - start)
            made.append(call(
                [t if d is None else t.narrow(0, start, count) for t, d in zip(moved, dims, strict=True)], count
            ))  # fmt: skip
        return _joined(made, out_dims)

    return wrapper


def _flattened(title: str, in_dims: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any, list[Any], int]:
    """The leaves of arguments, their structure and dimensions of the batch, and its size."""
    if not isinstance(in_dims, (int, tuple, list)):
        if in_dims is None:
            raise ValueError(f"{title}: at least one input must be mapped: every in_dim is None")
        raise ValueError(
            f"{title}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of "
            f"inputs, got: {type(in_dims)}."
        )
    leaves, spec = tree_flatten(args)
    if not leaves:
        raise ValueError(
            f"{title}: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function "
            "with no inputs. The latter is unsupported."
        )
    dims = _broadcast_to_and_flatten(tuple(in_dims) if isinstance(in_dims, list) else in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{title}: in_dims is not compatible with the structure of `inputs`: found in_dims={in_dims} for {spec}"
        )
    dims = [_checked_dim(title, leaf, d) for leaf, d in zip(leaves, dims, strict=True)]
    sizes = [leaf.shape[d] for leaf, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError(f"{title}: at least one input must be mapped: every in_dim is None")
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return leaves, spec, dims, sizes[0]


def _checked_dim(title: str, leaf: Any, dim: Any) -> int | None:
    if dim is None:
        return None
    if not isinstance(dim, int):
        raise ValueError(
            f"{title}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
        )
    if not isinstance(leaf, Tensor):
        raise ValueError(
            f"{title}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over "
            "non-Tensor arguments, please use None as the respective in_dim"
        )
    ndim = leaf.ndim
    if not -ndim <= dim < ndim:
        raise ValueError(
            f"{title}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {ndim} so "
            f"expected in_dim to satisfy -{ndim} <= in_dim < {ndim}."
        )
    return dim % ndim


def _results(name: str, found: Any, out_dims: Any, level: Level) -> Any:
    leaves, spec = tree_flatten(found)
    if isinstance(out_dims, tuple) and len(out_dims) == 1 and spec.is_leaf():
        out_dims = out_dims[0]
    dims = _broadcast_to_and_flatten(out_dims, spec)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims}): out_dims is not compatible with the structure of the outputs"
        )
    made = []
    for leaf, dim in zip(leaves, dims, strict=True):
        if not isinstance(leaf, Tensor):
            if dim is not None:
                raise ValueError(
                    f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(leaf)}. Did you mean "
                    "to set out_dims= to None for output?"
                )
            made.append(leaf)
        elif dim is None:
            if is_in(leaf, level):
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            made.append(leaf)
        else:
            value = front(leaf, level)
            if not -value.ndim <= dim < value.ndim:
                raise IndexError(
                    f"Dimension out of range (expected to be in range of [{-value.ndim}, {value.ndim - 1}], but got "
                    f"{dim})"
                )
            made.append(value if dim % value.ndim == 0 else value.movedim(0, dim))
    return tree_unflatten(made, spec)


def _joined(chunks: list[Any], out_dims: Any) -> Any:
    """The results of chunks of a batch, as one."""
    from fastnn.ops.joining import cat

    flat = [tree_flatten(chunk) for chunk in chunks]
    spec = flat[0][1]
    if isinstance(out_dims, tuple) and len(out_dims) == 1 and spec.is_leaf():
        out_dims = out_dims[0]
    dims: Any = _broadcast_to_and_flatten(out_dims, spec)
    columns = [[leaves[j] for leaves, _ in flat] for j in range(len(dims))]
    return tree_unflatten([c[0] if d is None else cat(c, d) for c, d in zip(columns, dims, strict=True)], spec)


def to_all_levels(t: Any, levels: tuple[Level, ...]) -> Any:
    """The value of a tensor for all elements of nested batches, the dimension of the outermost one in front."""
    for level in reversed(levels):
        t = front(t, level)
    return t


def from_all_levels(value: Any, levels: tuple[Level, ...]) -> Any:
    """The reverse of :func:`to_all_levels`."""
    for level in levels:
        value = wrapped(value, level)
    return value


def unbatched(t: Any) -> Any:
    """The tensor that holds the numbers of an element of a batch; the tensor itself if it is none."""
    while type(t) is BatchedTensor:
        t = t._value
    return t
