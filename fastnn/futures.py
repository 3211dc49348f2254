"""``torch.futures``: results that another thread sets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


class Future(Generic[T]):
    """A result that is set later, perhaps by another thread.

    Args:
        devices: must be empty, as there is only the CPU.

    >>> future = Future()
    >>> longer = future.then(lambda done: done.value() + 1)
    >>> future.set_result(1)
    >>> future.wait(), longer.wait()
    (1, 2)
    """

    def __init__(self, *, devices: Sequence[Any] | None = None) -> None:
        if devices:
            raise ValueError(f"devices must be empty, as fastnn computes on the CPU only, found {devices!r}")
        self._is_set = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Future[T]], Any]] = []
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether a result or an error is set."""
        return self._is_set.is_set()

    def wait(self) -> T:
        """The result, once it is set; raises the error if that is set."""
        self._is_set.wait()
        return self.value()

    def value(self) -> T:
        """The result, which must be set; raises the error if that is set.

        Raises: RuntimeError if neither is set.
        """
        if not self.done():
            raise RuntimeError("the future is not complete: call wait() first")
        if self._error is not None:
            raise self._error
        return self._result

    def set_result(self, result: T) -> None:
        """Set the result, and call the callbacks in this thread.

        Raises: RuntimeError if a result or an error is set already.
        """
        self._complete(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Set an error, which ``wait`` and ``value`` raise.

        Raises: TypeError if it is not an exception; RuntimeError if a result or an error is set already.
        """
        if not isinstance(result, BaseException):
            raise TypeError(f"{result} is of type {type(result)}, not an Exception.")
        self._complete(None, result)

    def _complete(self, result: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.done():
                raise RuntimeError("the future is complete already: a result can be set once")
            self._result, self._error = result, error
            self._is_set.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Call ``callback(self)`` once the future is complete; at once if it is."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """A future of ``callback(self)``, which is called once this one is complete; its error is that future's."""
        following: Future[Any] = Future()

        def call(done: Future[T]) -> None:
            try:
                result = callback(done)
            except Exception as error:
                following.set_exception(error)
            else:
                following.set_result(result)

        self.add_done_callback(call)
        return following


def collect_all(futures: Sequence[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future of the list of these futures, complete once all of them are.

    >>> one = Future()
    >>> both = collect_all([one])
    >>> one.set_result(3)
    >>> [future.value() for future in both.wait()]
    [3]
    """
    futures = list(futures)
    collected: Future[list[Future[Any]]] = Future()
    lock, left = threading.Lock(), [len(futures)]

    def count(done: Future[Any] | None) -> None:
        with lock:
            left[0] -= done is not None
            is_last = left[0] == 0
        if is_last:
            collected.set_result(futures)

    if not futures:
        count(None)
    for future in futures:
        future.add_done_callback(count)
    return collected


def wait_all(futures: Sequence[Future[Any]]) -> list[Any]:
    """The results of all futures, once they are complete; raises the first error."""
    return [future.wait() for future in collect_all(futures).wait()]
