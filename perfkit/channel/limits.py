"""What a peer may ask for."""

from __future__ import annotations

import dataclasses

from perfkit.errors import InputError

__all__ = ["USUAL_LIMITS", "Limits", "check_limits"]

_LEAST_MESSAGE_BYTES = 64 * 2**10


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may ask of us; more ends its connection.

    Args:
        message_bytes: the largest body that travels as bytes.
        meta_bytes: the longest description.
        in_flight: requests under way on one connection.
    """

    message_bytes: int = 4 * 2**30
    meta_bytes: int = 2**20
    in_flight: int = 64


USUAL_LIMITS = Limits()
"""What holds where nobody says otherwise."""


def check_limits(max_message_bytes: int, max_in_flight: int) -> None:
    """Refuse limits under which nothing would work; raises `InputError`."""
    if max_message_bytes < _LEAST_MESSAGE_BYTES:
        raise InputError(f"max_message_bytes == {max_message_bytes}, must be {_LEAST_MESSAGE_BYTES} or more")
    if max_in_flight < 1:
        raise InputError(f"max_in_flight == {max_in_flight}, must be 1 or more")
