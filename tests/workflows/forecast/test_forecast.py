"""The capacity forecast: what gives way first, by hand-made figures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import perfkit
from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.capacity.demand import DemandForecast, forecast_demand
from perfkit.stats.capacity.queues import queue
from perfkit.workflows.forecast import Forecast, Host, forecast
from perfkit.workflows.forecast.bottleneck import bottleneck
from perfkit.workflows.forecast.host import Change, parse_change

LADDER = {
    "concurrency": [1, 18, 36, 72, 108, 144, 216],
    "throughput": [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2],
}


@pytest.fixture(scope="module")
def demand() -> DemandForecast:
    """About 100 per second, with a little noise; 95 to 105."""
    noise = np.random.default_rng(1).uniform(-5, 5, 40)
    return forecast_demand(1.77e9 + 86_400 * np.arange(40), 100 + noise, horizon=5)


def test_capacities_follow_from_what_one_transfer_takes(demand: DemandForecast) -> None:
    """16 workers of 50 ms carry 320/s; 2 cores of 10 ms 200/s; 1000 bytes held by 50 ms x 10 bytes: 2000/s."""
    host = Host(workers=16, cores=2, memory_bytes=1000, latency_s=0.05, cpu_s=0.01, resident_bytes=10)
    found = bottleneck(demand, host)
    assert found is not None
    assert {one.name: one.capacity_per_s for one in found.resources} == pytest.approx(
        {"cores": 200, "workers": 320, "memory": 2000}
    )
    assert found.first.name == "cores"
    assert found.first.used_at_peak == pytest.approx(demand.peak.value / 200)
    assert found.verdict == "carries"
    assert found.mean_wait_s == pytest.approx(queue(demand.peak.value, 0.05, 16).mean_wait_s)
    assert found.first.reached is not None
    assert found.first.reached.verdict == "not within the horizon"


def test_what_if_moves_demand_and_costs(demand: DemandForecast) -> None:
    host = Host(workers=16, cores=2, latency_s=0.05, cpu_s=0.01)
    found = bottleneck(demand, host, change=parse_change("rate=2x,size=2x,cores=8"))
    assert found is not None
    assert {one.name: one.capacity_per_s for one in found.resources} == pytest.approx({"workers": 160, "cores": 400})
    assert found.demand_peak == pytest.approx(2 * demand.peak.value)
    assert found.verdict == "overloaded"
    assert found.mean_wait_s == np.inf
    assert found.first.reached is not None
    assert found.first.reached.median == demand.points[0].time


def test_change_is_read_or_refused() -> None:
    assert parse_change("rate=2x, size=1.5,workers=8,memory=4GiB") == Change(2.0, 1.5, 8, None, 4 * 2**30)
    assert parse_change({"rate": 3}) == Change(rate=3.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'workers'"):
        parse_change("worker=8")
    for text in ("rate=0", "rate=nan", "workers=1.5", "workers=-1", "rate", "", "memory=much", "memory=0"):
        with pytest.raises(InputError):
            parse_change(text)


def test_ladder_gives_the_law_and_refuses_to_extrapolate() -> None:
    found = forecast(ladder=LADDER, at=100)
    assert found.usl is not None
    assert found.usl.peak_concurrency.value == pytest.approx(96.5, rel=0.01)
    assert found.at is not None
    assert found.at[1].value == pytest.approx(1884, rel=0.01)
    with pytest.raises(InputError, match=r"beyond 1\.3 times"):
        forecast(ladder=LADDER, at=400)


@pytest.mark.parametrize("contention", [0.0, 0.05])
def test_exact_data_without_a_peak_have_no_bound_of_one(contention: float) -> None:
    """A beta of 1e-16 is the rounding of the fit: it must not say that throughput peaks at 7e7, or at 2e18 per s."""
    levels = 2.0 ** np.arange(7)
    found = forecast(ladder={"concurrency": levels, "throughput": 10 * levels / (1 + contention * (levels - 1))})
    assert found.usl is not None
    assert (found.usl.peak_concurrency.low, found.usl.peak_concurrency.value) == (np.inf, np.inf)
    highest = found.usl.peak_throughput
    assert highest.low == pytest.approx(10 / contention if contention else np.inf)
    assert found.sentence == "Throughput shows no peak up to 64 (measured)."
    noisy = 10 * levels * (1 + 0.01 * (-1) ** np.arange(7))
    assert "noise allows for one from" in forecast(ladder={"concurrency": levels, "throughput": noisy}).sentence


def test_demand_meets_the_ladder(demand: DemandForecast) -> None:
    found = forecast(ladder=LADDER, demand=demand, what_if="rate=20x")
    assert found.limit is not None
    assert found.limit.limit == pytest.approx(1884, rel=0.01)
    assert found.bottleneck is not None
    assert (found.bottleneck.first.name, found.bottleneck.verdict) == ("ladder", "carries")
    assert found.what_if is not None
    assert found.what_if.verdict == "overloaded"


def test_the_limit_is_that_of_what_gives_way_first() -> None:
    """The ladder's peak is 1884, but 16 workers carry 999 of it; the date is that of 999, and the text says whose."""
    days = np.arange(60)
    growing = {"time": 1.77e9 + 86_400 * days, "value": 500 + 8 * days + np.random.default_rng(1).normal(0, 5, 60)}
    found = forecast(ladder=LADDER, demand=growing, host=Host(workers=16), horizon=15)
    assert found.limit is not None
    assert found.bottleneck is not None
    assert found.limit.limit == found.bottleneck.first.capacity_per_s == pytest.approx(910, rel=0.12)
    assert found.limit.resource == "ladder with 16 workers"
    assert "(ladder with 16 workers) is reached until" in found.sentence
    assert found.sentence.count("is reached until") == 1
    slow = forecast(ladder=LADDER, demand=growing, host=Host(workers=16, latency_s=0.02), horizon=15)
    assert slow.limit is not None
    assert (slow.limit.resource, slow.limit.limit) == ("workers", 800)
    asked = forecast(ladder=LADDER, demand=growing, host=Host(workers=16), horizon=15, limit=2000)
    assert asked.limit is not None
    assert (asked.limit.resource, asked.limit.limit) == ("", 2000)


