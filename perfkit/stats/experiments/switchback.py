"""One host, two variants, no sessions to randomise: variants take turns, and what is drawn by lot is the order.

Time is cut into blocks, and blocks into pairs; in each pair a lot decides which variant comes first, for half of the
pairs the one, for half the other. An effect is then what the second block of a pair gains over the first where B is
second, less what it gains where A is: a drift that all pairs share cancels. The test compares that with what other lots
would have given, so that neighbouring blocks may resemble each other as they please. What the block before leaves
behind (caches, queues) is dropped with the burn-in.

Sources: Hills and Armitage, *The two-period cross-over clinical trial*, British Journal of Clinical Pharmacology 8
(1979); Bojinov, Simchi-Levi and Zhao, *Design and analysis of switchback experiments*, Management Science 69 (2023).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.experiments.question import quantile_level
from perfkit.stats.experiments.switchback_result import Block, SwitchbackResult, SwitchbackSchedule
from perfkit.stats.experiments.units import Columns, code_labels, numbers
from perfkit.stats.quantiles import rows_needed
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = ["PAIRS_NEEDED", "switchback", "switchback_schedule"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PAIRS_NEEDED = 8
"""With fewer, no outcome has a p-value below 5 %: too few orders could have been drawn."""
_ALL_LOTS_UP_TO = 20_000
_SOME_LOTS = 9_999


def switchback_schedule(
    pairs: int, block_ns: int, *, start_ns: int = 0, variants: tuple[str, str] = ("A", "B"), seed: int = 0
) -> SwitchbackSchedule:
    """Draw when which variant has its turn.

    Args:
        pairs: pairs of blocks, an even number, 8 or more.
        block_ns: length of a block in nanoseconds; several times what a switch disturbs.
        start_ns: start of the first block, in nanoseconds since 1970.
        variants: the control, and what is compared with it.
        seed: of the lots; keep it secret from whoever decides what else happens on the host.

    Raises:
        InputError: the pairs are odd or too few, or a block has no length.

    >>> schedule = switchback_schedule(8, 60_000_000_000, seed=3)
    >>> "".join(block.variant for block in schedule.blocks)
    'ABBAABBAABBABAAB'
    """
    if not isinstance(pairs, int) or pairs < PAIRS_NEEDED or pairs % 2:
        raise InputError(f"pairs == {pairs!r}, must be even and {PAIRS_NEEDED} or more, or no effect could be shown")
    if not isinstance(block_ns, int | float) or not block_ns > 0:
        raise InputError(f"block_ns == {block_ns}, must be above 0 nanoseconds, for example 60_000_000_000")
    if not isinstance(variants, tuple | list) or len(set(variants)) != 2:
        raise InputError(f"variants == {variants}, must be two different names")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed == {seed!r}, must be a whole number, 0 or more")
    is_first = np.random.default_rng(seed).permutation(np.arange(pairs) % 2 == 0)
    orders = [variants if first else variants[::-1] for first in is_first]
    blocks = tuple(
        Block(2 * pair + place, pair, name, start_ns + (2 * pair + place) * block_ns, block_ns)
        for pair, order in enumerate(orders)
        for place, name in enumerate(order)
    )
    return SwitchbackSchedule(blocks, variants[0], variants[1])


def switchback(
    frame: Any,
    schedule: SwitchbackSchedule,
    *,
    metric: str = "latency_ns",
    statistic: str = "mean",
    time: str = "observed_at",
    variant: str | None = "variant",
    burn_in_ns: int = 0,
    alpha: float = 0.05,
    margin: float = 0.05,
    direction: str = "less",
) -> SwitchbackResult:
    """Compare two variants that took turns on one host.

    Args:
        frame: one row per observation, as for `perfkit.ab`.
        schedule: when which variant had its turn.
        metric: column that was measured, above 0.
        statistic: ``mean`` or a quantile of the rows of a block, such as ``p95``.
        time: column with the moment of each row: nanoseconds since 1970, or timestamps.
        variant: column with the variant that a row had; those that contradict the schedule are left out. None to
            believe the schedule.
        burn_in_ns: what is dropped at the start of each block, because the block before still shows.
        alpha: accepted share of wrong verdicts when nothing changed; 1 - alpha is the confidence of the interval.
        margin: largest relative change that does not matter.
        direction: ``less`` or ``more``: which is better.

    Raises:
        InputError: the frame or an argument cannot be used, or too few pairs are left.

    >>> schedule = switchback_schedule(10, 1_000_000_000)
    >>> rng = np.random.default_rng(1)
    >>> moment = np.sort(rng.integers(0, 20_000_000_000, 4000))
    >>> slower = np.where(schedule.variant_at(moment) == "B", 1.1, 1.0)
    >>> frame = {"observed_at": moment, "latency_ns": 1e6 * slower * rng.lognormal(moment / 1e11, 0.2)}
    >>> result = switchback(frame, schedule, variant=None)
    >>> result.verdict, result.n, bool(result.interval[0] < 0.1 < result.interval[1])
    ('worse', 10, True)
    """
    _check(statistic, burn_in_ns, alpha, margin, direction, schedule)
    values, block, excluded = _rows(frame, schedule, metric, time, variant, burn_in_ns)
    per_block = _per_block(values, block, len(schedule.blocks), statistic)
    first, second = per_block[0::2], per_block[1::2]
    gains, is_whole = np.log(second) - np.log(first), np.isfinite(first) & np.isfinite(second)
    sign = np.array([1.0 if one.variant == schedule.variant else -1.0 for one in schedule.blocks[1::2]])
    lost = int(np.count_nonzero(~is_whole))
    gains, sign = gains[is_whole], sign[is_whole]
    if gains.size < PAIRS_NEEDED or abs(sign.sum()) == sign.size:
        raise InputError(
            f"{gains.size} of {is_whole.size} pairs of blocks have rows enough for {statistic} on both sides, "
            f"{PAIRS_NEEDED} are needed; run longer, or use longer blocks or a shorter burn-in"
        )
    effect, lows, highs = _other_lots(gains, sign)
    bounds = _bounds(lows, highs, alpha)
    inside = _bounds(lows, highs, 2 * alpha)  # two one-sided tests
    p_value = float(np.mean((lows <= 0) & (highs >= 0)))
    return SwitchbackResult(
        metric=metric,
        statistic=statistic,
        control=schedule.control,
        variant=schedule.variant,
        relative=math.expm1(effect),
        interval=(math.expm1(bounds[0]), math.expm1(bounds[1])),
        p_value=p_value,
        verdict=_verdict(effect, p_value, alpha, (math.expm1(inside[0]), math.expm1(inside[1])), margin, direction),
        drift=math.expm1(float((gains[sign > 0].mean() + gains[sign < 0].mean()) / 2)),
        alpha=alpha,
        margin=margin,
        n=gains.size,
        n_observations=values.size,
        excluded=excluded,
        per_block=tuple(per_block.tolist()),
        warnings=(f"{lost} of {is_whole.size} pairs lack rows in a block and were left out",) if lost else (),
    )


def _check(
    statistic: str, burn_in_ns: int, alpha: float, margin: float, direction: str, schedule: SwitchbackSchedule
) -> None:
    if not isinstance(schedule, SwitchbackSchedule):
        raise InputError(f"schedule == {schedule!r}, must be what `switchback_schedule` returned")
    if quantile_level(statistic) is None and statistic != "mean":
        raise InputError(f"statistic == {statistic!r}, must be mean or a quantile such as p95")
    for name, value, below in (("alpha", alpha, 0.5), ("margin", margin, 1.0)):
        if not isinstance(value, int | float) or not 0 < value < below:
            raise InputError(f"{name} == {value}, must be above 0 and below {below}, for example 0.05")
    if direction not in ("less", "more"):
        raise InputError(f"direction == {direction!r}, must be less or more")
    shortest = min(one.length_ns for one in schedule.blocks)
    if not isinstance(burn_in_ns, int | float) or not 0 <= burn_in_ns < shortest:
        raise InputError(f"burn_in_ns == {burn_in_ns}, must be 0 or more and less than a block ({shortest} ns)")


def _rows(
    frame: Any, schedule: SwitchbackSchedule, metric: str, time: str, variant: str | None, burn_in_ns: int
) -> tuple[Floats, Ints, dict[str, int]]:
    """The values that count, with their blocks; and how many do not, by reason."""
    columns = Columns(frame)
    values, moments = numbers(columns[metric], metric), _moments(columns[time], time)
    block = schedule.block_at(moments)
    starts = np.array([one.start_ns for one in schedule.blocks])
    outside = block < 0
    burnt = ~outside & (moments - starts[block] < burn_in_ns)
    with np.errstate(invalid="ignore"):
        invalid = ~outside & ~burnt & ~((values > 0) & (values < np.inf))
    contradicting = np.zeros(values.size, bool)
    if variant is not None:
        labels = code_labels(columns[variant])
        known = {name: code for code, name in enumerate(labels.names)}
        planned = np.array([known.get(one.variant, -2) for one in schedule.blocks])
        contradicting = ~outside & ~burnt & ~invalid & (labels.codes != planned[block])
    reasons = {
        "outside the schedule": outside,
        "burn-in": burnt,
        "missing, infinite or not above 0": invalid,
        "of another variant than scheduled": contradicting,
    }
    counts = ~(outside | burnt | invalid | contradicting)
    return values[counts], block[counts], {name: int(one.sum()) for name, one in reasons.items() if one.any()}


def _moments(column: Any, name: str) -> Ints:
    """Nanoseconds since 1970."""
    array = column if isinstance(column, np.ndarray) else column.to_numpy()
    if array.dtype.kind == "M":
        return np.asarray(array.astype("datetime64[ns]").view(np.int64))
    moments = numbers(column, name)
    if not np.isfinite(moments).all():
        raise InputError(f"column {name!r} has rows without a time; every row must have one, or be left out")
    return np.asarray(array if array.dtype.kind in "iu" else moments).astype(np.int64)


def _per_block(values: Floats, block: Ints, blocks: int, statistic: str) -> Floats:
    """The statistic of each block; NaN where it has too few rows."""
    level = quantile_level(statistic)
    counts = np.bincount(block, minlength=blocks)
    if level is None:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(block, values, blocks) / counts)
    order = np.argsort(block, kind="stable")
    parts = np.split(values[order], counts.cumsum()[:-1])
    needed = rows_needed(level)
    return np.array(
        [np.quantile(one, level, method="median_unbiased") if one.size >= needed else np.nan for one in parts]
    )


def _other_lots(gains: Floats, sign: Floats) -> tuple[float, Floats, Floats]:
    """The effect, and for each lot that could have been drawn the range of true effects that it would not contradict.

    With a true effect t, gains less sign * t are what any lot would have found. A lot with weights w, of which w @ sign
    == c, then has a difference at least as large as the one that was found where |w @ gains - t c| >= |effect - t|:
    between (effect - w @ gains) / (1 - c) and (effect + w @ gains) / (1 + c).
    """
    n, later = sign.size, int(np.count_nonzero(sign > 0))
    if math.comb(n, later) <= _ALL_LOTS_UP_TO:
        chosen = np.array(list(itertools.combinations(range(n), later)))
        lots = np.full((chosen.shape[0], n), -1.0)
        np.put_along_axis(lots, chosen, 1.0, axis=1)
    else:
        rng = np.random.default_rng(0)
        lots = np.vstack([sign, rng.permuted(np.tile(sign, (_SOME_LOTS, 1)), axis=1)])
    weights = np.where(lots > 0, 0.5 / later, -0.5 / (n - later))
    own = np.where(sign > 0, 0.5 / later, -0.5 / (n - later))
    effect, found, alike = float(own @ gains), weights @ gains, weights @ sign
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (effect - found) / (1 - alike), (effect + found) / (1 + alike)
    is_same, is_opposite = alike > 1 - 1e-9, alike < -1 + 1e-9
    any_effect = is_same | is_opposite
    lows = np.where(any_effect, -np.inf, np.minimum(one, other))
    highs = np.where(any_effect, np.inf, np.maximum(one, other))
    return effect, lows, highs


def _bounds(lows: Floats, highs: Floats, alpha: float) -> tuple[float, float]:
    """The effects that more than a share `alpha` of the lots do not contradict."""
    left_out = math.floor(alpha * lows.size + 1e-9)
    return float(np.sort(lows)[left_out]), float(np.sort(highs)[lows.size - 1 - left_out])


def _verdict(
    effect: float, p_value: float, alpha: float, inside: tuple[float, float], margin: float, direction: str
) -> str:
    if p_value <= alpha:
        return BETTER if (effect < 0) == (direction == "less") else WORSE
    return EQUIVALENT if -margin < inside[0] and inside[1] < margin else INCONCLUSIVE
