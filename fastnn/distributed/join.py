"""Uneven inputs: a rank that has no batches left takes part in the others' communication until all are done."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from fastnn.distributed.collectives import all_of
from fastnn.distributed.process_group import ProcessGroup

# Rounds after which a rank that is done says so: the others may be in an endless loop.
_MANY = 1000


class JoinHook:
    """What a rank does that has no inputs left."""

    def main_hook(self) -> None:
        """Take part in the communication of one iteration of the others."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """Called once all ranks are done; ``is_last_joiner`` on the ranks that had the most inputs."""


class Joinable(ABC):
    """What a :class:`Join` can be told about: something that communicates in every iteration."""

    # Whether the context is on, whether to raise instead, and whether this one is its first.
    _join_config: tuple[bool, bool, bool] = (False, False, False)

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for one :class:`Join`, with its keyword arguments."""

    @property
    def join_device(self) -> Any:
        """The CPU."""
        from fastnn._core.devices import device

        return device("cpu")

    @property
    @abstractmethod
    def join_process_group(self) -> ProcessGroup:
        """The group that communicates."""


class Join:
    """A block in which the ranks may have different numbers of inputs.

    Args:
        joinables: what communicates, as a ``DistributedDataParallel``.
        enable: False if the inputs are known to be even.
        throw_on_early_termination: raise RuntimeError on all ranks once one of them has no inputs left.
        kwargs: for the ``join_hook`` of each.

    Raises: ValueError if there are no joinables, or if their groups differ.
    """

    _hook_class: ClassVar[type] = JoinHook

    def __init__(
        self, joinables: list[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any
    ) -> None:  # fmt: skip
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        if len({id(joinable.join_process_group) for joinable in joinables}) > 1:
            raise ValueError("Using join context manager with multiple process groups")
        self._joinables, self._enable, self._throw = joinables, enable, throw_on_early_termination
        self._hooks = [joinable.join_hook(**kwargs) for joinable in joinables]
        self._group = joinables[0].join_process_group

    def __enter__(self) -> None:
        for i, joinable in enumerate(self._joinables):
            joinable._join_config = self._enable, self._throw, i == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:  # fmt: skip
        for joinable in self._joinables:
            joinable._join_config = False, False, False
        if not self._enable or kind is not None:
            return
        is_last, rounds = True, 0
        while _active(self._group, False):
            if self._throw:
                _raise_early(self._group)
            is_last, rounds = False, rounds + 1
            if rounds == _MANY:
                warnings.warn(
                    f"rank {self._group.rank()} has had no inputs for {_MANY} iterations of other ranks", stacklevel=2
                )
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(is_last)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> None:
        """Tell the ranks that are done that this one has another input; called before each iteration's communication.

        Raises: RuntimeError if a rank is done, and the context says so.
        """
        enabled, throws, is_first = joinable._join_config
        if enabled and is_first:
            group = joinable.join_process_group
            if _active(group, True) < group.size() and throws:
                _raise_early(group)


def _active(group: ProcessGroup, is_active: bool) -> int:
    """The number of ranks that have another input."""
    return int(np.sum(all_of([is_active], group, "join")))


def _raise_early(group: ProcessGroup) -> None:
    raise RuntimeError(
        f"Detected at least one rank that exhausted inputs: rank {group.rank()} stops, as throw_on_early_termination "
        "is set"
    )
