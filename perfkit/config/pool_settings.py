"""What people want for one pool of workers: goal, methods, rules, policy, thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.config.expressions import Expression
from perfkit.schema import SIMPLICITY_ORDER

__all__ = ["DEFAULT_POOL", "GOALS", "FixedRange", "PoolSettings", "Rule", "Weights"]

GOALS = ("balanced", "latency", "throughput", "memory")
DEFAULT_POOL = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """What the goal ``balanced`` adds up, in nanoseconds: each quantity times its weight, 0 or more.

    Args:
        latency: of one transfer, per nanosecond.
        cpu: processor time of both sides, per nanosecond.
        memory: memory held, in nanoseconds per byte.
        copied: bytes copied, in nanoseconds per byte.
        setup: what the first use of fresh memory takes longer, per nanosecond; for services that send rarely.
    """

    latency: float = 0.7
    cpu: float = 0.3
    memory: float = 0.0
    copied: float = 0.0
    setup: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One of a pool's rules. The first one that holds and can be followed names the method.

    Args:
        when: what must hold.
        use: methods to take, the first that is there; empty for a rule that only forbids.
        avoid: methods not to take for any reason that comes after rules.
        name: how messages call it, such as ``rule 2 (bytes > 64MiB)``.
    """

    when: Expression
    use: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class FixedRange:
    """A handwritten threshold: sizes below `end_bytes` (and not below the range before) take `method`."""

    end_bytes: float
    method: str


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSettings:
    """What one pool wants from its decisions.

    Args:
        goal: what "cheapest" means: one of `GOALS`.
        methods: the methods that may be chosen; None stands for every method.
        tolerance: the largest expected loss, as a share from 0 to 1, for which a simpler method is taken when the
            evidence cannot tell the two apart.
        simplicity_order: methods from simple to complicated.
        margin: the benefit, as a share from 0 to 1, below which a simpler method is taken however sure the benefit is.
        weights: of the goal ``balanced``.
        override: the method to take whatever the size; None for none.
        rules: in the order in which they are asked.
        policy: name of a `perfkit.policy` function; None for none.
        thresholds: handwritten ranges in order of size, the last one without end; empty for none.
        zero_copy_bytes: size from which the default takes the zero-copy family.
    """

    goal: str = "balanced"
    methods: tuple[str, ...] | None = None
    tolerance: float = 0.05
    simplicity_order: tuple[str, ...] = SIMPLICITY_ORDER
    margin: float = 0.0
    weights: Weights = Weights()
    override: str | None = None
    rules: tuple[Rule, ...] = ()
    policy: str | None = None
    thresholds: tuple[FixedRange, ...] = ()
    zero_copy_bytes: int = 10 * 2**20

    def changed_by(self, changes: Mapping[str, Any]) -> PoolSettings:
        """These settings with some fields replaced; rules among them come before the rules that are here.

        >>> PoolSettings(goal="memory").changed_by({"tolerance": 0.1}).goal
        'memory'
        """
        if "rules" in changes:
            changes = {**changes, "rules": (*changes["rules"], *self.rules)}
        return dataclasses.replace(self, **changes)
