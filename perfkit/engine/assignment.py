"""Which session gets which variant of an experiment: the same in every process, on every host, after every restart.

A hash of salt and session says where between 0 and 1 a session lies; every variant has a part of that line as long as
its share. The first variant's part begins at 0 and the second one's ends at 1, so that two variants take sessions from
each other only where one gets what the other gives; a share that grows takes those that took no part. Further variants
lie between the two, each in the middle of what it would have if all shares were scaled up to 1. So a step from a few
sessions to all, in proportion, moves nobody from one variant to another, however many there are; other changes among
three and more may.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import weakref
from collections.abc import Sequence

from perfkit.config.experiments import Experiment

__all__ = ["Assigner"]

_REMEMBERED = 2**17
_LONGEST_REMEMBERED = 256
_FORGOTTEN_AT_ONCE = 8


class Assigner:
    """Assigns sessions to the variants of one experiment, and remembers those that it met last.

    It remembers two generations of sessions: when the younger one holds 131,072, it becomes the older one, and what the
    older one held is forgotten bit by bit. So a session that is met in every generation is never forgotten. Both full
    take 26 MB with sessions of 20 characters, 88 MB with the longest that are remembered, and half as much again while
    one is forgotten. Any number of threads may use it.

    Args:
        experiment: its variants and their shares.
        before: assigned the same variants with other shares or pools: a session that it met and that keeps its variant
            is not met for the first time. It is forgotten when the first generation is full.

    >>> from perfkit.config.experiments import Variant
    >>> assigner = Assigner(Experiment("bigger-blocks", (Variant("control", 0.5), Variant("bigger", 0.5))))
    >>> assigner.assign("user-17")
    (1, True)
    >>> assigner.assign("user-17")
    (1, False)
    >>> assigner.cache["user-17"]
    1
    """

    __slots__ = ("__weakref__", "_changing", "_forgotten", "_hash", "_known", "_older", "_parts", "cache", "experiment")

    def __init__(self, experiment: Experiment, before: Assigner | None = None) -> None:
        self.experiment = experiment
        self.cache: dict[str, int] = {}
        """Session to index of its variant, -1 for sessions that take no part: read on the hot path, without a lock. It
        stays the same object."""
        self._older: dict[str, int] = {}
        self._known = (before.cache, before._older) if before else ()
        self._forgotten: dict[str, int] = {}
        self._changing = threading.RLock()  # reentrant: a signal's handler may decide, too
        self._parts = _parts_of([variant.share for variant in experiment.variants])
        self._hash = hashlib.blake2b(_bytes_of(f"{experiment.salt or experiment.name}\0"), digest_size=8)
        _ASSIGNERS.add(self)

    def assign(self, session: str) -> tuple[int, bool]:
        """The variant of a session, for one that is not in `cache`; it is there afterwards.

        A session of over 256 characters is remembered by a digest instead, so that long ones cannot fill the memory; it
        is never in `cache`.

        Args:
            session: any text.

        Returns:
            Index of the variant, -1 for none, and whether the session is met for the first time (as far as is
            remembered): of all threads, one is told so.
        """
        if len(session) > _LONGEST_REMEMBERED:
            session = f"\0{hashlib.blake2b(_bytes_of(session), digest_size=16).hexdigest()}"
        with self._changing:
            index = self.cache.get(session)
            if index is not None:
                return index, False
            self._forget_some()
            index = self._older.get(session)
            is_first = index is None
            if index is None:
                index = self._variant_of(session)
                is_first = all(known.get(session) != index for known in self._known)
            self.cache[session] = index
        return index, is_first

    def has_variants_of(self, experiment: Experiment) -> bool:
        """Whether an experiment is this one with other shares, pools or changes."""

        def identity(one: Experiment) -> tuple[str, str, list[str]]:
            return one.name, one.salt, [variant.name for variant in one.variants]

        return identity(self.experiment) == identity(experiment)

    def _variant_of(self, session: str) -> int:
        hashed = self._hash.copy()
        hashed.update(_bytes_of(session))
        place = (int.from_bytes(hashed.digest(), "big") >> 11) / 2**53
        return next((index for index, start, end in self._parts if start <= place < end), -1)

    def _forget_some(self) -> None:
        if len(self.cache) >= _REMEMBERED:
            # Emptied, not replaced: who reads it holds it. What it held before is freed little by little below.
            self._forgotten, self._older = self._older, self.cache.copy()
            self._known = ()
            self.cache.clear()
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._forgotten))):
            self._forgotten.popitem()

    def _after_fork_in_child(self) -> None:
        self._changing = threading.RLock()  # the parent's may be held by a thread that is not in the child


def _parts_of(shares: Sequence[float]) -> tuple[tuple[int, float, float], ...]:
    """Index, start and end of each variant's part of the line from 0 to 1."""
    total, begin, parts = math.fsum(shares), 0.0, []
    for index in sorted(range(len(shares)), key=lambda index: (index == 1, index)):
        room = shares[index] / total if total else 0.0
        anchor = 0.0 if index == 0 else 1.0 if index == 1 else 0.5
        start = begin + anchor * (room - shares[index])
        parts.append((index, start, start + shares[index]))
        begin += room
    return tuple(parts)


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is a name as good as any


_ASSIGNERS: weakref.WeakSet[Assigner] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for assigner in list(_ASSIGNERS):
        assigner._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
