"""Conditions of rules: a small safe language over what a decision depends on. Nothing is ever evaluated as Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = ["Expression"]


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was read and checked.

    Args:
        text: as people wrote it.
        breakpoints: sizes in bytes, ascending: between two of them the condition is the same for every size.
    """

    text: str
    breakpoints: tuple[float, ...] = ()

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether the condition holds. Raises nothing for values of any type."""
        raise NotImplementedError
