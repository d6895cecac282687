"""An experiment is judged at the unit that was randomised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from scipy import stats

import perfkit
from perfkit.errors import InputError, UnknownNameError

Make = Callable[..., dict[str, Any]]
EVERY = {"latency_ns": ["mean", "ratio", "rank", "p50", "p95", "p99"]}


def unit_means(frame: dict[str, Any]) -> tuple[list[float], list[float]]:
    rows = pl.DataFrame(frame).group_by("session", "variant").agg(pl.col("latency_ns").mean())
    first, second = (rows.filter(pl.col("variant") == name)["latency_ns"].to_list() for name in "AB")
    return first, second


def test_an_effect_is_found_with_its_direction(sessions: Make) -> None:
    result = perfkit.ab(sessions(1, 400, effect=0.25), metrics=EVERY)
    assert {one.verdict for one in result.effects} == {"worse"}
    assert result.metric("latency_ns", "mean").n_units == 400
    assert all(one.interval[0] < 0.25 < one.interval[1] for one in result.effects)
    better = perfkit.ab(sessions(1, 400, effect=0.25), directions={"latency_ns": "more"})
    assert (better.verdict, better.primary.relative) == ("better", result.primary.relative)


def test_the_mean_is_welchs_test_on_unit_means(sessions: Make) -> None:
    """The delta method on the log scale and Welch's test on the scale of the values nearly agree."""
    frame = sessions(3, 600, effect=0.05)
    first, second = unit_means(frame)
    effect = perfkit.ab(frame).metric("latency_ns", "mean")
    assert effect.relative == pytest.approx(np.mean(second) / np.mean(first) - 1)
    assert effect.p_value == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=0.1)
    a, b = (np.var(one, ddof=1) / len(one) / np.mean(one) ** 2 for one in (first, second))
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(a + b)
    assert effect.interval == pytest.approx(np.expm1([np.log1p(effect.relative) + sign * reach for sign in (-1, 1)]))


def test_ratio_is_the_mean_over_rows(sessions: Make) -> None:
    frame = sessions(4)
    effect = perfkit.ab(frame, metrics={"latency_ns": "ratio"}).primary
    assert effect.control_value == pytest.approx(frame["latency_ns"][frame["variant"] == "A"].mean())


def test_of_units_with_one_row_the_ratio_is_the_mean(sessions: Make) -> None:
    frame = sessions(5, 300, requests=0.0)
    mean, ratio = perfkit.ab(frame, metrics={"latency_ns": ["mean", "ratio"]}).effects
    assert ratio.interval == pytest.approx(mean.interval)
    assert ratio.p_value == pytest.approx(mean.p_value)


def test_rank_agrees_with_mann_whitney(sessions: Make) -> None:
    frame = sessions(6, 300, effect=0.08)
    first, second = unit_means(frame)
    effect = perfkit.ab(frame, metrics={"latency_ns": "rank"}).primary
    pairs = np.subtract.outer(np.log(second), np.log(first))
    assert effect.relative == pytest.approx(np.expm1(np.median(pairs)))
    assert effect.p_value == pytest.approx(stats.mannwhitneyu(first, second).pvalue, rel=0.2)


def test_requests_are_not_taken_for_independent(sessions: Make) -> None:
    frame = sessions(7)
    by_session = perfkit.ab(frame, metrics=EVERY)
    by_request = perfkit.ab({**frame, "session": np.arange(frame["session"].size)}, metrics=EVERY)
    for one, other in zip(by_session.effects, by_request.effects, strict=True):
        if one.statistic != "p99":  # a tail that hardly anyone's session is in by itself
            assert one.standard_error > 1.2 * other.standard_error


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(1e-6, 1e6))
def test_neither_scale_nor_order_of_rows_matters(sessions: Make, seed: int, factor: float) -> None:
    frame = sessions(seed, 60)
    order = np.random.default_rng(seed).permutation(frame["session"].size)
    other = {name: column[order] for name, column in frame.items()}
    other["latency_ns"] = other["latency_ns"] * factor
    for one, same in zip(
        perfkit.ab(frame, metrics=EVERY).effects, perfkit.ab(other, metrics=EVERY).effects, strict=True
    ):
        assert same.interval == pytest.approx(one.interval, rel=1e-4, abs=1e-5, nan_ok=True)
        assert same.p_value == pytest.approx(one.p_value, rel=1e-3, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_swapping_the_variants_inverts_the_change(sessions: Make, seed: int) -> None:
    frame = sessions(seed, 80)
    there, back = perfkit.ab(frame, metrics=EVERY), perfkit.ab(frame, metrics=EVERY, control="B")
    for one, other in zip(there.effects, back.effects, strict=True):
        assert 1 + other.relative == pytest.approx(1 / (1 + one.relative), rel=1e-6)
        assert 1 + other.interval[0] == pytest.approx(1 / (1 + one.interval[1]), rel=1e-4)
        assert other.p_value == pytest.approx(one.p_value, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), decimals=st.integers(-7, -5), alpha=st.sampled_from([0.01, 0.05, 0.2]))
