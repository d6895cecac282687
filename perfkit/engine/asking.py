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

_GRID = tuple(2.0 ** (step / 2) for step in range(2 * 36 + 1))
"""Two sizes per doubling up to 64 GiB, beside a policy's own breakpoints."""
_PRECISION = 1.002
_INSTEAD = "what comes after policies decides"


class _Figures(Mapping[str, MethodFigures]):
    """What each method costs at a size: worked out when a policy looks at it."""

    def __init__(self, available: tuple[str, ...], cost: Callable[[str, str], float | None], goal: str) -> None:
        self._available, self._cost, self._goal = available, cost, goal

    def __getitem__(self, method: str) -> MethodFigures:
        if method not in self._available:
            raise KeyError(method)
        return MethodFigures(*(self._cost(method, goal) for goal in (self._goal, "latency", "cpu", "memory")))

    def __iter__(self) -> Iterator[str]:
        return iter(self._available)

    def __len__(self) -> int:
        return len(self._available)


def policy_proposals(
    pool: PoolSettings,
    curves: CurveSet | None,
    context: Context,
    circumstances: Circumstances,
    candidates: tuple[str, ...],
    pause: Callable[[], None] | None = None,
) -> tuple[tuple[Proposal, ...], tuple[str, ...]]:
    """What the pool's policy proposes for every size.

    Args:
        pool: names the policy.
        curves: what was published; None for nothing.
        context: what is decided for, with all methods that are there.
        circumstances: state of the host, and corrections of the figures.
        candidates: methods that may be taken now.
        pause: called before each size.

    Returns:
        The proposals in order of size, and what went wrong, in sentences: the policy is not registered, raised, or
        named what is no method of the context. A method that is none of the candidates is proposed: whoever follows
        the proposal tells why it cannot be taken.
    """
    assert pool.policy is not None
    try:
        policy = find_policy(pool.policy)
    except UnknownNameError as error:
        return (), (f"pool {context.pool}: {error}",)
    problems: dict[str, str] = {}

    def method_at(payload_bytes: float) -> str | None:
        if pause is not None:
            pause()
        asked, figures = _asked(pool, curves, context, circumstances, candidates, payload_bytes)
        return _answer(policy, asked, figures, context.available, problems)

    turns = {turn for size in policy.breakpoints for turn in (size, size + 1)}  # below it, and up to it
    edges = _edges(method_at, sorted({0.0, *_GRID, *turns}), turns)
    name = f"policy {policy.name}"
    abstains = f"{name}: went wrong, or leaves it open; see the warnings" if problems else f"{name}: leaves it open"
    proposals = tuple(
        Proposal(start, end, method, name if method else abstains)
        for (start, method), (end, _) in itertools.pairwise([*edges, (math.inf, None)])
    )
    return proposals, tuple(problems.values())


def _asked(
    pool: PoolSettings,
    curves: CurveSet | None,
    context: Context,
    circumstances: Circumstances,
    candidates: tuple[str, ...],
    payload_bytes: float,
) -> tuple[PolicyContext, _Figures]:
    """What a policy is given at a size."""
    factors = dict(circumstances.factors)
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

    def cost(method: str, goal: str) -> float | None:
        if curves is None:
            return None
        found = method_cost(curves, method, context, asked.payload_bytes, goal, weights=pool.weights, factors=factors)
        return None if found is None else found.value

    return asked, _Figures(candidates, cost, asked.goal)


def _answer(
    policy: Policy, asked: PolicyContext, figures: _Figures, available: tuple[str, ...], problems: dict[str, str]
) -> str | None:
    """The method that a policy names; of each kind of mistake, the first is told."""
    try:
        method = policy.function(asked, figures)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - somebody else's code must not take the engine down
        problems.setdefault("raised", f"policy {policy.name} raised {_shown(error)}; {_INSTEAD}")
        return None
    if method is None or (isinstance(method, str) and method in available):
        return method
    named = f"policy {policy.name} named {_shown(method)}, must be one of {', '.join(available)} or None"
    problems.setdefault("named", f"{named}; {_INSTEAD}")
    return None


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except Exception:  # noqa: BLE001 - a representation is somebody else's code, too
        return f"a {type(value).__name__}"


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
