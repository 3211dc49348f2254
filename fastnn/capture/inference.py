"""``compile_inference``: a frozen copy of a model whose calls are replays, in float32 or in 8-bit integers.

It uses the recordings of ``auto``, without the calls that are counted first and without guards: nothing changes a
copy. The weights are packed once, the arrays between input and output belong to the recording, and a call allocates its
output and nothing else. Weights of float32 keep their order: rows by input features take 1.25 times as long at
256x784x256 on a Zen 3, and 1.3 times at 1x784x256.
"""

from __future__ import annotations

import copy
from typing import Any

from fastnn._autograd.modes import no_grad
from fastnn._core.settings import check_precision
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.auto import _LARGE, _PIECE, _CallSite, run_in_pieces
from fastnn.capture.recording import Recording
from fastnn.kernels.runtime import thread_count
from fastnn.nn.container import Sequential
from fastnn.nn.module import Module

# A batch whose intermediate arrays take more is computed without a recording.
_MOST_BYTES = 2**30
# Recordings for other shapes than this many are dropped, the oldest first.
_MOST_SHAPES = 64


class _Site(_CallSite):
    """Calls of one kind: the first one is recorded."""

    most_bytes = _MOST_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.retry = 1

    def recording(self, model: Module, inputs: tuple[Tensor, ...]) -> Recording | None:
        try:
            return self.free.pop()  # type: ignore[return-value]  # no checkouts without gradients
        except IndexError:
            return super().recording(model, inputs)


class CompiledInference:
    """A model for inference; called as the model is, it returns tensors without gradients.

    ``compile_inference`` makes it. It may be called by several threads at once.
    """

    def __init__(self, model: Module, precision: str, by_rows: bool) -> None:
        self.precision = precision
        # Always with a submodule, so that a single layer is replaced, too.
        self.model: Module = copy.deepcopy(model) if model._modules else Sequential(copy.deepcopy(model))
        if precision == "int8":
            from fastnn.ao.quantization.quantize import quantize_dynamic

            quantize_dynamic(self.model, inplace=True, by_rows=by_rows)
        self.model.eval().requires_grad_(False)
        self._sites: dict[tuple[Any, ...], _Site] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """The output for these inputs; the first call of each shape makes a recording."""
        with no_grad():
            for t in inputs:
                if type(t) is not Tensor:
                    return self.model.forward(*inputs)
            if len(inputs) == 1 and len(inputs[0]._data.shape) == 2 and len(inputs[0]._data) >= _LARGE:
                found = self._in_pieces(inputs[0])
                if found is not None:
                    return found
            site = self._site(inputs)
            recording = site.recording(self.model, inputs)
            if recording is None:
                return self.model.forward(*inputs)
            try:
                outs = recording.run(inputs)
            finally:
                site.free.append(recording)
            if outs is None:
                return self.model.forward(*inputs)
            return _wrap(outs[0]) if recording.many is None else recording.many(map(_wrap, outs))

    def _site(self, inputs: tuple[Tensor, ...]) -> _Site:
        key = (thread_count._threads, *[(t._data.shape, t._data.dtype) for t in inputs])
        site = self._sites.get(key)
        if site is None:
            while len(self._sites) >= _MOST_SHAPES:
                self._sites.pop(next(iter(self._sites)), None)
            site = self._sites[key] = _Site()
        return site

    def _in_pieces(self, input: Tensor) -> Tensor | None:
        """The output for a large batch, piece by piece; None if its rows depend on each other."""
        x = input._data
        if not (x.flags.c_contiguous and x.flags.aligned):
            return None
        piece = (_wrap(x[:_PIECE]),)
        site = self._site(piece)
        recording = site.recording(self.model, piece)
        if recording is None:
            return None
        try:
            return run_in_pieces(recording, x, self) if recording.is_by_rows() else None
        finally:
            site.free.append(recording)

    def explain(self) -> str:
        """One line for each shape that was called: whether it is replayed, and why not."""
        lines = []
        for (_, *inputs), site in self._sites.items():
            shapes = ", ".join(f"{dtype} of shape {shape}" for shape, dtype in inputs)
            lines.append(f"captured for {shapes}" if site.made else f"eager for {shapes}: {site.reason}")
        return "\n".join(lines) or "not called yet"

    def __repr__(self) -> str:
        return f"CompiledInference(precision={self.precision!r}, model={self.model!r})"


def compile_inference(
    model: Module, example: Tensor | tuple[Tensor, ...] | None = None, precision: str = "float32", *,
    by_rows: bool = False,
) -> CompiledInference:  # fmt: skip
    """A frozen copy of a model for inference, in evaluation mode.

    Later changes of ``model`` do not reach it. Each call is a replay that allocates its output and nothing else; in
    "int8" one row runs on one thread. A model that cannot be captured runs eagerly, and ``explain()`` of the result
    says why.

    Args:
        model: of any modules.
        example: a batch, or a tuple of inputs, of the shape of later calls, to make the recording now.
        precision: "float32" for the numbers of the model itself; "int8" quantizes its linear layers as
            ``quantize_dynamic`` does; "bf16" or "medium" allows products in bfloat16, and is float32 on a CPU without
            instructions for them, as all CPUs are for now.
        by_rows: with "int8", each row of the input of a layer has a scale of its own: the output for a row does not
            depend on the batch, and large batches stay in the caches.

    Raises: TypeError for a ``model`` that is no Module; ValueError for another ``precision``.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> predict = fastnn.compile_inference(model, fastnn.zeros(5, 4), precision="int8")
    >>> predict(fastnn.ones(5, 4)).shape
    torch.Size([5, 2])
    >>> predict.explain()
    'captured for float32 of shape (5, 4)'
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, found {type(model).__name__}")
    check_precision(precision, ("float32", "bf16", "medium", "int8"))
    made = CompiledInference(model, precision, by_rows)
    if example is not None:
        made(*(example if isinstance(example, tuple) else (example,)))
    return made