def test_a_host_may_be_told_as_on_the_command_line(demand: DemandForecast) -> None:
    told = forecast(demand=demand, workers=16, latency="5ms", cores=2, cpu="10ms", limit=200)
    same = forecast(demand=demand, host=Host(workers=16, latency_s=0.005, cores=2, cpu_s=0.01), limit=200)
    assert told.to_plain() == same.to_plain()
    with pytest.raises(InputError, match="workers is in host, too"):
        forecast(demand=demand, host=Host(workers=16), workers=8)
    with pytest.raises(InputError, match="host is of type dict"):
        forecast(demand=demand, host={"workers": 16})  # type: ignore[arg-type]


def test_an_index_has_no_calendar_and_keeps_its_numbers() -> None:
    """Hourly-like values by their number: the day is found as 24 steps, and no date of 1970 is shown."""
    steps = np.arange(360)
    values = 100 + 50 * np.sin(steps * np.pi / 12) + np.random.default_rng(2).normal(0, 5, 360) + 0.2 * steps
    found = forecast(demand={"time": steps, "value": values}, horizon="24", limit=200)
    assert found.demand is not None
    assert found.demand.periods == (24,)
    assert found.demand.mase < 1
    assert [one["time"] for one in found.to_plain()["forecast"]] == list(range(360, 384))
    assert found.limit is not None
    assert isinstance(found.limit.median, int)
    assert f"median {found.limit.median}" in found.limit.sentence
    assert "1970" not in str(found)
    assert any("no calendar" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to forecast from"),
        ({"ladder": LADDER, "limit": 5}, "limit is about demand"),
        ({"ladder": LADDER, "horizon": "2d"}, "horizon is about demand"),
        ({"ladder": {"concurrency": ["a"], "throughput": [1]}}, "concurrency of row 1 is 'a'"),
        ({"ladder": {"concurrency": [1]}}, "the ladder lacks the column throughput"),
        ({"demand": {"time": [1], "value": ["x"]}}, "value of row 1 is 'x'"),
        ({"demand": {"time": [1, 2], "value": [3, -5]}}, "value of row 2 is -5, must be 0 or more"),
        ({"demand": {"time": [1, 2], "value": [None, 5]}}, "1 value at different times is too few"),
        ({"demand": {"time": range(0, 80, 4), "value": range(20)}, "horizon": "0.5s"}, "shorter than one step"),
        ({"demand": {"time": range(20), "value": range(20)}, "horizon": "2d"}, "give a number of steps"),
        ({"demand": {"time": range(20), "value": range(20)}, "at": 4}, "needs a ladder"),
        ({"demand": {"time": range(20), "value": range(20)}, "limit": float("nan")}, "limit == nan"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    given: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no lake lies
    with pytest.raises(InputError) as refused:
        forecast(**given)
    assert said in str(refused.value)


def test_forecast_is_public_and_shows_itself(demand: DemandForecast) -> None:
    found = perfkit.forecast(ladder=LADDER, demand=demand, host=Host(workers=4, latency_s=0.01))
    assert isinstance(found, Forecast)
    assert max(map(len, str(found).splitlines())) <= 80
    plain = found.to_plain()
    assert {"usl", "forecast", "mase", "coverage_backtest", "limit", "bottleneck", "what_if"} <= set(plain)
    assert plain["usl"].keys() >= {"gamma", "alpha", "beta", "peak_concurrency", "intervals"}
    assert plain["forecast"][0].keys() == {"time", "value", "low", "high"}
    assert found._repr_html_().count("<table>") == 4
