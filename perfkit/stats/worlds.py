"""Worlds whose truth is known: traffic of an experiment, the history of a benchmark, a sweep of a host.

What a statistic claims about its error rates is proved here: data is drawn from a world as often as wanted, and every
answer is held against the truth. All functions are deterministic in their arguments. Durations are in nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError, UnknownNameError

__all__ = ["METHODS", "NOISES", "ab_traffic", "ab_truth", "benchmark_series", "sweep", "true_latency_ns"]

Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

NOISES = ("normal", "lognormal", "ar1", "spikes", "two_machines")
"""How the points of a benchmark's history may spread."""

METHODS = ("grpc", "grpc_stream", "uds", "shm", "shm_pool")
"""What a host of `sweep` moves payloads by."""

_TYPICAL_NS = 1e6
_EARLIER_SD = 0.1
"""Of the logarithm: how far what a session saw before the experiment is from what it sees in it."""
_TAIL_FROM = 0.9
_TAIL_FROM_Z: Final = 1.2815515655446004
"""The standard normal's quantile at `_TAIL_FROM`."""

_LEVEL = 100.0
_SPIKE_SHARE, _SPIKE_FACTOR = 0.02, 3.0
_MACHINE_GAP = 0.08
_SKEW = 1.5
"""How much wider than `spread` the logarithm of a skewed series is."""

_TYPICAL_COSTS = {  # nanoseconds per transfer, nanoseconds per byte
    "grpc": (320e3, 2.0),
    "grpc_stream": (640e3, 0.6),
    "uds": (32e3, 0.26),
    "shm": (130e3, 0.42),
    "shm_pool": (50e3, 0.11),
}
_HOST_SD = 0.4
_SIZES = tuple(1024 * 4**step for step in range(8))
_MEAN_STALL_NS = 4e6


def ab_traffic(
    seed: int,
    *,
    sessions: int = 600,
    requests: float = 30.0,
    effect: float = 0.0,
    tail_effect: float = 0.0,
    session_sd: float = 0.25,
    request_sd: float = 0.5,
    share: float = 0.5,
) -> Columns:
    """Requests of an experiment with two variants: sessions are randomised, requests are measured.

    Args:
        seed: of everything random.
        sessions: of both variants.
        requests: mean number of them per session; sessions differ a lot in it, and have one or more.
        effect: relative change of every latency of B.
        tail_effect: relative change, on top, of the slowest tenth of B's latencies.
        session_sd: spread of the logarithm between sessions.
        request_sd: spread of the logarithm between the requests of a session.
        share: of the sessions that get B.

    Returns:
        Columns, one row per request, in random order: ``session``, ``variant`` (A or B), ``latency_ns``, and
        ``earlier_ns``, what the session saw on average before the experiment.

    Raises:
        InputError: a figure is out of range.

    >>> traffic = ab_traffic(1, sessions=200, effect=0.1)
    >>> sorted(traffic), sorted(set(traffic["variant"].tolist()))
    (['earlier_ns', 'latency_ns', 'session', 'variant'], ['A', 'B'])
    """
    _check_positive(sessions=sessions, requests=requests)
    rng = np.random.default_rng(seed)
    has_b = rng.random(sessions) < share
    speed = rng.lognormal(0.0, session_sd, sessions)
    earlier = _TYPICAL_NS * speed * rng.lognormal(0.0, _EARLIER_SD, sessions)
    # A Poisson number with a rate that differs from session to session, so that some have many times as many as others.
    session = np.repeat(np.arange(sessions), 1 + rng.poisson(rng.gamma(1.5, max(requests - 1, 0) / 1.5, sessions)))
    session = rng.permutation(session)
    latency = _TYPICAL_NS * speed[session] * rng.lognormal(0.0, request_sd, session.size)
    in_b = has_b[session]
    slowest = in_b & (latency > _TYPICAL_NS * math.exp(_TAIL_FROM_Z * math.hypot(session_sd, request_sd)))
    latency *= np.where(in_b, 1 + effect, 1.0) * np.where(slowest, 1 + tail_effect, 1.0)
    variant = np.where(in_b, "B", "A")
    return {"session": session, "variant": variant, "latency_ns": latency, "earlier_ns": earlier[session]}


def ab_truth(
    statistic: str,
    *,
    effect: float = 0.0,
    tail_effect: float = 0.0,
    session_sd: float = 0.25,
    request_sd: float = 0.5,
) -> float:
    """The true relative change of a statistic in `ab_traffic` with these arguments.

    Args:
        statistic: ``mean``, ``ratio``, or a quantile such as ``p95``, not the one at which the tail begins (p90).
        effect, tail_effect, session_sd, request_sd: as in `ab_traffic`.

    Raises:
        InputError: no such statistic has a known truth.

    >>> ab_truth("p50", tail_effect=0.3), ab_truth("p95", tail_effect=0.3), round(ab_truth("mean", tail_effect=0.3), 3)
    (0.0, 0.3, 0.07)
    """
    if statistic in ("mean", "ratio"):
        above = _normal_cdf(math.hypot(session_sd, request_sd) - _TAIL_FROM_Z)  # what the slowest tenth adds to the sum
        return (1 + effect) * (1 + tail_effect * above) - 1
    try:
        level = float(statistic.removeprefix("p")) / 100
    except ValueError:
        level = math.nan
    if not 0 < level < 1 or level == _TAIL_FROM or not statistic.startswith("p"):
        raise InputError(f"statistic {statistic!r} has no known truth here; take mean, ratio, or a quantile but p90")
    tail = tail_effect if level > _TAIL_FROM else 0.0
    return effect + tail + effect * tail


