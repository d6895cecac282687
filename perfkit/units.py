"""Sizes and durations as people write them: the only place that parses and formats units.

Bytes are binary when written with an ``i`` (``KiB`` = 1024) and decimal without (``kB`` = 1000). Durations are
integers of nanoseconds everywhere inside perfkit.
"""

from __future__ import annotations

import math
import re

from perfkit.errors import UnitError

__all__ = ["format_bytes", "format_duration", "format_rate", "parse_bytes", "parse_duration", "parse_share"]

_BYTE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "day": 86_400 * 10**9,
    "days": 86_400 * 10**9,
}
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:[._]?\d+)*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-zA-Zµ]*)\s*")


def _parse(text: str, units: dict[str, int], default_unit: str | None, what: str, example: str) -> int:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = (match.group(2).lower() or default_unit) if match else None
    if match is None or unit not in units:
        allowed = ", ".join(units)
        raise UnitError(f"{what} {text!r} cannot be read; write a number and one of {allowed}, for example {example!r}")
    try:
        number = float(match.group(1).replace("_", ""))
    except ValueError:
        raise UnitError(f"{what} {text!r} cannot be read; for example {example!r}") from None
    return round(number * units[unit])


def parse_bytes(value: str | int) -> int:
    """Read a size in bytes.

    Args:
        value: a whole number of bytes, or text such as ``"10MiB"``, ``"64 kB"`` or ``"512"``.

    Returns:
        The size in bytes, 0 or more.

    Raises:
        UnitError: the text is not a size, or the number is negative.

    >>> parse_bytes("10MiB")
    10485760
    >>> parse_bytes("1.5 kB")
    1500
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UnitError(f"size {value!r} is of type {type(value).__name__}; give whole bytes or text such as '10MiB'")
    if isinstance(value, str):
        return _parse(value, _BYTE_UNITS, "b", "size", "10MiB")
    if value < 0:
        raise UnitError(f"size {value} is negative; give 0 or more bytes")
    return value


def format_bytes(payload_bytes: float) -> str:
    """Write a size the way people read it, to at most three figures.

    >>> format_bytes(1024), format_bytes(48 * 1024), format_bytes(10.5 * 2**20), format_bytes(999)
    ('1KiB', '48KiB', '10.5MiB', '999B')
    """
    if math.isinf(payload_bytes):
        return "unlimited"
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(payload_bytes) >= factor * 0.99951:
            return f"{_three_figures(payload_bytes / factor)}{unit}"
    return f"{payload_bytes:.0f}B"


def parse_duration(value: str | int) -> int:
    """Read a duration in nanoseconds.

    Args:
        value: a whole number of nanoseconds, or text such as ``"1.5ms"``, ``"3 min"``, ``"7 days"``.

    Returns:
        Nanoseconds, 0 or more.

    Raises:
        UnitError: the text is not a duration, has no unit, or the number is negative.

    >>> parse_duration("1.5ms"), parse_duration("3min"), parse_duration("30d") == parse_duration("30 days")
    (1500000, 180000000000, True)
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UnitError(f"duration {value!r} is of type {type(value).__name__}; give text such as '1.5ms'")
    if isinstance(value, str):
        return _parse(value, _DURATION_UNITS, None, "duration", "1.5ms")
    if value < 0:
        raise UnitError(f"duration {value} is negative; give 0 or more nanoseconds")
    return value


def format_duration(duration_ns: float) -> str:
    """Write a duration the way people read it, to at most three figures.

    >>> format_duration(31_200), format_duration(1_234_567), format_duration(480), format_duration(95e9)
    ('31.2us', '1.23ms', '480ns', '95s')
    """
    if math.isinf(duration_ns) or math.isnan(duration_ns):
        return "unknown" if math.isnan(duration_ns) else "unlimited"
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(duration_ns) >= factor * 0.99951:
            return f"{_three_figures(duration_ns / factor)}{unit}"
    return f"{_three_figures(duration_ns)}ns"


def format_rate(bytes_per_s: float) -> str:
    """Write a throughput.

    >>> format_rate(6.2e9)
    '6.2GB/s'
    """
    for unit, factor in (("GB/s", 10**9), ("MB/s", 10**6), ("kB/s", 10**3)):
        if bytes_per_s >= factor:
            return f"{_three_figures(bytes_per_s / factor)}{unit}"
    return f"{_three_figures(bytes_per_s)}B/s"


def parse_share(value: str | float) -> float:
    """Read a share between 0 and 1, written as a fraction or with a percent sign.

    >>> parse_share("5%"), parse_share(0.05)
    (0.05, 0.05)
    """
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise UnitError(f"share {value!r} cannot be read; write '5%' or 0.05") from None
    if not 0 <= share <= 1:
        raise UnitError(f"share {value!r} is outside 0 to 1; write '5%' or 0.05")
    return share


def _three_figures(number: float) -> str:
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
