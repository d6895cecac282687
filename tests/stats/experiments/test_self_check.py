"""The check tells a test that keeps its promise on a frame's own data from one that does not."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.experiments.self_check import RejectionRate, ab_self_check


def rows(units: int = 80, per_unit: int = 10) -> dict[str, npt.NDArray[np.generic]]:
    """Rows of units that differ; B is a lot slower, which must not matter."""
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(units), per_unit)
    latency_ns = 1e6 * rng.lognormal(0, 0.3, units)[session] * rng.lognormal(0, 0.3, session.size)
    return {"session": session, "request": np.arange(session.size), "latency_ns": latency_ns}


def test_a_sound_analysis_is_as_promised() -> None:
    found = ab_self_check(rows(), metrics={"latency_ns": ["mean", "p50"]}, runs=120)
    assert [one.statistic for one in found.rates] == ["mean", "p50"]
    assert all(one.interval[0] < 0.05 < one.interval[1] for one in found.rates)
    assert (found.verdict, found.n, found.n_observations, found.rates[0].n) == ("as promised", 80, 800, 120)
    assert found == ab_self_check(rows(), metrics={"latency_ns": ["mean", "p50"]}, runs=120)


def test_an_analysis_of_what_was_not_randomised_is_off() -> None:
    found = ab_self_check(rows(), unit="request", by="session", metrics={"latency_ns": ["mean", "p50"]}, runs=100)
    assert found.verdict == "too many"
    assert found.rates[0].value > 0.3
    assert "is the unit what was randomised" in found.sentence
    assert "session" in found.method


def test_a_sequence_may_reject_less_than_promised() -> None:
    found = ab_self_check(rows(), metrics={"latency_ns": ["mean"]}, inference="sequential", runs=120)
    assert found.rates[0].value < 0.03
    assert found.verdict == "as promised"


def test_a_covariate_keeps_the_promise() -> None:
    frame = rows()
    before = frame["latency_ns"].astype(float) * np.random.default_rng(2).lognormal(0, 0.2, 800)
    found = ab_self_check(
        {**frame, "before_ns": before}, covariate="before_ns", metrics={"latency_ns": ["mean"]}, runs=200
    )
    assert found.verdict == "as promised"


def test_what_has_too_few_rows_is_told() -> None:
    found = ab_self_check(rows(), metrics={"latency_ns": ["p99.9"]}, runs=3)
    assert found.rates[0].verdict == "not enough data"
    assert json.loads(json.dumps(found.to_plain(), allow_nan=False))["rates"][0]["value"] is None


def test_a_large_frame_is_checked_on_some_of_its_units() -> None:
    found = ab_self_check(rows(2000, 50), metrics={"latency_ns": ["mean"]}, runs=2)
    assert (found.n, found.n_observations) == (1000, 50_000)
    assert found.warnings == ("checked on 1000 of 2000 units, drawn at random, to be done in time",)


def test_a_rate_has_the_exact_interval() -> None:
    for rejections in (0, 7, 100):
        exact = stats.binomtest(rejections, 100).proportion_ci()
        assert RejectionRate("m", "mean", rejections, 100, 0.05).interval == pytest.approx((exact.low, exact.high))
    assert RejectionRate("m", "mean", 0, 1000, 0.05).verdict == "too few"
    assert RejectionRate("m", "mean", 0, 1000, 0.05, is_bound=True).verdict == "as promised"
    assert RejectionRate("m", "mean", 50, 500, 0.05).verdict == "too many"
    assert RejectionRate("m", "mean", 60, 1000, 0.05).verdict == "as promised"


def test_it_reads_well_at_eighty_columns() -> None:
    text = str(ab_self_check(rows(), metrics={"latency_ns": ["mean"]}, runs=20))
    assert "latency_ns mean" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(InputError, match="runs == 0, must be 1 or more"):
        ab_self_check(rows(), runs=0)
    with pytest.raises(InputError, match="share == 1, must be above 0"):
        ab_self_check(rows(), share=1)
    with pytest.raises(InputError, match="1 session cannot be drawn into two variants"):
        ab_self_check(rows(1))
    with pytest.raises(UnknownNameError, match="unknown column 'user'"):
        ab_self_check(rows(), unit="user")
