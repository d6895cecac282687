"""Arguments that are not plainly what a decision is asked with: what can be taken is, everything else is refused."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from perfkit.config.source import shown
from perfkit.errors import InputError

__all__ = ["checked_available", "checked_in_flight", "checked_session", "checked_size"]


def checked_size(payload_bytes: object) -> int:
    """A size that is not plainly a positive `int`: NumPy's integers are welcome, everything else is refused."""
    if isinstance(payload_bytes, bool) or not hasattr(payload_bytes, "__index__"):
        kind = type(payload_bytes).__name__
        raise TypeError(
            f"payload_bytes == {shown(payload_bytes)} is of type {kind}; give whole bytes, such as array.nbytes"
        )
    size = operator.index(payload_bytes)
    if size < 0:
        raise InputError(f"payload_bytes == {shown(payload_bytes)} is negative; give 0 or more bytes")
    return size


def checked_session(session: object) -> str:
    """A session that is not plainly a `str`: what is derived from `str` is welcome, everything else is refused."""
    if isinstance(session, str):
        return str(session)
    raise TypeError(f"session == {shown(session)} is of type {type(session).__name__}; give text, such as 'user-17'")


def checked_available(available: object) -> tuple[str, ...] | None:
    """Methods that may be taken, each once; None stands for all that are known."""
    if available is None:
        return None
    if isinstance(available, str | bytes) or not isinstance(available, Iterable):
        kind = type(available).__name__
        raise TypeError(f"available == {shown(available)} is of type {kind}; give several names, such as ('grpc',)")
    methods = tuple(available)
    for method in methods:
        if not isinstance(method, str):
            kind = type(method).__name__
            raise TypeError(f"available names {shown(method)} of type {kind}; give text, such as 'grpc'")
    if not methods:
        raise InputError("available == (), must name at least one method, such as 'grpc'")
    return tuple(dict.fromkeys(methods))


def checked_in_flight(in_flight: object) -> int:
    """How many sends are under way at once."""
    if isinstance(in_flight, bool) or not hasattr(in_flight, "__index__"):
        kind = type(in_flight).__name__
        raise TypeError(f"in_flight == {shown(in_flight)} is of type {kind}; give a whole number, 1 or more")
    count = operator.index(in_flight)
    if count < 1:
        raise InputError(f"in_flight == {count}, must be 1 or more")
    return count
