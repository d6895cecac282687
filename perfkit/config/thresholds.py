"""`thresholds.toml`: what `perfkit publish` decided, for people to review and for engines to load.

The curves beside it (`thresholds.curves.json`) are what a plan is compiled from; the file carries their hash. Its
ranges are the readable view of those curves. Every earlier version is kept in `thresholds.history/`.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.curves import CurveSet
from perfkit.config.gate_record import GateRecord, gate_from_toml, gate_to_plain
from perfkit.config.source import Source, read_source, read_text, shown
from perfkit.errors import ConfigError, UnitError
from perfkit.units import format_bytes, format_duration, parse_bytes, parse_duration

__all__ = [
    "THRESHOLDS_SCHEMA",
    "PublishedRange",
    "PublishedTable",
    "Thresholds",
    "curves_path",
    "hash_text",
    "history_folder",
    "history_paths",
    "load_thresholds",
    "to_toml",
]

THRESHOLDS_SCHEMA = 1
_KEYS = ("schema", "version", "published_at", "run", "curves", "restores", "evidence", "gate", "fingerprint", "table")
_TABLE_KEYS = ("pool", "goal", "kind", "format", "compression", "signalling", "ranges")
_RANGE_KEYS = ("up_to", "method", "expect", "estimated", "ci", "n", "alternatives")
_HEADER = """\
# Written by `perfkit publish`: review it like code, do not edit it. The ranges are the readable view of the curves in
# {curves}; what you want is said in perfkit.toml. Take it back with `perfkit publish --rollback`.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedRange:
    """Sizes for which one method is taken.

    Args:
        up_to_bytes: where the range ends; infinite for the last one.
        method: what is taken.
        expect_ns: expected latency in the geometric middle of the range, in nanoseconds.
        measured: the expectation rests on measurements at that size.
        interval: 95 % interval of the range's end in bytes, infinite where it is open; None for the last range.
        n: observations behind the thinnest part of the expectation.
        alternatives: expected latency of the other methods at the same size, in nanoseconds.
    """

    up_to_bytes: float
    method: str
    expect_ns: float
    measured: bool
    interval: tuple[float, float] | None
    n: int
    alternatives: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedTable:
    """The ranges of one context. ``*`` stands for every pool that has no table of its own."""

    pool: str
    goal: str
    kind: str
    format: str
    compression: str
    signalling: str
    ranges: tuple[PublishedRange, ...]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """One published version: `restores` is the earlier version whose content a rollback brought back, `gate` what was
    judged before it was published."""

    version: int
    published_at: datetime.datetime
    run: str
    curves: CurveSet
    curves_sha256: str
    tables: tuple[PublishedTable, ...]
    restores: int | None = None
    gate: GateRecord = dataclasses.field(default_factory=GateRecord)


def curves_path(path: Path) -> Path:
    """Where the curves of a thresholds file lie.

    >>> curves_path(Path("etc/thresholds.toml")).as_posix()
    'etc/thresholds.curves.json'
    """
    return path.with_suffix(".curves.json")


