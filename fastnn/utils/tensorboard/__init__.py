"""``torch.utils.tensorboard.SummaryWriter``, if a package that writes TensorBoard's files is installed.

tensorboardX's own writer is used if available; with only tensorboard, scalars, texts and histograms are
written through its file writer.
"""

from __future__ import annotations

import importlib
import time
from types import TracebackType
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor

__all__ = ["SummaryWriter"]


def _plain(value: Any) -> Any:
    """Convert tensors to arrays, or to numbers if they have one element, inside containers too."""
    if isinstance(value, Tensor):
        array = value.detach().numpy()
        return array.item() if array.ndim == 0 else array
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _number(value: Any) -> Any:
    """The number in an array of one element: NumPy 2.4 converts only those without dimensions."""
    value = _plain(value)
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


class _FileWriter:
    """Scalars, texts and histograms through tensorboard's own event files."""

    def __init__(self, log_dir: str | None = None, comment: str = "", **options: Any) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.log_dir = log_dir or f"runs/{time.strftime('%b%d_%H-%M-%S')}{comment}"
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._file = EventFileWriter(self.log_dir)
        self.file_writer = self

    def add_summary(self, summary: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """Write a summary that is made already, as those of ``hparams``."""
        self._file.add_event(
            self._event(summary=summary, wall_time=walltime or time.time(), step=int(global_step or 0))
        )

    def _write(self, tag: str, step: int | None, wall_time: float | None, **value: Any) -> None:
        summary = self._summary(value=[self._summary.Value(tag=tag, **value)])
        event = self._event(summary=summary, wall_time=wall_time or time.time(), step=int(step or 0))
        self._file.add_event(event)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None, **options: Any
    ) -> None:
        self._write(tag, global_step, walltime, simple_value=float(_number(scalar_value)))

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        for name, value in tag_scalar_dict.items():
            self.add_scalar(f"{main_tag}/{name}", value, global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        from tensorboard.plugins.text.summary import text_pb

        made = text_pb(tag, text_string).value[0]
        self._write(f"{tag}/text_summary", global_step, walltime, metadata=made.metadata, tensor=made.tensor)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = 64, walltime: float | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        array = np.ravel(np.asarray(values, np.float64))
        counts, edges = np.histogram(array, bins=64 if isinstance(bins, str) else bins)
        histogram: Any = {
            "min": array.min(), "max": array.max(), "num": array.size, "sum": array.sum(),
            "sum_squares": (array * array).sum(), "bucket_limit": edges[1:].tolist(), "bucket": counts.tolist(),
        }  # fmt: skip
        self._write(tag, global_step, walltime, histo=histogram)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _backend(options: dict[str, Any]) -> Any:
    for module, name in (("tensorboardX", "SummaryWriter"), ("tensorboard", "")):
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        return getattr(found, name)(**options) if name else _FileWriter(**options)
    raise ImportError("SummaryWriter needs a package that writes TensorBoard's files: pip install tensorboardX")


class SummaryWriter:
    """Writes training metrics for TensorBoard.

    Methods are those of the installed package (``add_scalar``, ``add_histogram``, ``add_text``, ...); tensors are
    converted to arrays and numbers. ``add_graph`` does nothing: there is no traced graph.

    Args:
        log_dir, comment, purge_step, max_queue, flush_secs, filename_suffix: as in PyTorch.

    Raises: ImportError, naming the packages, if neither tensorboardX nor tensorboard is installed.
    """

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
        flush_secs: int = 120, filename_suffix: str = "",
    ) -> None:  # fmt: skip
        self._writer = _backend({
            "comment": comment, "purge_step": purge_step, "max_queue": max_queue, "flush_secs": flush_secs,
            "filename_suffix": filename_suffix, **({} if log_dir is None else {"log_dir": str(log_dir)}),
        })  # fmt: skip

    @property
    def log_dir(self) -> str:
        """The folder of the files."""
        return str(getattr(self._writer, "log_dir", None) or self._writer.logdir)

    def get_logdir(self) -> str:
        """The folder of the files."""
        return self.log_dir

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def add_scalar(self, tag: str, scalar_value: Any, *args: Any, **kwargs: Any) -> None:
        """Write a number: a Python number, or an array or tensor of one element.

        Args:
            tag: its name.
            scalar_value: the number.
            args, kwargs: ``global_step``, ``walltime`` and what else the package takes.
        """
        self._writer.add_scalar(tag, _number(scalar_value), *_plain(args), **_plain(kwargs))

    def add_scalars(self, main_tag: str, tag_scalar_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Write several numbers, as ``add_scalar`` does; their names follow ``main_tag``."""
        numbers = {name: _number(value) for name, value in tag_scalar_dict.items()}
        self._writer.add_scalars(main_tag, numbers, *_plain(args), **_plain(kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._writer, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            return method(*_plain(args), **_plain(kwargs))

        return call

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
