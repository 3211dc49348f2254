"""The error that an interactive Python keeps after it was shown: arrays in its frames. Imports ``kernels`` alone."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from fastnn import kernels

# In a checkout the kernels are beside fastnn, not in it.
_FOLDERS = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, str(kernels.__file__)))


def forget_last_error() -> bool:
    """Let go of what fastnn's own frames hold in the last traceback; whether there was a new one.

    A notebook keeps the last error until the next one. After an interrupt in a backward pass it would hold gradients
    until then, and what holds a gradient keeps the next one from its place. The user's frames stay as they are.
    """
    error = getattr(sys, "last_value", None)
    if error is None or hasattr(error, "_forgotten_by_fastnn"):
        return False
    # A mark on the error: holding it here would keep the user's objects, and its number may be another's tomorrow.
    error._forgotten_by_fastnn = True
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        _empty(error.__traceback__)
        error = error.__cause__ or error.__context__
    return True


def _empty(traceback: TracebackType | None) -> None:
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename.startswith(_FOLDERS):
            try:
                frame.clear()
                frame.f_locals  # noqa: B018  # brings the dict up to date that a debugger or IPython has asked for
            except RuntimeError:  # still running, as in a debugger
                pass
        traceback = traceback.tb_next
