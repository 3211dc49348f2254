"""``torch.profiler``: the time of each kernel and of each named block, over :class:`fastnn.profile`."""

from fastnn.profiler import profiler
from fastnn.profiler.profiler import (
    DeviceType,
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    record_function,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "profiler", "record_function",
    "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
