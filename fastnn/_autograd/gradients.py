"""``backward`` of tensors: its initial gradients, and the pass itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastnn._autograd.engine import Edge, run_backward
from fastnn._core.errors import ShapeError

if TYPE_CHECKING:
    from fastnn._tensor.tensor import Tensor


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """One tensor or several; several may come from an iterator, such as ``model.parameters()``."""
    return (value,) if hasattr(value, "_data") or not isinstance(value, Iterable) else tuple(value)


def _all_of(tensors: Any) -> tuple[Any, ...]:
    """One tensor or several; TypeError for what is neither."""
    return (tensors,) if hasattr(tensors, "_data") else tuple(tensors)


def _edge(t: Tensor) -> Edge:
    return t._origin or t


def _output_grads(outputs: Sequence[Tensor], grads: Any, batched: bool = False) -> list[Tensor]:
    """The gradients of ``outputs``: those given, or 1 for a single element."""
    given = (None,) * len(outputs) if grads is None else _as_tuple(grads)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    made: list[Tensor] = []
    for i, (out, g) in enumerate(zip(outputs, given, strict=True)):
        if g is None:
            if not out.requires_grad:
                raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
            if out._data.size != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs: output "
                    f"{i} has shape {tuple(out.shape)}, give its gradient"
                )
            made.append(out.new_ones(out._data.shape))
            continue
        if not hasattr(g, "_data"):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        shape = g._data.shape[1:] if batched else g._data.shape
        if shape != out._data.shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {tuple(g.shape)} and output[{i}] has a shape of "
                f"{tuple(out.shape)}"
            )
        if not out.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g._data.dtype.kind == "c":
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in "
                f"dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a dtype of {out.dtype}."
            )
        made.append(g if g._data.dtype == out._data.dtype else g.to(out.dtype))
    return made


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Accumulate the sum of the gradients of ``tensors`` into the leaves.

    Args:
        tensors: one or several tensors.
        grad_tensors: the gradient of each; optional for tensors of one element, where it is 1.
        retain_graph: keep what the operations saved, for a second backward pass; as ``create_graph`` if None.
        create_graph: record the computation of the gradients, so that they can be differentiated.
        grad_variables: the older name of ``grad_tensors``.
        inputs: accumulate into these only: a tensor, several, or a dictionary of tensors.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    >>> fastnn.autograd.backward([(x * x).sum(), (3 * x).sum()])
    >>> x.grad
    tensor([5., 7.])
    """
    outputs = _all_of(tensors)
    grads = _output_grads(outputs, grad_variables if grad_tensors is None else grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        run_backward(outputs, grads, bool(retain), bool(create_graph))
        return
    wanted = _all_of(inputs.values() if type(inputs) is dict else inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    for i, t in enumerate(wanted):
        if not t.requires_grad:
            raise RuntimeError(
                f"One of the differentiated Tensors does not require grad: inputs[{i}] of shape {tuple(t.shape)}"
            )
    edges = {_edge(t) for t in wanted}
    found = run_backward(outputs, grads, bool(retain), bool(create_graph), edges, accumulate=True)
    for t in wanted:
        if t._node is not None and t._node in found and not t.retains_grad:
            t._accumulate_grad(found[t._node])
            # From now on it keeps its gradient, as in PyTorch.
            t.retain_grad()
