"""What notebook 60 asks: from files, from a lake, from nothing; and each sentence that it may come to."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import perfkit
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.lake import RunRecord, open_lake
from perfkit.learn.models.report import ModelReport, SliceCoverage, TargetReport
from perfkit.report.notebook import capacity_simulated
from perfkit.report.notebook.capacity import OpenedCapacity, open_capacity
from perfkit.report.notebook.capacity_verdicts import (
    capacity_verdict,
    coverage_targets,
    demand_verdict,
    law_verdict,
    little_verdict,
    model_verdict,
    utilisation_verdict,
)
from perfkit.stats.capacity.queues import little_check
from perfkit.stats.capacity.scalability import Bounded
from perfkit.workflows.forecast import Forecast

START = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)
NOTHING = Forecast(None, None, None, None, None, None)
JUDGED = SliceCoverage("all", "all", 0.903, 1_600), SliceCoverage("method", "uds", 0.84, 800)
TARGET = TargetReport("latency_ns", "model", "", 1_600, 40, 0.98, 0.9, 0.1, 0.2, JUDGED)


def opened(
    found: Forecast = NOTHING, little: Any = None, model: ModelReport | None = None, simulated: tuple[str, ...] = ()
) -> OpenedCapacity:
    return OpenedCapacity(found, little, ((), ()), model, simulated, ("A sentence.",))


@pytest.fixture(scope="module")
def found() -> Forecast:
    """A host that 16 loads and 30 days tell of."""
    ladder = {"concurrency": [1, 2, 4, 8, 16], "throughput": [1000, 1800, 3000, 4000, 4100]}
    demand = {
        "time": [(START + datetime.timedelta(days=day)).isoformat() for day in range(30)],
        "value": [1000 + 10 * day + day % 3 for day in range(30)],
    }
    return perfkit.forecast(ladder=ladder, demand=demand, horizon=4, what_if="rate=3x")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ladders of one run, and the traffic of two days."""
    folder = tmp_path_factory.mktemp("capacity") / "lake"
    rows: list[dict[str, Any]] = [
        {"run_id": "ladder", "method": method, "payload_bytes": 65_536, "in_flight": level, "latency_ns": 1_000_000,
         "sequence": 1000 * place, "observed_at": START + datetime.timedelta(seconds=1000 * place / (gamma * level))}
        for method, gamma in (("shm_pool", 900.0), ("uds", 500.0))
        for level in (1, 2, 4, 8)
        for place in range(2)
    ]  # fmt: skip
    traffic = [
        {"source": "service", "stage": "whole", "method": "uds", "payload_bytes": 65_536, "latency_ns": 1000,
         "observed_at": START + datetime.timedelta(minutes=minute), "producer": "slot", "epoch": 1}
        for minute in range(0, 2 * 24 * 60, 6)
    ]  # fmt: skip
    kept = open_lake(folder)
    for part in (rows, traffic):
        kept.append_transfers(pa.Table.from_pylist(part))
    kept.append_run(RunRecord("ladder", "complete", preset="ladder", fingerprint=json.dumps(collect_fingerprint())))
    return folder


def test_a_lake_tells_ladder_and_demand_and_which_ladder_was_taken(lake: Path, tmp_path: Path) -> None:
    absent = {"models_path": str(tmp_path / "models"), "thresholds_path": str(tmp_path / "thresholds.toml")}
    known = open_capacity(lake_path=str(lake), horizon="6h", **absent)
    assert known.simulated == ()
    assert known.model is None
    assert known.found.unit == "transfers per second"
    assert known.found.demand is not None
    assert known.found.demand.last_value == pytest.approx(10 / 3600, rel=0.01)
    assert len(known.history[0]) == len(known.history[1]) == known.found.demand.n
    assert "of 2 ladders that of shm_pool with 64KiB was taken" in str(known).replace("Of", "of")
    assert "ladder names another" in str(known)
    assert known.little is not None
    chosen = open_capacity(lake_path=str(lake), horizon="6h", ladder="uds 64KiB", run="ladder", **absent)
    assert chosen.found.usl is not None
    assert chosen.found.usl.throughput[0] == pytest.approx(500, rel=0.01)
    assert chosen.little is not None
    assert chosen.little.n == 4
    with pytest.raises(UnknownNameError, match="grpc"):
        open_capacity(lake_path=str(lake), ladder="grpc", **absent)
    with pytest.raises(InputError, match="64KiB"):
        open_capacity(lake_path=str(lake), ladder="uds 1MiB", **absent)


def test_a_ladder_that_was_asked_for_is_never_replaced_by_a_simulated_one(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="bench --ladder"):
        open_capacity(lake_path=str(tmp_path / "lake"), ladder="uds")


