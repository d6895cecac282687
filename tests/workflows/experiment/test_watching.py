"""Looks at an experiment: what stops it, what does not, and how often they are wrong."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.cli.app import main
from perfkit.config.experiment_plan import ExperimentPlan
from perfkit.config.experiments import Experiment, Variant
from perfkit.config.settings import Settings
from perfkit.errors import InputError, PerfkitError
from perfkit.stats.experiments.sample_ratio import sample_ratio
from perfkit.workflows.experiment import recorded
from perfkit.workflows.experiment.concluding import conclude, promotion_problems
from perfkit.workflows.experiment.following import Followed, follow
from perfkit.workflows.experiment.planned import Planned
from perfkit.workflows.experiment.promoting import promote
from perfkit.workflows.experiment.recorded import Recorded
from perfkit.workflows.experiment.reporting import Analysis, build_report
from perfkit.workflows.experiment.watching import may_stop, watch, watched

START = datetime.datetime(2026, 11, 20, 8, tzinfo=datetime.UTC)
FILE = """
[pools.ml]
[experiments.x]
pools = ["ml"]
[experiments.x.variants.A]
share = 0.5
[experiments.x.variants.B]
share = 0.5
override = "uds"
"""


def put_traffic(
    folder: Path, *, effect: float = 0.0, failing: float = 0.0, split: Sequence[int] = (150, 150), each: int = 10
) -> None:
    """Transfers of two variants straight into a lake: two days of them."""
    chance = np.random.default_rng(3)
    sessions = sum(split)
    variant = np.repeat(["A", "B"], split)
    session = np.tile(np.arange(sessions), each)
    in_b = variant[session] == "B"
    latency = chance.lognormal(13, 0.25, sessions)[session] * chance.lognormal(0, 0.4, session.size)
    ok = ~(in_b & (chance.random(session.size) < failing))
    seconds = np.sort(chance.random(session.size)) * 2 * 86_400
    table = pa.table(
        {
            "source": ["service"] * session.size,
            "observed_at": pa.array([START + datetime.timedelta(seconds=one) for one in seconds]),
            "method": ["uds"] * session.size,
            "payload_bytes": [4096] * session.size,
            "latency_ns": (latency * np.where(in_b, 1 + effect, 1)).astype("int64"),
            "ok": ok,
            "session": [f"user-{number}" for number in session],
            "experiment": ["x"] * session.size,
            "variant": variant[session],
            "pool": ["ml"] * session.size,
        }
    )
    perfkit.open_lake(folder / "data/lake").append_transfers(table)
    (folder / "perfkit.toml").write_text(FILE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_broken_guardrail_and_a_wrong_split_say_stop_and_forbid_a_promotion(here: Path) -> None:
    put_traffic(here, effect=-0.3, failing=0.2, split=(230, 130))
    seen = watch("x")
    assert seen.advice == "stop"
    assert str(seen).splitlines()[0] == "Experiment x: STOP"
    assert "not split as planned" in seen.problems[0]
    assert seen.verdict == "inconclusive", "no effect can be believed where sessions get lost"
    done = conclude("x")
    assert not done.refused, "there is nothing to wait for"
    assert done.recommended == "A"
    assert "find where sessions get lost" in done.recommendation
    assert "not split as planned" in promotion_problems(done.report, "B")[0]


def test_a_variant_that_was_edited_or_added_after_the_conclusion_is_not_promoted(here: Path) -> None:
    put_traffic(here, effect=-0.3)
    assert conclude("x").recommended == "B"
    Path("perfkit.toml").write_text(FILE.replace('"uds"', '"grpc"'))
    (refusal,) = promote("x", "B").refusals
    assert "B is not what it was when the experiment was concluded" in refusal
    Path("perfkit.toml").write_text(f"{FILE}[experiments.x.variants.C]\nshare = 0.0\noverride = 'grpc'\n")
    assert "C is not what it was" in promote("x", "C").refusals[0]
    Path("perfkit.toml").write_text(
        FILE.replace("[pools.ml]", "[pools.ml]\n[pools.other]").replace('["ml"]', '["other"]')
    )
    assert "the pools that take part" in promote("x", "B").refusals[0]
    Path("perfkit.toml").write_text(FILE.replace("[pools.ml]", '[pools.ml]\ngoal = "memory"'))
    assert "pools.ml changed after the conclusion" in promote("x", "B").refusals[0]
    assert not Path("experiments/x.promote.patch").exists()
    Path("perfkit.toml").write_text(FILE)
    assert promote("x", "B").refusals == ()


def test_a_variant_that_is_faster_because_it_fails_is_stopped(here: Path) -> None:
    put_traffic(here, effect=-0.3, failing=0.2)
    seen = watch("x")
    assert [problem.partition(" (")[0] for problem in seen.problems] == ["B breaks the guardrail failed ratio"]
    assert (seen.verdict, conclude("x").recommended) == ("worse", "A")


def test_an_open_experiment_says_how_long_it_takes(here: Path) -> None:
    put_traffic(here)
    seen = watch("x")
    assert seen.advice == "wait"
    assert seen.days == pytest.approx(2, abs=0.01)
    assert seen.days_left > seen.days
    assert "still missing" in seen.sentence
    assert seen.report.never_happened == ("failed",)
    assert "Guardrail failed: it happened in no variant." in str(seen)
    assert seen.report.over_time[0].decided is None
    ats = [look.at for look in seen.report.over_time[0].looks]
    assert len(ats) == 12
    assert all(at is not None and at.tzinfo is not None for at in ats)


def test_sessions_that_were_assigned_and_not_measured_are_missed(here: Path) -> None:
    """A variant that makes sessions fail before they send looks well among those that sent."""
    put_traffic(here)
    found = follow("x")
    ratio = sample_ratio({"A": 150, "B": 260}, {"A": 0.5, "B": 0.5})
    report = build_report(found.recorded.rows, found.planned.analysis(), name="x")
    lost = watched(Followed(found.planned, found.recorded, _with_exposure(report, ratio), found.observations))
    assert lost.advice == "stop"
    assert "the sessions that were assigned (A 150, B 260)" in lost.problems[0]


def test_a_variant_whose_sessions_all_fail_before_they_send_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_traffic(here, split=(150, 0))
    with pytest.raises(InputError, match=r"no transfers of B in data/lake \(running\); name a session"):
        watch("x")
    monkeypatch.setattr(recorded, "_exposed", lambda *_: {"A": 150, "B": 148})
    with pytest.raises(PerfkitError, match=r"STOP: .*B was assigned to 148 sessions: do they fail before they") as stop:
        watch("x")
    assert not isinstance(stop.value, InputError), "nothing that was given is wrong"
    assert main(["ab", "watch", "x", "--exit-code"]) == 1
    monkeypatch.setattr(recorded, "_exposed", lambda *_: {"A": 150, "B": 3})
    assert main(["ab", "watch", "x", "--exit-code"]) == 2, "3 sessions may be on their way"


def _with_exposure(report: Any, ratio: Any) -> Any:
    import dataclasses

    return dataclasses.replace(report, exposure=ratio)


def test_looking_fifty_times_stops_hardly_ever_where_nothing_changed() -> None:
    """At most 5 % in the long run; of 10 experiments 4 or more is as unlikely as 1 in 970 then."""
    stopped, units = 0, 1100
    for seed in range(10):
        chance = np.random.default_rng(seed)
        session = np.repeat(np.arange(units), 3)
        rows = {
            "session": session,
            "variant": np.where(chance.random(units) < 0.5, "A", "B")[session],
            "latency_ns": chance.lognormal(13, 0.25, units)[session] * chance.lognormal(0, 0.5, session.size),
            "at": np.datetime64(START.replace(tzinfo=None)) + np.sort(chance.integers(0, 10**6, session.size)),
        }
        report = build_report(rows, Analysis({"latency_ns": ("mean",)}, time="at", looks=50), name="nothing")
        stopped += report.over_time[0].decided is not None
    assert stopped < 4


def test_a_plain_change_stops_early() -> None:
    chance = np.random.default_rng(0)
    session = np.repeat(np.arange(600), 10)
    is_b = chance.random(600) < 0.5
    latency = chance.lognormal(13, 0.25, 600)[session] * chance.lognormal(0, 0.5, session.size)
    rows = {
        "session": session,
        "variant": np.where(is_b, "B", "A")[session],
        "latency_ns": latency * np.where(is_b[session], 1.25, 1.0),
    }
    report = build_report(rows, Analysis({"latency_ns": ("mean",)}, looks=20), name="slower")
    decided = report.over_time[0].decided
    assert decided is not None
    assert decided.units < 400
    assert may_stop(report.result.primary).verdict == "worse"


def test_a_plan_shapes_the_analysis() -> None:
    experiment = Experiment("x", (Variant("old", 0.2), Variant("new", 0.1)))
    plan = ExperimentPlan("x", metrics={"cpu_sender_ns": ("ratio",)}, margin=0.02, inference="fixed")
    text = "[experiments.x.variants.old]\nshare = 0.2\n[experiments.x.variants.new]\nshare = 0.1\n"
    planned = Planned("x", Path("perfkit.toml"), Settings(experiments=(experiment,)), text, experiment, plan, True, {})
    analysis = planned.analysis()
    assert analysis.shares == pytest.approx({"old": 2 / 3, "new": 1 / 3})
    assert (analysis.control, analysis.primary) == ("old", ("cpu_sender_ns", "ratio"))
    assert (analysis.margin, analysis.inference) == (0.02, "fixed")
    assert Recorded(pa.table({}), {}).days == 0


def test_of_three_variants_each_has_its_effect_over_time_and_its_own_verdict() -> None:
    chance = np.random.default_rng(4)
    session = np.repeat(np.arange(900), 8)
    arm = chance.integers(0, 3, 900)[session]
    factor = np.array([1.0, 1.2, 0.8])[arm]
    rows = {
        "session": [f"user-{one}" for one in session],
        "variant": np.array(["old", "slower", "faster"])[arm],
        "latency_ns": factor * chance.lognormal(13, 0.25, 900)[session] * chance.lognormal(0, 0.5, session.size),
    }
    report = build_report(rows, Analysis({"latency_ns": ("mean",)}, control="old", looks=6), name="three")
    assert [(one.variant, len(one.looks)) for one in report.over_time] == [("faster", 6), ("slower", 6)]
    last = {one.variant: one.looks[-1] for one in report.over_time}
    for effect in report.result.effects:
        look = last[effect.variant]
        assert (look.relative, look.low, look.high) == (effect.relative, *effect.interval)
    assert promotion_problems(report, "faster") == []
    assert "not worse by 5% or more" in promotion_problems(report, "slower")[0]
    assert {shift.variant for shift in report.quantile_shift} == {"faster", "slower"}


def test_rows_without_a_session_or_a_variant_and_moments_that_repeat_are_no_obstacle() -> None:
    chance = np.random.default_rng(5)
    session = [f"user-{number % 90}" if number % 17 else None for number in range(900)]
    rows = {
        "session": pa.array(session),
        "variant": pa.array([("A" if number % 90 % 2 else "B") if number % 13 else None for number in range(900)]),
        "latency_ns": pa.array(chance.lognormal(13, 0.3, 900)),
        "at": pa.array([START] * 450 + [START + datetime.timedelta(hours=1)] * 450),
    }
    report = build_report(pa.table(rows), Analysis({"latency_ns": ("mean",)}, time="at", looks=10), name="gaps")
    looks = report.over_time[0].looks
    assert [look.at for look in looks] == [START, START + datetime.timedelta(hours=1)]
    assert looks[-1].units == report.n
    table = pa.table(rows | {"at": pa.array([None] * 450 + [START] * 450)})
    with pytest.raises(InputError, match="450 rows have no at"):
        build_report(table, Analysis({"latency_ns": ("mean",)}, time="at"), name="gaps")
