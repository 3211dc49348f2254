"""The parts of ``torch.utils.data._utils`` that libraries look into."""

from __future__ import annotations

from fastnn.utils.data._utils import collate, pin_memory, worker

__all__ = ["HAS_NUMPY", "MP_STATUS_CHECK_INTERVAL", "collate", "pin_memory", "python_exit_status", "worker"]

MP_STATUS_CHECK_INTERVAL = 5.0
HAS_NUMPY = True
python_exit_status = False
