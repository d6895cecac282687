"""States: entered and left in time, not flapping, the gravest first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.engine_settings import RESOURCE_STATES, ResourceSettings
from perfkit.engine.resources import Reading
from perfkit.engine.resources.states import StateTracker

LOOK_NS = 250_000_000
SECOND_NS = 10**9
GIB = 2**30
NORMAL = Reading(0, cpu_share=0.3, memory_share=0.3, psi_memory=0.0, arena_share=0.1, arenas_share=0.1)
FIGURES = {
    "cpu_pressure": {"cpu_share": 0.95},
    "memory_pressure": {"memory_share": 0.95},
    "arena_low": {"arena_share": 0.9, "arenas_share": 0.5},
    "arena_exhausted": {"arena_share": 1.0, "arenas_share": 1.0},
}
shares = st.one_of(st.none(), st.floats(0, 1))
readings = st.builds(
    dict, cpu_share=shares, memory_share=shares, psi_memory=shares, arena_share=shares, arenas_share=shares
)


def look(number: int, **figures: float | None) -> Reading:
    known = {name: getattr(NORMAL, name) for name in ("cpu_share", "memory_share", "psi_memory", "arena_share")}
    return Reading(number * LOOK_NS, **{**known, "arenas_share": 0.1, **figures})


@pytest.mark.parametrize("state", FIGURES)
@pytest.mark.parametrize("phase", [0.01, 0.5, 0.99])
def test_each_state_comes_and_goes_within_a_second(state: str, phase: float) -> None:
    # The looks fall at any place between the moments at which the resource changes.
    tracker, seen = StateTracker(ResourceSettings()), []
    begins_ns, ends_ns = round((8 + phase) * LOOK_NS), round((20 + phase) * LOOK_NS)
    for number in range(40):
        is_short = begins_ns <= number * LOOK_NS < ends_ns
        seen.append((number * LOOK_NS, tracker.update(look(number, **(FIGURES[state] if is_short else {})))))
    entered_ns = next(at for at, name in seen if name == state)
    left_ns = next(at for at, name in seen if at > ends_ns and name == "normal")
    assert {name for _, name in seen} == {"normal", state}
    assert 0 < entered_ns - begins_ns <= SECOND_NS
    assert 0 < left_ns - ends_ns <= SECOND_NS
    assert tracker.statistics().transitions == 2


def test_processor_use_that_begins_within_a_look_is_seen_within_a_second() -> None:
    tracker = StateTracker(ResourceSettings())
    figures = [0.1, 0.1 + 0.05, 1.0, 1.0]  # the load begins just before the second look
    assert [tracker.update(look(n, cpu_share=share)) for n, share in enumerate(figures)][-1] == "cpu_pressure"


def test_one_look_over_the_limit_is_none() -> None:
    tracker = StateTracker(ResourceSettings())
    for number in range(20):
        over = number % 2 == 0
        assert (
            tracker.update(look(number, cpu_share=1.0 if over else 0.0, memory_share=1.0 if over else 0.0)) == "normal"
        )


def test_an_exhausted_arena_counts_at_once() -> None:
    tracker = StateTracker(ResourceSettings())
    assert tracker.update(look(0, arena_share=1.0, arenas_share=1.0)) == "arena_exhausted"


def test_one_full_arena_of_many_is_only_low() -> None:
    tracker = StateTracker(ResourceSettings())
    assert [tracker.update(look(n, arena_share=1.0, arenas_share=0.2)) for n in range(3)][-1] == "arena_low"


def test_the_gravest_state_comes_first_and_uncovers_the_others() -> None:
    tracker, held, seen = StateTracker(ResourceSettings()), list(FIGURES), []
    for number in range(20):
        figures: dict[str, float] = {}
        for state in held:
            figures |= FIGURES[state]
        seen.append(tracker.update(look(number, **figures)))
        if number % 4 == 3 and held:
            held.pop()
    assert tuple(dict.fromkeys(reversed(seen))) == RESOURCE_STATES


def test_waiting_for_memory_is_pressure_however_much_is_left() -> None:
    tracker = StateTracker(ResourceSettings())
    states = [tracker.update(look(n, psi_memory=0.12)) for n in range(3)]
    assert states == ["normal", "memory_pressure", "memory_pressure"]
    assert tracker.statistics().cause == "tasks waited for memory 12% of the time, limit 10%"
    states = [tracker.update(look(n, psi_memory=share)) for n, share in enumerate((0.07, 0.07, 0.04, 0.04), start=3)]
    assert states == ["memory_pressure", "memory_pressure", "memory_pressure", "normal"]
    assert tracker.statistics().cause == "tasks waited for memory 4% of the time, no more than 5%"


def test_what_becomes_unknown_is_pressure_no_longer() -> None:
    tracker = StateTracker(ResourceSettings())
    states = [tracker.update(Reading(n * LOOK_NS, cpu_share=share)) for n, share in enumerate((1, 1, None, None))]
    assert states == ["normal", "cpu_pressure", "cpu_pressure", "normal"]
    assert tracker.statistics().cause == "processor use unknown, no more than 70%"


def test_causes_are_sentences_with_figures() -> None:
    tracker = StateTracker(ResourceSettings())
    memory = {"memory_total_bytes": 8 * GIB, "memory_source": "/sys/fs/cgroup/pod/memory.max"}
    for number in range(2):
        tracker.update(Reading(number, memory_share=0.84, **memory))
    assert tracker.statistics().cause == "memory use 84% of 8GiB (/sys/fs/cgroup/pod/memory.max), limit 80%"
    for number in range(2, 4):
        tracker.update(Reading(number, memory_share=0.61, **memory))
    assert tracker.statistics().cause == "memory use 61% of 8GiB (/sys/fs/cgroup/pod/memory.max), no more than 70%"


def test_nothing_is_reacted_to_when_that_is_switched_off() -> None:
    tracker = StateTracker(ResourceSettings(react=False))
    assert {tracker.update(look(n, **FIGURES["arena_exhausted"])) for n in range(5)} == {"normal"}


def test_other_limits_hold_from_the_next_look_on() -> None:
    tracker = StateTracker(ResourceSettings(cpu=0.8))
    for number in range(4):
        tracker.update(look(number, cpu_share=0.6))
    tracker.use(ResourceSettings(cpu=0.5))
    assert [tracker.update(look(n, cpu_share=0.6)) for n in (4, 5)] == ["normal", "cpu_pressure"]
    tracker.use(ResourceSettings(cpu=0.5, react=False))
    assert tracker.update(look(6, cpu_share=0.6)) == "normal"
    assert tracker.statistics().cause == "resources.react is off"
    assert tracker.statistics().transitions == 2


def test_time_is_counted_in_the_state_in_which_it_was_spent() -> None:
    tracker = StateTracker(ResourceSettings())
    for number, share in enumerate([0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1]):
        tracker.update(look(number, cpu_share=share))
    statistics = tracker.statistics()
    assert statistics.time_ns["cpu_pressure"] == 3 * LOOK_NS
    assert sum(statistics.time_ns.values()) == 6 * LOOK_NS
    assert (statistics.state, statistics.transitions, statistics.since_ns) == ("normal", 2, 5 * LOOK_NS)
    assert statistics.to_plain()["time_ns"]["normal"] == 3 * LOOK_NS


@given(st.lists(readings, max_size=60))
def test_any_readings_give_a_state_and_time_for_each_look(figures: list[dict[str, float | None]]) -> None:
    tracker = StateTracker(ResourceSettings())
    states = [tracker.update(Reading(n * LOOK_NS, **values)) for n, values in enumerate(figures)]
    statistics = tracker.statistics()
    assert set(states) <= set(RESOURCE_STATES)
    assert statistics.transitions == sum(a != b for a, b in zip(["normal", *states], states, strict=False))
    assert sum(statistics.time_ns.values()) == max(len(figures) - 1, 0) * LOOK_NS


@given(st.lists(st.floats(0, 1), max_size=80), st.sampled_from(["cpu_share", "memory_share", "psi_memory"]))
def test_no_readings_of_a_resource_change_the_state_in_two_looks_in_a_row(values: list[float], name: str) -> None:
    tracker = StateTracker(ResourceSettings())
    for number, value in enumerate(values):
        tracker.update(look(number, **{name: value}))
    assert tracker.statistics().transitions <= len(values) // 2


@given(st.lists(st.floats(0.71, 1.0), max_size=80), st.sampled_from(["cpu_share", "memory_share", "arena_share"]))
def test_use_that_swings_around_the_limit_changes_the_state_once_at_most(values: list[float], name: str) -> None:
    tracker = StateTracker(ResourceSettings())
    for number, value in enumerate(values):
        tracker.update(look(number, **{name: value}))
    assert tracker.statistics().transitions <= 1


@given(st.floats(0, 1), shares)
def test_every_state_is_left_whatever_its_limit(limit: float, rest: float | None) -> None:
    tracker = StateTracker(ResourceSettings(cpu=limit, memory=limit, arena=limit))
    for number in range(4):
        tracker.update(look(number, cpu_share=1.0, memory_share=1.0, arena_share=1.0, psi_memory=rest))
    for number in range(4, 7):
        tracker.update(Reading(number * LOOK_NS, cpu_share=0.0, memory_share=0.0, arena_share=0.0, psi_memory=0.0))
    assert tracker.state == "normal"