def test_files_come_before_the_lake(tmp_path: Path) -> None:
    ladder, demand = tmp_path / "ladder.csv", tmp_path / "demand.csv"
    ladder.write_text("concurrency,throughput\n1,10\n2,18\n4,30\n8,40\n")
    days = (f"{(START + datetime.timedelta(days=day)).isoformat()},{20 + day % 3}\n" for day in range(20))
    demand.write_text("time,value\n" + "".join(days))
    places = {"lake_path": str(tmp_path / "lake"), "models_path": str(tmp_path / "models")}
    known = open_capacity(ladder_path=str(ladder), demand_path=str(demand), horizon="3d", **places)
    assert known.simulated == ()
    assert known.little is None
    assert known.found.usl is not None
    assert known.found.usl.n == 4
    assert len(known.history[0]) == 20


def test_what_nobody_measured_is_simulated_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ModelReport(0.9, (TARGET,))
    monkeypatch.setattr(capacity_simulated, "simulated_model", lambda seed: report)
    places = {"lake_path": str(tmp_path / "lake"), "models_path": str(tmp_path / "models")}
    known = open_capacity(horizon="3d", **places)
    assert known.simulated == ("ladder", "demand", "cost model")
    assert known.model is report
    assert "Simulated: ladder, demand and cost model. Truly, the law has gamma 900" in str(known)
    assert "<li>" in known._repr_html_()
    law = known.found.usl
    assert law is not None
    for name, truth in (("gamma", 900.0), ("alpha", 0.05), ("beta", 0.004)):
        assert getattr(law, name).value == pytest.approx(truth, rel=0.2)


def test_the_host_and_its_demand_are_told(found: Forecast) -> None:
    told = str(capacity_verdict(opened(found)))
    assert told.startswith("Ladder gives way first")
    assert str(utilisation_verdict(opened(found))).startswith("With rate 3x:")
    assert str(utilisation_verdict(opened(dataclasses.replace(found, what_if=None)))).startswith("Ladder gives way")
    assert "Demand peaks at 1,3" in str(demand_verdict(opened(found)))
    alone = dataclasses.replace(found, bottleneck=None, what_if=None)
    assert str(capacity_verdict(opened(alone))).startswith("Demand peaks at")


def test_nothing_is_told_of_what_is_not_known() -> None:
    assert "`perfkit bench --ladder`" in str(law_verdict(opened()))
    assert str(little_verdict(opened())) == "The ladder has no latencies, so Little's law cannot check it."
    assert str(demand_verdict(opened())) == "There is no demand to forecast."
    assert str(utilisation_verdict(opened())) == "Nothing is known of any resource."
    assert "`perfkit learn` makes one" in str(model_verdict(opened()))
    assert "`perfkit learn` makes one" in str(model_verdict(opened(model=ModelReport(0.9, ()))))
    assert coverage_targets(opened()).rows == ()


def test_the_law_tells_its_peak_and_what_to_mind(found: Forecast) -> None:
    law = found.usl
    assert law is not None
    usual = dataclasses.replace(law, peak_concurrency=Bounded(12.0, 9.0, 15.0), warnings=())
    known = dataclasses.replace(found, usl=usual)
    assert "with 12 under way (95% interval 9 to 15); beyond 20.8 nothing is said." in str(law_verdict(opened(known)))
    vague = dataclasses.replace(usual, peak_concurrency=Bounded(12.0, 9.0, math.inf), warnings=("the law fits poorly",))
    told = str(law_verdict(opened(dataclasses.replace(found, usl=vague))))
    assert "9 or more" in told
    assert told.endswith("The law fits poorly.")
    endless = dataclasses.replace(usual, peak_concurrency=Bounded(math.inf, 9.0, math.inf))
    told = str(law_verdict(opened(dataclasses.replace(found, usl=endless))))
    assert told.startswith("Throughput grows with concurrency as far as was measured")
    assert "inf" not in told


def test_littles_law_is_told_of_the_ladder() -> None:
    check = little_check([1, 2, 4, 8], [10, 20, 40, 80], [0.1, 0.1, 0.1, 0.1])
    assert str(little_verdict(opened(little=check))) == check.sentence


def test_the_model_is_held_against_its_targets() -> None:
    told = str(model_verdict(opened(model=ModelReport(0.9, (TARGET,)))))
    assert told == (
        "The model predicts latency: 90% intervals held 90.3% of held-out transfers, in the worst slice (uds) 84.0%; "
        "n = 1,600."
    )
    curves = dataclasses.replace(TARGET, champion="curves", coverage=())
    told = str(model_verdict(opened(model=ModelReport(0.9, (curves,)), simulated=("cost model",))))
    assert told.startswith("Of simulated traffic: the curves predict latency: 90% intervals held an unknown share")
    table = coverage_targets(opened(model=ModelReport(0.9, (TARGET, curves))))
    assert table.rows == (
        ("latency", "all", "90.3%", "88.5% to 91.5%", "yes", "1,600"),
        ("latency", "uds", "84.0%", ">= 85.0%", "undecided", "800"),
    )
    short = dataclasses.replace(TARGET, coverage=(JUDGED[0], SliceCoverage("method", "uds", 0.8, 8_000)))
    assert coverage_targets(opened(model=ModelReport(0.9, (short,)))).rows[1][4] == "no"
