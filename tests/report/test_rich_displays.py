"""Every result of the public API shows itself: as a table in a notebook, as text in a terminal."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.slos import Slo
from perfkit.lake import RunRecord
from perfkit.learn import CompositionError, Fit
from perfkit.measurement.ratios import RATIOS
from perfkit.report import NotebookResult, PipelineResult, Verdict
from perfkit.report.notebook.records import Record
from perfkit.schema import arrow_schema
from perfkit.stats.hierarchical import Estimate
from perfkit.transfer.copying import CopyPlan
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.bench_result import BenchResult
from perfkit.workflows.ladder_result import LadderPoint, LadderResult
from perfkit.workflows.replay_result import ReplayResult

SHOWN_ELSEWHERE = {
    "connect": "a channel, which shows itself by its statistics",
    "import_run": "what it brought is shown by export_run's twin",
    "load_model": "as train",
    "method": "what registers a method gives it back",
    "open_journal": "a journal to write to",
    "policy": "what registers a policy gives it back",
    "prepare_project": "as check",
    "publish_if_sound": "as publish",
    "fit_run": "as fit",
    "rollback": "as publish",
    "save_model": "writes files, and returns nothing",
    "serve": "a server, which shows itself by its statistics",
}
"""Public functions whose results are not in `results`, and why."""

EXPERIMENT = {
    "session": np.repeat(np.arange(40), 20),
    "variant": np.repeat(np.array(["A", "B"] * 20), 20),
    "latency_ns": np.random.default_rng(1).lognormal(14, 0.5, 800),
}

HISTORY = {"build": list(range(60)), "ms": [100.0, 101.0, 99.0, 100.5] * 10 + [120.0, 121.0, 119.0, 120.5] * 5}

TURNS = perfkit.switchback_schedule(8, 50)

LADDER = LadderResult(
    "r", "complete", tuple(LadderPoint("uds", 65536, n, 9e3, 0, 0, n / 9e-6) for n in (1, 2, 4, 8)), 9
)

WIDE = ("diagnose", "record", "verdict")
"""Results with a sentence, or a command to copy, in one line."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, observations: pa.Table) -> Path:
    """A lake with one run, a journal, and settings."""
    folder = tmp_path_factory.mktemp("project")
    rows = dict(zip(observations.column_names, observations.columns, strict=True))
    rows["run_id"] = pa.array(["20261120-1"] * observations.num_rows)
    table = pa.table(rows)
    lake = perfkit.open_lake(folder / "lake")
    lake.append_transfers(table.cast(pa.schema([arrow_schema().field(name) for name in table.column_names])))
    lake.append_run(RunRecord("20261120-1", "complete", launches=3, rounds=15, observations=table.num_rows))
    (folder / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')
    return folder


@pytest.fixture(scope="module")
def results(
    project: Path,
    observations: pa.Table,
    fitted: Fit,
    analysis: Analysis,
    replay_of: Callable[[tuple[str, ...]], ReplayResult],
) -> Mapping[str, Any]:
    """One result of everything, by what made it."""
    lake, thresholds = project / "lake", project / "thresholds.toml"
    made = {
        "ab": perfkit.ab(EXPERIMENT),
        "ab_self_check": perfkit.ab_self_check(EXPERIMENT, runs=3),
        "switchback": perfkit.switchback({**EXPERIMENT, "observed_at": np.arange(800)}, TURNS, variant=None),
        "switchback_schedule": TURNS,
        "analyse": analysis,
        "bench": bench_result(observations),
        "bench_ladder": LADDER,
        "regressions": perfkit.regressions(HISTORY, index="build", value="ms"),
        "change_points": perfkit.change_points([1.0, 1.01] * 20 + [2.0, 2.01] * 20),
        "check": perfkit.check(project / "perfkit.toml"),
        "compare": perfkit.compare(observations, observations),
        "delete_runs": perfkit.delete_runs(["latest"], lake=lake, thresholds=thresholds, dry_run=True),
        "diagnose": perfkit.diagnose(),
        "drain": perfkit.drain(lake),
        "dry_run": perfkit.dry_run(project / "perfkit.toml", lake=lake),
        "experiment_report": perfkit.experiment_report(EXPERIMENT),
        "export_run": perfkit.export_run("latest", project / "run.parquet", lake=lake),
        "fit": fitted,
        "fit.composition_error": CompositionError(0.1, 0.2, 0, ()),
        "fit.predict": fitted.predict("uds", "64KiB"),
        "fit.table": fitted.table(),
        "maintain_lake": perfkit.maintain_lake(lake, settings=None, dry_run=True),
        "migrate_lake": perfkit.migrate_lake(lake, dry_run=True),
        "off_policy": perfkit.off_policy(lambda context, payload_bytes: "uds", frame=explored()),
        "open_lake": perfkit.open_lake(lake),
        "publish": perfkit.publish(fitted, path=thresholds, force=True),
        "learn_models": perfkit.learn_models(lake, project / "models", dry_run=True),
        "predict": perfkit.predict("64KiB", thresholds=thresholds),
        "forecast": perfkit.forecast(ladder={"concurrency": [1, 2, 4, 8], "throughput": [10, 18, 30, 40]}),
        "gate": perfkit.gate(observations, baseline=[observations, observations]),
        "history": perfkit.history(thresholds),
        "replay": replay_of(("tuned", "best_static", "always:uds")),
        "runs": perfkit.runs(lake, thresholds=thresholds),
        "slos": perfkit.slos(observations, settings=[Slo("fast", scenario="*", latency_ns=10**9)]),
        "scalability": perfkit.scalability([1, 2, 4, 8], [10.0, 18.0, 28.0, 35.0]),
        "scoreboard": perfkit.scoreboard(only=["sample-ratio"], runs=5, processes=1),
        "train": (trained := perfkit.train(observations)),
        "distil": perfkit.distil(trained, fitted.curves),
        "window_quantiles": perfkit.window_quantiles(lake),
        "run_pipeline": PipelineResult(
            "r", "quick", "complete", "2026-11-20T21:04:00+00:00", 9.0, project, thresholds, None, {}, "",
            (NotebookResult("10_benchmark", "complete"),),
        ),
        "record": Record("median", 12_300.0, 11_900.0, 12_800.0, "ns"),
        "verdict": Verdict("uds at <every> size."),
    }  # fmt: skip
    engine = perfkit.Engine.load(project / "perfkit.toml")
    decision = engine.decide(2**20)
    made |= {
        "engine.plan": engine.plan(),
        "engine.statistics": engine.statistics(),
        "engine.health": engine.health(),
        "engine.decide": decision,
        "decision.explain": decision.explain(),
    }
    return made


def explored() -> dict[str, Any]:
    is_uds = np.arange(400) % 2 == 0
    return {
        "method": np.where(is_uds, "uds", "grpc"),
        "payload_bytes": np.full(400, 1024),
        "latency_ns": np.where(is_uds, 100, 200) + np.arange(400),
        "propensity": np.full(400, 0.5),
    }


def bench_result(observations: pa.Table) -> BenchResult:
    named = observations
    columns = {
        "scenario": ["a scenario"] * named.num_rows,
        "stage": ["transport"] * named.num_rows,
        "placement": ["copied"] * named.num_rows,
        "touched": [False] * named.num_rows,
        "temperature": ["warm"] * named.num_rows,
        "in_flight": [1] * named.num_rows,
        "ok": [True] * named.num_rows,
    }
    for name, values in columns.items():
        named = named.append_column(name, pa.array(values))
    ratio = Estimate(1.5, 1.1, 2.0, 5, 3)
    return BenchResult(
        "r", "smoke", "complete", {}, 9.0, 3, 9, 1, 1, named, {next(iter(RATIOS)): ratio}, None, CopyPlan(), None, ()
    )


class _Balance(HTMLParser):
    """Finds tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_public_function_is_looked_at(results: Mapping[str, Any]) -> None:
    functions = {name for name in perfkit.__all__ if isinstance(getattr(perfkit, name), types.FunctionType)}
    assert functions <= {*results, *SHOWN_ELSEWHERE}


def test_a_result_is_html_in_a_notebook_and_narrow_text_in_a_terminal(results: Mapping[str, Any]) -> None:
    for name, result in results.items():
        as_bundle = getattr(result, "_repr_mimebundle_", None)
        html = as_bundle()["text/html"] if as_bundle else result._repr_html_()
        assert html.lstrip().startswith("<"), name
        balance = _Balance()
        balance.feed(html)
        assert balance.open == [], name
        assert "<every>" not in html
        lines = str(result).splitlines()
        assert lines, name
        assert "object at 0x" not in str(result), name
        if type(result).__str__ is not object.__str__ and name not in WIDE:
            assert max(map(len, lines)) <= 80, name
