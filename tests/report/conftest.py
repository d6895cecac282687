"""Small notebooks, frames and fits for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import numpy as np
import pyarrow as pa
import pytest

from perfkit.learn import Fit, fit
from perfkit.report.notebook.histories import simulated_regressions
from perfkit.stats.regret import CostTable, Regret
from perfkit.workflows.analyse import analyse
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.experiment import reporting
from perfkit.workflows.experiment.following import experiment_report
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.regressions import Regressions
from perfkit.workflows.replay_result import DecadeRegret, ReplayResult, SettingResult

PARAMETERS = """\
preset = "smoke"  # what to measure
launches = 3  # how often
lake_path = "../data/lake"  # where
versions = ""  # what to read
replay_budget_s = 0.0  # how long to replay
thresholds_path = "../thresholds.toml"  # what to publish
dry_run = True  # whether to publish"""

WriteNotebook = Callable[[str, Sequence[str]], Path]


@pytest.fixture
def write_notebook(tmp_path: Path) -> WriteNotebook:
    """Write `<tmp>/notebooks/<name>.ipynb` with a title, a parameters cell and the given cells."""

    def write(name: str, cells: Sequence[str]) -> Path:
        parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        title = nbformat.v4.new_markdown_cell(f"# What does {name} say?")
        codes = [nbformat.v4.new_code_cell(source) for source in cells]
        notebook = nbformat.v4.new_notebook(cells=[title, parameters, *codes])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture(scope="session")
def observations() -> pa.Table:
    """Two signallings, three methods, three launches: `uds` is cheap for small payloads, `shm_pool` for large ones."""
    rng = np.random.default_rng(7)
    costs = {"uds": (20_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (300_000, 2.0)}
    rows = [
        (method, int(size), signalling, launch, round_number, int((fixed + per_byte * size) * rng.lognormal(0, 0.1)))
        for method, (fixed, per_byte) in costs.items()
        for signalling in ("uds", "grpc")
        for size in 2.0 ** np.arange(10, 25)
        for launch in range(3)
        for round_number in range(5)
    ]
    names = ("method", "payload_bytes", "signalling", "launch", "round", "latency_ns")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="session")
def fitted(observations: pa.Table) -> Fit:
    return fit(observations)


@pytest.fixture(scope="session")
def analysis(observations: pa.Table) -> Analysis:
    """Of `observations`, with codecs measured apart."""
    rng = np.random.default_rng(8)
    stages = [
        (stage, int(size), launch, round_number, int(cost * size * rng.lognormal(0, 0.05)) + 1)
        for stage, cost in (("encode", 0.4), ("decode", 0.2))
        for size in 2.0 ** np.arange(10, 25, 2)
        for launch in range(3)
        for round_number in range(3)
    ]
    names = ("stage", "payload_bytes", "launch", "round", "latency_ns")
    codec = pa.table(dict(zip(names, map(list, zip(*stages, strict=True)), strict=True)))
    for name, value in (("method", ""), ("kind", "tensor"), ("format", "numpy"), ("compression", "lz4")):
        codec = codec.append_column(name, pa.array([value] * codec.num_rows))
    codec = codec.append_column("wire_bytes", codec["payload_bytes"])
    return analyse(pa.concat_tables([observations, codec], promote_options="default"))


@pytest.fixture(scope="session")
def experiment() -> ExperimentReport:
    """Of 300 sessions that came in over a week, B slower by 15 %, in two segments and with a guardrail."""
    rng = np.random.default_rng(9)
    session = np.repeat(np.arange(300), 20)
    in_b = rng.random(300)[session] < 0.5
    latency_ns = 1e6 * rng.lognormal(0, 0.2, 300)[session] * rng.lognormal(0, 0.5, session.size)
    frame = {
        "session": session,
        "variant": np.where(in_b, "B", "A"),
        "latency_ns": latency_ns * np.where(in_b, 1.15, 1.0),
        "failed": (rng.random(session.size) < 0.05).astype(float),
        "pool": np.where(session % 2, "ml", "web"),
        "observed_at": np.datetime64("2026-11-01", "us") + (session * 34 * 60_000_000).astype("timedelta64[us]"),
    }
    asked = reporting.Analysis(
        {"latency_ns": ("mean", "p95")}, time="observed_at", guardrails={"failed": ("ratio",)}, segments=("pool",)
    )
    return experiment_report(frame, asked)


@pytest.fixture(scope="session")
def found() -> Regressions:
    """Of twelve simulated histories: the four of gRPC became slower on the day of a deployment."""
    return simulated_regressions()


@pytest.fixture(scope="session")
def replay_of() -> Callable[[tuple[str, ...]], ReplayResult]:
    """A replay by hand, of nine payloads in one setting, with the strategies that are named."""

    def make(strategies: tuple[str, ...]) -> ReplayResult:
        regrets = {
            name: Regret(0.1 * index, 0.08 * index, 0.12 * index, 1, 1, 9, 9) for index, name in enumerate(strategies)
        }
        decades = (DecadeRegret(1e3, 1e4, 4, regrets), DecadeRegret(1e4, 1e5, 5, regrets))
        costs = CostTable((), (), np.empty((2, 0, 0)))
        setting = SettingResult("uds", "latency", (), costs, {}, regrets, decades, "")
        return ReplayResult("r", "a fit", {}, 1, 1.0, 3, 9, {"uds": setting}, (), pa.table({}))

    return make
