"""``torch.nn.parallel.distributed``: a copy of the model in each process, with the mean of all gradients."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from fastnn import distributed
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributed.collectives import all_of, as_tensor, broadcast_all, reduced
from fastnn.distributed.join import Join, Joinable, JoinHook
from fastnn.distributed.process_group import ProcessGroup
from fastnn.distributed.shared_memory import SharedRows, shared_rows
from fastnn.kernels.runtime import launcher
from fastnn.kernels.runtime.host_calls import HostCall
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter, is_lazy

__all__ = ["DistributedDataParallel"]

_LINE = 64
_BACKWARD = "the backward pass of DistributedDataParallel"


class _Sync:
    """How the ranks of a model communicate.

    Args:
        group: the processes.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        # What the sum of the gradients is divided by.
        self.divisor = group.size()
        self.hook: tuple[Any, Callable[..., Any]] | None = None


class _Buffers:
    """The copy of rank 0's buffers before a forward pass.

    Args:
        sync: of the model.
        arrays: of the buffers.
    """

    def __init__(self, sync: _Sync, arrays: list[np.ndarray]) -> None:
        self._sync = sync
        self.layout = [(array.shape, array.dtype) for array in arrays]
        size = sum(-(-array.nbytes // 8) * 8 for array in arrays)
        self._shared = shared_rows(sync.group._communicator, size, np.dtype(np.uint8), is_whole=True)
        # As of a bucket: no circle of references.
        copy = functools.partial(_Buffers.copy, weakref.proxy(self), 0)
        self.call = HostCall("distributed.broadcast", copy, tuple(range(len(arrays))))

    def copy(self, root: int, *arrays: np.ndarray) -> None:
        """Copy the numbers of rank ``root``."""
        group = self._sync.group
        if self._shared is not None:
            self._shared.copy_from(root, arrays, "the forward pass of DistributedDataParallel", group._timeout)
        else:
            broadcast_all(arrays, root, group, "DistributedDataParallel")


class GradBucket:
    """The gradients of one dtype, for a communication hook."""

    def __init__(self, row: np.ndarray, index: int, is_last: bool, reducer: _Gradients) -> None:
        self._buffer, self._index, self._is_last, self._reducer = as_tensor(row), index, is_last, reducer

    def buffer(self) -> Tensor:
        """All of them in one row; there are zeros between them."""
        return self._buffer

    def set_buffer(self, tensor: Tensor) -> None:
        """Replace the row."""
        self._buffer = tensor

    def index(self) -> int:
        """The number of the bucket."""
        return self._index

    def is_last(self) -> bool:
        """Whether it is the last one of the step."""
        return self._is_last

    def parameters(self) -> list[Parameter]:
        """The parameters that it belongs to."""
        return list(self._reducer.parameters)

    def gradients(self) -> list[Tensor]:
        """The gradients as views of the row."""
        row, found = self._buffer._data, []
        for p, at in zip(self._reducer.parameters, self._reducer.starts, strict=True):
            found.append(as_tensor(row[at : at + p._data.size].reshape(p._data.shape)))
        return found


class _Gradients:
    """The gradients of the parameters of one dtype, as one row of numbers.

    All ranks send the same layout: the parameters in order, each rounded up to a cache line, as the flat buffer has
    them. Where the gradients lie in the buffer like that, the row is the buffer itself; otherwise it is a copy.
    """

    def __init__(self, parameters: list[Parameter], sync: _Sync, index: int, is_last: bool) -> None:
        self.parameters, self._sync, self._index, self._is_last = parameters, sync, index, is_last
        self.dtype = parameters[0]._data.dtype
        line = _LINE // self.dtype.itemsize
        self.starts, at = [], 0
        for p in parameters:
            self.starts.append(at)
            at += -(-p._data.size // line) * line
        self.size = at
        self._slots: list[Any] = []
        self._row: np.ndarray | None = None
        self._packed: np.ndarray | None = None
        # Made by all ranks together at the first mean: one rank may copy the model.
        self._shared: SharedRows | None = None
        self._is_shared = sync.group.size() > 1
        # A reference to the bucket itself would be a circle, which keeps the parameters until a garbage collection.
        self.call = HostCall("distributed.mean", functools.partial(_Gradients.into_mean, weakref.proxy(self)), (0,))

    def into_mean(self, row: np.ndarray) -> None:
        """Replace a row of gradients by the mean of all ranks' rows."""
        found = self.mean(row)
        if found is not row:
            row[...] = found

    def mean(self, row: np.ndarray) -> np.ndarray:
        """The mean of all ranks' rows, in place unless a hook returns another array."""
        sync, group = self._sync, self._sync.group
        if sync.hook is not None:
            state, hook = sync.hook
            # A hook may compute with tensors: nothing of it belongs to a recording.
            with launcher.unwatched():
                future = hook(state, GradBucket(row, self._index, self._is_last, self))
                result = future.wait() if hasattr(future, "wait") else future
            if isinstance(result, (list, tuple)):
                result = result[0]
            found: np.ndarray = result._data
            return found if found.dtype == row.dtype else found.astype(row.dtype)
        if self._is_shared and self._shared is None:
            self._shared = shared_rows(group._communicator, self.size, self.dtype)
            self._is_shared = self._shared is not None
        if self._shared is not None:
            self._shared.mean(row, sync.divisor, _BACKWARD, group._timeout)
        elif group.size() > 1:
            reduced(row, "SUM", group, _BACKWARD)
            row /= sync.divisor
        return row

    def in_place(self) -> np.ndarray | None:
        """The flat buffer's part with exactly these gradients, or None."""
        parameters = self.parameters
        for p in parameters:
            grad = p._grad
            if grad is None or grad._data is not p._grad_place:
                return None
        if len(self._slots) != len(parameters) or any(
            p._slot is not slot for p, slot in zip(parameters, self._slots, strict=True)
        ):
            self._slots = [p._slot for p in parameters]
            first, chunk = self._slots[0].start, self._slots[0].chunk
            fits = all(
                slot.chunk is chunk and slot.start == first + at
                for slot, at in zip(self._slots, self.starts, strict=True)
            )
            self._row = chunk.grads[first : first + self.size] if fits else None
        return self._row

    def packed(self) -> np.ndarray:
        """A copy of the gradients; zeros where there is none."""
        if self._packed is None:
            self._packed = np.zeros(self.size, self.dtype)
        for p, at in zip(self.parameters, self.starts, strict=True):
            part = self._packed[at : at + p._data.size]
            part[...] = 0 if p._grad is None else p._grad._data.reshape(-1)
        return self._packed

    def unpack(self, row: np.ndarray, used: Sequence[bool]) -> None:
        """Write the row back to the gradients of the parameters that are used; those without one get one."""
        for p, at, is_used in zip(self.parameters, self.starts, used, strict=True):
            if not is_used:
                continue
            part = row[at : at + p._data.size].reshape(p._data.shape)
            if p._grad is None:
                p._grad = _wrap(part.copy())
            else:
                p._grad._data[...] = part


def _tensors(value: Any) -> Iterable[Tensor]:
    """The tensors in an output: in tuples, lists, dictionaries and data classes."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


class _JoinHook(JoinHook):
    """A model's part of the others' iterations: zeros for its gradients."""

    def __init__(self, model: DistributedDataParallel, by_initial_size: bool) -> None:
        self.model = model
        model._by_initial_size = by_initial_size

    def main_hook(self) -> None:
        model = self.model
        if model._agree(is_active=False):
            # The gradients are left alone: the parameters come from the last rank.
            model._reduce_zeros()

    def post_hook(self, is_last_joiner: bool) -> None:
        model, group = self.model, self.model.process_group
        last = all_of([is_last_joiner], group, "join")[:, 0]
        model._broadcast(int(np.flatnonzero(last)[-1]))


class DistributedDataParallel(Module, Joinable):
    """Train copies of a module in several processes: each backward pass ends with the mean of all gradients.

    The processes are those of ``init_process_group``. Parameters and buffers start as those of rank 0. The gradients
    are one flat buffer, and one all-reduce at the end of the backward pass. ``N`` ranks with a batch of ``B`` samples
    then take the step of one process with ``N * B`` samples, if the loss is a mean.

    Args:
        module: the same on all ranks; ``state_dict`` has it under 'module', as in PyTorch.
        device_ids, output_device, dim: must be None, or empty: there is only the CPU.
        broadcast_buffers: copy the buffers of rank 0 before each forward pass.
        init_sync: copy rank 0's parameters and buffers, and check that the shapes agree.
        process_group: by default all processes.
        find_unused_parameters: let backward passes leave parameters out. Those that no rank has used keep their
            gradient.
        bucket_cap_mb, check_reduction, gradient_as_bucket_view, static_graph, delay_all_reduce_named_params,
            param_to_hook_all_reduce, mixed_precision, device_mesh, skip_all_reduce_unused_params: accepted; the
            gradients are one buffer already. ``static_graph`` implies ``find_unused_parameters``.

    Raises: ValueError before ``init_process_group``, or for devices; RuntimeError if no parameter requires a
        gradient, if the shapes differ between ranks, or, in the backward pass, if a parameter gets no gradient.

    >>> import fastnn
    >>> fastnn.distributed.init_process_group("gloo", rank=0, world_size=1)
    >>> model = fastnn.nn.parallel.DistributedDataParallel(fastnn.nn.Linear(2, 1))
    >>> model(fastnn.ones(1, 2)).sum().backward()
    >>> model.module.weight.grad
    tensor([[1., 1.]])
    >>> fastnn.distributed.destroy_process_group()
    """

    # A captured step reads them when it communicates, or never.
    _unguarded: ClassVar[frozenset[str]] = frozenset((
        "process_group", "device", "_names", "_trained", "_ignored", "_sync", "_buckets", "_before", "_buffer_copy",
        "require_forward_param_sync",
    ))  # fmt: skip

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: Any = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
    ) -> None:
        super().__init__()
        group = distributed.process_group.member(process_group)
        if group is None:
            raise ValueError("process_group must have this process as a member")
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(name, p) for name, p in module.named_parameters() if name not in ignored]
        trained = [(name, p) for name, p in named if p._requires_grad]
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters that require a "
                "gradient."
            )
        if device_ids or output_device is not None:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with GPU modules, but fastnn "
                f"computes on the CPU: found device_ids {device_ids}, output_device {output_device}"
            )
        if any(is_lazy(p) for _, p in named):
            raise RuntimeError(
                "Modules with uninitialized parameters can't be used with `DistributedDataParallel`. Run a dummy "
                "forward pass to correctly initialize the modules"
            )
        self.process_group, self.dim, self.broadcast_buffers = group, dim, broadcast_buffers
        self.device_ids, self.output_device, self.device = None, None, named[0][1].device
        self.find_unused_parameters = find_unused_parameters or static_graph
        self.static_graph, self.gradient_as_bucket_view = static_graph, gradient_as_bucket_view
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self.module = module
        self._names = [name for name, _ in trained]
        self._trained = [p for _, p in trained]
        self._ignored, self._by_initial_size = ignored, True
        if init_sync:
            self._check_shapes(named)
            self._broadcast(0)
        self._make_buckets()

    def _make_buckets(self) -> None:
        kinds: dict[np.dtype, list[Parameter]] = {}
        for p in self._trained:
            kinds.setdefault(p._data.dtype, []).append(p)
        self._sync = _Sync(self.process_group)
        last = len(kinds) - 1
        self._buckets = [_Gradients(same, self._sync, i, i == last) for i, same in enumerate(kinds.values())]
        self._buffer_copy: _Buffers | None = None
        # The gradients before a backward pass, and their versions.
        self._before: list[tuple[Any, int]] = []

    # -- Parameters and buffers -----------------------------------------------------------------

    def _check_shapes(self, named: list[tuple[str, Parameter]]) -> None:
        own = [(name, tuple(p._data.shape), str(p.dtype), p._requires_grad) for name, p in named]
        every: list[Any] = [None] * self.process_group.size()
        distributed.all_gather_object(every, own, self.process_group)
        for rank, theirs in enumerate(every):
            if theirs == every[0]:
                continue
            if len(theirs) != len(every[0]):
                raise RuntimeError(
                    f"DDP expects same model across all ranks, but rank 0 has {len(every[0])} params, while rank "
                    f"{rank} has inconsistent {len(theirs)} params."
                )
            first = next((a, b) for a, b in zip(every[0], theirs, strict=True) if a != b)
            raise RuntimeError(
                f"DDP expects same model across all ranks: rank 0 has {first[0]}, rank {rank} {first[1]}"
            )

    def _synced_buffers(self) -> list[Tensor]:
        return [b for name, b in self.module.named_buffers() if name not in self._ignored and b is not None]

    def _broadcast(self, root: int, buffers_only: bool = False) -> None:
        """Copy rank ``root``'s parameters and buffers."""
        tensors: list[Tensor] = self._synced_buffers()
        if not buffers_only:
            tensors += [p for name, p in self.module.named_parameters() if name not in self._ignored]
        if tensors and self.process_group.size() > 1:
            arrays = [t._data for t in tensors]
            if not buffers_only:
                broadcast_all(arrays, root, self.process_group, "DistributedDataParallel")
            else:
                known = self._buffer_copy
                if known is None or known.layout != [(array.shape, array.dtype) for array in arrays]:
                    capture_state.stop("the buffers of DistributedDataParallel are copied for the first time")
                    self.__dict__["_buffer_copy"] = known = _Buffers(self._sync, arrays)
                if root:
                    known.copy(root, *arrays)
                else:
                    launcher.call(known.call, *arrays)
            if self.process_group.rank() != root:
                for t in tensors:
                    t._memory.version = t._memory.version_to_write() + 1

    # -- Forward -------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The result of the module."""
        if not capture_state.is_step():
            capture_state.stop("DistributedDataParallel communicates")
        if self._join_config[0]:
            Join.notify_join_context(self)
            self._agree(is_active=True)
        elif self._syncs_buffers():
            self._broadcast(0, buffers_only=True)
        output = self.module(*inputs, **kwargs)
        # Not by __setattr__, which is a change of the module to captures.
        self.__dict__["require_forward_param_sync"] = self._syncs_gradients()
        if self.require_forward_param_sync:
            for t in _tensors(output):
                if t.requires_grad:
                    t.register_hook(self._reached)
        return output

    def _syncs_gradients(self) -> bool:
        return _mode.enabled and self.require_backward_grad_sync

    def _syncs_buffers(self) -> bool:
        return self.require_forward_param_sync and self.broadcast_buffers and bool(self._synced_buffers())

    @contextmanager
    def no_sync(self) -> Generator[None]:
        """A block whose passes keep the gradients of this rank: they are summed up until the next pass after it."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    # -- Backward ------------------------------------------------------------------------------

    def _reached(self, grad: Any) -> None:
        """Called when a backward pass reaches an output."""
        at_end = _mode.at_end
        if at_end is not None and id(self) not in at_end:
            found = [p._grad for p in self._trained]
            self.__dict__["_before"] = [(grad, 0 if grad is None else grad._memory.version) for grad in found]
            at_end[id(self)] = self._reduce

    def _used(self) -> list[bool]:
        """Which parameters the backward pass has given a gradient."""
        before, self.__dict__["_before"] = self._before, []
        return [
            p._grad is not None and (p._grad is not grad or p._grad._memory.version != version)
            for p, (grad, version) in zip(self._trained, before, strict=True)
        ]

    def _reduce(self) -> None:
        """Replace the gradients by their means; called at the end of a backward pass."""
        used = self._used()
        if not any(used) and not self.find_unused_parameters:
            # A pass of `autograd.grad`, which leaves them alone.
            return
        if self.find_unused_parameters:
            used = self._used_by_any(used)
        else:
            missing = [name for name, p in zip(self._names, self._trained, strict=True) if p._grad is None]
            if missing:
                raise RuntimeError(
                    f"DistributedDataParallel: the backward pass gave no gradient to {', '.join(missing)}: pass "
                    "find_unused_parameters=True, or make sure that all outputs of forward take part in the loss"
                )
        by_parameter = {id(p): is_used for p, is_used in zip(self._trained, used, strict=True)}
        for bucket in self._buckets:
            row = bucket.in_place()
            if row is not None:
                launcher.call(bucket.call, row)
                continue
            capture_state.stop("the gradients of DistributedDataParallel are not in their place")
            # Those that no rank has used keep what they have, unless all are written at once.
            bucket.unpack(bucket.mean(bucket.packed()), [by_parameter[id(p)] for p in bucket.parameters])
        for p in self._trained:
            if p._grad is not None:
                p._grad._memory.version += 1

    def _used_by_any(self, used: Sequence[bool]) -> list[bool]:
        capture_state.stop("with find_unused_parameters the ranks agree on them in each step")
        marks = np.array(used, np.int32)
        reduced(marks, "MAX", self.process_group, "the backward pass of DistributedDataParallel")
        return [bool(mark) for mark in marks]

    def register_comm_hook(self, state: Any, hook: Callable[..., Any]) -> None:
        """Replace the mean of the gradients by ``hook(state, bucket)``, which returns a future of the new row.

        Args:
            state: passed to the hook.
            hook: gets a bucket with ``buffer()``, ``gradients()``, ``parameters()``, ``index()`` and ``is_last()``.

        Raises: TypeError if it cannot be called; RuntimeError if there is one already.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self._sync.hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self._sync.hook = state, hook

    # -- Uneven inputs -------------------------------------------------------------------------

    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False
    ) -> Join:
        """A block in which ranks may have different numbers of batches.

        A rank without batches contributes zeros to the others' gradients. At the end all ranks get the parameters of
        one that had the most batches.

        Args:
            divide_by_initial_world_size: divide the sum of the gradients by the number of all ranks; otherwise by
                the number of those that still have batches.
            enable: False if the batches are known to be even.
            throw_on_early_termination: raise RuntimeError on all ranks once one of them has no batches left.
        """
        return Join([self], enable, throw_on_early_termination,
                    divide_by_initial_world_size=divide_by_initial_world_size)  # fmt: skip

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook of a :class:`Join`."""
        return _JoinHook(self, kwargs.get("divide_by_initial_world_size", True))

    @property
    def join_process_group(self) -> ProcessGroup:
        """The processes."""
        return self.process_group

    def _agree(self, is_active: bool) -> bool:
        """Tell the other ranks whether this one has a batch and trains on it; return whether gradients are reduced."""
        mine = [is_active, is_active and self._syncs_gradients(), is_active and self._syncs_buffers()]
        active, gradients, buffers = all_of(mine, self.process_group, "join").T
        if buffers.any():
            self._broadcast(int(np.flatnonzero(active)[-1]), buffers_only=True)
        size = self.process_group.size()
        self._sync.divisor = size if self._by_initial_size else max(int(active.sum()), 1)
        return bool(gradients.any())

    def _reduce_zeros(self) -> None:
        """Take part in a reduction of the others."""
        if self.find_unused_parameters:
            # As in PyTorch, a parameter that nobody uses gets zeros then.
            self._used_by_any([True] * len(self._trained))
        for bucket in self._buckets:
            bucket.mean(np.zeros(bucket.size, bucket.dtype))

    def __getstate__(self) -> Any:
        """State for ``copy`` and ``pickle``, without the group: the copy gets the group of all processes."""
        left_out = ("process_group", "_sync", "_buckets", "_buffer_copy", "_before")
        return {name: value for name, value in super().__getstate__().items() if name not in left_out}

    def __setstate__(self, state: Any) -> None:
        """Restore the result of ``__getstate__``."""
        super().__setstate__(state)
        self.__dict__["process_group"] = distributed.process_group.world()
        self._make_buckets()
