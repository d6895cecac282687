"""What a world says about itself is true of what is drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.worlds import NOISES, ab_traffic, ab_truth, benchmark_series, sweep, true_latency_ns


@pytest.fixture(scope="module")
def traffic():
    return ab_traffic(5, sessions=40_000, requests=20, effect=0.1, tail_effect=0.25)


@pytest.mark.parametrize("statistic", ["mean", "p50", "p95", "p99"])
def test_the_stated_effect_is_in_the_traffic(traffic, statistic):
    def value(variant):
        rows = traffic["latency_ns"][traffic["variant"] == variant]
        return rows.mean() if statistic == "mean" else np.quantile(rows, float(statistic[1:]) / 100)

    truth = ab_truth(statistic, effect=0.1, tail_effect=0.25)
    assert value("B") / value("A") - 1 == pytest.approx(truth, abs=0.02)


def test_sessions_have_one_variant_and_differ_in_size_and_speed(traffic):
    session, in_b = traffic["session"], traffic["variant"] == "B"
    count, of_b = np.bincount(session), np.bincount(session, in_b)
    assert ((of_b == 0) | (of_b == count)).all()
    assert count.min() == 1
    assert count.mean() == pytest.approx(20, rel=0.02)
    assert count.std() > 15
    assert (of_b > 0).mean() == pytest.approx(0.5, abs=0.01)


def test_what_a_session_saw_before_goes_with_what_it_sees(traffic):
    in_a = traffic["variant"] == "A"
    log_earlier, log_latency = (np.log(traffic[name][in_a]) for name in ("earlier_ns", "latency_ns"))
    assert np.corrcoef(log_earlier, log_latency)[0, 1] == pytest.approx(
        0.25**2 / np.hypot(0.25, 0.1) / np.hypot(0.25, 0.5), abs=0.02
    )


def test_a_share_splits_the_sessions():
    traffic = ab_traffic(2, sessions=20_000, requests=1, share=0.2)
    assert (traffic["variant"] == "B").mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("noise", NOISES)
def test_a_history_without_a_step_stays_at_its_level(noise):
    series = benchmark_series(4, points=20_000, noise=noise)
    halves = [np.median(half) for half in np.split(series, 2)]
    assert halves == pytest.approx([100, 100], abs=0.6)


def test_spread_skew_spikes_and_machines_are_as_stated():
    drawn = {noise: benchmark_series(6, points=50_000, noise=noise) for noise in NOISES}
    assert drawn["normal"].std() == pytest.approx(5, rel=0.02)
    assert drawn["ar1"].std() == pytest.approx(5, rel=0.04)
    low, middle, high = np.quantile(drawn["lognormal"], (0.01, 0.5, 0.99))
    assert high - middle > 1.2 * (middle - low)
    assert (drawn["spikes"] > 200).mean() == pytest.approx(0.02, abs=0.003)
    assert abs(drawn["two_machines"] - 100).mean() == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("asked", [0.0, 0.5, 0.8])
def test_neighbours_are_correlated_as_asked(asked):
    series = benchmark_series(7, points=20_000, noise="ar1", autocorrelation=asked)
    assert np.corrcoef(series[1:], series[:-1])[0, 1] == pytest.approx(asked, abs=0.03)


def test_a_step_begins_where_it_is_asked_for():
    series = benchmark_series(8, points=50, spread=0.001, step_at=30, step=0.1)
    assert int(np.argmax(np.diff(series))) + 1 == 30


def test_a_sweep_shows_the_costs_of_its_host():
    columns = sweep(3, launches=400, rounds=3, sizes=(1024, 1 << 20), slowdown=0.1)
    for method in ("grpc", "shm_pool"):
        rows = (columns["method"] == method) & (columns["payload_bytes"] == 1 << 20)
        expected = 1.1 * true_latency_ns(1, method, 1 << 20)
        assert np.median(columns["latency_ns"][rows]) == pytest.approx(expected, rel=0.03)
    assert true_latency_ns(1, "uds", 1024) != true_latency_ns(2, "uds", 1024)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_launches_share_their_luck_as_asked(shared):
    columns = sweep(9, launches=1000, rounds=1, sizes=(1024,), send_sd=0.0, stall_share=0.0, shared_luck=shared)
    logs = np.log([columns["latency_ns"][columns["method"] == method] for method in ("uds", "grpc")])
    assert logs.std(axis=1) == pytest.approx([0.05, 0.05], rel=0.1)
    assert np.corrcoef(logs)[0, 1] == pytest.approx(shared, abs=0.1)


def test_a_world_is_decided_by_its_arguments():
    assert (benchmark_series(1) == benchmark_series(1)).all()
    assert (benchmark_series(1) != benchmark_series(2)).any()
    assert (ab_traffic(1)["latency_ns"] == ab_traffic(1)["latency_ns"]).all()
    assert (sweep(1)["latency_ns"] == sweep(1)["latency_ns"]).all()


def test_what_no_world_can_be_is_refused():
    with pytest.raises(UnknownNameError, match="pink"):
        benchmark_series(1, noise="pink")
    with pytest.raises(InputError, match="autocorrelation == 1"):
        benchmark_series(1, noise="ar1", autocorrelation=1.0)
    with pytest.raises(InputError, match="sessions == 0"):
        ab_traffic(1, sessions=0)
    with pytest.raises(InputError, match="median"):
        ab_truth("median")
    with pytest.raises(UnknownNameError, match="pigeon"):
        true_latency_ns(1, "pigeon", 1)
