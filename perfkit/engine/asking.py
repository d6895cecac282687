"""Ask a policy in Python what it would take, size by size, and place its changes of mind."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import PoolSettings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.policies import MethodFigures, Policy, PolicyContext, find_policy
from perfkit.engine.sources import Proposal
from perfkit.errors import UnknownNameError

__all__ = ["policy_proposals"]

_GRID = tuple(2.0 ** (step / 2) for step in range(2 * 36))
"""Two sizes per doubling up to 64 GiB, beside a policy's own breakpoints."""
_PRECISION = 1.002


class _Figures(Mapping[str, MethodFigures]):
    """What each method costs at a size: worked out when a policy looks at it."""

    def __init__(self, curves: CurveSet | None, pool: PoolSettings, asked: PolicyContext, context: Context) -> None:
        self._curves, self._pool, self._asked, self._context = curves, pool, asked, context

    def __getitem__(self, method: str) -> MethodFigures:
        if method not in self._asked.available:
            raise KeyError(method)
        costs = [self._cost(method, goal) for goal in (self._asked.goal, "latency", "cpu", "memory")]
        return MethodFigures(*costs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._asked.available)

    def __len__(self) -> int:
        return len(self._asked.available)

    def _cost(self, method: str, goal: str) -> float | None:
        if self._curves is None:
            return None
        found = method_cost(
            self._curves, method, self._context, self._asked.payload_bytes, goal, weights=self._pool.weights
        )
        return None if found is None else found.value


def policy_proposals(
    pool: PoolSettings,
    curves: CurveSet | None,
    context: Context,
    circumstances: Circumstances,
    candidates: tuple[str, ...],
    pause: Callable[[], None] | None = None,
) -> tuple[tuple[Proposal, ...], tuple[str, ...]]:
    """What the pool's policy proposes for every size.

    Returns:
        The proposals in order of size, and what went wrong, in sentences: the policy is not registered, raised, or
        named a method that cannot be taken.
    """
    assert pool.policy is not None
    try:
        policy = find_policy(pool.policy)
    except UnknownNameError as error:
        return (), (f"pool {context.pool}: {error}",)
    problems: dict[str, None] = {}

    def method_at(payload_bytes: float) -> str | None:
        if pause is not None:
            pause()
        return _ask(policy, pool, curves, context, circumstances, candidates, payload_bytes, problems)

    edges = _edges(method_at, sorted({0.0, *_GRID, *policy.breakpoints}), set(policy.breakpoints))
    name = f"policy {policy.name}"
    proposals = tuple(
        Proposal(start, end, method, name if method else f"{name}: leaves it open")
        for (start, method), (end, _) in itertools.pairwise([*edges, (math.inf, None)])
    )
    return proposals, tuple(problems)


def _ask(
    policy: Policy,
    pool: PoolSettings,
    curves: CurveSet | None,
    context: Context,
    circumstances: Circumstances,
    candidates: tuple[str, ...],
    payload_bytes: float,
    problems: dict[str, None],
) -> str | None:
    asked = PolicyContext(
        math.ceil(payload_bytes),
        context.pool,
        context.kind,
        context.format,
        context.compression,
        context.signalling,
        context.in_place,
        context.in_flight,
        circumstances.state,
        circumstances.goal or pool.goal,
        candidates,
    )
    try:
        method = policy.function(asked, _Figures(curves, pool, asked, context))
    except Exception as error:  # noqa: BLE001 - somebody else's code must not take the engine down
        problems[f"policy {policy.name} raised {error!r}; what comes after policies decides"] = None
        return None
    if method is None or method in candidates:
        return method
    named = f"policy {policy.name} named {method!r}, must be one of {', '.join(candidates)} or None"
    problems[f"{named}; what comes after policies decides"] = None
    return None


def _edges(
    method_at: Callable[[float], str | None], sizes: Sequence[float], exact: set[float]
) -> list[tuple[float, str | None]]:
    """Start and method of every stretch with the same answer; an edge is at a breakpoint, or found by bisection."""
    edges = [(sizes[0], method_at(sizes[0]))]
    for left, right in itertools.pairwise(sizes):
        method = method_at(right)
        if method == edges[-1][1]:
            continue
        low, high = max(left, 1.0), right
        if right in exact and method_at(max(math.ceil(right) - 1, 0)) == edges[-1][1]:
            low = high
        while high / low > _PRECISION and high - low > 1:
            middle = math.sqrt(low * high)
            if method_at(middle) == edges[-1][1]:
                low = middle
            else:
                high = middle
        edges.append((high, method))
    return edges
