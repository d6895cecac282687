"""What is computed once and kept: as long as its curves live, or until there is no more room."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from perfkit.config.curves import CurveSet

__all__ = ["Bounded", "PerCurves"]

Value = TypeVar("Value")


class PerCurves(Generic[Value]):
    """One value per curve set (the object, not its content), made when first asked for and gone with the curve set.

    Args:
        make: makes the value of a curve set; the value must not hold the curve set itself.
    """

    def __init__(self, make: Callable[[CurveSet], Value]) -> None:
        self._make = make
        self._known: dict[int, tuple[weakref.ref[CurveSet], Value]] = {}

    def __call__(self, curves: CurveSet) -> Value:
        """The value of a curve set. Threads that ask first together get the same one."""
        number = id(curves)
        found = self._known.get(number)
        if found is None:
            # The reference's callback runs before the number can be another object's.
            gone = weakref.ref(curves, lambda _: self._known.pop(number, None))
            found = self._known.setdefault(number, (gone, self._make(curves)))
        return found[1]


class Bounded(Generic[Value]):
    """A dictionary that forgets its oldest half when it is full. For any number of threads.

    Args:
        capacity: values that are kept at most, 2 or more.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: dict[Hashable, Value] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """The value kept for a key; None where there is none."""
        return self._values.get(key)

    def keep(self, key: Hashable, value: Value) -> Value:
        """Keep a value, unless another thread was first.

        Returns:
            What is kept for the key.
        """
        with self._lock:
            if len(self._values) >= self._capacity and key not in self._values:
                oldest = list(self._values)[: self._capacity // 2]
                for one in oldest:
                    del self._values[one]
            return self._values.setdefault(key, value)