def test_interval_and_p_value_agree_also_in_ties(sessions: Make, seed: int, decimals: int, alpha: float) -> None:
    frame = sessions(seed, 60, effect=0.1)
    frame["latency_ns"] = np.round(frame["latency_ns"], decimals) + 1.0
    for one in perfkit.ab(frame, metrics=EVERY, alpha=alpha).effects:
        if one.is_known and one.standard_error > 0:
            assert (one.interval[0] > 0 or one.interval[1] < 0) == (one.p_value < alpha)
            assert one.interval[0] <= one.relative <= one.interval[1]


def test_a_test_at_five_percent_rejects_about_five_percent(sessions: Make) -> None:
    """500 experiments without an effect; tests that take rows for independent reject over 20 %."""
    statistics = ["mean", "p50", "p90"]
    rejected = np.zeros(len(statistics))
    for seed in range(500):
        frame = sessions(seed, 60, requests=12.0)
        rejected += [one.p_value <= 0.05 for one in perfkit.ab(frame, metrics={"latency_ns": statistics}).effects]
    assert ((rejected >= 6) & (rejected <= 40)).all(), rejected / 500


def test_any_frame_gives_the_same(sessions: Make) -> None:
    frame = sessions(8, 50)
    named = {**frame, "session": np.array([f"session {one}" for one in frame["session"]])}
    expected = perfkit.ab(frame).effects
    for other in (
        pd.DataFrame(frame), pl.DataFrame(frame), pa.table(frame), {name: list(one) for name, one in frame.items()},
        named, pd.DataFrame(named), pl.DataFrame(named), pa.table(named), pl.DataFrame(named).to_dicts(),
        {**frame, "session": frame["session"].astype(np.int16) - 30}, {**frame, "session": frame["session"] * 10**12},
        {**named, "session": named["session"].astype(object)}, {**frame, "variant": frame["variant"].astype("U9")},
        pa.table(named).set_column(0, "session", pa.array(named["session"]).dictionary_encode()),
    ):  # fmt: skip
        for one, same in zip(expected, perfkit.ab(other).effects, strict=True):
            assert same.p_value == pytest.approx(one.p_value)
            assert dataclasses.replace(same, p_value=0) == pytest.approx(dataclasses.replace(one, p_value=0)) or (
                same.interval == pytest.approx(one.interval) and same.n_units == one.n_units
            )


def test_variants_may_be_truth_values_or_numbers(sessions: Make) -> None:
    frame = sessions(9)
    expected = perfkit.ab(frame).primary.relative
    treated = frame["variant"] == "B"
    assert perfkit.ab({**frame, "variant": treated}, control="False").primary.relative == expected
    assert perfkit.ab({**frame, "variant": treated * 7}, control="0").primary.relative == expected


def test_units_in_both_variants_are_left_out_and_counted(sessions: Make) -> None:
    frame = sessions(10)
    clean = perfkit.ab({name: column[frame["session"] != 5] for name, column in frame.items()})
    rows = np.flatnonzero(frame["session"] == 5)
    frame["variant"][rows[0]] = "A" if frame["variant"][rows[0]] == "B" else "B"
    result = perfkit.ab(frame)
    assert (result.excluded.units_in_several_variants, result.excluded.rows_of_those) == (1, rows.size)
    assert result.excluded.examples == ("5",)
    assert result.effects == clean.effects
    assert any("1 session seen in several variants (5)" in one for one in result.warnings)


def test_values_that_cannot_be_are_left_out_and_counted(sessions: Make) -> None:
    frame = sessions(11)
    frame["latency_ns"][:4] = np.nan, np.inf, -np.inf, -1.0
    result = perfkit.ab(frame)
    assert result.excluded.rows_invalid == {"latency_ns": 4}
    assert result.effects == perfkit.ab({name: column[4:] for name, column in frame.items()}).effects
    assert any("4 of" in one and "infinite or negative" in one for one in result.warnings)


