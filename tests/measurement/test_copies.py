"""Non-temporal copies: timed in processes of their own, with and without the tunable."""

from __future__ import annotations

from perfkit.measurement import copies
from perfkit.measurement.copies import TUNABLE, NonTemporal, measure_non_temporal


def test_both_ways_take_turns(monkeypatch):
    """As many turns of each, interleaved, and the medians end up on the right side."""
    asked = []

    def fake(tunable):
        asked.append(tunable)
        return [100.0, 50.0 if tunable else 200.0]

    monkeypatch.setattr(copies, "_plain_copies", fake)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    small, large = measure_non_temporal()
    assert asked == ["", TUNABLE] * 3
    assert (small.speedup, large.speedup) == (1.0, 4.0)


def test_process_reports_real_times(monkeypatch):
    monkeypatch.setattr(copies, "_TURNS", 1)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    measured = measure_non_temporal()
    assert [copy.payload_bytes for copy in measured] == [8 * 2**20, 64 * 2**20]
    assert all(copy.as_started_ns > 0 and copy.non_temporal_ns > 0 for copy in measured)


def test_nothing_to_advise_where_the_tunable_is_in_use(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", TUNABLE)
    assert measure_non_temporal() == ()


def test_speedup_is_a_ratio():
    assert NonTemporal(1, 30.0, 20.0, 3).speedup == 1.5
