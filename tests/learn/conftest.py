"""A simulated machine with known costs, and the check of a fit against them."""

import dataclasses
import math

import numpy as np
import pytest

from perfkit.learn import fit


@dataclasses.dataclass(frozen=True)
class World:
    """True costs `fixed + per_byte * bytes` with a cache knee, and noisy observations of them.

    Every launch has a factor of its own for each method; a send is skewed (a gamma factor with median 1) and stalls now
    and then.
    """

    seed: int
    noise: float = 0.2
    launch_sd: float = 0.05
    methods: tuple[str, ...] = ("uds", "grpc", "grpc_stream", "shm_pool", "shm")

    def truth(self, method, sizes):
        random = np.random.default_rng((self.seed, self.methods.index(method)))
        typical = {
            "uds": (25e3, 0.3),
            "grpc": (400e3, 2.0),
            "grpc_stream": (600e3, 0.7),
            "shm_pool": (45e3, 0.12),
            "shm": (120e3, 0.3),
        }
        fixed, per_byte = np.array(typical[method]) * np.exp(random.normal(0, 0.4, 2))
        knee = 2.0**21 * (1 + self.seed % 7)
        sizes = np.asarray(sizes, float)
        return fixed + per_byte * (sizes + 0.6 * np.maximum(sizes - knee, 0))

    def observe(self, sizes, rounds=9, launches=3):
        shape = 1 / self.noise**2
        random = np.random.default_rng((self.seed, 99))
        columns = {name: [] for name in ("method", "payload_bytes", "launch", "round", "latency_ns")}
        for method in self.methods:
            factor = np.exp(random.normal(0, self.launch_sd, launches))
            for launch in range(launches):
                sends = random.gamma(shape, 1 / (shape - 1 / 3), (rounds, len(sizes)))
                stalls = np.where(random.random(sends.shape) < 0.01, random.exponential(5e6, sends.shape), 0.0)
                latency = self.truth(method, sizes) * factor[launch] * sends + stalls
                columns["method"] += [method] * latency.size
                columns["payload_bytes"] += list(sizes) * rounds
                columns["launch"] += [launch] * latency.size
                columns["round"] += [r for r in range(rounds) for _ in sizes]
                columns["latency_ns"] += list(latency.reshape(-1))
        return {name: np.array(values) for name, values in columns.items()}


@dataclasses.dataclass
class Score:
    """Hits and trials of choices, crossover intervals and predictions."""

    hits: dict = dataclasses.field(default_factory=lambda: dict.fromkeys(("choice", "crossover", "predicted"), 0))
    trials: dict = dataclasses.field(default_factory=lambda: dict.fromkeys(("choice", "crossover", "predicted"), 0))

    def count(self, what, hits):
        hits = list(hits)
        self.hits[what] += sum(hits)
        self.trials[what] += len(hits)

    def share(self, what):
        return self.hits[what] / self.trials[what]


@pytest.fixture
def world():
    """Build a simulated machine."""
    return World


@pytest.fixture
def score_fit():
    """Add to a `Score` how a fit compares with the true costs of its methods."""

    def score(total, learned, truth, methods, signalling="uds"):
        sizes = np.unique(np.geomspace(1024, 2**30, 41).round())
        costs = np.stack([truth(method, sizes) for method in methods])
        best, (cheapest, second) = costs.argmin(axis=0), np.sort(costs, axis=0)[:2]
        clear = np.flatnonzero(second / cheapest >= 1.10)
        chosen = [learned.choose(size, signalling=signalling) for size in sizes]
        total.count("choice", (chosen[i] == methods[best[i]] for i in clear))
        for row, method in enumerate(methods):
            predicted = [learned.predict(method, size, signalling=signalling).value for size in sizes[::4]]
            total.count("predicted", np.abs(np.log(predicted / costs[row, ::4])) <= math.log(1.15))
        for found in learned.crossovers(signalling=signalling):
            true_edge = _true_crossover(truth, found.before, found.after)
            if true_edge is not None:
                total.count("crossover", [found.low <= true_edge <= found.high])

    return score


def _true_crossover(truth, before, after):
    """The one size at which the second method becomes cheaper; None if there is none, or more than one."""
    sizes = np.geomspace(1, 2**36, 20_001)
    crossings = np.flatnonzero(np.diff(np.sign(truth(before, sizes) - truth(after, sizes))))
    return sizes[crossings[0]] if crossings.size == 1 else None


@pytest.fixture
def score():
    """An empty score."""
    return Score()


@pytest.fixture
def exact_frame():
    """Noise-free observations of straight lines: 3 launches, 3 rounds."""

    def build(lines, sizes=tuple(1024 * 4**power for power in range(11)), launches=3, rounds=3, **columns):
        rows = [
            (method, size, launch, round_, fixed + per_byte * size)
            for method, (fixed, per_byte) in lines.items()
            for launch in range(launches)
            for round_ in range(rounds)
            for size in sizes
        ]
        names = ("method", "payload_bytes", "launch", "round", "latency_ns")
        frame = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
        return {**frame, **{name: np.full(len(rows), value) for name, value in columns.items()}}

    return build


@pytest.fixture
def noisy_fit(world):
    """A fit of one simulated machine."""
    return fit(world(3).observe([1024 * 4**power for power in range(11)]))