def hash_text(content: bytes) -> str:
    """The hash by which a thresholds file names its curves."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def history_folder(path: Path) -> Path:
    """The folder that keeps the earlier versions of a thresholds file."""
    return path.with_suffix(".history")


def history_paths(path: Path, version: int) -> tuple[Path, Path]:
    """The thresholds file and the curves file of an earlier version.

    >>> [p.as_posix() for p in history_paths(Path("thresholds.toml"), 7)]
    ['thresholds.history/v0007.toml', 'thresholds.history/v0007.curves.json']
    """
    toml = history_folder(path) / f"v{version:04d}.toml"
    return toml, curves_path(toml)


def to_toml(thresholds: Thresholds, *, curves_name: str) -> str:
    """The text that is published; `load_thresholds` reads it."""
    evidence = thresholds.curves.evidence
    window = [moment for moment in (evidence.first_observed_at, evidence.last_observed_at) if moment]
    lines = [
        _HEADER.format(curves=curves_name),
        f"schema = {THRESHOLDS_SCHEMA}",
        f"version = {thresholds.version}",
        f"published_at = {thresholds.published_at.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        f"run = {_quoted(thresholds.run)}",
        f"curves = {_quoted(thresholds.curves_sha256)}",
    ]
    if thresholds.restores is not None:
        lines.append(f"restores = {thresholds.restores}")
    lines += [
        "",
        "[evidence]",
        f"runs = {_array(map(_quoted, evidence.runs))}",
        f"observations = {evidence.observations}",
        f"launches = {evidence.launches}",
        f"rounds = {evidence.rounds}",
        f"window = {_array(map(_quoted, window))}",
        f"tables = {_inline(evidence.table_versions)}",
        *([f"model = {_quoted(evidence.model)}  # the curves were distilled from it"] if evidence.model else []),
        "",
        *_gate_lines(thresholds.gate),
        "[fingerprint]  # when it no longer matches, the plan warns",
        *(f"{_key(name)} = {_quoted(value)}" for name, value in sorted(thresholds.curves.fingerprint.items())),
    ]
    for table in thresholds.tables:
        lines += ["", "[[table]]"]
        lines += [f"{name} = {_quoted(getattr(table, name))}" for name in _TABLE_KEYS[:-1]]
        lines += ["ranges = [", *(f"  {_range_to_toml(entry)}," for entry in table.ranges), "]"]
    return "\n".join(lines) + "\n"


def load_thresholds(path: str | Path = "thresholds.toml") -> Thresholds:
    """Read a published version with its curves.

    When the curves file beside it is of another version - a publication was interrupted between the two files - the
    curves of the version that is in force are taken from the history.

    Args:
        path: the thresholds file.

    Raises:
        ConfigError: a file cannot be read or was damaged, or no curves with the stated hash are there. Its
            ``__cause__`` is a `FileNotFoundError` when nothing is published at `path`.
    """
    path = Path(path)
    source = read_source(path, advice="`perfkit run` measures and publishes")
    schema = source.body.get("schema")
    if schema != THRESHOLDS_SCHEMA or isinstance(schema, bool):
        advice = f"this perfkit reads {THRESHOLDS_SCHEMA}; upgrade perfkit or publish again"
        source.refuse("", "schema", f" == {shown(schema)}; {advice}")
    source.refuse_unknown("", source.body, _KEYS)
    version = _whole(source, source.body, "", "version", minimum=1)
    restores = _whole(source, source.body, "", "restores", minimum=1) if "restores" in source.body else None
    published_at = source.body.get("published_at")
    if not isinstance(published_at, datetime.datetime) or published_at.tzinfo is None:
        source.refuse("", "published_at", f" == {shown(published_at)}; must be a moment such as 2026-11-20T21:04:00Z")
    tables = _list(source, source.body, "", "table")
    sha256 = _text(source, source.body, "", "curves")
    return Thresholds(
        version=version,
        published_at=published_at,
        run=_text(source, source.body, "", "run"),
        curves=_find_curves(path, version, sha256),
        curves_sha256=sha256,
        tables=tuple(_table_from_plain(source, table) for table in tables),
        restores=restores,
        gate=gate_from_toml(source, source.table(source.body, "", "gate")),
    )


def _find_curves(path: Path, version: int, sha256: str) -> CurveSet:
    candidates = (curves_path(path), history_paths(path, version)[1])
    for candidate in candidates:
        try:
            text = read_text(candidate)
        except ConfigError:
            continue  # the other one may do; if not, the error below names both
        if hash_text(text.encode()) == sha256:
            return CurveSet.from_json(text, path=candidate)
    places = " and ".join(candidate.name for candidate in candidates)
    raise ConfigError(
        f"the curves of version {version} ({shown(sha256)}) are neither in {places}: a file was changed or lost; "
        "take back the last good version with `perfkit publish --rollback`, or publish again",
        path=path,
    )


def _table_from_plain(source: Source, table: object) -> PublishedTable:
    if not isinstance(table, dict):
        source.refuse("", "table", f" holds {shown(table)}; must hold tables only, written as [[table]]")
    source.refuse_unknown("table", table, _TABLE_KEYS)
    names = {name: _text(source, table, "table", name) for name in _TABLE_KEYS[:-1]}
    ranges = tuple(_range_from_plain(source, entry) for entry in _list(source, table, "table", "ranges"))
    return PublishedTable(**names, ranges=ranges)


def _range_from_plain(source: Source, entry: object) -> PublishedRange:
    if not isinstance(entry, dict):
        source.refuse("table", "ranges", f" holds {shown(entry)}; must hold inline tables only")
    source.refuse_unknown("table", entry, _RANGE_KEYS)
    interval = entry.get("ci")
    alternatives = entry.get("alternatives", {})
    if interval is not None and not (isinstance(interval, list) and len(interval) == 2):
        source.refuse("table", "ranges", f": ci == {shown(interval)}; must be two sizes")
    if not isinstance(alternatives, dict):
        source.refuse("table", "ranges", f": alternatives == {shown(alternatives)}; must be methods with durations")
    try:
        return PublishedRange(
            up_to_bytes=_size(entry.get("up_to", "unlimited")),
            method=_text(source, entry, "table", "method"),
            expect_ns=parse_duration(entry.get("expect", "")),
            measured=entry.get("estimated") is not True,
            interval=(_size(interval[0]), _size(interval[1])) if interval else None,
            n=_whole(source, entry, "table", "n", minimum=0),
            alternatives={name: parse_duration(duration) for name, duration in alternatives.items()},
        )
    except (UnitError, OverflowError) as error:  # OverflowError: a size of 1e999
        source.refuse("table", "ranges", f": {error}")


def _range_to_toml(entry: PublishedRange) -> str:
    fields = [] if math.isinf(entry.up_to_bytes) else [f"up_to = {_quoted(format_bytes(entry.up_to_bytes))}"]
    fields += [f"method = {_quoted(entry.method)}", f"expect = {_quoted(format_duration(entry.expect_ns))}"]
    if not entry.measured:
        fields.append("estimated = true")
    if entry.interval is not None:
        fields.append(f"ci = {_array(_quoted(format_bytes(size)) for size in entry.interval)}")
    fields.append(f"n = {entry.n}")
    alternatives = {name: _quoted(format_duration(cost_ns)) for name, cost_ns in entry.alternatives.items()}
    fields.append(f"alternatives = {_inline(alternatives)}")
    return f"{{ {', '.join(fields)} }}"


def _gate_lines(gate: GateRecord) -> list[str]:
    if gate == GateRecord():
        return []
    plain = gate_to_plain(gate)
    lines = ["[gate]  # what was judged before this version was published"]
    lines.append(f"forced = {_array(map(_quoted, plain['forced']))}")
    effects = (
        one | {"on": _quoted(one["on"]), "verdict": _quoted(one["verdict"]), "ci": _array(map(str, one["ci"]))}
        for one in plain["effects"]
    )
    lines += ["effects = [", *(f"  {_inline(one)}," for one in effects), "]"]
    return [*lines, f"regret = {_inline(plain['regret'])}", ""]


def _size(value: Any) -> float:
    return math.inf if value == "unlimited" else parse_bytes(value)


def _text(source: Source, table: Mapping[str, Any], name: str, key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        source.refuse(name, key, f" == {shown(value)}; must be text")
    return value


def _whole(source: Source, table: Mapping[str, Any], name: str, key: str, *, minimum: int) -> int:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 2**63:
        source.refuse(name, key, f" == {shown(value)}; must be a whole number from {minimum}")
    return value


def _list(source: Source, table: Mapping[str, Any], name: str, key: str) -> Sequence[object]:
    value = table.get(key, [])
    if not isinstance(value, list):
        source.refuse(name, key, f" == {shown(value)}; must be a list")
    return value


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, which also wants DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _quoted(name)


def _array(items: Any) -> str:
    return f"[{', '.join(items)}]"


def _inline(items: Mapping[str, object]) -> str:
    return f"{{ {', '.join(f'{_key(name)} = {value}' for name, value in items.items())} }}" if items else "{}"
