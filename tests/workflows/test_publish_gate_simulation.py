"""How often the gate refuses by mistake, and how often it lets a loss through, on simulated machines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from perfkit.config.curves import CurveSet
from perfkit.config.settings import PoolSettings, Settings
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.plan import Cell, Publication, known_contexts
from perfkit.learn import fit
from perfkit.workflows.candidate import compiled_plan
from perfkit.workflows.publish import publish_if_sound

SIZES = np.array([1024.0 * 4**power for power in range(8)])
TYPICAL = {
    "uds": (25e3, 0.3),
    "grpc": (400e3, 2.0),
    "grpc_stream": (600e3, 0.7),
    "shm_pool": (45e3, 0.12),
    "shm": (120e3, 0.3),
}
LATENCY = Settings(pools={"default": PoolSettings(goal="latency")})
Factor = Mapping[str, float]


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@dataclasses.dataclass(frozen=True)
class Machine:
    """Costs `fixed + per_byte * bytes` with a cache knee; launches and sends scatter as on two busy cores."""

    seed: int
    noise: float = 0.3
    launch_sd: float = 0.1

    def truth(self, method: str, sizes: np.ndarray) -> np.ndarray:
        random = np.random.default_rng((self.seed, list(TYPICAL).index(method)))
        fixed, per_byte = np.array(TYPICAL[method]) * np.exp(random.normal(0, 0.4, 2))
        return fixed + per_byte * (sizes + 0.6 * np.maximum(sizes - 2.0**21 * (1 + self.seed % 4), 0))

    def measure(self, run: int, *, wrong: Factor | None = None, methods: tuple[str, ...] = tuple(TYPICAL)) -> Fitted:
        """What a run of five launches of six rounds finds; `wrong` slows methods down that are not slower in truth."""
        random = np.random.default_rng((self.seed, run))
        parts = []
        for method in methods:
            slower = np.exp(random.normal(0, self.launch_sd, (5, 1, 1))) * (wrong or {}).get(method, 1.0)
            sends = np.exp(random.normal(0, self.noise, (5, 6, SIZES.size)))
            latency = self.truth(method, SIZES) * slower * sends
            launch, round_, size = np.meshgrid(np.arange(5), np.arange(6), SIZES, indexing="ij")
            columns = (np.full(latency.size, method), size.ravel(), launch.ravel(), round_.ravel(), latency.ravel())
            parts.append(columns)
        names = ("method", "payload_bytes", "launch", "round", "latency_ns")
        columns = {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}
        curves = fit(columns).curves
        return Fitted(dataclasses.replace(curves, evidence=dataclasses.replace(curves.evidence, runs=(f"run {run}",))))

    def loss(self, before: CurveSet, after: CurveSet) -> float:
        """What the second plan truly costs, relative to the first one."""
        logs = []
        for context in known_contexts(LATENCY, Publication(after)):
            old, new = (compiled_plan(LATENCY, Publication(curves))(context) for curves in (before, after))
            logs += [np.log(self._cost(new, size) / self._cost(old, size)) for size in SIZES]
        return float(np.expm1(np.mean(logs)))

    def _cost(self, cell: Cell, size: float) -> float:
        return float(self.truth(cell.at(size).method, np.array([size]))[0])


@functools.cache
def measured(machine: Machine, run: int) -> Fitted:
    """An honest run: several tests begin with the same ones."""
    return machine.measure(run)


@pytest.fixture
def path(tmp_path: Path) -> Callable[[int], Path]:
    def of(seed: int) -> Path:
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')
        return tmp_path / str(seed) / "thresholds.toml"

    return of


@pytest.mark.parametrize("noise", [{}, {"noise": 0.5, "launch_sd": 0.2}], ids=["noisy", "very noisy"])
def test_an_ordinary_machine_is_not_refused(path: Callable[[int], Path], noise: dict[str, float]) -> None:
    """Each machine is measured and published twice; nothing about it changed meanwhile."""
    refused = []
    for seed in range(20):
        file = path(seed)
        for run in range(2):
            result = publish_if_sound(measured(Machine(seed, **noise), run), path=file)
            refused += [f"machine {seed}, run {run}: {one}" for one in result.refusals]
    assert len(refused) <= 0.05 * 40, "\n".join(refused)


@pytest.mark.parametrize(
    "candidate",
    [
        {"wrong": {"uds": 3.0}},
        {"wrong": {"shm_pool": 4.0}},
        {"methods": ("uds", "grpc", "grpc_stream")},
    ],
    ids=["uds measured wrongly", "pool measured wrongly", "pool left out"],
)
def test_a_candidate_that_loses_is_refused(path: Callable[[int], Path], candidate: dict[str, Factor]) -> None:
    """Candidates that truly cost at least a tenth more than what is in force, but whose own curves say otherwise."""
    outcomes = []
    for seed in range(20):
        file, machine = path(seed), Machine(seed)
        publish_if_sound(measured(machine, 0), path=file)
        offered = machine.measure(1, **candidate)
        if machine.loss(load_thresholds(file).curves, offered.curves) >= 0.1:
            outcomes.append(publish_if_sound(offered, path=file).refused)
    assert len(outcomes) >= 8
    assert np.mean(outcomes) >= 0.9
