"""What people want to try out: variants of a pool's settings, and the share of sessions that gets each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from perfkit.config.pool_settings import PoolSettings

__all__ = ["Experiment", "Variant"]


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One arm of an experiment.

    Args:
        name: such as ``A``.
        share: of the sessions, 0 to 1.
        changes: fields of `PoolSettings` that differ from the pool's own; empty for the control.
    """

    name: str
    share: float
    changes: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def applied_to(self, pool: PoolSettings) -> PoolSettings:
        """The pool's settings as this variant has them; its rules come before those of the pool."""
        return pool.changed_by(self.changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Experiment:
    """Variants that sessions are assigned to, in the pools that take part.

    Args:
        name: such as ``bigger-blocks``.
        variants: the first one is the control. Their shares add up to at most 1; the sessions that are left take no
            part.
        pools: sections of `perfkit.toml` that take part; empty for all.
        enabled: whether it runs; False is the kill switch.
        salt: changes who is assigned to what; by default the experiment's name does.
    """

    name: str
    variants: tuple[Variant, ...]
    pools: tuple[str, ...] = ()
    enabled: bool = True
    salt: str = ""
