"""A measured ladder: throughput over concurrency, and the law that it follows."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import FileError, InputError, UnknownNameError
from perfkit.stats.capacity.queues import LittleCheck, little_check
from perfkit.stats.capacity.scalability import Scalability, scalability
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

__all__ = ["CSV_COLUMNS", "LadderPoint", "LadderResult"]

CSV_COLUMNS = (
    "concurrency",
    "throughput",
    "method",
    "payload_bytes",
    "launch",
    "mean_latency_ns",
)
"""Of the file that `to_csv` writes; throughput in transfers per second."""

_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class LadderPoint:
    """One load: so many senders, each sending again as soon as its last send is acknowledged.

    Args:
        method: transfer method.
        payload_bytes: size of each payload.
        concurrency: sends under way at once.
        throughput_per_s: sends that ended per second of wall-clock time.
        launch: fresh pair of processes, from 0.
        round: pass within the launch, from 0; of a mean over rounds the first.
        mean_latency_ns: of one send.
    """

    method: str
    payload_bytes: int
    concurrency: int
    throughput_per_s: float
    launch: int
    round: int
    mean_latency_ns: float


@dataclasses.dataclass(frozen=True)
class LadderResult:
    """Throughput over concurrency, as measured.

    Args:
        run_id: names the run in the lake.
        status: ``complete``, ``budget`` (time was up before the last round) or ``interrupted``.
        points: every load.
        seconds: time it took.
        warnings: what to mind, each with the next step.
    """

    run_id: str
    status: str
    points: tuple[LadderPoint, ...]
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Loads that were measured."""
        return len(self.points)

    @property
    def method(self) -> str:
        """How it was measured."""
        launches = len({point.launch for point in self.points})
        return (
            f"closed loop between two processes, {plural(launches, 'launch', ['launches'])}, levels in random order "
            "within each round; one thread per send under way"
        )

    @property
    def ladders(self) -> tuple[tuple[str, int], ...]:
        """The methods and payload sizes that were measured."""
        return tuple(sorted({(point.method, point.payload_bytes) for point in self.points}))

    def by_launch(self) -> tuple[LadderPoint, ...]:
        """One point per launch: the geometric means over its rounds. Launches are what repeats independently."""
        grouped: dict[tuple[str, int, int, int], list[LadderPoint]] = {}
        for point in self.points:
            key = (point.method, point.payload_bytes, point.concurrency, point.launch)
            grouped.setdefault(key, []).append(point)
        return tuple(
            dataclasses.replace(
                points[0],
                throughput_per_s=_geometric_mean([point.throughput_per_s for point in points]),
                mean_latency_ns=_geometric_mean([point.mean_latency_ns for point in points]),
            )
            for _, points in sorted(grouped.items())
        )

    def scalability(self, method: str | None = None, payload_bytes: int | None = None, *, seed: int = 0) -> Scalability:
        """The Universal Scalability Law of one ladder; throughput in transfers per second.

        Args:
            method: whose; may be left out where one was measured.
            payload_bytes: of which size; likewise.
            seed: of the intervals.

        Raises:
            UnknownNameError: the method was not measured.
            InputError: several ladders were measured and none is named, or fewer than 4 concurrencies.
        """
        points = self._of(method, payload_bytes)
        return scalability(
            [point.concurrency for point in points], [point.throughput_per_s for point in points], seed=seed
        )

    def little(self) -> LittleCheck:
        """Whether concurrency, throughput and latency fit together, over all loads."""
        return little_check(
            [point.concurrency for point in self.points],
            [point.throughput_per_s for point in self.points],
            [point.mean_latency_ns / 1e9 for point in self.points],
        )

    def to_csv(self, path: str | Path) -> None:
        """Write one row per method, size, concurrency and launch; `perfkit forecast --ladder` reads it.

        Raises:
            FileError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for point in self.by_launch():
            writer.writerow(
                (
                    point.concurrency,
                    f"{point.throughput_per_s:.6g}",
                    point.method,
                    point.payload_bytes,
                    point.launch,
                    f"{point.mean_latency_ns:.0f}",
                )
            )
        try:
            Path(path).write_text(text.getvalue())
        except OSError as error:
            raise FileError(f"{path} cannot be written: {error.strerror}; name another file with --output") from error

    def to_table(self) -> ResultTable:
        """Throughput and latency by concurrency, and the law of each ladder."""
        rows = tuple(self._rows())
        notes = [f"n = {plural(self.n, 'load')} in {self.seconds:.0f} s; {self.method}."]
        notes += [text for ladder in self.ladders for text in self._law(*ladder)]
        notes += [f"Little's law {check.verdict}: X R / N = {check.value:.3f}." for check in self._checks()]
        notes += [f"! {warning}" for warning in self.all_warnings]
        columns = ("method", "payload", "under way", "per second", "moved per s", "mean latency", "loads")
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        title = f"Ladder {self.run_id} ({self.status})"
        return ResultTable(title, columns, rows, wrapped, align_right=(1, 2, 3, 4, 5, 6))

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Of the measurement, and of Little's law."""
        return (*self.warnings, *(text for check in self._checks() for text in check.warnings))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold, with the law of each ladder that has 4 concurrencies or more."""
        laws = []
        for method, payload_bytes in self.ladders:
            law = self._fitted(method, payload_bytes)
            if law is not None:
                laws.append({"method": method, "payload_bytes": payload_bytes, "usl": law.to_plain()})
        checks = self._checks()
        return {
            "run_id": self.run_id,
            "status": self.status,
            "seconds": self.seconds,
            "n": self.n,
            "method": self.method,
            "points": [dataclasses.asdict(point) for point in self.points],
            "laws": laws,
            "little": checks[0].to_plain() if checks else None,
            "warnings": list(self.all_warnings),
        }

    def _checks(self) -> tuple[LittleCheck, ...]:
        return (self.little(),) if self.points else ()

    def _of(self, method: str | None, payload_bytes: int | None) -> list[LadderPoint]:
        methods = sorted({point.method for point in self.points})
        if method is not None and method not in methods:
            raise UnknownNameError("method of this ladder", method, methods)
        sizes = sorted({size for name, size in self.ladders if method in (None, name)})
        if payload_bytes is not None and payload_bytes not in sizes:
            allowed = ", ".join(format_bytes(size) for size in sizes)
            raise InputError(f"payload_bytes == {payload_bytes} was not measured; allowed: {allowed}")
        chosen = [
            point
            for point in self.by_launch()
            if method in (None, point.method) and payload_bytes in (None, point.payload_bytes)
        ]
        ladders = sorted({(point.method, point.payload_bytes) for point in chosen})
        if len(ladders) > 1:
            named = ", ".join(f"{name} {format_bytes(size)}" for name, size in ladders)
            raise InputError(f"{len(ladders)} ladders were measured ({named}); name method and payload_bytes of one")
        return chosen

    def _fitted(self, method: str, payload_bytes: int) -> Scalability | None:
        try:
            return self.scalability(method, payload_bytes)
        except InputError:  # too few levels: what was measured is shown, the law is not
            return None

    def _law(self, method: str, payload_bytes: int) -> Iterator[str]:
        law = self._fitted(method, payload_bytes)
        name = f"{method} {format_bytes(payload_bytes)}"
        if law is None:
            yield f"{name}: no law, it takes at least 4 concurrencies."
            return
        peak = "no peak" if math.isinf(law.peak_concurrency.value) else f"peak at {law.peak_concurrency}"
        yield f"{name}: gamma {law.gamma}, alpha {law.alpha}, beta {law.beta}, {peak}."
        yield from (f"! {name}: {warning}" for warning in law.warnings)

    def _rows(self) -> Iterator[tuple[str, ...]]:
        grouped: dict[tuple[str, int, int], list[LadderPoint]] = {}
        for point in self.points:
            grouped.setdefault((point.method, point.payload_bytes, point.concurrency), []).append(point)
        for (method, payload_bytes, concurrency), points in sorted(grouped.items()):
            per_s = _geometric_mean([point.throughput_per_s for point in points])
            latency_ns = _geometric_mean([point.mean_latency_ns for point in points])
            yield (
                method,
                format_bytes(payload_bytes),
                str(concurrency),
                f"{per_s:,.0f}",
                f"{per_s * payload_bytes / 2**20:,.0f} MiB",
                format_duration(latency_ns),
                str(len(points)),
            )

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
