"""Look whether an engine's files changed, and wait until nobody is writing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from perfkit.engine.loading import Signature

__all__ = ["settled"]

_SETTLE_S = 0.1
_MOST_LOOKS = 5


class Signed(Protocol):
    """Files that can tell whether they changed."""

    def signature(self) -> Signature:
        """What changes when one of them is written, appears or vanishes."""


def settled(
    files: Signed, now: Signature, has_ended: Callable[[float], bool], settle_s: float = _SETTLE_S
) -> Signature:
    """Wait until nobody is writing: half a `perfkit.toml` may look like a whole one.

    Args:
        files: what to look at.
        now: how they look now.
        has_ended: waits for so many seconds; True when there is no time left to wait.
        settle_s: files that stay the same for so long are whole.

    Returns:
        How the files look when they have settled. Whoever writes without end is read as it is after half a second.
    """
    before = None
    for _ in range(_MOST_LOOKS):
        if now == before or has_ended(settle_s):
            break
        before, now = now, files.signature()
    return now
