"""The functions of ``torch.distributed`` that send tensors."""

from __future__ import annotations

import datetime
import enum
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.errors import NoTensorError
from fastnn._core.settings import are_deterministic_algorithms_enabled
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributed.communicator import Pending, Steps
from fastnn.distributed.process_group import ProcessGroup, get_group_rank, get_process_group_ranks, member
from fastnn.kernels.runtime import allocation


class ReduceOp(enum.Enum):
    """The reductions of ``all_reduce``, ``reduce`` and ``reduce_scatter``; AVG divides the sum by the world size."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class Work:
    """An operation with ``async_op=True``; its tensors may be used after ``wait()``."""

    def __init__(self, pending: Pending, timeout: float, result: Any = None) -> None:
        self._pending, self._timeout, self._result = pending, timeout, result
        self._source = -1

    def wait(self, timeout: datetime.timedelta | None = None) -> bool:
        """Wait until it is complete.

        Raises: RuntimeError after the time limit, or if a rank that it needs has left.
        """
        self._pending.wait(self._timeout if not timeout else timeout.total_seconds())
        return True

    def is_completed(self) -> bool:
        """Whether it is complete; goes on with it."""
        return self._pending.test()

    is_success = is_completed

    def exception(self) -> None:
        """None: errors are raised by ``wait``."""

    def result(self) -> Any:
        """The tensors that it changes."""
        return self._result

    def source_rank(self) -> int:
        """The rank that was received from."""
        return self._source

    def get_future(self) -> Any:
        """A future of the tensors that it changes; waits for them."""
        from fastnn.futures import Future

        future: Any = Future()
        self.wait()
        future.set_result(self._result)
        return future

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._pending.name}>"


def _array(name: str, tensor: Any) -> np.ndarray:
    if not isinstance(tensor, Tensor):
        raise NoTensorError(f"Invalid function argument. Expected parameter `{name}` to be a Tensor, found "
                            f"{type(tensor).__name__}")  # fmt: skip
    return tensor._data


def _flat(array: np.ndarray) -> np.ndarray:
    """The numbers in one row: the memory itself if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1)


def _changed(tensor: Tensor) -> None:
    tensor._memory.version = tensor._memory.version_to_write() + 1