def test_rows_without_unit_or_variant_are_left_out_and_counted(sessions: Make) -> None:
    frame = sessions(12)
    table = pl.DataFrame(frame).with_columns(
        session=pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise(pl.col("session")),
        variant=pl.when(pl.int_range(pl.len()).is_between(2, 5)).then(None).otherwise(pl.col("variant")),
    )
    result = perfkit.ab(table)
    assert (result.excluded.rows_without_unit, result.excluded.rows_without_variant) == (3, 3)
    kept = perfkit.ab({name: column[6:] for name, column in frame.items()})
    assert result.primary.relative == pytest.approx(kept.primary.relative)


@pytest.mark.parametrize("kind", ["U1", "U9", "arrow"])
def test_empty_text_names_no_variant_and_no_unit(sessions: Make, kind: str) -> None:
    frame = sessions(12)
    place = np.arange(frame["session"].size)
    frame["variant"] = np.where(place < 4, "", frame["variant"]).astype("U1" if kind == "U1" else "U9")
    frame["session"] = np.where((place > 5) & (place < 9), "", frame["session"].astype("U9"))
    result = perfkit.ab(pa.table(frame) if kind == "arrow" else frame)
    assert (result.variants, result.n) == (("A", "B"), 200)
    assert (result.excluded.rows_without_unit, result.excluded.rows_without_variant) == (3, 4)


def test_a_sample_ratio_that_is_off_forbids_every_verdict(sessions: Make) -> None:
    frame = sessions(13, 600, effect=0.3, share=0.35)
    result = perfkit.ab(frame)
    assert result.sample_ratio.is_off
    assert {result.verdict, *(one.verdict for one in result.effects)} == {"inconclusive"}
    assert result.primary.p_value < 0.001
    assert "sample ratio mismatch" in result.sentence
    assert perfkit.ab(frame, shares={"A": 0.65, "B": 0.35}).verdict == "worse"


def test_more_variants_are_each_compared_with_the_control(sessions: Make) -> None:
    frame = sessions(14, 600, effect=0.3)
    frame["variant"] = np.where((frame["session"] % 2 == 0) & (frame["variant"] == "A"), "C", frame["variant"])
    result = perfkit.ab(frame, shares={"A": 0.25, "B": 0.5, "C": 0.25})
    assert result.variants == ("A", "B", "C")
    assert result.metric("latency_ns", "mean", "B").verdict == "worse"
    assert result.metric("latency_ns", "mean", "C").verdict != "worse"
    assert result.metric("latency_ns", "mean", "C").p_adjusted >= result.metric("latency_ns", "mean", "C").p_value
    with pytest.raises(InputError, match="several: B, C; name one"):
        result.metric("latency_ns", "mean")
    assert "B: latency_ns" in str(result)


def test_many_metrics_are_allowed_for_and_statistics_of_one_are_not(sessions: Make) -> None:
    frame = sessions(15, effect=0.06)
    single = perfkit.ab(frame)
    assert all(one.p_adjusted == one.p_value for one in single.effects)
    noise = {f"noise_{place}": np.random.default_rng(place).random(frame["session"].size) for place in range(4)}
    many = perfkit.ab({**frame, **noise}, metrics={"latency_ns": ["mean"], **{name: ["mean"] for name in noise}})
    assert many.primary.p_adjusted > many.primary.p_value
    assert perfkit.ab(frame, correction="none").primary.p_adjusted == single.primary.p_value


def test_a_small_change_is_equivalent_within_the_margin_only(sessions: Make) -> None:
    frame = sessions(16, 600)
    wide, narrow = (perfkit.ab(frame, margin=one).primary for one in (0.2, 0.001))
    assert (wide.verdict, narrow.verdict) == ("equivalent", "inconclusive")
    assert wide.is_not_inferior
    assert not narrow.is_not_inferior
    assert perfkit.ab(frame, margin={"latency_ns": 0.2}).primary == wide


