"""Turns on one host: a drifting host shows no effect, and an effect shows in spite of the drift."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.experiments.switchback import switchback, switchback_schedule
from perfkit.stats.experiments.switchback_result import SwitchbackResult, SwitchbackSchedule

SECOND = 1_000_000_000
Frame = dict[str, npt.NDArray[np.generic]]


def host(schedule: SwitchbackSchedule, seed: int, effect: float = 0.0, carried_over: float = 0.0) -> Frame:
    """Rows of a host that warms up, and whose load wanders: neighbouring blocks resemble each other."""
    rng = np.random.default_rng(seed)
    blocks = len(schedule.blocks)
    wander = np.cumsum(rng.normal(0, 0.03, blocks)) + 0.02 * np.arange(blocks)
    moment = rng.integers(0, blocks * SECOND, blocks * 25)
    is_b = schedule.variant_at(moment) == "B"
    factor = np.where(is_b, 1 + effect, 1.0)
    if carried_over:
        factor = np.where(moment % SECOND < SECOND // 5, np.where(is_b, 1.0, 1 + carried_over), factor)
    latency_ns = 1e6 * factor * np.exp(wander[moment // SECOND] + rng.normal(0, 0.2, moment.size))
    return {"observed_at": moment, "variant": np.where(is_b, "B", "A"), "latency_ns": latency_ns}


def compare(seed: int, pairs: int = 12, effect: float = 0.0, **other: str) -> SwitchbackResult:
    """The result of one simulated experiment."""
    schedule = switchback_schedule(pairs, SECOND, seed=seed)
    return switchback(host(schedule, seed, effect), schedule, statistic=other.get("statistic", "mean"))


def test_half_of_the_pairs_have_each_order_and_lots_decide_which() -> None:
    schedules = [switchback_schedule(10, SECOND, start_ns=5, seed=seed) for seed in range(20)]
    for one in schedules:
        assert sum(block.variant == "B" for block in one.blocks[1::2]) == 5
        assert all(
            {a.variant, b.variant} == {"A", "B"} for a, b in zip(one.blocks[0::2], one.blocks[1::2], strict=True)
        )
        assert [block.start_ns for block in one.blocks] == [5 + SECOND * index for index in range(20)]
    assert len({tuple(block.variant for block in one.blocks) for one in schedules}) > 15


def test_a_moment_has_the_variant_whose_turn_it_is() -> None:
    schedule = switchback_schedule(8, SECOND, start_ns=100, seed=3)
    moments = [99, 100, 99 + SECOND, 100 + SECOND, 99 + 16 * SECOND, 100 + 16 * SECOND]
    assert schedule.block_at(moments).tolist() == [-1, 0, 0, 1, 15, -1]
    assert schedule.variant_at(moments).tolist() == ["", "A", "A", "B", "B", ""]


def test_the_p_value_is_the_share_of_orders_that_give_as_much() -> None:
    result = compare(1, pairs=8)
    per_block = np.log(np.array(result.per_block))
    gains = per_block[1::2] - per_block[0::2]
    sign = np.array([1 if one.variant == "B" else -1 for one in switchback_schedule(8, SECOND, seed=1).blocks[1::2]])
    found = gains[sign > 0].mean() - gains[sign < 0].mean()
    others = [
        gains[list(later)].mean() - np.delete(gains, list(later)).mean()
        for later in itertools.combinations(range(8), 4)
    ]
    assert result.p_value == pytest.approx(np.mean(np.abs(others) >= abs(found) - 1e-12))
    assert result.relative == pytest.approx(math.expm1(found / 2))


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    schedule = switchback_schedule(10, SECOND, seed=5)
    frame = host(schedule, 5, 0.1)
    low, high = switchback(frame, schedule).interval
    is_b = frame["variant"] == "B"
    for bound, inwards in ((low, 1), (high, -1)):
        for step, rejects in ((inwards * 1e-4, False), (-inwards * 1e-4, True)):
            shifted = {**frame, "latency_ns": frame["latency_ns"].astype(float) / np.where(is_b, 1 + bound + step, 1)}
            assert (switchback(shifted, schedule).p_value <= 0.05) == rejects


def test_a_drifting_host_is_rejected_as_often_as_promised_and_intervals_hold_the_truth() -> None:
    found = [compare(seed, effect=0.1) for seed in range(200)]
    held = np.mean([one.interval[0] <= 0.1 <= one.interval[1] for one in found])
    assert held == pytest.approx(0.95, abs=0.045)
    assert np.mean([compare(seed).p_value <= 0.05 for seed in range(1000, 1200)]) == pytest.approx(0.05, abs=0.045)
    assert np.mean([one.verdict == "worse" for one in found]) > 0.9
    assert np.mean([one.drift for one in found]) == pytest.approx(0.02, abs=0.005)


def test_what_the_block_before_leaves_behind_is_dropped() -> None:
    schedule = switchback_schedule(20, SECOND, seed=6)
    frame = host(schedule, 6, 0.2, carried_over=0.2)
    kept = switchback(frame, schedule, burn_in_ns=SECOND // 5)
    assert kept.relative == pytest.approx(0.2, abs=0.03)
    assert switchback(frame, schedule).relative < 0.16
    assert kept.excluded == {"burn-in": int((frame["observed_at"].astype(int) % SECOND < SECOND // 5).sum())}


def test_quantiles_of_blocks_are_compared_too() -> None:
    schedule = switchback_schedule(12, SECOND, seed=7)
    result = switchback(host(schedule, 7, 0.15), schedule, statistic="p50")
    assert result.verdict == "worse"
    with pytest.raises(InputError, match="0 of 12 pairs of blocks have rows enough for p99 on both sides"):
        switchback(host(schedule, 7), schedule, statistic="p99")


def test_nothing_happened_is_equivalent_when_it_is_shown() -> None:
    rng = np.random.default_rng(8)
    schedule = switchback_schedule(16, SECOND, seed=8)
    moment = rng.integers(0, 32 * SECOND, 20_000)
    frame = {"observed_at": moment, "latency_ns": rng.lognormal(14, 0.2, moment.size)}
    assert switchback(frame, schedule, variant=None).verdict == "equivalent"


def test_more_may_be_better() -> None:
    schedule = switchback_schedule(12, SECOND, seed=9)
    assert switchback(host(schedule, 9, 0.2), schedule, direction="more").verdict == "better"


def test_rows_that_cannot_count_are_counted() -> None:
    schedule = switchback_schedule(10, SECOND, seed=10)
    frame = host(schedule, 10)
    values, moments = frame["latency_ns"].astype(float), frame["observed_at"].astype(np.int64)
    values[:3] = np.nan, np.inf, -1.0
    moments[3:5] = -1, 21 * SECOND
    variants = frame["variant"].copy()
    variants[5] = "A" if variants[5] == "B" else "B"
    dirty = {"observed_at": moments, "variant": variants, "latency_ns": values}
    result = switchback(dirty, schedule)
    assert result.excluded == {
        "outside the schedule": 2,
        "missing, infinite or not above 0": 3,
        "of another variant than scheduled": 1,
    }
    assert result.n_observations == values.size - 6
    assert json.loads(json.dumps(result.to_plain(), allow_nan=False))["n"] == 10
    assert max(map(len, str(result).splitlines())) <= 80


def test_pairs_without_rows_are_left_out() -> None:
    schedule = switchback_schedule(10, SECOND, seed=11)
    frame = host(schedule, 11)
    there = frame["observed_at"].astype(int) // SECOND != 4
    result = switchback({name: column[there] for name, column in frame.items()}, schedule)
    assert (result.n, result.warnings) == (9, ("1 of 10 pairs lack rows in a block and were left out",))


def test_times_may_be_timestamps() -> None:
    schedule = switchback_schedule(10, SECOND, seed=12)
    frame = host(schedule, 12)
    stamps = frame["observed_at"].astype(np.int64).view("datetime64[ns]")
    table = pa.table({**frame, "observed_at": pa.array(stamps, pa.timestamp("ns", tz="UTC"))})
    expected = switchback(frame, schedule)
    assert switchback(table, schedule) == expected
    assert switchback({**frame, "observed_at": stamps}, schedule) == expected


def test_a_constant_host_shows_no_effect() -> None:
    schedule = switchback_schedule(8, SECOND, seed=13)
    result = switchback({**host(schedule, 13), "latency_ns": np.full(400, 5.0)}, schedule)
    assert (result.p_value, result.relative, result.interval) == (1.0, 0.0, (0.0, 0.0))


def test_what_cannot_be_asked_is_refused() -> None:
    for pairs in (6, 9):
        with pytest.raises(InputError, match=f"pairs == {pairs}, must be even and 8 or more"):
            switchback_schedule(pairs, SECOND)
    with pytest.raises(InputError, match="block_ns == 0"):
        switchback_schedule(8, 0)
    with pytest.raises(InputError, match="must be two different names"):
        switchback_schedule(8, SECOND, variants=("A", "A"))
    with pytest.raises(InputError, match="pairs == '8', must be even"):
        switchback_schedule("8", SECOND)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed == 'x', must be a whole number"):
        switchback_schedule(8, SECOND, seed="x")  # type: ignore[arg-type]
    schedule = switchback_schedule(8, SECOND)
    frame = host(schedule, 1)
    with pytest.raises(InputError, match="schedule == 5, must be what `switchback_schedule` returned"):
        switchback(frame, 5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="margin == x, must be above 0"):
        switchback(frame, schedule, margin="x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="burn_in_ns == 1000000000, must be 0 or more and less than a block"):
        switchback(frame, schedule, burn_in_ns=SECOND)
    with pytest.raises(InputError, match="statistic == 'ratio', must be mean or a quantile"):
        switchback(frame, schedule, statistic="ratio")
    with pytest.raises(InputError, match="alpha == 0"):
        switchback(frame, schedule, alpha=0)
    with pytest.raises(InputError, match="direction == 'up', must be less or more"):
        switchback(frame, schedule, direction="up")
    with pytest.raises(UnknownNameError, match="unknown column 'time'"):
        switchback(frame, schedule, time="time")
    with pytest.raises(InputError, match="has rows without a time"):
        switchback({**frame, "observed_at": np.full(400, np.nan)}, schedule)