class _Target:
    """The memory of a tensor that an operation changes, in one row; copied back at the end if it is not contiguous."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.row = _flat(tensor._data)
        self.is_copy = not (tensor._data.flags.c_contiguous and tensor._data.flags.writeable)
        if self.is_copy and self.row.base is not None:
            self.row = self.row.copy()
        _changed(tensor)

    def finish(self) -> None:
        """Copy the numbers back."""
        if self.is_copy:
            self.tensor._data[...] = self.row.reshape(self.tensor._data.shape)


def _run(
    name: str, group: ProcessGroup, steps: Steps, then: Callable[[], None] | None, async_op: bool, result: Any
) -> Work | None:
    communicator = group._communicator
    work = Work(Pending(name, steps, communicator.ranks, communicator.faults, then), group._timeout, result)
    if async_op:
        return work
    work.wait()
    return None


def _group(group: Any) -> ProcessGroup | None:
    capture_state.stop("processes communicate")
    return member(group)


def _root(group: ProcessGroup, name: str, rank: int | None, group_rank: int | None, default: int | None = None) -> int:
    """The number in the group of the process that ``src`` or ``dst`` names."""
    if rank is not None and group_rank is not None:
        raise ValueError(f"Can't specify both {name} and group_{name}")
    if group_rank is not None:
        found = int(group_rank)
    elif rank is None and default is None:
        raise ValueError(f"Must specify {name} or group_{name}")
    elif hasattr(group, "_members"):
        return get_group_rank(group, int(rank if rank is not None else group._members[default or 0]))
    else:
        found = int(rank if rank is not None else default or 0)
    if not 0 <= found < group.size():
        raise ValueError(f"{name} must be a rank from 0 to {group.size() - 1}, found {found}")
    return found


def _reduction(op: Any, *arrays: np.ndarray) -> str:
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op must be a ReduceOp, found {type(op).__name__}")
    for array in arrays:
        if op is ReduceOp.AVG and array.dtype.kind not in "fc":
            raise RuntimeError(f"ReduceOp.AVG needs floating point numbers, found {array.dtype}")
        if op.name.startswith("B") and array.dtype.kind not in "iub":
            raise RuntimeError(f"ReduceOp.{op.name} needs integers, found {array.dtype}")
        if op in (ReduceOp.MIN, ReduceOp.MAX) and array.dtype.kind == "c":
            raise RuntimeError(f"all_reduce does not support {op} on complex tensors")
    return op.name


def _check_same(name: str, arrays: Sequence[np.ndarray], dtype: np.dtype, size: int) -> None:
    for array in arrays:
        if array.dtype != dtype:
            raise TypeError(f"Invalid usage of tensors with different dtypes: found {dtype} and {array.dtype}")
        if array.size != size:
            raise ValueError(f"{name} must have {size} numbers, found {array.size}")


def _list_of(name: str, tensors: Any, count: int) -> list[np.ndarray]:
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` to be a list of Tensors, found "
                        f"{type(tensors).__name__}")  # fmt: skip
    if len(tensors) != count:
        raise ValueError(f"{name} must have one tensor for each of the {count} ranks, found {len(tensors)}")
    return [_array(name, tensor) for tensor in tensors]


def _write_parts(row: np.ndarray, tensors: Sequence[Tensor]) -> None:
    for part, tensor in zip(row.reshape(len(tensors), -1), tensors, strict=True):
        _changed(tensor)
        tensor._data[...] = part.reshape(tensor._data.shape)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
    """Replace the numbers of a tensor by their reduction over all ranks.

    With ``use_deterministic_algorithms(True)`` the numbers are reduced in the order of the ranks: the bits do not
    depend on the MPI library.

    Args:
        tensor: of the same shape and dtype on all ranks; changed in place.
        op: a :class:`ReduceOp`.
        group: by default all processes.
        async_op: return at once, with a :class:`Work` to wait for.

    Raises: ValueError before ``init_process_group``; RuntimeError for an ``op`` that the dtype does not have.

    >>> import fastnn
    >>> dist = fastnn.distributed
    >>> dist.init_process_group()
    >>> t = fastnn.ones(2)
    >>> dist.all_reduce(t, dist.ReduceOp.AVG)
    >>> t
    tensor([1., 1.])
    >>> dist.destroy_process_group()
    """
    found = _group(group)
    name = _reduction(op, _array("tensor", tensor))
    if found is None:
        return None
    target, size = _Target(tensor), found.size()

    def finish() -> None:
        if op is ReduceOp.AVG:
            np.divide(target.row, size, out=target.row)
        target.finish()

    steps = found._communicator.all_reduce(target.row, name, are_deterministic_algorithms_enabled())
    return _run("all_reduce", found, steps, finish, async_op, [tensor])


def reduce(
    tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Replace the numbers of rank ``dst``'s tensor by their reduction over all ranks; the others keep theirs."""
    found = _group(group)
    name = _reduction(op, _array("tensor", tensor))
    if found is None:
        return None
    root = _root(found, "dst", dst, group_dst)
    target, size = _Target(tensor), found.size()

    def finish() -> None:
        if op is ReduceOp.AVG and found.rank() == root:
            np.divide(target.row, size, out=target.row)
        target.finish()

    steps = found._communicator.reduce(target.row, name, root, are_deterministic_algorithms_enabled())
    return _run("reduce", found, steps, finish, async_op, [tensor])


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Any:
    """Copy rank ``src``'s numbers to all ranks."""
    found = _group(group)
    _array("tensor", tensor)
    if found is None:
        return None
    target = _Target(tensor)
    steps = found._communicator.broadcast(target.row, _root(found, "src", src, group_src))
    return _run("broadcast", found, steps, target.finish, async_op, [tensor])


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
    """Put the tensors of all ranks into a list, on all ranks.

    Args:
        tensor_list: one tensor for each rank, which is written to.
        tensor: of the same shape and dtype on all ranks.
    """
    found = _group(group)
    array = _array("tensor", tensor)
    if found is None:
        return None
    outs = _list_of("tensor_list", tensor_list, found.size())
    _check_same("tensor_list", outs, array.dtype, array.size)
    row = allocation.empty(array.size * found.size(), array.dtype)
    steps = found._communicator.all_gather(_flat(array), row)
    return _run("all_gather", found, steps, lambda: _write_parts(row, tensor_list), async_op, tensor_list)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Put the tensors of all ranks into one tensor, on all ranks.

    Args:
        output_tensor: as many numbers as all inputs together: joined, or stacked, along the first dimension.
        input_tensor: of the same shape and dtype on all ranks.
    """
    found = _group(group)
    array, out = _array("input_tensor", input_tensor), _array("output_tensor", output_tensor)
    if found is None:
        return None
    _check_same("output_tensor", [out], array.dtype, array.size * found.size())
    target = _Target(output_tensor)
    steps = found._communicator.all_gather(_flat(array), target.row)
    return _run("all_gather_into_tensor", found, steps, target.finish, async_op, [output_tensor])


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Put the tensors of all ranks into a list at rank ``dst``, by default 0; the others give no list."""
    found = _group(group)
    array = _array("tensor", tensor)
    if found is None:
        return None
    root, row = _root(found, "dst", dst, group_dst, 0), None
    outs: list[Tensor] = []
    if found.rank() == root:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        _check_same("gather_list", _list_of("gather_list", gather_list, found.size()), array.dtype, array.size)
        outs, row = gather_list, allocation.empty(array.size * found.size(), array.dtype)
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")

    def finish() -> None:
        if row is not None:
            _write_parts(row, outs)

    return _run("gather", found, found._communicator.gather(_flat(array), row, root), finish, async_op, outs)


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Any:  # fmt: skip
    """Write the tensor ``scatter_list[r]`` of rank ``src``, by default 0, to the tensor of rank ``r``."""
    found = _group(group)
    array, row = _array("tensor", tensor), None
    if found is None:
        return None
    root = _root(found, "src", src, group_src, 0)
    if found.rank() == root:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        parts = _list_of("scatter_list", scatter_list, found.size())
        _check_same("scatter_list", parts, array.dtype, array.size)
        row = np.concatenate([_flat(part) for part in parts])
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    target = _Target(tensor)
    steps = found._communicator.scatter(row, target.row, root)
    return _run("scatter", found, steps, target.finish, async_op, [tensor])


