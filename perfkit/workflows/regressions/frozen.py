"""Baselines that somebody fixed: a small file, reviewed like code."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import ConfigError, FileError, InputError
from perfkit.stats.baselines import ExpectedRange

__all__ = ["Frozen", "FrozenBaseline", "read_frozen", "write_frozen"]

_SCHEMA = 1


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenBaseline:
    """The expected range of one series, as it was when it was fixed.

    Args:
        attributes: what tells the series from others.
        expected: the range.
    """

    attributes: Mapping[str, str]
    expected: ExpectedRange


@dataclasses.dataclass(frozen=True)
class Frozen:
    """The ranges of a file.

    Args:
        name: what they were called when they were fixed, such as a release.
        frozen_at: when.
        baselines: one per series.
    """

    name: str
    frozen_at: datetime.datetime
    baselines: Sequence[FrozenBaseline]

    def range_of(self, attributes: Mapping[str, str]) -> ExpectedRange | None:
        """The range of the series with these attributes; None where it was not fixed."""
        return next((one.expected for one in self.baselines if one.attributes == attributes), None)


def read_frozen(path: Path) -> Frozen | None:
    """What a file of baselines says; None where there is no such file: then ranges move along.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"cannot be read ({error}); repair it, or remove it: ranges then move along"
        raise ConfigError(message, path=path) from error
    try:
        if found["schema"] != _SCHEMA:
            raise ConfigError(f"schema == {found['schema']!r}, must be {_SCHEMA}; freeze again", path=path)
        moment = datetime.datetime.fromisoformat(found["frozen_at"])
        return Frozen(str(found["name"]), moment, tuple(_read_baseline(one) for one in found["series"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        message = f"is no file of baselines ({type(error).__name__}: {error}); freeze again, or remove it"
        raise ConfigError(message, path=path) from error


def _read_baseline(given: Mapping[str, Any]) -> FrozenBaseline:
    expected = ExpectedRange(float(given["level"]), float(given["spread"]), int(given["n"]))
    if not (0 < expected.level < math.inf and 0 <= expected.spread < math.inf and expected.n >= 2):
        raise ValueError(f"level {expected.level}, spread {expected.spread}, n {expected.n}")
    return FrozenBaseline({str(key): str(value) for key, value in given["attributes"].items()}, expected)


def write_frozen(path: Path, frozen: Frozen) -> None:
    """Put ranges in the place of a file, whole or not at all.

    Raises:
        InputError: they have no name, or there are none.
        FileError: the file cannot be written; what was there is as it was.
    """
    if not frozen.name.strip():
        raise InputError("the baselines have no name; say what they are of, such as a release")
    if not frozen.baselines:
        raise InputError("no series has enough points for a baseline; measure more, then freeze")
    series = [
        {
            "attributes": dict(one.attributes),
            "level": one.expected.level,
            "low": one.expected.low,
            "high": one.expected.high,
            "spread": one.expected.spread,
            "n": one.expected.n,
        }
        for one in frozen.baselines
    ]
    facts = {"schema": _SCHEMA, "name": frozen.name, "frozen_at": frozen.frozen_at.isoformat(), "series": series}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise FileError(f"{path} cannot be written: {error.strerror}; what was there is as it was") from error
