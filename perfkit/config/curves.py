"""Cost curves: what `perfkit.learn` fits, `perfkit publish` writes and the plan is compiled from.

A `CostCurve` predicts one quantity (nanoseconds or bytes) over the payload's size as pieces of ``fixed + per_byte *
bytes`` with a relative interval. A `CurveSet` holds the curves of one fit with their evidence, as plain data: it loads
with the standard library alone, so that a service can compile its plan without an analytics library.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import ConfigError

__all__ = ["QUANTITIES", "CodecEntry", "CostCurve", "CurveKey", "CurveSet", "Evidence", "IntervalPoint", "Piece"]

CURVES_SCHEMA = 2
_PLAIN_SCHEMA = 1
"""What a set without anything distilled is written as: its text, and so its hash, stay what they were."""
QUANTITIES = ("latency_ns", "cpu_ns", "resident_bytes", "copied_bytes", "setup_ns")
"""What a curve may predict: latency, processor time of both sides, memory held, bytes copied by the code of both sides,
and setup: how much longer than a warm transfer the first one takes, whose memory nobody has used yet."""
ANY = "*"


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """``fixed + per_byte * bytes`` from `start_bytes` up to the start of the next piece."""

    start_bytes: float
    fixed: float
    per_byte: float


@dataclasses.dataclass(frozen=True, slots=True)
class IntervalPoint:
    """Relative 95 % interval of the curve at a size: ``low <= 1 <= high`` are factors on the estimate."""

    payload_bytes: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class CostCurve:
    """Predicted cost over payload size.

    Outside the measured sizes (`min_bytes` to `max_bytes`) the first and last piece are extended and the prediction is
    an estimate: `is_measured` says which.

    >>> curve = CostCurve((Piece(0, 10_000, 0.5),), (IntervalPoint(1, 0.9, 1.1),), 1024, 2**20, n=90, launches=3)
    >>> curve.at(2000)
    11000.0
    >>> tuple(round(bound, 3) for bound in curve.interval(2000))
    (9900.0, 12100.0)
    >>> curve.is_measured(2**30)
    False
    """

    pieces: tuple[Piece, ...]
    interval_points: tuple[IntervalPoint, ...]
    min_bytes: float
    max_bytes: float
    n: int
    launches: int
    _starts: tuple[float, ...] = dataclasses.field(init=False, repr=False, compare=False)
    _points: tuple[float, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Plans ask a curve thousands of times: bisecting plain numbers is several times as fast as with a key.
        object.__setattr__(self, "_starts", tuple(piece.start_bytes for piece in self.pieces))
        object.__setattr__(self, "_points", tuple(point.payload_bytes for point in self.interval_points))

    def at(self, payload_bytes: float) -> float:
        """Point estimate at a size, in the quantity's unit."""
        piece = self.pieces[max(bisect.bisect_right(self._starts, payload_bytes) - 1, 0)]
        return piece.fixed + piece.per_byte * payload_bytes

    def relative_interval(self, payload_bytes: float) -> tuple[float, float]:
        """Low and high as factors on the estimate, linear in the logarithm of the size between the points."""
        points = self.interval_points
        index = bisect.bisect_right(self._points, payload_bytes)
        if index == 0:
            return points[0].low, points[0].high
        if index == len(points):
            return points[-1].low, points[-1].high
        left, right = points[index - 1], points[index]
        span = math.log(right.payload_bytes / left.payload_bytes)
        share = math.log(payload_bytes / left.payload_bytes) / span
        return left.low + share * (right.low - left.low), left.high + share * (right.high - left.high)

    def interval(self, payload_bytes: float) -> tuple[float, float]:
        """95 % interval of the median at a size, in the quantity's unit."""
        low, high = self.relative_interval(payload_bytes)
        estimate = self.at(payload_bytes)
        return estimate * low, estimate * high

    def is_measured(self, payload_bytes: float) -> bool:
        """Whether the size lies within what was measured."""
        return self.min_bytes <= payload_bytes <= self.max_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class CurveKey:
    """What a curve predicts. ``*`` stands for any value; a codec stage has ``method == "*"`` and a transport any codec.

    A transport curve runs over the *wire* bytes, a codec curve over the *payload* bytes. One that was distilled from a
    model may name a codec: then it is looked up before the one for any codec. One that names a state of the host holds
    in that state only, in the place of the one for any state.
    """

    stage: str  # transport | encode | encode_into | decode
    quantity: str  # one of QUANTITIES
    method: str = ANY
    signalling: str = ANY
    placement: str = ANY
    in_flight: int = 1
    kind: str = ANY
    format: str = ANY
    compression: str = ANY
    state: str = ANY  # one of perfkit.config.engine_settings.RESOURCE_STATES

    @property
    def is_distilled(self) -> bool:
        """Whether only a learned model can have led to such a curve: it holds for one codec or one state."""
        names_codec = (self.kind, self.format, self.compression) != (ANY, ANY, ANY)
        return self.state != ANY or (self.stage == "transport" and names_codec)


