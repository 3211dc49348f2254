"""``torch.cuda`` on a machine without CUDA: it is not available, and functions that need it raise.

The same behaviour as PyTorch built for the CPU: queries return False or 0, seeding and emptying caches do
nothing, and everything else raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, NoReturn

from fastnn._core.absent import absent_class
from fastnn._core.devices import check_device
from fastnn._core.errors import OutOfMemoryError
from fastnn.cuda import amp, nvtx


def is_available() -> bool:
    """False.

    >>> import fastnn
    >>> fastnn.device("cuda" if fastnn.cuda.is_available() else "cpu")
    device(type='cpu')
    """
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def get_arch_list() -> list[str]:
    """No architectures."""
    return []


def manual_seed(seed: int) -> None:
    """Does nothing: there is no generator to seed."""
    int(seed)


def manual_seed_all(seed: int) -> None:
    """Does nothing: there is no generator to seed."""
    int(seed)


def empty_cache() -> None:
    """Does nothing: there is no cache."""


def ipc_collect() -> None:
    """Does nothing: there is no memory to collect."""


def memory_allocated(device: Any = None) -> int:
    """0."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """0."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """0."""
    return 0


def memory_stats(device: Any = None) -> dict[str, Any]:
    """No statistics."""
    return {}


def get_rng_state_all() -> list[Any]:
    """No states: there are no devices."""
    return []


def set_rng_state_all(new_states: Iterable[Any]) -> None:
    """Does nothing for no states. Raises: AssertionError, a RuntimeError, for others."""
    for _ in new_states:
        check_device("cuda")


def is_current_stream_capturing() -> bool:
    """False."""
    return False


def _absent(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises: DeviceError, an AssertionError and a RuntimeError."""
    check_device("cuda")
    raise AssertionError


init = synchronize = current_device = set_device = current_stream = default_stream = get_device_name = _absent
get_device_properties = get_device_capability = mem_get_info = get_rng_state = set_rng_state = _absent
can_device_access_peer = memory_snapshot = utilization = _absent
seed = seed_all = initial_seed = reset_peak_memory_stats = reset_max_memory_allocated = memory_summary = _absent


class Event:
    """Raises: RuntimeError, because there is no stream to record an event in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Tried to instantiate dummy base class Event: fastnn computes on the CPU only")


class Stream:
    """Raises: RuntimeError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("torch.cuda.Stream requires CUDA support: fastnn computes on the CPU only")


CUDAGraph, graph = absent_class("torch.cuda.CUDAGraph"), absent_class("torch.cuda.graph")


class StreamContext:
    """A block that would select a stream; without streams it changes nothing."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


def stream(stream: Any) -> StreamContext:
    """A block that changes nothing."""
    return StreamContext(stream)


class device:
    """A block that would select a device; without devices it changes nothing."""

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None or not isinstance(device, int) else device

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _constructor(name: str) -> type:
    class Absent:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise TypeError(f"type torch.cuda.{name} not available: fastnn computes on the CPU only")

    Absent.__name__ = Absent.__qualname__ = name
    return Absent


FloatTensor, DoubleTensor = _constructor("FloatTensor"), _constructor("DoubleTensor")
HalfTensor, BoolTensor = _constructor("HalfTensor"), _constructor("BoolTensor")
LongTensor, IntTensor, ShortTensor = _constructor("LongTensor"), _constructor("IntTensor"), _constructor("ShortTensor")
ByteTensor, CharTensor = _constructor("ByteTensor"), _constructor("CharTensor")

__all__ = [
    "BoolTensor", "ByteTensor", "CUDAGraph", "CharTensor", "DoubleTensor", "Event", "FloatTensor", "HalfTensor",
    "IntTensor", "LongTensor", "OutOfMemoryError", "ShortTensor", "Stream", "StreamContext", "amp",
    "can_device_access_peer", "current_device", "current_stream", "default_stream", "device", "device_count",
    "empty_cache", "get_arch_list", "get_device_capability", "get_device_name", "get_device_properties",
    "get_rng_state", "get_rng_state_all", "graph", "init", "initial_seed", "ipc_collect", "is_available",
    "is_bf16_supported", "is_current_stream_capturing", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "memory_snapshot", "memory_stats", "memory_summary", "nvtx", "reset_max_memory_allocated",
    "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_rng_state", "set_rng_state_all", "stream",
    "synchronize", "utilization",
]  # fmt: skip