def test_a_guardrail_fails_holds_or_stays_open(sessions: Make) -> None:
    frame = sessions(17, 600)
    frame["resident_bytes"] = frame["latency_ns"] * np.where(frame["variant"] == "B", 1.5, 1.0)
    frame["cpu_ns"] = frame["latency_ns"] * np.where(frame["variant"] == "B", 0.7, 1.0)
    frame["rows"] = np.random.default_rng(1).pareto(1.1, frame["session"].size)
    result = perfkit.ab(frame, guardrails={"resident_bytes": ["mean"], "cpu_ns": ["mean"], "rows": ["p99"]})
    assert [one.status for one in result.guardrails] == ["failed", "held", "open"]
    assert result.verdict == "worse"
    assert "breaks 1 guardrail: resident_bytes mean" in result.sentence
    assert perfkit.ab(frame, guardrails=["cpu_ns"]).verdict == result.primary.verdict


def test_segments_are_looked_at_with_allowance_for_their_number(sessions: Make) -> None:
    frame = sessions(18, 600)
    frame["size"] = np.array(["small", "large"])[frame["session"] % 2]
    frame["latency_ns"] = frame["latency_ns"] * np.where((frame["size"] == "large") & (frame["variant"] == "B"), 1.4, 1)
    large, small = perfkit.ab(frame, segments=["size"]).segments
    assert (large.name, large.effects[0].verdict) == ("size = large", "worse")
    assert small.effects[0].verdict != "worse"
    assert small.effects[0].p_adjusted >= small.effects[0].p_value
    only = perfkit.ab({name: column[frame["size"] == "large"] for name, column in frame.items()})
    assert large.effects[0].relative == pytest.approx(only.primary.relative)
    with pytest.raises(InputError, match="has 600 values"):
        perfkit.ab(frame, segments=["session"])


def test_a_segment_without_units_of_a_variant_has_no_effect(sessions: Make) -> None:
    frame = sessions(19)
    frame["host"] = np.where(frame["variant"] == "B", "new", "old")
    for segment in perfkit.ab(frame, metrics=EVERY, segments=["host"]).segments:
        assert all(not one.is_known and one.warnings for one in segment.effects)


def test_failures_may_be_none_in_a_variant(sessions: Make) -> None:
    frame = sessions(20, 600)
    rng = np.random.default_rng(1)
    fails = (rng.random(frame["session"].size) < 0.03) & (frame["variant"] == "B")
    effect = perfkit.ab({**frame, "failed": fails}, metrics=["failed"]).primary
    assert np.isnan(effect.relative)
    assert effect.difference == pytest.approx(0.03, abs=0.01)
    assert effect.difference_interval[0] < effect.difference < effect.difference_interval[1]
    assert (effect.verdict, effect.is_known) == ("worse", True)
    back = perfkit.ab({**frame, "failed": fails}, metrics=["failed"], control="B").primary
    assert (back.relative, back.verdict) == (-1.0, "better")
    never = perfkit.ab({**frame, "failed": np.zeros(fails.size, bool)}, metrics={"failed": ["mean", "p50", "rank"]})
    assert {one.verdict for one in never.effects} == {"inconclusive"}
    assert any("zero" in one for one in never.warnings)


def test_constant_values_are_equivalent_and_said_to_be_without_noise(sessions: Make) -> None:
    frame = sessions(21)
    frame["latency_ns"] = np.full(frame["session"].size, 0.1)  # no binary fraction: sums are rounded
    result = perfkit.ab(frame, metrics=EVERY)
    assert {one.verdict for one in result.effects} == {"equivalent"}
    assert any("same value" in one for one in result.warnings)


def test_two_units_a_side_prove_nothing_however_constant() -> None:
    frame = {"session": [1, 2, 3, 4], "variant": ["A", "A", "B", "B"], "latency_ns": [1.0, 1.0, 9.0, 9.0]}
    effect = perfkit.ab(frame, metrics=["latency_ns"]).primary
    assert effect.verdict == "inconclusive"
    assert effect.p_value == pytest.approx(1 / 3)


def test_one_unit_a_side_has_no_effect() -> None:
    frame = {"session": [1, 1, 2], "variant": ["A", "A", "B"], "latency_ns": [1.0, 2.0, 9.0]}
    result = perfkit.ab(frame, metrics=EVERY)
    assert not any(one.is_known for one in result.effects)
    assert all(one.warnings for one in result.effects)
    assert "not enough data" in str(result)


def test_too_few_rows_for_a_tail_are_said_instead_of_a_number(sessions: Make) -> None:
    result = perfkit.ab(sessions(22, 100), metrics={"latency_ns": ["p99.9"]})
    assert not result.primary.is_known
    assert any("not enough data for p99.9" in one and "4000 are needed" in one for one in result.warnings)


