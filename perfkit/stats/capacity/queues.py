"""Waiting lines: how long a request waits before it is served, and whether measured figures fit together at all."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.errors import InputError
from perfkit.stats.verdicts import INCONCLUSIVE
from perfkit.tables import ResultTable
from perfkit.units import format_duration

__all__ = ["BROKEN", "HOLDS", "LittleCheck", "Queue", "erlang_c", "little_check", "queue"]

HOLDS, BROKEN = "holds", "broken"

_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class Queue:
    """A waiting line in its steady state.

    Args:
        arrivals_per_s: requests that arrive.
        service_s: mean time that serving one takes.
        servers: how many serve at once.
        arrival_variation: squared coefficient of variation of the times between arrivals; 1 for a Poisson process.
        service_variation: squared coefficient of variation of the service times; 0 where they are all the same.
        utilisation: share of the servers' time that is taken.
        waiting_share: share of requests that wait at all.
        mean_wait_s: mean time before service begins.
    """

    arrivals_per_s: float
    service_s: float
    servers: int
    arrival_variation: float
    service_variation: float
    utilisation: float
    waiting_share: float
    mean_wait_s: float

    @property
    def mean_response_s(self) -> float:
        """Mean time from arrival to completion."""
        return self.mean_wait_s + self.service_s

    @property
    def mean_waiting(self) -> float:
        """Requests that wait, on average (Little's law)."""
        return self.arrivals_per_s * self.mean_wait_s

    @property
    def method(self) -> str:
        """Which formula."""
        if self.arrival_variation == self.service_variation == 1:
            return "Erlang C, exact for Poisson arrivals and exponential service times"
        return "Allen and Cunneen's approximation, in heavy traffic Kingman's"

    def wait_quantile_s(self, share: float) -> float:
        """The wait that this share of the requests does not exceed; 0 where so many do not wait.

        Those that wait do so for an exponential time: exact for `servers` with Poisson arrivals and exponential service
        times, otherwise the approximation that heavy traffic approaches.

        >>> round(queue(0.8, 1.0).wait_quantile_s(0.95), 3)
        13.863
        """
        if not 0 <= share < 1:
            raise InputError(f"share == {share}, must be from 0 to below 1, for example 0.99")
        if 1 - share >= self.waiting_share:
            return 0.0
        return self.mean_wait_s / self.waiting_share * math.log(self.waiting_share / (1 - share))

    def to_table(self) -> ResultTable:
        """The figures of the line."""
        rows = (
            ("utilisation", f"{self.utilisation:.1%}"),
            ("share that waits", f"{self.waiting_share:.1%}"),
            ("mean wait", _duration(self.mean_wait_s)),
            ("p99 of the wait", _duration(self.wait_quantile_s(0.99))),
            ("mean response", _duration(self.mean_response_s)),
        )
        notes = tuple(textwrap.wrap(f"{self.method}.", _WIDTH))
        return ResultTable(f"A line before {self.servers} servers", ("figure", "value"), rows, notes, align_right=(1,))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        more = {"mean_response_s": self.mean_response_s, "wait_p99_s": self.wait_quantile_s(0.99)}
        return {**dataclasses.asdict(self), **more, "method": self.method}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class LittleCheck:
    """Whether concurrency = throughput x mean latency, as it must be in any steady state.

    Args:
        value: throughput x latency / concurrency, geometric mean over the measurements; 1 where the law holds.
        low: lower bound of its interval; 0 with one measurement.
        high: upper bound; infinite with one measurement.
        n: measurements.
        level: of the interval.
        margin: largest departure from 1 that does not matter.
        verdict: ``holds`` (the interval within the margin), ``broken`` (outside of it) or ``inconclusive``.
        sentence: what it means.
    """

    value: float
    low: float
    high: float
    n: int
    level: float
    margin: float
    verdict: str
    sentence: str
    method: str = "Student's interval on the logarithms"

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentence where the law does not hold."""
        return (self.sentence,) if self.verdict == BROKEN else ()

    def to_table(self) -> ResultTable:
        """The ratio with its interval and what it means."""
        row = (f"{self.value:.3f}", f"{self.low:.3f} to {self.high:.3f}", str(self.n), self.verdict)
        columns = ("X R / N", f"{self.level:.0%} interval", "n", "verdict")
        notes = tuple(textwrap.wrap(self.sentence, _WIDTH))
        return ResultTable("Little's law on the data", columns, (row,), notes, align_right=(0, 1, 2))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**dataclasses.asdict(self), "warnings": list(self.warnings)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def erlang_c(offered_load: float, servers: int) -> float:
    """The share of requests that wait, with Poisson arrivals and exponential service times.

    Args:
        offered_load: arrivals per second x mean service time, in erlangs; at least 0 and below `servers`.
        servers: how many serve at once, at least 1; hundreds of thousands are fine.

    Raises:
        InputError: the load is not below the servers: the line grows without end.

    Source: Erlang, *Solution of some problems in the theory of probabilities of significance in automatic telephone
    exchanges*, 1917; Erlang B as a ratio of Poisson probabilities, which neither overflows nor needs a sum.

    >>> round(erlang_c(2.0, 3), 4)
    0.4444
    """
    load, count = _positive("offered_load", offered_load, zero=True), _servers(servers)
    if load >= count:
        raise InputError(
            f"offered_load == {load:g} with {count} servers: the line grows without end; the load must be below the "
            "servers; give more servers, or less or shorter work"
        )
    if load == 0:
        return 0.0
    # log of Poisson's probability of exactly, and of at most, as many as there are servers
    log_exactly = count * math.log(load) - load - special.gammaln(count + 1)
    blocked = math.exp(log_exactly) / float(special.pdtr(count, load))
    return blocked / (1 - load / count * (1 - blocked))


def queue(
    arrivals_per_s: float,
    service_s: float,
    servers: int = 1,
    *,
    arrival_variation: float = 1.0,
    service_variation: float = 1.0,
) -> Queue:
    """How long requests wait: G/G/c after Allen and Cunneen; with one server Kingman's formula for heavy traffic.

    Args:
        arrivals_per_s: requests per second, at least 0.
        service_s: mean seconds that serving one takes, above 0.
        servers: how many serve at once, at least 1.
        arrival_variation: squared coefficient of variation of the times between arrivals, at least 0; 1 for Poisson.
        service_variation: likewise of the service times; 1 for exponential ones.

    Returns:
        The line. Wq = C(c, a) / (c / s - lambda) x (ca^2 + cs^2) / 2; with one server that is
        rho / (1 - rho) x (ca^2 + cs^2) / 2 x s.

    Raises:
        InputError: a value is out of range; the servers cannot keep up.

    Sources: Kingman, *The single server queue in heavy traffic*, 1961; Allen, *Probability, Statistics, and Queueing
    Theory*, 1990, section 5.3.

    >>> one = queue(80, 0.01)
    >>> round(one.utilisation, 2), round(one.mean_wait_s, 4)
    (0.8, 0.04)
    >>> round(queue(80, 0.01, service_variation=0.0).mean_wait_s, 4)  # all take the same time: half the wait
    0.02
    """
    arrivals = _positive("arrivals_per_s", arrivals_per_s, zero=True)
    service = _positive("service_s", service_s)
    varied = _positive("arrival_variation", arrival_variation, zero=True)
    serving = _positive("service_variation", service_variation, zero=True)
    count = _servers(servers)
    waits = erlang_c(arrivals * service, count)
    mean_wait = waits * service / (count - arrivals * service) * (varied + serving) / 2
    return Queue(arrivals, service, count, varied, serving, arrivals * service / count, waits, mean_wait)


def little_check(
    concurrency: npt.ArrayLike,
    throughput_per_s: npt.ArrayLike,
    mean_latency_s: npt.ArrayLike,
    *,
    margin: float = 0.10,
    level: float = 0.95,
) -> LittleCheck:
    """Whether measured figures fit together: in a steady state N = X R, whatever the arrivals and the service.

    Args:
        concurrency: how many were under way, above 0; a number or one for each measurement.
        throughput_per_s: completed per second, above 0.
        mean_latency_s: mean seconds of each, above 0.
        margin: largest departure that does not matter, above 0.
        level: of the interval, between 0 and 1.

    Raises:
        InputError: values that are missing, infinite or not above 0, or that do not match.

    Source: Little, *A proof for the queuing formula L = lambda W*, Operations Research 9 (1961).

    >>> little_check([4, 8, 16], [400, 790, 1610], [0.01, 0.0101, 0.0099]).verdict
    'holds'
    >>> little_check([4, 8, 16], [200, 410, 790], [0.01, 0.0101, 0.0099]).verdict
    'broken'
    """
    _positive("margin", margin)
    if not 0 < level < 1:
        raise InputError(f"level == {level}, must be between 0 and 1, for example 0.95")
    ratios = np.log(_ratios(concurrency, throughput_per_s, mean_latency_s))
    n, middle = len(ratios), float(ratios.mean())
    half = math.inf
    if n > 1:
        half = -float(special.stdtrit(n - 1, (1 - level) / 2)) * float(ratios.std(ddof=1)) / math.sqrt(n)
    low, high = math.exp(middle - half), math.exp(middle + half) if math.isfinite(half) else math.inf
    least, most = 1 / (1 + margin), 1 + margin
    if low >= least and high <= most:
        verdict = HOLDS
    elif high < least or low > most:
        verdict = BROKEN
    else:
        verdict = INCONCLUSIVE
    return LittleCheck(math.exp(middle), low, high, n, level, margin, verdict, _meaning(verdict, math.exp(middle)))


def _meaning(verdict: str, value: float) -> str:
    if verdict == HOLDS:
        return "Concurrency, throughput and latency fit together: the measurement was in a steady state."
    if verdict == INCONCLUSIVE:
        return "Too few or too uneven measurements to say whether concurrency, throughput and latency fit together."
    if value < 1:
        return (
            f"Only {value:.0%} of the concurrency is seen in throughput x latency: some was not under way all the "
            "time (pauses between requests, a start or an end that counts), or latency misses a part of the way, such "
            "as waiting before the clock starts."
        )
    return (
        f"Throughput x latency is {value:.2f} times the concurrency: more was under way than was counted (retries, "
        "requests of others), latency counts time twice, or throughput and latency are of different periods."
    )


def _ratios(*columns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    names = ("concurrency", "throughput_per_s", "mean_latency_s")
    try:
        arrays = [np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in columns]
        concurrency, throughput, latency = np.broadcast_arrays(*arrays)
    except (TypeError, ValueError) as error:
        raise InputError(f"{', '.join(names)} must be numbers, one of each for a measurement: {error}") from None
    for name, values in zip(names, (concurrency, throughput, latency), strict=True):
        wrong = values[~(np.isfinite(values) & (values > 0))]
        if len(wrong):
            raise InputError(f"{name} holds {wrong[0]:g}, must be finite and above 0")
    if concurrency.ndim != 1 or not len(concurrency):
        raise InputError("there is no measurement to check; give at least one, in one dimension")
    return np.asarray(throughput * latency / concurrency, dtype=np.float64)


def _positive(name: str, value: float, *, zero: bool = False) -> float:
    allowed = "at least 0" if zero else "above 0"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} == {value!r}, must be a number {allowed}") from None
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise InputError(f"{name} == {value}, must be finite and {allowed}")
    return number


def _servers(servers: int) -> int:
    if isinstance(servers, bool) or not isinstance(servers, int) or servers < 1:
        raise InputError(f"servers == {servers!r}, must be a whole number of at least 1")
    return servers


def _duration(seconds: float) -> str:
    return format_duration(seconds * 1e9)