def benchmark_series(
    seed: int,
    *,
    points: int = 200,
    noise: str = "normal",
    spread: float = 0.05,
    step_at: int | None = None,
    step: float = 0.0,
    autocorrelation: float = 0.5,
) -> Floats:
    """The history of a benchmark around 100, one figure per build.

    Args:
        seed: of everything random.
        points: builds.
        noise: one of `NOISES`: ``normal``; ``lognormal``, skewed to the right; ``ar1``, where each point resembles the
            one before; ``spikes``, where one point in fifty is three times as large; ``two_machines``, where each point
            comes from one of two hosts, 8 % apart.
        spread: coefficient of variation (half of it within each of two machines).
        step_at: index of the first point of a new level; None for a history without one.
        step: relative change from there on.
        autocorrelation: of neighbouring points, for ``ar1``.

    Raises:
        UnknownNameError: no such noise.
        InputError: a figure is out of range.

    >>> series = benchmark_series(3, spread=0.02, step_at=150, step=0.1)
    >>> series.size, round(float(np.median(series[:150]))), round(float(np.median(series[150:])))
    (200, 100, 110)
    """
    _check_positive(points=points)
    if noise not in NOISES:
        raise UnknownNameError("noise", noise, NOISES)
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0.0, spread, points)
    if noise == "lognormal":
        drawn = np.expm1(_SKEW * drawn)
    elif noise == "ar1":
        drawn = _autocorrelated(drawn, autocorrelation)
    elif noise == "spikes":
        drawn = drawn + (_SPIKE_FACTOR - 1) * (rng.random(points) < _SPIKE_SHARE)
    elif noise == "two_machines":
        drawn = drawn / 2 + rng.choice((-_MACHINE_GAP / 2, _MACHINE_GAP / 2), points)
    level = np.full(points, _LEVEL)
    if step_at is not None:
        level[step_at:] *= 1 + step
    return np.asarray(level * (1 + drawn))


def _autocorrelated(independent: Floats, autocorrelation: float) -> Floats:
    """A stationary first-order autoregression with the same spread."""
    if not -1 < autocorrelation < 1:
        raise InputError(f"autocorrelation == {autocorrelation}, must be above -1 and below 1, for example 0.5")
    made = independent.copy()
    fresh = math.sqrt(1 - autocorrelation**2)
    for at in range(1, made.size):
        made[at] = autocorrelation * made[at - 1] + fresh * independent[at]
    return made


def sweep(
    seed: int,
    *,
    host: int = 1,
    slowdown: float = 0.0,
    launches: int = 3,
    rounds: int = 9,
    sizes: Sequence[int] = _SIZES,
    launch_sd: float = 0.05,
    send_sd: float = 0.2,
    shared_luck: float = 0.0,
    stall_share: float = 0.01,
) -> Columns:
    """A sweep of a host whose costs are known: every method and size, once per round, in several launches.

    Args:
        seed: of the luck of launches and sends.
        host: of the costs, which differ from host to host.
        slowdown: relative change of every latency.
        launches: of fresh processes; each has its own luck for each method.
        rounds: sends of every method and size in each launch.
        sizes: payloads, in bytes.
        launch_sd: spread of the logarithm between launches.
        send_sd: spread of the logarithm between sends.
        shared_luck: share of a launch's luck (of its variance) that all methods have in common, from 0 to 1.
        stall_share: of the sends, how many stall for some milliseconds.

    Returns:
        Columns, one row per send: ``method``, ``payload_bytes``, ``signalling``, ``launch``, ``round``, ``latency_ns``.

    Raises:
        InputError: a figure is out of range.

    >>> columns = sweep(1, launches=2, rounds=3)
    >>> columns["latency_ns"].size, round(true_latency_ns(1, "uds", 4096)) < round(true_latency_ns(1, "grpc", 4096))
    (240, True)
    """
    _check_positive(launches=launches, rounds=rounds, sizes=len(sizes))
    rng = np.random.default_rng(seed)
    shape = (launches, rounds, len(METHODS), len(sizes))
    true = np.array([[true_latency_ns(host, method, size) for size in sizes] for method in METHODS])
    common = rng.normal(0.0, launch_sd * math.sqrt(shared_luck), (launches, 1))
    own = rng.normal(0.0, launch_sd * math.sqrt(1 - shared_luck), (launches, len(METHODS)))
    latency = true * (1 + slowdown) * np.exp(common + own)[:, None, :, None] * rng.lognormal(0.0, send_sd, shape)
    latency += np.where(rng.random(shape) < stall_share, rng.exponential(_MEAN_STALL_NS, shape), 0.0)
    launch, lap, method, size = (axis.ravel() for axis in np.indices(shape))
    return {
        "method": np.array(METHODS)[method],
        "payload_bytes": np.array(sizes)[size],
        "signalling": np.full(launch.size, "uds"),
        "launch": launch,
        "round": lap,
        "latency_ns": latency.ravel(),
    }


def true_latency_ns(host: int, method: str, payload_bytes: float) -> float:
    """The true median latency of a method on a host of `sweep`.

    Args:
        host: as in `sweep`.
        method: one of `METHODS`.
        payload_bytes: 0 or more.

    Raises:
        UnknownNameError: no such method.

    >>> true_latency_ns(1, "uds", 1 << 20) > true_latency_ns(1, "uds", 1 << 10)
    True
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    drawn = np.random.default_rng(host).lognormal(0.0, _HOST_SD, (len(METHODS), 2))
    fixed, per_byte = np.array(_TYPICAL_COSTS[method]) * drawn[METHODS.index(method)]
    return float(fixed + per_byte * payload_bytes)


def _normal_cdf(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


def _check_positive(**figures: float) -> None:
    for name, figure in figures.items():
        if figure < 1:
            raise InputError(f"{name} == {figure}, must be 1 or more")
