"""What a report draws and says of an experiment is what the experiment shows."""

from __future__ import annotations

import dataclasses
import json
from math import isfinite
from typing import Any

from perfkit import report
from perfkit.report.detectable import detectable_changes, units_for_the_margin
from perfkit.stats.experiments import Guardrail, Segment
from perfkit.stats.experiments.power import Design, pilot_of_effect, power
from perfkit.workflows.experiment.report import ExperimentReport


def rows(chart: Any, *columns: str) -> list[dict[str, Any]]:
    """The records that have these columns."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for dataset in datasets for row in dataset if set(columns) <= set(row)]


def with_split(experiment: ExperimentReport, p_value: float) -> ExperimentReport:
    ratio = dataclasses.replace(experiment.result.sample_ratio, p_value=p_value)
    return dataclasses.replace(experiment, result=dataclasses.replace(experiment.result, sample_ratio=ratio))


def test_every_look_is_a_point_with_its_interval_and_units(experiment: ExperimentReport) -> None:
    (effect,) = experiment.over_time
    points = [one for one in rows(report.looks_chart(experiment), "low", "high") if "label" not in one]
    drawn = {(one["n"], one["relative"]): (one["low"], one["high"]) for one in points}
    for look in effect.looks:
        is_known = isfinite(look.high)  # the first looks have too few units for an interval
        assert drawn[look.units, look.relative] == ((look.low, look.high) if is_known else (None, None))
    assert len(points) == len(effect.looks) >= 10


def test_it_is_marked_where_stopping_was_allowed(experiment: ExperimentReport) -> None:
    decided = experiment.over_time[0].decided
    assert decided is not None
    assert [one["units"] for one in rows(report.looks_chart(experiment), "row")] == [decided.units]
    assert f"clear at look {decided.number} of" in str(report.looks_verdict(experiment))
    open_yet = dataclasses.replace(experiment.over_time[0], looks=experiment.over_time[0].looks[: decided.number - 1])
    early = dataclasses.replace(experiment, over_time=(open_yet,))
    assert rows(report.looks_chart(early), "row") == []
    assert "still holds 0" in str(report.looks_verdict(early))


def test_wide_first_looks_do_not_squeeze_the_others(experiment: ExperimentReport) -> None:
    (effect,) = experiment.over_time
    wild = dataclasses.replace(effect.looks[0], low=-0.99, high=50.0)
    wide = dataclasses.replace(effect, looks=(wild, *effect.looks[1:]))
    text = json.dumps(report.looks_chart(dataclasses.replace(experiment, over_time=(wide,))).to_dict())
    assert json.dumps(report.looks_chart(experiment).to_dict()["layer"][0]["encoding"]["y"]["scale"]) in text


def test_the_marked_changes_are_found_four_times_in_five(experiment: ExperimentReport) -> None:
    effect = experiment.result.primary
    known = pilot_of_effect(effect)
    design = Design(effect.units_variant / effect.n_units, effect.alpha, experiment.result.inference)
    found, needed = detectable_changes(experiment), units_for_the_margin(experiment)
    assert found is not None
    assert needed is not None
    for change in found:
        assert abs(power(known, effect.n_units, change, design) - 0.8) < 1e-4
    assert power(known, needed, effect.margin, design) >= 0.8 > power(known, needed - 1, effect.margin, design)
    marked = {one["relative"] for one in rows(report.power_chart(experiment), "relative", "label")}
    assert marked
    assert marked <= set(found)
    assert f"takes {needed} sessions" in str(report.power_verdict(experiment))


def test_a_split_that_is_off_is_drawn_in_another_shape_and_nothing_is_to_be_believed(
    experiment: ExperimentReport,
) -> None:
    def drawn(one: ExperimentReport) -> set[tuple[str, str]]:
        return {(row["colour"], row["shape"]) for row in rows(report.sample_ratio_chart(one), "share")}

    off = with_split(experiment, 1e-6)
    assert drawn(experiment) & drawn(off) == set()
    assert "mismatch" in str(report.sample_ratio_verdict(off))
    assert "None of these is to be believed" in str(report.effects_verdict(off))
    assert "Inconclusive" in str(report.ab_verdict(off))


def test_what_was_assigned_is_drawn_before_what_was_measured(experiment: ExperimentReport) -> None:
    known = dataclasses.replace(experiment, exposure=experiment.result.sample_ratio)
    names = [row["name"] for row in rows(report.sample_ratio_chart(known), "share")]
    assert [("assigned" in name, "measured" in name) for name in names] == [(True, False)] * 2 + [(False, True)] * 2


def test_every_effect_guardrail_and_segment_has_a_row(experiment: ExperimentReport) -> None:
    result = experiment.result
    failed = dataclasses.replace(result.primary, metric="failed", statistic="ratio")
    known = dataclasses.replace(
        result,
        guardrails=(Guardrail(failed, 0.5),),
        segments=tuple(Segment("pool", name, result.effects) for name in ("ml", "web")),
    )
    names = [row["name"].split(":")[0] for row in rows(report.effects_chart(known), "verdict", "least")]
    assert names == ["latency_ns mean", "latency_ns p95", "guardrail failed ratio", "pool = ml", "pool = web"]
    said = str(report.effects_verdict(dataclasses.replace(experiment, result=known)))
    assert "Of 1 guardrail 0 held, 0 failed" in said
    assert "Clear in segments: pool = ml (worse" in said
    assert "worse in latency_ns mean" in str(report.effects_verdict(experiment))


def test_a_distribution_that_moved_alike_is_told_from_a_tail_that_moved_alone(experiment: ExperimentReport) -> None:
    shifts = experiment.quantile_shift
    alike = tuple(dataclasses.replace(one, relative=0.1, low=0.05, high=0.15) for one in shifts)
    tail = (*alike[:-1], dataclasses.replace(alike[-1], relative=0.5, low=0.4, high=0.6))
    assert "moved alike" in str(report.shifts_verdict(dataclasses.replace(experiment, quantile_shift=alike)))
    said = str(report.shifts_verdict(dataclasses.replace(experiment, quantile_shift=tail)))
    assert "not all alike, most at p99 (+40% to +60%)" in said


def test_several_variants_are_named_where_their_lines_end(experiment: ExperimentReport) -> None:
    (effect,) = experiment.over_time
    both = dataclasses.replace(experiment, over_time=(effect, dataclasses.replace(effect, variant="C")))
    labels = {one["label"]: one["relative"] for one in rows(report.looks_chart(both), "label", "relative")}
    assert {name[0] for name in labels} == {"B", "C"}
    assert len(set(labels.values())) == 2  # although both lines end at the same height
