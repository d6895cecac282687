"""A lake whose changes are known: methods, kinds and sizes over 24 runs, and what a service recorded over 40 hours."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pytest

from perfkit.lake import Lake, RunRecord, open_lake
from perfkit.workflows.events import Event

START = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
METHODS, KINDS, SIZES = ("grpc", "uds", "shm_pool"), ("tensor", "text"), (4096, 2**20)
RUNS, CHANGED_RUN = 24, 14
HOST = {"os": "Linux", "cpu": "EPYC", "cores": "2", "memory": "8GiB", "kernel": "6.12", "grpcio": "1.60"}


def _run_id(number: int) -> str:
    return f"{START + number * DAY:%Y%m%d-%H%M%S}-aaaa"


def _fill_with_runs(
    lake: Lake,
    *,
    runs: int = RUNS,
    slower: Callable[[int, str, str], float] = lambda number, method, kind: 1.0,
    facts: Callable[[int], Mapping[str, str]] = lambda number: {},
    control: str = "",
    seed: int = 1,
) -> None:
    """One run a day with three launches of everything; a run's medians vary by 3 %, a launch's by 1 % more."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, method, kind, size in itertools.product(range(runs), METHODS, KINDS, SIZES):
        level = 50_000 * (1 + METHODS.index(method)) * (1 + size / 2**20) * slower(number, method, kind)
        level *= rng.lognormal(0, 0.03)
        rows += [
            {
                "run_id": _run_id(number),
                "observed_at": START + number * DAY,
                "launch": launch,
                "stage": "control" if method == control else "transport",
                "method": method,
                "kind": kind,
                "format": "numpy" if kind == "tensor" else "raw",
                "payload_bytes": size,
                "latency_ns": int(level * rng.lognormal(0, 0.01)),
            }
            for launch in range(3)
        ]
    lake.append_transfers(pa.Table.from_pylist(rows))
    for number in range(runs):
        known = dict(facts(number))
        revision = known.pop("git_revision", "")
        moment = START + number * DAY + datetime.timedelta(minutes=5)
        fingerprint = json.dumps(HOST | known)
        lake.append_run(RunRecord(_run_id(number), "complete", moment, fingerprint=fingerprint, git_revision=revision))


def _fill_with_transfers(lake: Lake, *, changed_at: int, hours: int = 40) -> None:
    """What a service recorded: 30 transfers an hour, whose copy takes 15 us longer from an hour on."""
    rng = np.random.default_rng(1)
    rows = []
    for hour, minute in itertools.product(range(hours), range(0, 60, 2)):
        copy = (35_000 if hour >= changed_at else 20_000) * rng.lognormal(0, 0.1)
        signal = 30_000 * rng.lognormal(0, 0.1)
        rows.append(
            {
                "source": "service",
                "observed_at": START + datetime.timedelta(hours=hour, minutes=minute),
                "method": "shm_pool",
                "payload_bytes": int(rng.integers(2**20, 2**21)),
                "latency_ns": int(copy + signal),
                "copy_ns": int(copy),
                "signal_ns": int(signal),
            }
        )
    lake.append_transfers(pa.Table.from_pylist(rows))


@pytest.fixture(scope="module")
def fill_with_runs() -> Callable[..., None]:
    """`_fill_with_runs`."""
    return _fill_with_runs


@pytest.fixture(scope="module")
def fill_with_transfers() -> Callable[..., None]:
    """`_fill_with_transfers`."""
    return _fill_with_transfers


@pytest.fixture(scope="module")
def changed_run() -> int:
    """Number of the first run that is slower, from 0: runs before it."""
    return CHANGED_RUN


@pytest.fixture(scope="module")
def published() -> Event:
    """What happened three hours before that run."""
    return Event(START + CHANGED_RUN * DAY - DAY / 8, "published", "thresholds.toml", "version 7")


@pytest.fixture(scope="module")
def changed_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Everything over gRPC is 30 % slower from one run on, and grpcio is another there."""
    lake = open_lake(tmp_path_factory.mktemp("changed") / "lake")
    _fill_with_runs(
        lake,
        slower=lambda number, method, kind: 1.3 if method == "grpc" and number >= CHANGED_RUN else 1.0,
        facts=lambda number: {"grpcio": "1.62"} if number >= CHANGED_RUN else {},
    )
    return lake
