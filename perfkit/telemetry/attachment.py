"""What an adapter hangs on an engine, and how it is taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["Attachment"]


class Attachment:
    """An adapter at work. It lives as long as the engine, or until `remove`.

    Args:
        removals: what takes its parts off again.
    """

    def __init__(self, removals: Iterable[Callable[[], object]]) -> None:
        self._removals = tuple(removals)

    def remove(self) -> None:
        """Take the adapter off; a second time does nothing."""
        removals, self._removals = self._removals, ()
        for remove in removals:
            remove()
