"""Write keys and values as TOML: the standard library only reads it."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["toml_key", "toml_value"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """A key, in quotes where it needs them.

    >>> toml_key("larger-blocks"), toml_key("night shift")
    ('larger-blocks', '"night shift"')
    """
    return name if _BARE.fullmatch(name) else _quoted(name)


def toml_value(value: Any) -> str:
    """A value in one line.

    Args:
        value: text, a number, a flag, a moment with a time zone, a sequence or a mapping of such.

    >>> print(toml_value([{"up_to": "10MiB", "use": "grpc"}, {"use": "uds"}]))
    [{ up_to = "10MiB", use = "grpc" }, { use = "uds" }]
    >>> toml_value(True), toml_value(0.5), toml_value(datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC))
    ('true', '0.5', '2026-11-26T00:00:00Z')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime.datetime):
        return f"{value.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(str(key))} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml_value, value))}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")  # JSON allows this one, TOML does not
