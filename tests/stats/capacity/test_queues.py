"""Waiting lines against closed forms and against a small simulation; Little's law on the data."""

from __future__ import annotations

import heapq
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.stats.capacity.queues import erlang_c, little_check, queue


def erlang_c_by_its_sum(load: float, servers: int) -> float:
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


@settings(max_examples=100, deadline=None)
@given(servers=st.integers(1, 60), utilisation=st.floats(0.01, 0.99))
def test_erlang_c_is_the_textbook_sum(servers: int, utilisation: float) -> None:
    load = servers * utilisation
    assert erlang_c(load, servers) == pytest.approx(erlang_c_by_its_sum(load, servers), rel=1e-9)


def test_erlang_c_stays_exact_for_many_servers_and_little_load() -> None:
    # With as many servers as n, load n - c sqrt(n): Halfin and Whitt's limit.
    c = 1.0
    limit = 1 / (1 + math.sqrt(2 * math.pi) * c * 0.8413447460685429 * math.exp(c * c / 2))
    assert erlang_c(100_000 - math.sqrt(100_000), 100_000) == pytest.approx(limit, rel=0.01)
    assert erlang_c(0.0, 5) == 0.0
    assert 0 <= erlang_c(1e-9, 500) < 1e-300


@given(load=st.floats(0.1, 9.0), more=st.integers(0, 20))
def test_another_server_never_lets_more_wait(load: float, more: int) -> None:
    assert erlang_c(load, 11 + more) <= erlang_c(load, 10 + more)


def test_one_server_is_the_closed_form() -> None:
    line = queue(80, 0.01)
    assert line.mean_wait_s == pytest.approx(0.8 / 0.2 * 0.01)
    assert line.mean_response_s == pytest.approx(1 / (100 - 80))
    # Pollaczek and Khinchine, exact for Poisson arrivals whatever the service.
    assert queue(80, 0.01, service_variation=0.25).mean_wait_s == pytest.approx(80 * 1.25 * 0.01**2 / (2 * 0.2))
    assert line.wait_quantile_s(0.9) == pytest.approx(math.log(0.8 / 0.1) / 20)
    assert line.wait_quantile_s(0.1) == 0.0


def waits_of(arrivals: Any, services: Any, servers: int) -> Any:
    """First come, first served, event by event."""
    free_at = [0.0] * servers
    waits = []
    for arrived, service in zip(arrivals, services, strict=True):
        begins = max(arrived, heapq.heappop(free_at))
        waits.append(begins - arrived)
        heapq.heappush(free_at, begins + service)
    return np.array(waits)


@pytest.mark.parametrize(("servers", "shape", "tolerance"), [(1, 1.0, 0.1), (3, 1.0, 0.1), (3, 4.0, 0.15)])
def test_a_simulated_line_waits_as_the_formula_says(servers: int, shape: float, tolerance: float) -> None:
    generator = np.random.default_rng(8)
    n, load = 100_000, 0.8 * servers
    arrivals = np.cumsum(generator.exponential(1 / load, n))
    waits = waits_of(arrivals, generator.gamma(shape, 1 / shape, n), servers)[1000:]
    line = queue(load, 1.0, servers, service_variation=1 / shape)
    assert waits.mean() == pytest.approx(line.mean_wait_s, rel=tolerance)
    assert np.quantile(waits, 0.95) == pytest.approx(line.wait_quantile_s(0.95), rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, 0.01), "grows without end"),
        ((-1, 0.01), "arrivals_per_s == -1"),
        ((math.nan, 0.01), "arrivals_per_s"),
        ((1, 0), "service_s == 0"),
        ((1, math.inf), "service_s"),
        ((1, 0.1, 0), "servers == 0"),
        ((1, 0.1, 1.5), "servers == 1.5"),
        (("many", 0.1), "arrivals_per_s == 'many'"),
    ],
)
def test_a_line_that_cannot_be_is_refused(arguments: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        queue(*arguments)


def test_littles_law_holds_on_a_closed_loop_and_says_what_it_means_when_it_does_not() -> None:
    n = np.array([1, 2, 4, 8] * 3)
    generator = np.random.default_rng(2)
    latency = 0.002 * generator.lognormal(0, 0.1, len(n))
    good = little_check(n, n / latency * generator.lognormal(0, 0.02, len(n)), latency)
    assert good.verdict == "holds"
    assert good.warnings == ()
    idle = little_check(n, 0.5 * n / latency, latency)
    assert idle.verdict == "broken"
    assert "not under way" in idle.sentence
    assert "more was under way" in little_check(n, 2 * n / latency, latency).sentence
    assert little_check(4, 400, 0.01).verdict == "inconclusive"  # a single one has no interval
    assert math.isinf(little_check(4, 400, 0.01).high)


def test_the_interval_of_littles_law_covers() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(1000):
        found = little_check(4, 400 * generator.lognormal(0, 0.1, 9), 0.01)
        covered += found.low <= 1 <= found.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (([], [], []), "no measurement"),
        (([1, 2], [1, 2, 3], [1]), "must be numbers"),
        (([0, 2], [1, 2], [1, 1]), "concurrency holds 0"),
        (([1, 2], [1, math.nan], [1, 1]), "throughput_per_s holds nan"),
        ((["a"], [1], [1]), "must be numbers"),
    ],
)
def test_figures_that_cannot_be_checked_are_refused(arguments: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        little_check(*arguments)


def test_results_render() -> None:
    for result in (queue(1, 0.5, 2), little_check([4, 8], [400, 800], 0.01)):
        json.dumps(result.to_plain())
        assert max(map(len, str(result).splitlines())) <= 80
        assert result._repr_html_().startswith("<")
