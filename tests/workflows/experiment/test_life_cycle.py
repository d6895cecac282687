"""From assignments of a real engine to a promotion, and back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.config.settings import load_perfkit_toml
from perfkit.config.thresholds import load_thresholds
from perfkit.errors import InputError, UnknownNameError
from perfkit.workflows.experiment.concluding import conclude
from perfkit.workflows.experiment.ending import archive_experiment, roll_back_experiment
from perfkit.workflows.experiment.following import experiment_report
from perfkit.workflows.experiment.listing import experiments
from perfkit.workflows.experiment.promoting import promote
from perfkit.workflows.experiment.sizing import size_experiment
from perfkit.workflows.experiment.watching import watch


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


def patch(promotion: Any) -> None:
    subprocess.run(["patch", "-s", "perfkit.toml", promotion.patch_path], check=True)


def events(name: str) -> list[dict[str, Any]]:
    perfkit.drain("data/lake")
    rows = perfkit.open_lake("data/lake").events.to_pyarrow().to_pylist()
    return [row for row in rows if row["name"] == name]


def test_an_experiment_goes_from_traffic_to_default_and_back(
    project: Path, plan: Callable[[], None], make_curves: Callable[..., CurveSet]
) -> None:
    busy = {"uds": (1e5, 0.3), "shm_pool": (9e6, 1.0), "grpc": (9e6, 2.0)}  # so that `balanced` takes uds throughout
    perfkit.publish(Fitted(make_curves(cpu=busy)), settings="perfkit.toml")
    assert {table.pool: len(table.ranges) for table in load_thresholds("thresholds.toml").tables}["ml"] == 1
    before = Path("perfkit.toml").read_text()
    time.sleep(1.001 - time.time() % 1)  # a plan says the second only: let the traffic be of an earlier one
    plan()

    seen = watch("faster")
    assert (seen.state, seen.advice, seen.problems) == ("running", "conclude", ())
    assert set(seen.observations) == {"control", "faster"}
    assert seen.n == sum(seen.report.result.sample_ratio.units.values()) == pytest.approx(600, abs=60)
    assert seen.report.exposure is not None
    assert seen.report.exposure.units == seen.report.result.sample_ratio.units
    assert seen.report.over_time[0].decided is not None
    assert any("after the first transfer" in warning for warning in seen.report.warnings)

    done = conclude("faster")
    assert (done.refused, done.verdict, done.recommended) == (False, "better", "faster")
    low, high = done.report.result.primary.interval
    assert low < -0.15 < high < 0
    kept = json.loads(done.path.read_text())["conclusion"]
    assert len(kept["report"]["over_time"][0]["looks"]) > 1

    shown = promote("faster")
    assert (shown.refused, shown.applied, shown.inherited) == (False, False, ())
    assert Path("perfkit.toml").read_text() == before, "people write that file"
    assert shown.traffic is not None
    assert shown.traffic.transfers == 10_000
    patch(shown)
    settings = load_perfkit_toml("perfkit.toml")
    assert (settings.pool("ml").goal, settings.experiments) == ("latency", ())
    promoted = promote("faster")
    assert (promoted.applied, promoted.refused, promoted.patch) == (True, False, "")
    assert promoted.publication is not None
    assert promoted.publication.version == 2
    assert {table.pool: len(table.ranges) for table in load_thresholds("thresholds.toml").tables}["ml"] == 2
    assert experiments().experiments[0].state == "promoted"

    back = roll_back_experiment("faster")
    assert back.promoted == "faster"
    assert back.publication is not None
    assert back.publication.restores == 1
    patch(back)
    settings = load_perfkit_toml("perfkit.toml")
    assert (settings.pool("ml").goal, settings.experiments[0].enabled) == ("balanced", False)

    put_away = archive_experiment("faster")
    assert {path.name for path in put_away.files} >= {"faster.toml", "faster.result.json"}
    assert [one.state for one in experiments().experiments] == ["stopped", "archived"]
    for name in ("planned", "concluded", "promoted", "rolled back", "archived"):
        assert len(events(f"experiment {name}")) == 1, name


def test_a_conclusion_before_the_minimum_is_refused_unless_forced(project: Path) -> None:
    text = Path("perfkit.toml").read_text()
    Path("experiments").mkdir()
    Path("experiments/faster.toml").write_text(
        'metrics = ["latency_ns:p99.9"]\ninference = "fixed"\nplanned_units = 5000'
    )
    early = conclude("faster")
    assert early.refused
    assert early.verdict == "inconclusive"
    assert "of the 10000 transfers that a conclusion takes" in str(early.refusals)
    assert "of 5000 planned sessions" in str(early.refusals)
    assert not early.path.exists()
    assert promote("faster").refusals == ("the experiment is not concluded; `perfkit ab conclude faster` judges it",)
    forced = conclude("faster", force=True)
    assert (forced.refused, forced.forced) == (False, True)
    assert forced.report.result.inference == "sequential", "a fixed test may not end when somebody likes"
    assert Path("perfkit.toml").read_text() == text


def test_a_fixed_test_is_made_once_its_planned_sample_is_there(project: Path) -> None:
    Path("experiments").mkdir()
    Path("experiments/faster.toml").write_text('inference = "fixed"\nminimum = 1000\nplanned_units = 500')
    looked, done = watch("faster"), conclude("faster")
    assert (looked.report.result.inference, done.report.result.inference) == ("sequential", "fixed")
    widths = [one.interval[1] - one.interval[0] for one in (looked.report.result.primary, done.report.result.primary)]
    assert widths[0] > widths[1], "looking early has its price"


def test_what_is_not_shown_to_be_harmless_is_not_promoted_unless_forced(project: Path) -> None:
    Path("experiments").mkdir()
    Path("experiments/faster.toml").write_text('metrics = ["latency_ns:mean"]\nmargin = "0.1%"\nminimum = 10')
    text = Path("perfkit.toml").read_text()
    Path("perfkit.toml").write_text(
        text.replace("variants.control", "variants.X").replace("variants.faster", "variants.Y")
    )
    with pytest.raises(InputError, match="has no transfers of X, Y"):
        conclude("faster")
    swapped = text.replace("[experiments.faster.variants.control]", "[experiments.faster.variants.FASTER]")
    swapped = swapped.replace("[experiments.faster.variants.faster]", "[experiments.faster.variants.control]")
    Path("perfkit.toml").write_text(swapped.replace("variants.FASTER", "variants.faster"))
    done = conclude("faster", force=True)  # now the slower one is the variant
    assert (done.verdict, done.recommended) == ("worse", "faster")
    refused = promote("faster", "control")
    assert refused.refused
    assert "is not worse by 0%" in str(refused.refusals) or "not worse" in str(refused.refusals)
    assert not refused.patch_path.exists()
    assert promote("faster", "control", force=True).patch
    with pytest.raises(UnknownNameError, match="unknown variant 'nobody'"):
        promote("faster", "nobody")


def test_the_report_says_everything_that_a_picture_needs(project: Path) -> None:
    report = experiment_report("faster")
    assert any("no plan was written" in warning for warning in report.warnings)
    assert [point.power for point in report.power_by_units] == sorted(point.power for point in report.power_by_units)
    at_zero = next(point for point in report.power_by_change if point.relative == 0)
    assert at_zero.power <= 0.05
    assert {shift.quantile for shift in report.quantile_shift} >= {0.5, 0.95}
    assert all(shift.low < shift.relative < shift.high for shift in report.quantile_shift)
    looks = report.over_time[0].looks
    assert [look.observations for look in looks] == sorted(look.observations for look in looks)
    assert looks[-1].observations == report.result.primary.n_observations
    json.dumps(report.to_plain(), allow_nan=False)
    assert all(len(line) <= 80 for line in str(report).splitlines())


def test_the_size_of_an_experiment_comes_from_recorded_sessions(project: Path) -> None:
    sized = size_experiment("faster", change=0.10)
    assert sized.n == 1000
    assert sized.design.share == 0.5
    assert 200 < sized.units_needed < 1200
    finer = size_experiment("faster", change=0.05)
    assert finer.units_needed == pytest.approx(4 * sized.units_needed, rel=0.35)
    assert all(len(line) <= 80 for line in str(sized).splitlines())
    with pytest.raises(InputError, match="no transfers with a session of the last 14 days in pools default"):
        size_experiment(pools=("default",))
    with pytest.raises(InputError, match="change == 2"):
        size_experiment(change=2)


def test_names_that_nobody_knows_are_refused_with_those_that_exist(project: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown experiment 'fater'; allowed: faster"):
        watch("fater")
    Path("experiments").mkdir()
    Path("experiments/faster.toml").write_text('metrics = ["latency:mean"]')
    with pytest.raises(UnknownNameError, match="unknown column 'latency'"):
        watch("faster")
