"""Calls that may be sent a second time: what a caller holds while the first try is under way."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import grpc

__all__ = ["PendingCall", "StreamCall"]

Conclude = Callable[..., Any]
Send = Callable[[Any], Any]


class _Delegate:
    """What is asked of gRPC's own call, whichever try is the current one."""

    _call: Any

    def initial_metadata(self) -> Any:
        return self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._call.trailing_metadata()

    def code(self) -> Any:
        return self._call.code()

    def details(self) -> Any:
        return self._call.details()

    def debug_error_string(self) -> Any:
        return self._call.debug_error_string()

    def time_remaining(self) -> Any:
        return self._call.time_remaining()


class PendingCall(_Delegate, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A future of one call, over both of its tries.

    Args:
        call: gRPC's future of the first try.
        attempt: the first try.
        conclude: takes in how a try has ended; returns the next one, or None.
        send: sends the next one.
    """

    def __init__(self, call: Any, attempt: Any, conclude: Conclude, send: Send) -> None:
        self._call = call
        self._conclude, self._send = conclude, send
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._is_cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._error: Exception | None = None
        self._follow(attempt)

    def _follow(self, attempt: Any) -> None:
        self._call.add_done_callback(lambda call: self._advance(attempt, call))

    def _advance(self, attempt: Any, call: Any) -> None:
        try:
            following = self._conclude(attempt, call, may_repeat=not self._is_cancelled)
            if following is not None:
                again = self._send(following)
                with self._lock:
                    self._call = again
                if self._is_cancelled:
                    again.cancel()
                self._follow(following)
                return
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self._error = error
        with self._lock:
            self._is_over.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def _wait(self, timeout: float | None) -> None:
        if not self._is_over.wait(timeout):
            raise grpc.FutureTimeoutError
        if self._error is not None:
            raise self._error

    def result(self, timeout: float | None = None) -> Any:
        """See `grpc.Future`."""
        self._wait(timeout)
        return self._call.result()

    def exception(self, timeout: float | None = None) -> Any:
        """See `grpc.Future`."""
        try:
            self._wait(timeout)
        except grpc.FutureTimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - returned, as is asked for
            return error
        return self._call.exception()

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """See `grpc.Future`."""
        try:
            self._wait(timeout)
        except grpc.FutureTimeoutError:
            raise
        except Exception:  # noqa: BLE001 - its traceback is what is asked for
            return sys.exc_info()[2]
        traceback: TracebackType | None = self._call.traceback()
        return traceback

    def cancel(self) -> bool:
        """See `grpc.Future`."""
        with self._lock:
            self._is_cancelled = True
            call = self._call
        return bool(call.cancel())

    def cancelled(self) -> bool:
        """See `grpc.Future`."""
        return bool(self._call.cancelled())

    def running(self) -> bool:
        """See `grpc.Future`."""
        return not self.done()

    def is_active(self) -> bool:
        """See `grpc.Call`."""
        return not self.done()

    def done(self) -> bool:
        """See `grpc.Future`."""
        return self._is_over.is_set() or self.cancelled()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """See `grpc.Future`."""
        with self._lock:
            if not self._is_over.is_set():
                self._callbacks.append(fn)
                return
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See `grpc.Call`."""
        with self._lock:
            if self._is_over.is_set():
                return False
            self._callbacks.append(lambda _: callback())
            return True


class _Ending:
    """How one try of a stream ends: concluded once, by whoever hears of it first.

    It does not hold the stream: gRPC cancels one that its caller has dropped.
    """

    def __init__(self, call: Any, attempt: Any, conclude: Conclude, callbacks: list[Callable[[], None]]) -> None:
        self._call = weakref.ref(call)
        self._attempt, self._conclude, self._callbacks = attempt, conclude, callbacks
        self._lock = threading.Lock()
        self._is_concluded = False
        self._following: Any = None

    def following(self) -> Any:
        """The next try; None when the stream is over."""
        with self._lock:
            if not self._is_concluded:
                self._is_concluded = True
                self._following = self._conclude(self._attempt, self._call() or _Dropped())
            return self._following

    def hear(self) -> None:
        """Called by gRPC when the try has ended."""
        if self.following() is None:
            for callback in self._callbacks:
                callback()


class _Dropped:
    """What is left to ask of a stream that was dropped."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.CANCELLED

    def trailing_metadata(self) -> None:
        return None


class StreamCall(_Delegate, grpc.Call):
    """A stream of answers, over both of its tries: the second can only begin before anything has come of the first.

    Args:
        call: gRPC's stream of the first try.
        attempt: the first try.
        conclude: takes in how a try has ended; returns the next one, or None.
        send: sends the next one.
    """

    def __init__(self, call: Any, attempt: Any, conclude: Conclude, send: Send) -> None:
        self._conclude, self._send = conclude, send
        self._callbacks: list[Callable[[], None]] = []
        self._follow(call, attempt)

    def _follow(self, call: Any, attempt: Any) -> None:
        self._call = call
        self._ending = _Ending(call, attempt, self._conclude, self._callbacks)
        if not call.add_callback(self._ending.hear):
            self._ending.hear()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError:
            following = self._ending.following()
            if following is None:
                raise
        self._follow(self._send(following), following)
        return next(self._call)

    def __getattr__(self, name: str) -> Any:
        # The rest of gRPC's own call, which is a future as well.
        return getattr(self._call, name)

    def cancel(self) -> bool:
        """See `grpc.Call`."""
        return bool(self._call.cancel())

    def is_active(self) -> bool:
        """See `grpc.Call`."""
        return bool(self._call.is_active())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See `grpc.Call`."""
        if not self._call.is_active():
            return False
        self._callbacks.append(callback)
        return True
