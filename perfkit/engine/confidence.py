"""Follow published curves only where they are sure enough that their choice is no worse than going without them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.costs import AS_MEASURED, Context
from perfkit.engine.lines import Line, Setting
from perfkit.engine.ranges import compose_all
from perfkit.engine.sources import Answer, Proposal

__all__ = ["confident_proposals", "probability_no_worse"]

_HALF_WIDTH_SDS = 1.959964  # of a normal distribution, for 95 %
_PRECISION = 1.02  # edges are refined until they lie within this factor
_LARGEST_BYTES = 2.0**40
_GRID_FACTOR = 4.0  # between two sizes at which confidence is looked at


def probability_no_worse(difference: tuple[float, float, float], allowed: float = 0.0) -> float:
    """Probability that one method costs no more than another, from the 95 % interval of their difference.

    Each side of the interval is taken for 1.96 standard deviations of a normal distribution.

    Args:
        difference: cost of the one minus cost of the other, with its lower and upper bound.
        allowed: what it may cost more.

    >>> probability_no_worse((0.0, -10.0, 10.0)), round(probability_no_worse((10.0, 0.0, 20.0)), 3)
    (0.5, 0.025)
    """
    value, low, high = difference
    excess = value - allowed
    half_width = (high - value) if excess < 0 else (value - low)
    if not half_width > 0:
        return 1.0 if excess <= 0 else 0.0
    return 0.5 * math.erfc(excess / half_width * _HALF_WIDTH_SDS / math.sqrt(2))


def confident_proposals(
    proposals: Sequence[Proposal],
    fallback: Sequence[Answer],
    curves: CurveSet,
    context: Context,
    goal: str,
    *,
    confidence: float,
    tolerance: float,
    weights: Weights,
    factors: Mapping[str, float],
    penalties: Mapping[str, float] = AS_MEASURED,
    pause: Callable[[], None] | None = None,
) -> tuple[Proposal, ...]:
    """The proposals of the curves, without a method where it is not sure enough.

    Args:
        proposals: what the curves propose, in order of size.
        fallback: what would be taken without them.
        curves: what was published.
        context: what is decided for.
        goal: what "no worse" means.
        confidence: probability from 0 to 1 that is asked for; 0 takes the proposals as they are.
        tolerance: loss, as a share, that does not count as worse.
        weights: of the goal ``balanced``.
        factors: corrections by method.
        penalties: what a method's cost is multiplied by before methods are compared.
        pause: called between sizes.

    Returns:
        The proposals in order of size; those that are not sure enough name no method, and say so.
    """
    if confidence <= 0:
        return tuple(proposals)
    costs = compose_all(curves, context, goal, weights=weights, factors=factors, pause=pause)
    kept: list[Proposal] = []
    for proposal in proposals:
        for start, end, instead in _cut(proposal, fallback):
            part = dataclasses.replace(proposal, start_bytes=start, end_bytes=end)
            first, second = costs.lines.get(str(proposal.method)), costs.lines.get(instead)
            if instead == proposal.method or first is None or second is None:  # nothing is known that speaks against it
                kept.append(part)
            else:
                scales = penalties.get(first.method, 1.0), penalties.get(second.method, 1.0)
                is_sure = _is_sure(costs, (first, second), scales, confidence, tolerance, pause)
                kept += _checked(part, is_sure, f"not {confidence:.0%} sure to be no worse than {second.method}")
    return tuple(kept)


def _cut(proposal: Proposal, fallback: Sequence[Answer]) -> Iterator[tuple[float, float, str]]:
    for answer in fallback:
        start = max(proposal.start_bytes, answer.start_bytes)
        end = min(proposal.end_bytes, answer.end_bytes)
        if start < end:
            yield start, end, str(answer.proposal.method)


def _is_sure(
    costs: Setting,
    lines: tuple[Line, Line],
    scales: tuple[float, float],
    confidence: float,
    tolerance: float,
    pause: Callable[[], None] | None,
) -> Callable[[float], bool]:
    first, second = lines
    difference = costs.difference(first.composition, second.composition)

    def is_sure(payload_bytes: float) -> bool:
        if pause is not None:
            pause()
        allowed = tolerance * scales[1] * second.at(payload_bytes)
        return probability_no_worse(difference.at(payload_bytes, scales), allowed) >= confidence

    return is_sure


def _checked(part: Proposal, is_sure: Callable[[float], bool], doubt: str) -> list[Proposal]:
    low = max(part.start_bytes, 1.0)
    high = min(part.end_bytes, max(_LARGEST_BYTES, low * _GRID_FACTOR))
    sizes = [low, math.sqrt(low * high), high]
    answers = [is_sure(size) for size in sizes]
    if len(set(answers)) > 1:
        sizes = _grid(low, high)
        answers = [is_sure(size) for size in sizes]
    starts = [(part.start_bytes, answers[0])]
    for (left, _), (right, after) in itertools.pairwise(zip(sizes, answers, strict=True)):
        if after != starts[-1][1]:
            starts.append((_edge(is_sure, left, right, after), after))
    return [
        dataclasses.replace(part, start_bytes=start, end_bytes=end)
        if sure
        else Proposal(start, end, None, f"{part.rule}; but {doubt}", part.evidence)
        for (start, sure), (end, _) in itertools.pairwise([*starts, (part.end_bytes, True)])
    ]


def _grid(low: float, high: float) -> list[float]:
    count = max(2, math.ceil(math.log(high / low) / math.log(_GRID_FACTOR)) + 1)
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]


def _edge(is_sure: Callable[[float], bool], left: float, right: float, after: bool) -> float:
    while right / left > _PRECISION:
        middle = math.sqrt(left * right)
        if is_sure(middle) == after:
            right = middle
        else:
            left = middle
    return right
