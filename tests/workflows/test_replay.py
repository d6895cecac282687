"""`perfkit.replay`: what it measures, how it judges, and that others can recompute it from its files."""

from __future__ import annotations

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
from perfkit.errors import ConfigError, FitError, InputError, UnknownNameError
from perfkit.learn import Fit, fit
from perfkit.measurement.replay_workload import REPLAY_SETTINGS, make_workload
from perfkit.report.charts import regret_chart
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.stats.regret import CostTable
from perfkit.workflows.replay_judgement import compare_with_fixed, judge
from perfkit.workflows.replay_samples import SAMPLE_COLUMNS, choices_path

CHECKER = Path(__file__).parents[3] / "shared" / "judge" / "replay_check.py"
SETTINGS = ("uds", "memory", "exhausted")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, make_curves):
    """A small replay of curves by hand, with its files."""
    folder = tmp_path_factory.mktemp("replay")
    lake, samples = folder / "lake", folder / "samples.parquet"
    result = perfkit.replay(
        Fit(make_curves()), settings_of_replay=SETTINGS, payloads=5, budget_s=1, lake=lake, samples=samples
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
