"""Circuit breakers: when they open, who may try, and that they never count wrong under threads."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.engine_settings import BreakerSettings
from perfkit.engine.outcomes import Breakers

SECOND = 10**9


class Clock:
    def __init__(self):
        self.now_ns = 5 * SECOND

    def __call__(self):
        return self.now_ns


def opened(clock, failures=5, settings=None):
    breakers = Breakers(settings or BreakerSettings(failures=failures), clock)
    for _ in range(failures):
        breakers.record_failure("uds", "PeerLostError")
    return breakers


def test_it_opens_at_the_last_of_five_failures_in_a_row():
    breakers = Breakers(BreakerSettings(), Clock())
    assert [breakers.record_failure("uds", "X") for _ in range(7)] == [False] * 4 + [True] + [False] * 2
    assert breakers.open_methods() == {"uds"}


def test_a_success_in_between_starts_the_count_again():
    breakers = Breakers(BreakerSettings(), Clock())
    for _ in range(20):
        for _ in range(4):
            assert not breakers.record_failure("uds")
        assert not breakers.record_success("uds")
    assert breakers.is_clean("uds")
    assert breakers.open_methods() == frozenset()


def test_methods_do_not_share_a_breaker():
    breakers = opened(Clock())
    assert breakers.is_clean("grpc")
    assert not breakers.is_clean("uds")


def test_one_probe_at_a_time_after_the_wait():
    clock = Clock()
    breakers = opened(clock)
    clock.now_ns += 60 * SECOND - 1
    assert breakers.half_open() == frozenset()
    assert not breakers.take_probe("uds")
    clock.now_ns += 1
    assert breakers.half_open() == {"uds"}
    assert [breakers.take_probe("uds") for _ in range(3)] == [True, False, False]
    assert breakers.open_methods() == {"uds"}  # nobody but the probe takes it


def test_a_probe_that_succeeds_closes_it():
    clock = Clock()
    breakers = opened(clock)
    clock.now_ns += 60 * SECOND
    assert breakers.take_probe("uds")
    assert breakers.record_success("uds")
    assert breakers.is_clean("uds")
    assert breakers.open_methods() == frozenset()


def test_a_probe_that_fails_opens_it_for_as_long_again():
    clock = Clock()
    breakers = opened(clock)
    clock.now_ns += 60 * SECOND
    assert breakers.take_probe("uds")
    assert breakers.record_failure("uds", "NoRoomError")
    assert breakers.half_open() == frozenset()
    clock.now_ns += 60 * SECOND
    assert breakers.take_probe("uds")
    (state,) = breakers.states()
    assert (state.state, state.failures, state.error, state.opened) == ("half_open", 6, "NoRoomError", 2)


def test_a_probe_that_never_reports_back_is_given_again():
    clock = Clock()
    breakers = opened(clock)
    clock.now_ns += 60 * SECOND
    assert breakers.take_probe("uds")
    clock.now_ns += 60 * SECOND - 1
    assert not breakers.take_probe("uds")
    clock.now_ns += 1
    assert breakers.take_probe("uds")


def test_transfers_under_way_when_it_opened_change_nothing():
    clock = Clock()
    breakers = opened(clock)
    clock.now_ns += 30 * SECOND
    assert not breakers.record_success("uds")
    assert not breakers.record_failure("uds")
    assert breakers.states()[0].retry_in_ns == 30 * SECOND


def test_the_last_method_is_never_taken_away():
    clock = Clock()
    breakers = opened(clock)
    assert breakers.open_methods(("uds",)) == frozenset()
    assert breakers.open_methods(("uds", "grpc")) == {"uds"}
    clock.now_ns += SECOND
    for _ in range(5):
        breakers.record_failure("grpc")
    assert breakers.open_methods() == {"uds", "grpc"}
    assert breakers.open_methods(("grpc", "uds")) == {"grpc"}  # uds has waited longer
    assert breakers.open_methods(()) == {"grpc", "uds"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fail", "succeed", "probe"]), st.sampled_from(["uds", "grpc"])),
        st.tuples(st.just("wait"), st.integers(0, 90 * SECOND)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_it_is_what_a_plain_model_says(steps):
    clock = Clock()
    breakers = Breakers(BreakerSettings(failures=3), clock)
    failures, opened_at, probed_at = {}, {}, {}
    for action, what in steps:
        if action == "wait":
            clock.now_ns += what
            continue
        now = clock.now_ns
        waiting = what in opened_at and now - opened_at[what] < 60 * SECOND
        if action == "fail":
            failures[what] = failures.get(what, 0) + 1
            opens = not waiting and (what in opened_at or failures[what] >= 3)
            assert breakers.record_failure(what) == opens
            if opens:
                opened_at[what] = now
                probed_at.pop(what, None)
        elif action == "succeed":
            assert breakers.record_success(what) == (what in opened_at and not waiting)
            if not waiting:
                for known in (failures, opened_at, probed_at):
                    known.pop(what, None)
        else:
            may = what in opened_at and not waiting and now - probed_at.get(what, -(10**12)) >= 60 * SECOND
            assert breakers.take_probe(what) == may
            if may:
                probed_at[what] = now
        assert breakers.open_methods() == set(opened_at)
        assert all(breakers.is_clean(name) == (name not in failures) for name in ("uds", "grpc"))


def test_one_of_many_threads_gets_the_probe_and_one_opens_it():
    clock = Clock()
    breakers = Breakers(BreakerSettings(failures=400), clock)
    results = {"opened": 0, "probes": 0}

    def fail():
        for _ in range(100):
            results["opened"] += breakers.record_failure("uds")

    def probe():
        results["probes"] += breakers.take_probe("uds")

    for target in (fail, probe):
        threads = [threading.Thread(target=target) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.now_ns += 60 * SECOND
    assert results == {"opened": 1, "probes": 1}
