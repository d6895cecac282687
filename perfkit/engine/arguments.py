"""Arguments that are not plainly what a decision is asked with: what can be taken is, everything else is refused."""

from __future__ import annotations

import operator

from perfkit.config.source import shown
from perfkit.errors import InputError

__all__ = ["checked_session", "checked_size"]


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
