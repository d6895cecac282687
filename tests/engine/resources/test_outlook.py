"""Warnings: before a limit is reached, with a figure that would be enough, and not for noise."""

from __future__ import annotations

import random

import pytest

from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine.resources import CapacityWarning, Reading
from perfkit.engine.resources.outlook import Outlook

LOOK_NS = 250_000_000
GIB = 2**30
MIB = 2**20
CGROUP = "/sys/fs/cgroup/pod/memory.max"


def warnings_of(shares, build, settings=ResourceSettings()) -> list[tuple[CapacityWarning, ...]]:  # noqa: B008
    outlook = Outlook(settings)
    return [outlook.update(build(number * LOOK_NS, share)) for number, share in enumerate(shares)]


def memory(moment_ns: int, share: float) -> Reading:
    return Reading(moment_ns, memory_share=share, memory_total_bytes=8 * GIB, memory_source=CGROUP)


def growing(begin_bytes: float, bytes_per_s: float, seconds: int, noise: float = 0.0) -> list[float]:
    chance = random.Random(8)
    times = [look / 4 for look in range(seconds * 4)]
    return [(begin_bytes + bytes_per_s * t) / (8 * GIB) + chance.uniform(-noise, noise) for t in times]


def test_memory_that_grows_is_warned_of_before_its_limit() -> None:
    found = warnings_of(growing(4.8 * GIB, 40 * MIB, 25), memory)
    first = next(warnings[0] for warnings in found if warnings)
    assert (first.resource, first.kind) == ("memory", "growing")
    assert first.share < first.limit
    assert first.growth_per_s == pytest.approx(40 * MIB / (8 * GIB), rel=0.01)
    *_, (last,) = found
    assert last.message == (
        f"memory 5.72GiB of 8GiB (cgroup limit {CGROUP}), growing 40MiB/s: limit 80%, reached in 17.3s and full in "
        "58.3s; raise memory.max to at least 12GiB, or lower the arenas' size"
    )
    # With what is recommended, pressure is over in a minute from now, if it goes on.
    assert 0.65 < (last.share * 8 * GIB + 60 * 40 * MIB) / last.recommended <= 0.7


def test_steady_use_far_from_the_limit_is_no_warning() -> None:
    chance = random.Random(3)
    assert not any(warnings_of([0.5 + chance.gauss(0, 0.02) for _ in range(1200)], memory))


def test_processor_use_that_only_fluctuates_is_hardly_ever_taken_for_growth() -> None:
    chance = random.Random(4)
    found = warnings_of(
        [min(max(chance.gauss(0.4, 0.15), 0.0), 1.0) for _ in range(2400)],
        lambda moment_ns, share: Reading(moment_ns, cpu_share=share, cpu_cores=4.0, cpu_source="host"),
    )
    assert sum(bool(warnings) for warnings in found) <= 0.05 * len(found)


def test_single_outliers_do_not_make_a_trend() -> None:
    shares = [0.5 if look % 40 else 0.79 for look in range(400)]
    shares[240:] = [share + 0.001 for share in shares[240:]]
    assert not any(warnings_of(shares, memory))


def test_growth_is_seen_through_noise_and_outliers() -> None:
    shares = growing(4.4 * GIB, 20 * MIB, 60, noise=0.01)
    shares[::37] = [0.05] * len(shares[::37])
    *_, (last,) = warnings_of(shares, memory)
    assert last.growth_per_s == pytest.approx(20 * MIB / (8 * GIB), rel=0.25)


def test_use_near_the_limit_is_warned_of_without_growth() -> None:
    *_, (last,) = warnings_of([0.74] * 60, memory)
    assert (last.kind, last.growth_per_s) == ("near", None)
    assert last.message == (
        f"memory 5.92GiB of 8GiB (cgroup limit {CGROUP}): limit 80%; raise memory.max to at least 9GiB, or lower the "
        "arenas' size"
    )


def test_use_over_the_limit_says_what_would_be_enough() -> None:
    found = warnings_of(
        [0.94] * 8, lambda moment_ns, share: Reading(moment_ns, cpu_share=share, cpu_cores=2.0, cpu_source="host")
    )
    *_, (last,) = found
    assert (last.resource, last.kind, last.recommended) == ("cpu", "reached", 2.75)
    assert last.message == (
        "processor use 1.88 of 2 cores (host): limit 80%; give the host at least 2.75 cores, or move work elsewhere"
    )


def test_a_full_arena_is_warned_of_with_the_setting_to_change() -> None:
    found = warnings_of(
        [0.9] * 8, lambda moment_ns, share: Reading(moment_ns, arena_share=share, arena_capacity_bytes=GIB)
    )
    *_, (last,) = found
    assert last.message == (
        "arena 922MiB of 1GiB (the fullest one): limit 80%; raise arena_bytes to at least 1.38GiB, or release blocks "
        "sooner"
    )
    assert last.to_plain()["kind"] == "reached"


def test_a_limit_that_is_raised_begins_the_trend_anew() -> None:
    outlook = Outlook(ResourceSettings())
    for look, share in enumerate(growing(4.8 * GIB, 40 * MIB, 30)):
        outlook.update(memory(look * LOOK_NS, share))
    bigger = [Reading((120 + look) * LOOK_NS, memory_share=0.7, memory_total_bytes=16 * GIB) for look in range(20)]
    assert not any(outlook.update(reading) for reading in bigger)


def test_what_is_unknown_is_not_warned_of() -> None:
    assert not any(warnings_of([None] * 100, memory))


def test_the_same_readings_give_the_same_warnings() -> None:
    shares = growing(4.8 * GIB, 40 * MIB, 25, noise=0.01)
    assert warnings_of(shares, memory) == warnings_of(shares, memory)
