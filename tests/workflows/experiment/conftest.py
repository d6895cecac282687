"""A service that runs an experiment: a real engine assigns, what it records is drained into a lake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import perfkit

SETTINGS = """\
# What the models' service wants.
[recorder]
buffer_rows = 20000

[pools.ml]
methods = ["uds", "grpc", "shm_pool"]
goal = "balanced"   # for now

[experiments.faster]
pools = ["ml"]

[experiments.faster.variants.control]
share = "30%"

[experiments.faster.variants.faster]
share = "30%"
goal = "latency"

# Reviewed by everybody.
[publish]
max_loss = "5%"
"""
EACH = 10


def serve(folder: Path, *, effect: float = -0.15, sessions: int = 1000, failing: float = 0.0, seed: int = 1) -> None:
    """Send `EACH` transfers for every session; those of the variant take 1 + effect as long, and may fail."""
    (folder / "perfkit.toml").write_text(SETTINGS)
    chance = np.random.default_rng(seed)
    speed = 1e6 * chance.lognormal(0, 0.25, sessions)
    noise = chance.lognormal(0, 0.5, (EACH, sessions))
    fails = chance.random((EACH, sessions)) < failing
    engine = perfkit.Engine.load(folder / "perfkit.toml")
    for turn in range(EACH):
        for number in range(sessions):
            session = f"user-{number}"
            decision = engine.decide(4096, pool="ml", session=session)
            is_variant = decision.variant == "faster"
            took_ns = speed[number] * noise[turn, number] * (1 + effect if is_variant else 1)
            ok = not (is_variant and fails[turn, number])
            engine.record(decision, 4096, int(took_ns), session=session, ok=ok, error=None if ok else "TimeoutError")
    engine.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the variant was 15 % faster, drained; copy it before you change it."""
    folder = tmp_path_factory.mktemp("faster")
    serve(folder)
    perfkit.drain(folder / "data/lake")
    return folder


@pytest.fixture
def project(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `served` to work in, as the current folder."""
    shutil.copytree(served, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return Path()


@pytest.fixture
def plan() -> Callable[[], None]:
    """Write the plan of the experiment into the current folder."""
    from perfkit.config.experiment_plan import ExperimentPlan
    from perfkit.workflows.experiment.configuring import configure

    def write() -> None:
        configure(
            ExperimentPlan(
                "faster",
                hypothesis="latency falls, nothing fails",
                metrics={"latency_ns": ("mean", "p95")},
                minimum=2500,
                planned_units=580,
            ),
            lake="data/lake",
        )

    return write
