"""`perfkit.replay`: what it measures, how it judges, and that others can recompute it from its files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import perfkit
from perfkit.cli import main
from perfkit.engine.plan import Publication
from perfkit.errors import ConfigError, FileError, FitError, InputError, UnknownNameError
from perfkit.learn import Fit, fit
from perfkit.measurement.replay_workload import REPLAY_SETTINGS, make_workload
from perfkit.report.charts import regret_chart
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.stats.regret import CostTable, Regret
from perfkit.workflows.replay import _TOLERATED_OVERTIME
from perfkit.workflows.replay_judgement import compare_with_fixed, judge, judge_settings
from perfkit.workflows.replay_result import FixedComparison, ReplayResult
from perfkit.workflows.replay_samples import SAMPLE_COLUMNS, choices_path, keep_judged, write_samples

CHECKER = Path(__file__).parents[3] / "shared" / "judge" / "replay_check.py"
SETTINGS = ("uds", "memory", "exhausted")
BUDGET_S = 1


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, make_curves):
    """A small replay of curves by hand, with its files."""
    folder = tmp_path_factory.mktemp("replay")
    lake, samples = folder / "lake", folder / "samples.parquet"
    result = perfkit.replay(
        Fit(make_curves()), settings_of_replay=SETTINGS, payloads=5, budget_s=BUDGET_S, lake=lake, samples=samples
    )
    return result, lake, samples


def test_its_figures_are_recomputed_from_its_files(replayed):
    """Regret, accuracy and ratio of totals of every strategy, by an independent checker."""
    if not CHECKER.exists():
        pytest.skip(f"{CHECKER} is not there")
    spec = importlib.util.spec_from_file_location("replay_check", CHECKER)
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    result, _, path = replayed
    samples, choices = pq.read_table(path), pq.read_table(choices_path(path)).to_pylist()
    assert samples.column_names == list(SAMPLE_COLUMNS)
    plain = result.to_plain()["settings"]
    for name in SETTINGS:
        rows = samples.filter(pa.compute.field("setting") == name)
        columns = [
            rows.column(column).to_numpy(zero_copy_only=False) for column in ("payload", "method", "half", "cost")
        ]
        for strategy, figures in plain[name]["strategies"].items():
            choice = {
                row["payload"]: row["method"]
                for row in choices
                if (row["setting"], row["strategy"]) == (name, strategy)
            }
            assert choice == {int(number): method for number, method in plain[name]["choices"][strategy].items()}
            theirs = checker.regret(*columns, choice)
            assert figures["regret"] == theirs["regret"]
            assert figures["total_ratio"] == theirs["total_ratio"]
            assert figures["regret_ci"] == pytest.approx(theirs["regret_ci"], rel=1e-9)
            assert figures["accuracy"] == theirs["accuracy"] or math.isnan(theirs["accuracy"])
            assert plain[name]["payloads"] == theirs["payloads"]


def recompute(sends, choice):
    """Regret and accuracy from plain rows, by the text of the how-to alone."""
    payloads, methods = (sorted({row[name] for row in sends}) for name in ("payload", "method"))
    medians = np.array(
        [
            [
                [
                    np.median(
                        [r["cost"] for r in sends if (r["half"], r["payload"], r["method"]) == (half, one, method)]
                    )
                    for method in methods
                ]
                for one in payloads
            ]
            for half in (0, 1)
        ]
    )
    rows, taken = np.arange(len(payloads)), np.array([methods.index(choice[one]) for one in payloads])
    best = medians.argmin(axis=2)
    lost = [np.log(medians[1 - half, rows, taken] / medians[1 - half, rows, best[half]]) for half in (0, 1)]
    ordered = np.sort(medians, axis=2)
    resolved = (best[0] == best[1]) & (ordered[:, :, 1] / ordered[:, :, 0] >= 1.1).all(axis=0)
    right = (taken == best[0])[resolved]
    return np.expm1(np.mean(lost)), right.sum() / max(resolved.sum(), 1), resolved.sum()


def test_its_figures_follow_from_its_files(replayed):
    """The same by a few lines that stand here, for whoever has no checker."""
    result, _, path = replayed
    samples, choices = pq.read_table(path).to_pylist(), pq.read_table(choices_path(path)).to_pylist()
    for name, setting in result.to_plain()["settings"].items():
        sends = [row for row in samples if row["setting"] == name]
        for strategy, figures in setting["strategies"].items():
            taken = {r["payload"]: r["method"] for r in choices if (r["setting"], r["strategy"]) == (name, strategy)}
            regret, accuracy, resolved = recompute(sends, taken)
            assert figures["regret"] == pytest.approx(regret, rel=1e-9)
            assert figures["resolved"] == resolved
            assert not resolved or figures["accuracy"] == pytest.approx(accuracy)


def test_sends_are_kept_as_replay_and_no_fit_takes_them(replayed):
    result, lake, _ = replayed
    observations = perfkit.open_lake(lake).transfers.to_pyarrow()
    assert set(observations.column("source").to_pylist()) == {"replay"}
    assert set(observations.column("run_id").to_pylist()) == {result.run_id}
    assert set(observations.column("stage").to_pylist()) == {"whole"}
    with pytest.raises(FitError, match="held out"):
        fit(observations)


def test_both_halves_are_in_each_launch(replayed):
    samples = replayed[0].samples.to_pylist()
    assert {(row["launch"], row["half"]) for row in samples} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_rounds_of_a_proof_are_finished_however_small_the_budget(replayed):
    result = replayed[0]
    assert result.launches >= 2
    assert result.rounds >= 8
    took_longer = result.seconds > BUDGET_S * _TOLERATED_OVERTIME
    assert any("instead of 1 s" in warning for warning in result.warnings) == took_longer


def test_memory_is_the_figure_of_one_probe_in_each_half(replayed):
    """As the how-to says: it is repeated over the rounds."""
    _, lake, _ = replayed
    figures = {}
    for row in perfkit.open_lake(lake).transfers.to_pyarrow().to_pylist():
        scenario = tuple(row[name] for name in ("payload_bytes", "method", "signalling", "in_flight"))
        figures.setdefault((scenario, row["round"] % 2), set()).add(row["resident_bytes"])
    assert figures
    assert all(len(probes) == 1 for probes in figures.values())


def test_it_shows_itself(replayed):
    result = replayed[0]
    assert max(map(len, str(result).splitlines())) <= 80
    assert "<table>" in result._repr_html_()
    json.dumps(result.to_plain())
    chart = regret_chart(result).to_dict()
    rows = [row for records in chart["datasets"].values() for row in records]
    assert {row["strategy"] for row in rows} >= {"tuned", "static:10MiB", "best_static"}
    assert {row["setting"] for row in rows} == set(SETTINGS)


# --- judging, on costs by hand ---------------------------------------------------------------------------------------


def costs_of(payloads, setting, curves_cost):
    """A table in which both halves cost what `curves_cost` says."""
    methods = tuple(sorted(setting.available(SIMPLICITY_ORDER)))
    half = [[curves_cost(method, one.payload_bytes) for method in methods] for one in payloads]
    return CostTable(tuple(one.number for one in payloads), methods, np.array([half, half]))


LINES = {"uds": (1e4, 0.3), "shm_pool": (4e4, 0.1), "grpc": (5e5, 2.0), "grpc_stream": (6e5, 2.5), "shm": (9e4, 0.6)}


def line(method, payload_bytes):
    fixed, per_byte = LINES[method]
    return fixed + per_byte * payload_bytes


def judged(curves, *names):
    workload = make_workload(1, 60)
    return {
        name: judge(
            REPLAY_SETTINGS[name],
            costs_of(workload, REPLAY_SETTINGS[name], line),
            workload,
            Publication(curves),
            SIMPLICITY_ORDER,
        )
        for name in names
    }


def test_tuned_decisions_that_know_the_costs_lose_nothing(make_curves):
    """The curves are the truth: tuned is the oracle but for what it gives up for a simpler method."""
    settings = judged(make_curves(LINES, codecs=(), half_width=1e-6), "uds", "exhausted")
    for setting in settings.values():
        assert setting.tuned.value < 0.002
        assert setting.tuned.accuracy == 1.0
        assert setting.verdict == "holds"
    assert settings["uds"].strategies["always:grpc"].value > 3
    assert settings["uds"].best_static.startswith("uds below")


def test_wrong_curves_miss(make_curves):
    backwards = {**LINES, "uds": LINES["shm_pool"], "shm_pool": LINES["uds"]}
    (setting,) = judged(make_curves(backwards, codecs=()), "uds").values()
    assert setting.verdict == "misses regret and accuracy"
    assert setting.tuned.low > 0.02


def test_without_an_arena_fixed_choices_fall_back_to_grpc(make_curves):
    (setting,) = judged(make_curves(LINES, codecs=()), "exhausted").values()
    assert set(setting.choices["always:shm_pool"]) == {"grpc"}
    assert set(setting.choices["static:10MiB"]) == {"grpc"}
    assert set(setting.choices["tuned"]) == {"uds"}


def test_tuned_is_better_than_each_fixed_choice_over_all_settings(make_curves):
    settings = judged(make_curves(LINES, codecs=(), half_width=1e-6), "uds", "exhausted")
    comparisons = {one.strategy: one for one in compare_with_fixed(settings, SIMPLICITY_ORDER)}
    assert comparisons["always:grpc"].verdict == "better"
    assert comparisons["best_static"].verdict == "inconclusive"  # one edge is all there is to know in each of these
    assert comparisons["best_static everywhere"].overall.value >= comparisons["best_static"].overall.value
    assert all(not one.worse_in for one in comparisons.values())


# --- verdicts --------------------------------------------------------------------------------------------------------


def with_tuned(setting, *, accuracy, resolved, regret=0.001):
    tuned = Regret(regret, 0.0, 0.01, 1.0, accuracy, resolved, 60)
    return dataclasses.replace(setting, strategies={**setting.strategies, "tuned": tuned})


def result_of(settings, **changes):
    comparisons = changes.pop("comparisons", ())
    return dataclasses.replace(
        ReplayResult("r", "a fit", {}, 1, 1.0, 2, 8, settings, comparisons, pa.table({}), asked=tuple(settings)),
        **changes,
    )


@pytest.fixture
def sound(make_curves):
    """Two settings in which tuned holds."""
    return judged(make_curves(LINES, codecs=(), half_width=1e-6), "uds", "exhausted")


@pytest.mark.parametrize(
    ("accuracy", "resolved", "verdict"),
    [
        (1.0, 4, "holds"),
        (0.75, 4, "inconclusive"),  # one wrong of four
        (20 / 21, 21, "holds"),
        (19 / 21, 21, "inconclusive"),
        (0.5, 40, "misses accuracy"),
        (math.nan, 0, "inconclusive"),
    ],
)
def test_accuracy_misses_only_where_its_interval_does(sound, accuracy, resolved, verdict):
    assert with_tuned(sound["uds"], accuracy=accuracy, resolved=resolved).verdict == verdict


def test_a_setting_that_was_asked_for_and_not_measured_is_a_miss(sound):
    assert result_of(sound).verdict == "holds"
    result = result_of(sound, asked=("uds", "grpc", "exhausted"))
    assert result.verdict == "misses: grpc not measured"
    assert result.to_plain()["asked"] == ["uds", "grpc", "exhausted"]
    bad = sound | {"uds": with_tuned(sound["uds"], accuracy=0.5, resolved=40)}
    assert result_of(bad).verdict == "misses in uds"
    assert result_of(bad, asked=("uds", "grpc")).verdict == "misses in uds; grpc not measured"


def test_too_little_to_tell_is_inconclusive(sound):
    assert result_of(sound, rounds=7).verdict == "inconclusive: 7 rounds in 2 launches, not 8 or more in 2"
    assert result_of(sound, launches=1).verdict.startswith("inconclusive")
    unclear = sound | {"exhausted": with_tuned(sound["exhausted"], accuracy=math.nan, resolved=0)}
    assert result_of(unclear).verdict == "inconclusive in exhausted"


def test_it_says_where_a_fixed_choice_is_better_and_where_nothing_is_at_stake(sound):
    worse = dataclasses.replace(sound["uds"].tuned, value=0.9, low=0.8, high=0.95)
    comparison = FixedComparison("static:10MiB", worse, {"uds": worse})
    tied = sound | {"uds": with_tuned(sound["uds"], accuracy=1.0, resolved=12)}
    text = " ".join(str(result_of(tied, comparisons=(comparison,))).split())
    assert "tuned costs more than static:10MiB in uds" in text
    assert "80% of the payloads" in text
    assert "accuracy rests on 12" in text
    assert result_of(tied).verdict == "holds"


def test_the_command_fails_for_a_miss_and_not_for_what_is_inconclusive(sound, tmp_path, monkeypatch, capsys):
    for result, code in ((result_of(sound, asked=("uds", "grpc")), 1), (result_of(sound, rounds=7), 0)):
        monkeypatch.setattr("perfkit.workflows.replay.replay", lambda *_, result=result, **__: result)
        assert main(["replay", "--lake", str(tmp_path)]) == code
        assert result.verdict.split()[0] in capsys.readouterr().out


# --- files -----------------------------------------------------------------------------------------------------------


def test_only_what_was_judged_is_written(make_curves, tmp_path):
    """A payload that one method did not carry is in neither file, so both hold the same payloads."""
    workload, setting = make_workload(1, 6), REPLAY_SETTINGS["uds"]
    rows = pa.Table.from_pylist(
        [
            {
                "setting": "uds",
                "payload": one.number,
                "payload_bytes": one.payload_bytes,
                "method": method,
                "half": half,
                "launch": launch,
                "cost": line(method, one.payload_bytes),
            }
            for one in workload
            for method in SIMPLICITY_ORDER
            if (one.number, method) != (5, "shm")
            for half in (0, 1)
            for launch in (0, 1)
        ]
    )
    publication = Publication(make_curves(LINES, codecs=()))
    settings, warnings = judge_settings(rows, [setting], workload, publication, SIMPLICITY_ORDER)
    assert "5 of 6" in warnings[0]
    kept = keep_judged(rows, {name: one.costs.payloads for name, one in settings.items()})
    assert kept.schema.names == list(SAMPLE_COLUMNS)
    result = result_of(settings, samples=kept)
    path = tmp_path / "samples.parquet"
    write_samples(result.samples, result.choices(), path)
    written = [pq.read_table(place) for place in (path, choices_path(path))]
    assert [set(table.column("payload").to_pylist()) for table in written] == [set(range(5))] * 2


def test_a_place_for_samples_is_checked_before_anything_is_measured(tmp_path, make_curves, monkeypatch):
    monkeypatch.setattr("perfkit.workflows.replay.run_sweep", lambda *_, **__: pytest.fail("was measured"))
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path, tmp_path / "file" / "samples.parquet", ""):
        with pytest.raises(FileError, match="another place"):
            perfkit.replay(Fit(make_curves()), lake=None, samples=place)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# --- bad input -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_replayed_is_refused(tmp_path, make_curves):
    fitted = Fit(make_curves())
    with pytest.raises(UnknownNameError, match="busy"):
        perfkit.replay(fitted, settings_of_replay=["bsy"], lake=None)
    with pytest.raises(InputError, match="no setting"):
        perfkit.replay(fitted, settings_of_replay=[], lake=None)
    with pytest.raises(InputError, match="budget"):
        perfkit.replay(fitted, budget_s=0, lake=None)
    with pytest.raises(ConfigError):
        perfkit.replay(thresholds=tmp_path / "thresholds.toml", lake=None)


def test_the_command_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "--json"]) == 2
    assert "thresholds.toml" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["message"]
    assert main(["replay", "--budget", "5%"]) == 2
    assert main(["replay", "--settings", " "]) == 2