@dataclasses.dataclass(frozen=True, slots=True)
class CodecEntry:
    """What a codec does to a payload: how large it is on the wire, and whether it encodes straight into a block.

    `ready` codecs need no encoding (the payload's own memory is sent), so a pool still has to copy it: ``copied``.
    `into_block` codecs write their output into the block: ``encode_into`` plus an ``in_place`` transport.
    """

    kind: str
    format: str
    compression: str
    wire_ratio: float  # wire bytes / payload bytes
    into_block: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """Where curves come from; written into every published file. `model` names the model that they were distilled from;
    it is empty for curves as they were fitted."""

    runs: tuple[str, ...] = ()
    observations: int = 0
    launches: int = 0
    rounds: int = 0
    first_observed_at: str | None = None  # ISO 8601, UTC
    last_observed_at: str | None = None
    table_versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    model: str = ""


@dataclasses.dataclass(frozen=True)
class CurveSet:
    """All curves of one fit, the codecs they know, the fingerprint of the host and the evidence."""

    curves: Mapping[CurveKey, CostCurve]
    codecs: tuple[CodecEntry, ...] = ()
    fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evidence: Evidence = dataclasses.field(default_factory=Evidence)
    _in_state: dict[str, CurveSet] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def in_state(self, state: str) -> CurveSet:
        """The curves that hold in a state of the host: this very set where none is for that state alone.

        Args:
            state: ``normal`` or a kind of pressure.
        """
        found = self._in_state.get(state)
        if found is not None:
            return found
        own = {key: curve for key, curve in self.curves.items() if key.state == state}
        if not own:
            return self  # not kept: a set that refers to itself would outlive its last user
        curves = {key: curve for key, curve in self.curves.items() if key.state == ANY}
        curves |= {dataclasses.replace(key, state=ANY): curve for key, curve in own.items()}
        return self._in_state.setdefault(state, dataclasses.replace(self, curves=curves))

    def to_json(self) -> str:
        """The canonical text that is published: the same curves always give the same text, hence the same hash."""
        body = {
            "schema": CURVES_SCHEMA if self.is_distilled else _PLAIN_SCHEMA,
            "fingerprint": dict(sorted(self.fingerprint.items())),
            "evidence": _without(dataclasses.asdict(self.evidence), "model", ""),
            "codecs": [dataclasses.asdict(codec) for codec in self.codecs],
            "curves": [
                {"key": _without(dataclasses.asdict(key), "state", ANY), **_curve_to_plain(curve)}
                for key, curve in sorted(self.curves.items(), key=lambda item: dataclasses.astuple(item[0]))
            ],
        }
        return json.dumps(body, indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str, *, path: str | Path | None = None) -> CurveSet:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is not a curves file, or one of a newer perfkit.
        """
        try:
            body = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"not a curves file: {error.msg}; publish again", path=path, line=error.lineno, column=error.colno
            ) from None
        except (RecursionError, ValueError) as error:  # ValueError: a number of over 4300 digits
            raise ConfigError(f"not a curves file: {error}; publish again", path=path) from None
        schema = body.get("schema") if isinstance(body, dict) else None
        if schema not in (_PLAIN_SCHEMA, CURVES_SCHEMA) or isinstance(schema, bool):
            reads = f"{_PLAIN_SCHEMA} and {CURVES_SCHEMA}"
            raise ConfigError(
                f"curves schema == {schema!r}, this perfkit reads {reads}; upgrade perfkit or publish again",
                path=path,
            )
        try:
            return _curve_set_from_plain(body)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"damaged curves file ({error!r}); roll back or publish again", path=path) from None

    @property
    def is_distilled(self) -> bool:
        """Whether a model led to any of the curves, so that an earlier perfkit cannot follow them."""
        return bool(self.evidence.model) or any(key.is_distilled for key in self.curves)

    def sha256(self) -> str:
        """Hash of the published text, as ``sha256:…``."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()


def _without(plain: dict[str, Any], name: str, default: str) -> dict[str, Any]:
    """Plain data without a field that says nothing, so that texts of an earlier perfkit stay the same."""
    if plain[name] == default:
        del plain[name]
    return plain


def _curve_to_plain(curve: CostCurve) -> dict[str, Any]:
    return {
        "pieces": [[float(p.start_bytes), float(p.fixed), float(p.per_byte)] for p in curve.pieces],
        "interval": [[float(p.payload_bytes), float(p.low), float(p.high)] for p in curve.interval_points],
        "min_bytes": float(curve.min_bytes),
        "max_bytes": float(curve.max_bytes),
        "n": curve.n,
        "launches": curve.launches,
    }


def _curve_set_from_plain(body: Mapping[str, Any]) -> CurveSet:
    curves = {}
    for entry in body["curves"]:
        curve = CostCurve(
            tuple(Piece(*map(float, piece)) for piece in entry["pieces"]),
            tuple(IntervalPoint(*map(float, point)) for point in entry["interval"]),
            float(entry["min_bytes"]),
            float(entry["max_bytes"]),
            int(entry["n"]),
            int(entry["launches"]),
        )
        if not curve.pieces or not curve.interval_points:
            raise ValueError(f"curve without pieces: {entry['key']}")
        if not all(math.isfinite(number) for piece in curve.pieces for number in dataclasses.astuple(piece)):
            raise ValueError(f"curve with an infinite piece: {entry['key']}")
        curves[CurveKey(**entry["key"])] = curve
    evidence = dict(body["evidence"])
    evidence["runs"], evidence["warnings"] = tuple(evidence["runs"]), tuple(evidence["warnings"])
    return CurveSet(
        curves, tuple(CodecEntry(**c) for c in body["codecs"]), dict(body["fingerprint"]), Evidence(**evidence)
    )
