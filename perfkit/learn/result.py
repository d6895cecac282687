"""`Fit`: what `perfkit.fit` returns - it chooses, predicts and shows where each method wins."""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
from collections.abc import Mapping
from typing import Any

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context, Cost, compose, cost_at, goal_in_force, goal_notes
from perfkit.engine.ranges import TOLERANCE, Range, compile_ranges, range_at
from perfkit.errors import FitError, InputError, UnknownNameError
from perfkit.learn.composition import CompositionError, composition_error
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS, SIMPLICITY_ORDER
from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration, parse_bytes

__all__ = ["Crossover", "Fit", "Prediction", "SampleCell"]


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """Expected median latency of one transfer.

    Args:
        value: nanoseconds.
        low: lower bound of the 95 % interval, in nanoseconds.
        high: upper bound of the 95 % interval, in nanoseconds.
        n: observations behind the thinnest part.
        launches: launches behind the thinnest part.
        measured: False where it is an estimate, outside what was measured.
    """

    value: float
    low: float
    high: float
    n: int
    launches: int
    measured: bool

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def __str__(self) -> str:
        mark = "" if self.measured else " (?)"
        interval = f"{format_duration(self.low)} to {format_duration(self.high)}"
        return f"{format_duration(self.value)}{mark}, 95 % {interval}, n = {self.n} in {self.launches} launches"


@dataclasses.dataclass(frozen=True, slots=True)
class Crossover:
    """The size at which the method taken changes; the true edge lies between `low` and `high` bytes (95 %)."""

    payload_bytes: float
    low: float
    high: float
    before: str
    after: str


@dataclasses.dataclass(frozen=True, slots=True)
class SampleCell:
    """What was measured of a curve at one size, beside what the curve says: a row for a chart."""

    stage: str
    method: str
    signalling: str
    placement: str
    in_flight: int
    codec: str
    quantity: str
    payload_bytes: float
    median: float
    lowest_launch: float
    highest_launch: float
    predicted: float
    low: float
    high: float
    n: int


