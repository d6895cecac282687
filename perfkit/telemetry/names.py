"""Names as attributes of metrics: only so many of each sort, for every combination is a series of its own."""

from __future__ import annotations

__all__ = ["BoundedNames"]


class BoundedNames:
    """The first so many names as they are, every later one as the same word.

    Args:
        most: how many names, 1 or more.
        beyond: the word for all that come later.

    >>> pools = BoundedNames(2, "other")
    >>> [pools[name] for name in ("ml", "web", "batch", "ml", "")]
    ['ml', 'web', 'other', 'ml', 'other']
    """

    __slots__ = ("_beyond", "_known", "_most")

    def __init__(self, most: int, beyond: str) -> None:
        self._most, self._beyond = most, beyond
        self._known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        known = self._known.get(name)
        if known is not None:
            return known
        if len(self._known) >= self._most:
            return self._beyond
        return self._known.setdefault(name, name)
