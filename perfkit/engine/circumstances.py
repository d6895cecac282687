"""What a plan depends on beside files and context: what the host has left, what fails, what was learned since."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from perfkit.config.engine_settings import RESOURCE_STATES
from perfkit.schema import ZERO_COPY_FAMILY

__all__ = ["NORMAL", "STATES", "Circumstances"]

NORMAL = "normal"
STATES = RESOURCE_STATES
"""What the host has left; see docs/explanation/resource-states.md."""

_GOAL_OF_STATE = MappingProxyType({"cpu_pressure": "cpu", "memory_pressure": "memory"})
_ARENA_LOW_PENALTY = 2.0
"""With little room left in the arena, the zero-copy family must cost at most half of what the others do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """What holds while a plan is in force.

    Args:
        state: one of `STATES`.
        open_methods: methods whose circuit breaker is open: they are not taken.
        factors: by how much a method's time differs from what was published, as (method, factor), sorted.
        is_trusted: whether predictions are good enough to choose by; otherwise rules, thresholds and defaults decide.
    """

    state: str = NORMAL
    open_methods: frozenset[str] = frozenset()
    factors: tuple[tuple[str, float], ...] = ()
    is_trusted: bool = True

    @property
    def goal(self) -> str | None:
        """The goal that replaces every pool's own in this state; None where the pool's own holds."""
        return _GOAL_OF_STATE.get(self.state)

    def penalties(self, *, in_place: bool) -> Mapping[str, float]:
        """By what factor a method's cost is multiplied before methods are compared.

        Args:
            in_place: the payload lies in a block already, so that sending it takes no further room.
        """
        if self.state != "arena_low":
            return {}
        return {name: _ARENA_LOW_PENALTY for name in ZERO_COPY_FAMILY if not (in_place and name == "shm_pool")}

    def exclusions(self, *, in_place: bool) -> Mapping[str, str]:
        """Methods that are not taken, with the reason.

        Args:
            in_place: the payload lies in a block already, so that sending it takes no further room.
        """
        excluded = dict.fromkeys(sorted(self.open_methods), "circuit breaker open")
        if self.state == "arena_exhausted":
            names = (name for name in ZERO_COPY_FAMILY if not (in_place and name == "shm_pool"))
            excluded |= dict.fromkeys(names, "arena exhausted")
        return excluded
