"""The last error, which an interactive Python keeps: its frames hold arrays. Imports only ``kernels``."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from types import FrameType

from fastnn import kernels

# In a checkout the kernels are next to fastnn, not inside it.
_FOLDERS = tuple(
    str(folder) + os.sep for folder in (Path(__file__).resolve().parents[1], Path(str(kernels.__file__)).parent)
)
_MAY_BE_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
# The ids of the error that was cleared last and of its traceback: holding them would keep the user's objects.
_emptied = (0, 0)


def forget_last_error() -> bool:
    """Clear fastnn's own frames in the last traceback; whether they held anything.

    A notebook keeps the last error until the next one. After an interrupt in a backward pass it would hold gradients
    until then, and a held gradient keeps its slot occupied. The user's frames are not touched.
    """
    global _emptied
    error = getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return False
    numbers = id(error), id(error.__traceback__)
    frames = _own_frames(error)
    # Ids are reused by later objects; a cleared frame has no variables.
    if not frames or (numbers == _emptied and not frames[-1].f_locals):
        return False
    _emptied = numbers
    found = False
    for frame in frames:
        if frame.f_locals:
            try:
                frame.clear()
            except RuntimeError:  # still running, as in a debugger
                continue
            frame.f_locals  # noqa: B018  # updates the dict that a debugger or IPython has requested
            found = True
    return found


def _own_frames(error: BaseException) -> list[FrameType]:
    """The frames of fastnn's functions in the tracebacks of an error, its causes and its sub-exceptions."""
    found: list[FrameType] = []
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        part = left.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        traceback = part.__traceback__
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if code.co_filename.startswith(_FOLDERS) and not code.co_flags & _MAY_BE_SUSPENDED:
                found.append(traceback.tb_frame)
            traceback = traceback.tb_next
        left += [part.__cause__, part.__context__]
        if isinstance(part, BaseExceptionGroup):
            left += part.exceptions
    return found
