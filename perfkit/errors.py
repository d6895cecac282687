"""Every exception that perfkit raises on purpose.

    PerfkitError
    ├── InputError               what a person or caller gave is wrong (also a ValueError; exit code 2)
    │   ├── UnitError            a size, duration or percentage that cannot be read
    │   ├── UnknownNameError     a method, kind, format, pool … that does not exist
    │   ├── ConfigError          perfkit.toml, thresholds.toml, curves or a scenario file (path, line, column)
    │   └── ExpressionError      the condition of a rule (column)
    ├── TransferError            moving one payload did not work
    │   ├── MethodUnavailableError  this machine or this peer lacks the method
    │   ├── PayloadTooLargeError    over the method's limit; another method can carry it
    │   ├── NoRoomError             no headroom for shared memory (cgroup, /dev/shm, arena exhausted)
    │   ├── PeerLostError           the other process died or closed the connection
    │   ├── TransferTimeoutError    the other process did not answer in time
    │   └── CodecError              a payload cannot be encoded or decoded
    ├── MeasurementError         a sweep could not be carried out
    ├── JournalError             rows could not be made durable in the journal
    ├── LakeError                the lake cannot be read or written
    ├── FileError                a file cannot be written; what was there is as it was
    ├── FitError                 the evidence does not allow a fit
    ├── ModelError               a stored cost model cannot be used
    ├── PublishError             a candidate was refused, or the files changed meanwhile
    └── ReportError              a notebook or page could not be produced

One meaning per exception; messages say what is wrong, what was got, what was allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "CodecError",
    "ConfigError",
    "ExpressionError",
    "FileError",
    "FitError",
    "HandlerError",
    "InputError",
    "JournalError",
    "LakeError",
    "MeasurementError",
    "MethodUnavailableError",
    "ModelError",
    "NoRoomError",
    "PayloadTooLargeError",
    "PeerLostError",
    "PerfkitError",
    "ProtocolError",
    "PublishError",
    "ReportError",
    "TransferCancelledError",
    "TransferError",
    "TransferTimeoutError",
    "UnitError",
    "UnknownNameError",
]


class PerfkitError(Exception):
    """Root of all exceptions that perfkit raises on purpose."""


class InputError(PerfkitError, ValueError):
    """What a person or a caller gave is wrong; nothing was changed."""


class UnitError(InputError):
    """A size, duration or percentage that cannot be read."""


class UnknownNameError(InputError):
    """A name that does not exist, with the names that do.

    >>> str(UnknownNameError("method", "grcp", ["grpc", "uds"]))
    "unknown method 'grcp'; allowed: grpc, uds. Did you mean 'grpc'?"
    """

    def __init__(self, what: str, got: object, allowed: Iterable[str], hint: str = "") -> None:
        names = list(allowed)
        message = f"unknown {what} {got!r}; allowed: {', '.join(names) or 'none'}."
        close = difflib.get_close_matches(str(got), names, n=1)
        if close:
            message += f" Did you mean {close[0]!r}?"
        super().__init__(f"{message} {hint}".rstrip())
        self.what, self.got, self.allowed = what, got, tuple(names)


class ConfigError(InputError):
    """A file that people or `perfkit publish` wrote cannot be used.

    >>> print(ConfigError("goal == 'fast', must be latency or memory", path="perfkit.toml", line=3, column=8))
    perfkit.toml:3:8: goal == 'fast', must be latency or memory
    """

    def __init__(
        self, message: str, *, path: str | Path | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        where = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)
        self.path, self.line, self.column = path, line, column


class ExpressionError(InputError):
    """The condition of a rule cannot be read.

    >>> print(ExpressionError("got the end; expected a size", column=9))
    column 9: got the end; expected a size
    """

    def __init__(self, message: str, *, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.message, self.column = message, column


class TransferError(PerfkitError):
    """Moving one payload did not work; another method may."""


class MethodUnavailableError(TransferError):
    """This machine or this peer lacks the method."""


class PayloadTooLargeError(TransferError):
    """The payload is over the method's limit; another method can carry it."""


class NoRoomError(TransferError):
    """There is no headroom for shared memory, or the arena is exhausted."""


class PeerLostError(TransferError):
    """The other process died or closed the connection."""


class TransferTimeoutError(TransferError):
    """The other process did not answer in time."""


class TransferCancelledError(TransferError):
    """The sender took its request back; whether it was handled is unknown."""


class ProtocolError(TransferError):
    """The other process does not speak the channel's protocol, or broke its rules; its connection is closed."""


class HandlerError(TransferError):
    """The payload arrived, and the handler on the other side raised.

    Args:
        kind: name of the exception over there.
        message: its text.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"the handler raised {kind}: {message}" if message else f"the handler raised {kind}")
        self.kind, self.message = kind, message


class CodecError(TransferError):
    """A payload cannot be encoded, or what arrived cannot be decoded."""


class MeasurementError(PerfkitError):
    """A sweep could not be carried out; what was measured until then is kept."""


class JournalError(PerfkitError):
    """Rows could not be made durable in the journal; those that were committed before stay."""


class LakeError(PerfkitError):
    """The lake cannot be read or written."""


class FileError(PerfkitError):
    """A file cannot be written; what was there is as it was."""


class FitError(PerfkitError):
    """The evidence does not allow a fit."""


class ModelError(PerfkitError):
    """A stored cost model is missing, damaged, foreign or of an unknown schema; nothing of it was used.

    >>> print(ModelError("sha256 differs from the one recorded", path="data/models/v0001/boosters.skops"))
    data/models/v0001/boosters.skops: sha256 differs from the one recorded. Train anew with `perfkit learn`.
    """

    def __init__(self, cause: str, *, path: str | Path) -> None:
        super().__init__(f"{path}: {cause}. Train anew with `perfkit learn`.")
        self.cause, self.path = cause, path


class PublishError(PerfkitError):
    """A candidate was refused, or the files changed meanwhile; nothing was written."""


class ReportError(PerfkitError):
    """A notebook or a page could not be produced; what there is of it is kept."""
