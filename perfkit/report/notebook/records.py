"""Headline figures: what a notebook says in one number, kept in the executed notebook and read back by the index."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

from perfkit.errors import InputError
from perfkit.units import format_bytes, format_duration

__all__ = ["RECORD_MIMETYPE", "Record", "read_records", "record"]

RECORD_MIMETYPE = "application/vnd.perfkit.record+json"
_UNITS = ("", "ns", "bytes", "s", "x", "%")


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One headline figure.

    Args:
        name: what the figure is, as a reader would call it.
        value: the figure, or a short text.
        low: lower bound of its interval, if it has one.
        high: upper bound of its interval.
        unit: "" (none), "ns", "bytes", "s", "x" (times) or "%".
        verdict: what it means, in a word or two.

    >>> print(Record("median at 1 KiB", 12_300, 11_900, 12_800, "ns", "within its band"))
    median at 1 KiB: 12.3us (11.9us to 12.8us), within its band
    """

    name: str
    value: float | str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    verdict: str = ""

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise InputError(f"unit == {self.unit!r}, must be one of {', '.join(map(repr, _UNITS))}")

    @property
    def value_text(self) -> str:
        """The value with its unit."""
        return _with_unit(self.value, self.unit)

    @property
    def interval_text(self) -> str:
        """The interval with its unit; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"{_with_unit(self.low, self.unit)} to {_with_unit(self.high, self.unit)}"

    def to_plain(self) -> dict[str, Any]:
        """The record as values that JSON can hold."""
        return dataclasses.asdict(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return {RECORD_MIMETYPE: self.to_plain(), "text/html": self._to_html(), "text/plain": str(self)}

    def _to_html(self) -> str:
        details = " · ".join(filter(None, (self.interval_text, self.verdict)))
        return (
            f'<div class="perfkit-record"><span class="perfkit-record-name">{html.escape(self.name)}</span> '
            f'<b class="perfkit-record-value">{html.escape(self.value_text)}</b> '
            f'<span class="perfkit-record-details">{html.escape(details)}</span></div>'
        )

    def __str__(self) -> str:
        interval = f" ({self.interval_text})" if self.interval_text else ""
        return f"{self.name}: {self.value_text}{interval}{', ' + self.verdict if self.verdict else ''}"


def _with_unit(value: float | str, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit == "ns":
        return format_duration(value)
    if unit == "bytes":
        return format_bytes(value)
    number = _number_text(value)
    return f"{number}×" if unit == "x" else f"{number} {unit}".rstrip()


def _number_text(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return "under 0.001" if 0 < value < 0.001 else f"{value:.3g}"


def record(
    name: str,
    value: float | str,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    verdict: str = "",
) -> None:
    """Show a headline figure and keep it in the notebook, for the index of reports.

    Args:
        name: what the figure is, as a reader would call it.
        value: the figure, or a short text.
        low: lower bound of its interval; one that is infinite counts as none.
        high: upper bound of its interval, likewise.
        unit: "" (none), "ns", "bytes", "s", "x" (times) or "%".
        verdict: what it means, in a word or two.

    Raises:
        InputError: the unit is none of these.
    """
    from IPython.display import display

    if not all(bound is not None and math.isfinite(bound) for bound in (low, high)):
        low = high = None  # an interval without an end is none; and JSON has no infinity
    display(Record(name, value, low, high, unit, verdict))  # type: ignore[no-untyped-call]


def read_records(notebook: Any) -> tuple[Record, ...]:
    """The records of an executed notebook (an nbformat node), in the order of its cells.

    What stands among them and is no record, such as one of another version of perfkit, is left out.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kept = [output.data[RECORD_MIMETYPE] for output in outputs if RECORD_MIMETYPE in output.get("data", {})]
    return tuple(record for record in map(_read_record, kept) if record is not None)


def _read_record(plain: Any) -> Record | None:
    try:
        read = Record(**plain)
    except (TypeError, InputError):
        return None
    texts, bounds = (read.name, read.unit, read.verdict), (read.low, read.high)
    is_one = all(isinstance(text, str) for text in texts) and isinstance(read.value, str | int | float)
    return read if is_one and all(bound is None or isinstance(bound, int | float) for bound in bounds) else None