def _reduce_scatter(
    name: str, found: ProcessGroup, output: Tensor, row: np.ndarray, op: ReduceOp, async_op: bool
) -> Any:
    target, size = _Target(output), found.size()

    def finish() -> None:
        if op is ReduceOp.AVG:
            np.divide(target.row, size, out=target.row)
        target.finish()

    steps = found._communicator.reduce_scatter(row, target.row, op.name)
    return _run(name, found, steps, finish, async_op, [output])


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Write the reduction over all ranks of ``input_list[r]`` to the tensor of rank ``r``."""
    found = _group(group)
    array = _array("output", output)
    _reduction(op, array)
    if found is None:
        return None
    parts = _list_of("input_list", input_list, found.size())
    _check_same("input_list", parts, array.dtype, array.size)
    row = np.concatenate([_flat(part) for part in parts])
    return _reduce_scatter("reduce_scatter", found, output, row, op, async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Write part ``r`` of the reduction over all ranks of ``input`` to the tensor of rank ``r``."""
    found = _group(group)
    out, array = _array("output", output), _array("input", input)
    _reduction(op, array)
    if found is None:
        return None
    _check_same("input", [array], out.dtype, out.size * found.size())
    return _reduce_scatter("reduce_scatter_tensor", found, output, _flat(array), op, async_op)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None, group: Any = None, async_op: bool = False,
) -> Any:  # fmt: skip
    """Send part ``r`` of ``input`` to rank ``r``, and write what the ranks send one after the other to ``output``.

    Args:
        output, input: tensors, cut along the first dimension.
        output_split_sizes, input_split_sizes: the lengths of the parts; equal ones by default.
    """
    found = _group(group)
    out, array = _array("output", output), _array("input", input)
    if found is None:
        return None
    size = found.size()
    if out.dtype != array.dtype:
        raise TypeError(f"Invalid usage of tensors with different dtypes: found {out.dtype} and {array.dtype}")
    counts = []
    for name, data, sizes in (("input", array, input_split_sizes), ("output", out, output_split_sizes)):
        rows = data.shape[0] if data.ndim else 1
        if not sizes and rows % size:
            raise RuntimeError(f"Tensor's dim 0 does not divide equally across group size: {name} has {rows} rows")
        parts = list(sizes) if sizes else [rows // size] * size
        if len(parts) != size or sum(parts) != rows:
            raise RuntimeError(f"Split sizes doesn't match total dim 0 size: {name} has {rows} rows, found {parts}")
        counts.append([part * (data.size // max(rows, 1)) for part in parts])
    target = _Target(output)
    split = counts if input_split_sizes or output_split_sizes else (None, None)
    steps = found._communicator.all_to_all(_flat(array), target.row, *split)
    return _run("all_to_all_single", found, steps, target.finish, async_op, [output])


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Any:
    """Send ``input_tensor_list[r]`` to rank ``r``, and write what rank ``r`` sends to ``output_tensor_list[r]``."""
    found = _group(group)
    if found is None:
        return None
    outs = _list_of("output_tensor_list", output_tensor_list, found.size())
    arrays = _list_of("input_tensor_list", input_tensor_list, found.size())
    row = allocation.empty(sum(out.size for out in outs), outs[0].dtype)
    sizes = [out.size for out in outs]

    def finish() -> None:
        for part, tensor in zip(np.split(row, np.cumsum(sizes)[:-1]), output_tensor_list, strict=True):
            _changed(tensor)
            tensor._data[...] = part.reshape(tensor._data.shape)

    joined = np.concatenate([_flat(array) for array in arrays])
    steps = found._communicator.all_to_all(joined, row, [array.size for array in arrays], sizes)
    return _run("all_to_all", found, steps, finish, async_op, output_tensor_list)


def isend(
    tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None
) -> Any:  # fmt: skip
    """Send a tensor to rank ``dst``; returns at once, with a :class:`Work` to wait for."""
    found = _group(group)
    array = _array("tensor", tensor)
    if found is None:
        return None
    steps = found._communicator.send(_flat(array), _root(found, "dst", dst, group_dst), tag)
    return _run("send", found, steps, None, True, [tensor])


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send a tensor to rank ``dst``, which calls ``recv``."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def irecv(
    tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None
) -> Any:  # fmt: skip
    """Receive into a tensor from rank ``src``, or from any; returns at once, with a :class:`Work` to wait for."""
    found = _group(group)
    _array("tensor", tensor)
    if found is None:
        return None
    root = None if src is None and group_src is None else _root(found, "src", src, group_src)
    target = _Target(tensor)
    ranks = get_process_group_ranks(found)
    source: list[int] = []
    steps = found._communicator.receive(target.row, root, tag, lambda rank: source.append(ranks[rank]))
    work: Any = None

    def finish() -> None:
        target.finish()
        if work is not None:
            work._source = source[0]

    work = _run("recv", found, steps, finish, True, [tensor])
    if source:
        work._source = source[0]
    return work


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive into a tensor from rank ``src``, or from any; returns the rank that has sent it."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return int(work.source_rank())


class P2POp:
    """A call of ``isend`` or ``irecv`` for :func:`batch_isend_irecv`.

    Args:
        op: ``isend`` or ``irecv``.
        tensor, peer, group, tag: its arguments.
    """

    def __init__(
        self, op: Any, tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
        group_peer: int | None = None,
    ) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                             "``torch.distributed.irecv``.")  # fmt: skip
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Any]:
    """Start several sends and receives; returns a :class:`Work` for each."""
    return [op.op(op.tensor, op.peer, op.group, op.tag, op.group_peer) for op in p2p_op_list]


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Any:
    """Wait until all ranks are here."""
    found = _group(group)
    if found is None:
        return None
    return _run("barrier", found, found._communicator.barrier(), None, async_op, [])


def monitored_barrier(
    group: Any = None, timeout: datetime.timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """Wait until all ranks are here.

    Raises: RuntimeError if they are not within ``timeout``.
    """
    work = barrier(group, async_op=True)
    if work is not None:
        work.wait(timeout)


def _gathered(found: ProcessGroup, data: bytes) -> list[bytes]:
    """The bytes of all ranks."""
    lengths = np.zeros(found.size(), np.int64)
    communicator = found._communicator
    own = np.array([len(data)])
    _run("all_gather_object", found, communicator.all_gather(own, lengths), None, False, None)
    longest = int(lengths.max())
    row, rows = np.zeros(longest, np.uint8), allocation.empty(longest * found.size(), np.uint8)
    row[: len(data)] = np.frombuffer(data, np.uint8)
    _run("all_gather_object", found, communicator.all_gather(row, rows), None, False, None)
    return [part[:length].tobytes() for part, length in zip(rows.reshape(-1, longest), lengths, strict=True)]


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Put the objects of all ranks into a list, on all ranks; they are pickled.

    Args:
        object_list: as long as there are ranks; its items are replaced.
        obj: any object that can be pickled. Objects are unpickled without a check: ranks trust each other.
    """
    found = _group(group)
    if found is None:
        return
    if len(object_list) != found.size():
        raise ValueError(f"object_list must have one item for each of the {found.size()} ranks, found "
                         f"{len(object_list)}")  # fmt: skip
    object_list[:] = [pickle.loads(data) for data in _gathered(found, pickle.dumps(obj))]


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Put the objects of all ranks into a list at rank ``dst``, by default 0; they are pickled."""
    found = _group(group)
    if found is None:
        return
    is_root = found.rank() == _root(found, "dst", dst, group_dst, 0)
    if is_root and (object_gather_list is None or len(object_gather_list) != found.size()):
        raise ValueError(f"object_gather_list must have {found.size()} items on the destination rank")
    data = _gathered(found, pickle.dumps(obj))
    if is_root and object_gather_list is not None:
        object_gather_list[:] = map(pickle.loads, data)


def _broadcast_bytes(found: ProcessGroup, data: bytes, root: int) -> bytes:
    length = np.array([len(data)])
    communicator = found._communicator
    _run("broadcast_object_list", found, communicator.broadcast(length, root), None, False, None)
    row = np.frombuffer(data, np.uint8).copy() if found.rank() == root else allocation.empty(int(length[0]), np.uint8)
    _run("broadcast_object_list", found, communicator.broadcast(row, root), None, False, None)
    return row.tobytes()


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None
) -> None:
    """Replace the items of a list by those of rank ``src``, by default 0; they are pickled.

    Args:
        object_list: equally long on all ranks.
    """
    found = _group(group)
    if found is None:
        return
    root = _root(found, "src", src, group_src, 0)
    is_root = found.rank() == root
    sent = _broadcast_bytes(found, pickle.dumps(list(object_list)) if is_root else b"", root)
    if is_root:
        return
    given = pickle.loads(sent)
    if len(given) != len(object_list):
        raise ValueError(f"object_list must have {len(given)} items as on rank {root}, found {len(object_list)}")
    object_list[:] = given


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
    group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Set the first item of a list to item ``r`` of rank ``src``'s list, at rank ``r``; they are pickled."""
    found = _group(group)
    if found is None:
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root = _root(found, "src", src, group_src, 0)
    data = b""
    if found.rank() == root:
        if scatter_object_input_list is None or len(scatter_object_input_list) != found.size():
            raise ValueError(f"scatter_object_input_list must have {found.size()} items on the source rank")
        data = pickle.dumps([pickle.dumps(item) for item in scatter_object_input_list])
    scatter_object_output_list[0] = pickle.loads(pickle.loads(_broadcast_bytes(found, data, root))[found.rank()])


def reduced(array: np.ndarray, op: str, group: ProcessGroup, name: str) -> None:
    """Reduce an array in place over all ranks, in one row."""
    steps = group._communicator.all_reduce(array, op, are_deterministic_algorithms_enabled())
    _run(name, group, steps, None, False, None)


def gathered(row: np.ndarray, out: np.ndarray, group: ProcessGroup, name: str) -> None:
    """The rows of all ranks, one after the other."""
    _run(name, group, group._communicator.all_gather(row, out), None, False, None)


def to_all(row: np.ndarray, out: np.ndarray, group: ProcessGroup, name: str) -> None:
    """Send part ``r`` of a row to rank ``r``, and put the parts that come one after the other."""
    _run(name, group, group._communicator.all_to_all(row, out), None, False, None)


def all_of(values: Sequence[int], group: ProcessGroup, name: str) -> np.ndarray:
    """Some integers of all ranks, a row for each rank."""
    out = allocation.empty(len(values) * group.size(), np.int64)
    _run(name, group, group._communicator.all_gather(np.array(values, np.int64), out), None, False, None)
    return out.reshape(group.size(), -1)


def broadcast_all(arrays: Sequence[np.ndarray], root: int, group: ProcessGroup, name: str) -> None:
    """Copy the numbers of the root's arrays to all ranks, by one message for each dtype."""
    kinds: dict[np.dtype, list[np.ndarray]] = {}
    for array in arrays:
        kinds.setdefault(array.dtype, []).append(array)
    for same in kinds.values():
        row = np.concatenate([_flat(array) for array in same])
        _run(name, group, group._communicator.broadcast(row, root), None, False, None)
        if group.rank() != root:
            at = 0
            for array in same:
                array[...] = row[at : at + array.size].reshape(array.shape)
                at += array.size


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor over an array."""
    return _wrap(array)
