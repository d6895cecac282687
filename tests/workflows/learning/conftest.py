"""A small world whose truth is known, models of it, and a lake that it is recorded in."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perfkit.config.curves import CurveSet
from perfkit.lake import open_lake
from perfkit.lake.delta import conform
from perfkit.learn.models import CostModel, train, training
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema
from perfkit.workflows.learning import contest, continual, from_lake
from perfkit.workflows.learning.learned import NUMBERED_BY, Learned

METHODS = {"uds": (30e3, 0.30), "shm_pool": (60e3, 0.05)}
START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
FEWEST = 60


@pytest.fixture(scope="session")
def curves(make_curves: Callable[..., CurveSet]) -> CurveSet:
    """What both methods cost; to fit them takes longer than everything else here."""
    return make_curves(METHODS)


@pytest.fixture(scope="session")
def small_model(curves: CurveSet) -> CostModel:
    """Of too few observations for more than curves: quick to train and to store."""
    return train(traffic(60), curves=curves)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, curves: CurveSet) -> None:
    """Models are tiny: 60 observations make one here, which has curves alone, and no curve is fitted."""

    def train_quickly(table: pa.Table, **options: Any) -> CostModel:
        return train(table, **{**options, "curves": options["curves"] or curves})

    monkeypatch.setattr(contest, "train", train_quickly)
    monkeypatch.setattr(contest, "_FEWEST_HELD_OUT", 20)
    for module in (contest, from_lake, continual):
        monkeypatch.setattr(module, "FEWEST_OBSERVATIONS", FEWEST)


@pytest.fixture
def with_trees(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 observations are enough for trees, and for a contest."""
    for module in (training, contest, from_lake, continual):
        monkeypatch.setattr(module, "FEWEST_OBSERVATIONS", 300)


def traffic(
    n: int,
    *,
    begins: int = 0,
    slower: float = 1.0,
    tight: float = 1.0,
    methods: tuple[str, ...] = tuple(METHODS),
    noise: float = 0.1,
    **columns: Any,
) -> pa.Table:
    """A service's transfers, one a second; every other pair with tight memory, which costs `tight` times as much."""
    rng = np.random.default_rng((n, begins + 1_000_000))
    method = np.array(methods)[np.arange(n) % len(methods)]
    kind = np.array(["tensor", "dataframe"])[np.arange(n) // len(methods) % 3 % 2]
    available = np.array([2**33, 2**28])[np.arange(n) // len(methods) % 2]
    size = np.exp2(rng.uniform(10, 22, n)).astype(np.int64)
    fixed, per_byte = np.array([METHODS[name] for name in method]).T
    cost = (fixed + per_byte * size) * np.where(available < 2**30, tight, 1.0) * slower * rng.lognormal(0, noise, n)
    return pa.table({
        "source": ["service"] * n, "stage": ["whole"] * n, "method": method, "payload_bytes": size,
        "kind": kind, "available_bytes": available,
        "wire_bytes": size, "latency_ns": cost.astype(np.int64),
        "observed_at": [START + datetime.timedelta(seconds=begins + at) for at in range(n)],
        **{name: np.full(n, value) if np.ndim(value) == 0 else value for name, value in columns.items()},
    })  # fmt: skip


class MemoryEvidence:
    """What `Evidence` says of a lake, of rows in memory: a lake takes longer than what is learned from it."""

    warnings = ()

    def __init__(self, path: Path) -> None:
        self.lake = open_lake(path)
        self.rows = arrow_schema().empty_table()

    def newest(self, *, since: datetime.datetime | None = None) -> pa.Table:
        rows = self.rows if since is None else self.rows.filter(pc.field("observed_at") > since)
        return rows.sort_by("observed_at")

    def count(self, *, since: datetime.datetime | None = None) -> int:
        return int(self.newest(since=since).num_rows)

    def new_to(self, learned: Learned) -> pa.Table:
        return self.newest().filter(~learned.holds(self.newest()))

    def known_to(self, learned: Learned, most: int) -> pa.Table:
        return self.newest().filter(learned.holds(self.newest())).slice(0, most)

    def everything(self, before: Learned | None = None) -> Learned:
        found = self.rows.group_by(list(NUMBERED_BY)).aggregate([("producer_sequence", "max")]).to_pylist()
        return Learned({tuple(one[name] for name in NUMBERED_BY): one["producer_sequence_max"] for one in found})


@dataclasses.dataclass
class Recorder:
    """A service that records into a lake through a slot of its journal: its rows are numbered."""

    lake: Path
    producer: str = "slot-000"
    epoch: int = 1
    written: int = 0
    memory: MemoryEvidence | None = None

    def __call__(self, n: int, **options: Any) -> None:
        numbers = np.arange(self.written + 1, self.written + n + 1)
        self.written += n
        table = traffic(n, producer=self.producer, epoch=self.epoch, producer_sequence=numbers, **options)
        if self.memory is not None:
            self.memory.rows = pa.concat_tables([self.memory.rows, conform(table, arrow_schema(), TRANSFER_COLUMNS)])
        else:
            open_lake(self.lake).append_transfers(table)


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    """Record traffic into the test's lake."""
    return Recorder(tmp_path / "lake")


@pytest.fixture
def in_memory(record: Recorder, monkeypatch: pytest.MonkeyPatch) -> MemoryEvidence:
    """What is recorded stays in memory."""
    evidence = record.memory = MemoryEvidence(record.lake)
    for module in (from_lake, continual):
        monkeypatch.setattr(module, "open_evidence", lambda lake, host: evidence)
    return evidence


@pytest.fixture(name="traffic", scope="session")
def _traffic() -> Callable[..., pa.Table]:
    """Transfers in memory."""
    return traffic