@dataclasses.dataclass(frozen=True)
class Fit:
    """Cost curves of one machine and what follows from them.

    Args:
        curves: the curves with their evidence, as they are published.
        cells: medians at every measured size, for charts.
        simplicity_order: methods from simple to complicated.
        tolerance: largest expected loss for which a simpler method is taken.
    """

    curves: CurveSet
    cells: tuple[SampleCell, ...] = dataclasses.field(default=(), repr=False)
    simplicity_order: tuple[str, ...] = SIMPLICITY_ORDER
    tolerance: float = TOLERANCE
    _compiled: dict[tuple[Context, str], tuple[Range, ...]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured, from simple to complicated."""
        rank = {method: index for index, method in enumerate(self.simplicity_order)}
        methods = {key.method for key in self.curves.curves if key.stage == "transport"}
        return tuple(sorted(methods, key=lambda method: (rank.get(method, len(rank)), method)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the evidence, each with the next step to take."""
        return self.curves.evidence.warnings

    def choose(self, payload_bytes: int | float | str, *, goal: str = "latency", **context: Any) -> str:
        """The method to take for a payload.

        Args:
            payload_bytes: size before encoding, 0 or more bytes or text such as ``"10MiB"``.
            goal: ``latency``, ``throughput``, ``memory`` or ``balanced``.
            context: `kind`, `format`, `compression`, `signalling`, `available`, `in_place`, `in_flight` as in
                `Context`; `available` defaults to all measured methods.

        Raises:
            FitError: no available method was measured in this context.
            UnknownNameError: there is no such goal, kind, format, compression or signalling.
        """
        return range_at(self.ranges(goal=goal, **context), _size(payload_bytes)).method

    def predict(self, method: str, payload_bytes: int | float | str, **context: Any) -> Prediction:
        """Expected median latency of moving a payload with a method; arguments as in `choose`.

        Raises:
            FitError: the method was not measured in this context.
            UnknownNameError: the method was not measured at all, or a name does not exist.
        """
        if method not in self.methods:
            raise UnknownNameError("method", method, self.methods, "Measure it with `perfkit bench` first.")
        checked = self.context(**context)
        composition = compose(self.curves, method, checked)
        if composition is None:
            raise FitError(
                f"{method} was not measured with signalling {checked.signalling!r}; measure it with `perfkit bench`"
            )
        cost = cost_at(composition, _size(payload_bytes))
        launches = min(part.curve.launches for part in composition.parts)
        return Prediction(cost.value, cost.low, cost.high, cost.n, launches, cost.measured)

    def ranges(self, *, goal: str = "latency", **context: Any) -> tuple[Range, ...]:
        """The ranges of payload size in which each method is taken; arguments as in `choose`."""
        checked = self.context(**context)
        if (checked, goal) not in self._compiled:
            ranges = compile_ranges(
                self.curves, checked, goal, simplicity_order=self.simplicity_order, tolerance=self.tolerance
            )
            if not ranges:
                keys = [key for key in self.curves.curves if key.stage == "transport" and key.quantity == "latency_ns"]
                loads = ", ".join(map(str, sorted({key.in_flight for key in keys})))
                raise FitError(
                    f"none of {', '.join(checked.available) or 'no methods'} was measured for goal {goal!r} with "
                    f"signalling {checked.signalling!r} and {checked.in_flight} in flight; measured: "
                    f"{', '.join(self.methods)} with {loads} in flight. Ask for that, or measure with `perfkit bench`"
                )
            self._compiled[checked, goal] = ranges
        return self._compiled[checked, goal]

    def crossovers(self, *, goal: str = "latency", **context: Any) -> tuple[Crossover, ...]:
        """Where the method taken changes, with 95 % intervals; arguments as in `choose`."""
        ranges = self.ranges(goal=goal, **context)
        return tuple(
            Crossover(before.end_bytes, *before.crossover, before.method, after.method)
            for before, after in itertools.pairwise(ranges)
            if before.crossover is not None
        )

    def table(self, *, goal: str = "latency", **context: Any) -> ResultTable:
        """The range table for people; arguments as in `choose`."""
        checked = self.context(**context)
        ranges = self.ranges(goal=goal, **context)
        in_bytes = goal_in_force(self.curves, goal) == "memory"
        rows = tuple(_row(part, format_bytes if in_bytes else format_duration) for part in ranges)
        taken = {part.method for part in ranges}
        never = [method for method in ranges[0].alternatives if method not in taken]
        notes = [f"never: {', '.join(never)}"] if never else []
        notes += goal_notes(self.curves, goal)
        codec = f"{checked.kind} as {checked.format}, compression {checked.compression}"
        title = f"Ranges for {codec}, signalling {checked.signalling}, goal {goal}"
        columns = ("up to", "method", "expected", "edge between (95 %)", "n", "alternatives")
        return ResultTable(title, columns, rows, (*notes, *self.warnings), align_right=(0, 2, 4))

    def composition_error(self, frame: Any) -> CompositionError:
        """How far composed costs are from transfers that were measured whole; see `perfkit.learn.composition`."""
        return composition_error(self.curves, frame)

    def sample_cells(self, *, stage: str = "transport", quantity: str = "latency_ns") -> list[dict[str, Any]]:
        """Medians at every measured size with the curve's prediction and interval, as plain rows for a chart."""
        return [dataclasses.asdict(c) for c in self.cells if (c.stage, c.quantity) == (stage, quantity)]

    def context(self, *, available: tuple[str, ...] | None = None, **names: Any) -> Context:
        """A context with checked names; `available` defaults to all measured methods.

        Raises:
            InputError: there is no such kind, format, compression, signalling or field.
        """
        fields = {field.name for field in dataclasses.fields(Context)}
        for name, value in names.items():
            if name not in fields:
                raise UnknownNameError("argument", name, sorted(fields))
            if name in _ALLOWED and value not in _ALLOWED[name]:
                raise UnknownNameError(name, value, _ALLOWED[name])
        return Context(available=self.methods if available is None else tuple(available), **names)

    def to_table(self) -> ResultTable:
        """The range table of plain bytes, signalled over the Unix socket where that was measured."""
        return self.table(signalling=self._default_signalling())

    def to_plain(self) -> dict[str, Any]:
        """The fit's ranges and evidence as JSON-able data."""
        ranges = self.ranges(signalling=self._default_signalling())
        return {
            "methods": list(self.methods),
            "ranges": [_plain_range(part) for part in ranges],
            "evidence": dataclasses.asdict(self.curves.evidence),
        }

    def _default_signalling(self) -> str:
        measured = {key.signalling for key in self.curves.curves if key.stage == "transport"}
        return "grpc" if "grpc" in measured and "uds" not in measured else "uds"

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "kind": KINDS,
    "format": FORMATS,
    "compression": COMPRESSIONS,
    "signalling": SIGNALLINGS,
}


def _size(payload_bytes: int | float | str) -> float:
    if isinstance(payload_bytes, str):
        return float(parse_bytes(payload_bytes))
    size = float(payload_bytes)
    if not (math.isfinite(size) and size >= 0):
        raise InputError(f"payload_bytes == {payload_bytes!r}, must be a finite number of bytes, 0 or more")
    return size


def _row(part: Range, show: Any) -> tuple[str, ...]:
    mark = "" if part.measured else " (?)"
    end = format_bytes(part.end_bytes) if part.end_bytes < math.inf else "any size"
    edge = ""
    if part.crossover is not None:
        low, high = part.crossover
        edge = (
            f"{format_bytes(low) if low > 0 else 'any size'} to {format_bytes(high) if high < math.inf else 'any size'}"
        )
    others = ", ".join(f"{method} {_shown(cost, show)}" for method, cost in part.alternatives.items())
    expected = f"{show(part.expected.value)}{mark} at {format_bytes(part.middle_bytes)}"
    return end, part.method, expected, edge, str(part.n), others


def _shown(cost: Cost, show: Any) -> str:
    return f"{show(cost.value)}{'' if cost.measured else ' (?)'}"


def _plain_range(part: Range) -> dict[str, Any]:
    def bounded(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "start_bytes": part.start_bytes,
        "end_bytes": bounded(part.end_bytes),
        "method": part.method,
        "expected": part.expected.value,
        "low": part.expected.low,
        "high": part.expected.high,
        "at_bytes": part.middle_bytes,
        "crossover": None if part.crossover is None else [bounded(bound) for bound in part.crossover],
        "n": part.n,
        "measured": part.measured,
        "alternatives": {method: cost.value for method, cost in part.alternatives.items()},
    }