def test_few_observations_are_said_with_what_they_can_show(sessions: Make) -> None:
    frame = sessions(23, effect=0.5)
    result = perfkit.ab(frame)
    assert result.verdict == "worse"
    assert any("minimum of 10000" in one and "with 80% power" in one for one in result.warnings)
    assert not any("minimum" in one for one in perfkit.ab(frame, minimum=10).warnings)


def test_a_unit_that_makes_most_of_the_noise_is_named(sessions: Make) -> None:
    frame = sessions(24)
    frame["latency_ns"] = np.where(frame["session"] == 7, frame["latency_ns"] * 1000, frame["latency_ns"])
    assert any("a single unit makes" in one for one in perfkit.ab(frame).warnings)


@pytest.mark.parametrize(
    ("change", "question", "message"),
    [
        ({}, {"unit": "user"}, "unknown column 'user'; allowed: session, variant, latency_ns"),
        ({}, {"metrics": ["latency"]}, "unknown column 'latency'"),
        ({}, {"metrics": {"latency_ns": ["p100"]}}, "unknown statistic 'p100'"),
        ({}, {"metrics": {"latency_ns": ["median"]}}, "unknown statistic 'median'"),
        ({}, {"metrics": {}}, "metrics is empty"),
        ({}, {"metrics": "latency_ns"}, "must name metrics"),
        ({}, {"inference": "bayes"}, "unknown inference 'bayes'; allowed: fixed, sequential"),
        ({}, {"correction": "bonferroni"}, "unknown correction"),
        ({}, {"alpha": 0.0}, "alpha == 0.0, must be above 0"),
        ({}, {"margin": 2.0}, "margin of latency_ns == 2.0"),
        ({}, {"directions": {"latency_ns": "up"}}, "unknown direction of latency_ns 'up'"),
        ({}, {"directions": {"latncy_ns": "more"}}, "unknown column 'latncy_ns'"),
        ({}, {"control": "C"}, "no row has variant == 'C' .*there are: A, B"),
        ({}, {"shares": {"A": 0.5}}, "shares has no B"),
        ({}, {"shares": {"A": 0.5, "B": 0.7}}, "add up to 1"),
        ({}, {"shares": {"A": 0.5, "B": 0.3, "C": 0.2}}, "no row has variant == 'C'"),
        ({"variant": "A"}, {}, "an experiment needs rows of another variant"),
        ({"latency_ns": np.nan}, {}, "variant 'A' has no row with a value of 'latency_ns' that counts"),
        ({"latency_ns": "fast"}, {}, "must hold numbers"),
        ({"variant": None}, {}, "there are: none"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(
    sessions: Make, change: dict[str, Any], question: dict[str, Any], message: str
) -> None:
    frame = sessions(25, 20)
    frame |= {name: np.full(frame["session"].size, value) for name, value in change.items()}
    with pytest.raises(InputError, match=message):
        perfkit.ab(frame, **question)


def test_an_empty_frame_and_columns_of_unequal_length_are_refused(sessions: Make) -> None:
    frame = sessions(26, 20)
    with pytest.raises(InputError, match="no rows"):
        perfkit.ab({name: column[:0] for name, column in frame.items()})
    with pytest.raises(InputError, match="not equally long"):
        perfkit.ab({**frame, "latency_ns": frame["latency_ns"][1:]})
    with pytest.raises(InputError, match="values of one type"):
        perfkit.ab(
            {**frame, "session": np.array([{1: 2}, "a"] * frame["session"].size, object)[: frame["session"].size]}
        )
    with pytest.raises(InputError, match="cannot be read as a frame"):
        perfkit.ab(7)


def test_what_was_not_asked_for_cannot_be_had(sessions: Make) -> None:
    result = perfkit.ab(sessions(27, 20))
    for asked in (("latency", "mean"), ("latency_ns", "p90"), ("latency_ns", "mean", "A")):
        with pytest.raises(UnknownNameError):
            result.metric(*asked)


def test_the_first_look_of_a_sequence_has_no_bounds_yet(sessions: Make) -> None:
    result = perfkit.ab(sessions(1, 20), metrics={"latency_ns": ["mean"]}, inference="sequential")
    assert "no bounds yet" in str(result)
    assert "inf" not in str(result)
