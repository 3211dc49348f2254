"""The parts of ``torch.utils.data._utils`` that libraries look into."""

from __future__ import annotations

from fastnn.utils.data._utils import collate, fetch, pin_memory, signal_handling, worker

__all__ = ["HAS_NUMPY", "MP_STATUS_CHECK_INTERVAL", "collate", "fetch", "pin_memory", "python_exit_status",
           "signal_handling", "worker"]  # fmt: skip

MP_STATUS_CHECK_INTERVAL = 5.0
HAS_NUMPY = True
python_exit_status = False
