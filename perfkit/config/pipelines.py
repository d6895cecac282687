"""`[pipelines.NAME]` of `perfkit.toml`: which notebooks run together, with what, when, and who hears of it.

A service never reads these tables: a mistake in one is no reason for an engine to fall back to its defaults.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfkit.config.source import Source, read_source, shown
from perfkit.errors import ConfigError, UnitError, UnknownNameError
from perfkit.units import parse_bytes, parse_duration

__all__ = [
    "NOTIFY_ON",
    "SMTP_SECURITY",
    "EmailSettings",
    "NotifySettings",
    "PipelineSettings",
    "load_pipelines",
    "read_pipelines",
]

NOTIFY_ON = ("failure", "recovery", "verdict", "success")
"""When somebody hears of a run: it failed; it is good again; the verdict of a figure changed; it is good."""

SMTP_SECURITY = ("starttls", "tls", "none")

_KEYS = (
    "notebooks",
    "parameters",
    "grid",
    "schedule",
    "timeout",
    "memory_limit",
    "retries",
    "keep_runs",
    "keep",
    "notify",
)
_NOTIFY_KEYS = ("on", "webhook", "email")
_EMAIL_KEYS = ("to", "sender", "server", "security", "user", "password_variable")
_NOT_SHOWN = "; what it is now is not shown here, for whoever has the address can write to it"
_DAY_NS = 86_400 * 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class EmailSettings:
    """Where an e-mail goes, and through which server.

    Args:
        to: addresses of the readers.
        sender: address that it comes from.
        server: host and port of the SMTP server, such as ``"localhost:25"``.
        security: one of `SMTP_SECURITY`.
        user: who logs in; empty where nobody has to.
        password_variable: environment variable that holds the password: it stands in no file.
    """

    to: tuple[str, ...]
    sender: str
    server: str
    security: str = "starttls"
    user: str = ""
    password_variable: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who hears of a run.

    Args:
        on: some of `NOTIFY_ON`.
        webhook: address that gets a POST request with JSON; empty for none.
        email: None for none.
    """

    on: tuple[str, ...] = ("failure", "recovery", "verdict")
    webhook: str = ""
    email: EmailSettings | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What one pipeline is.

    Args:
        notebooks: names of notebooks, without their ending, in the order in which they run.
        parameters: values for the notebooks' parameters, by name.
        grid: values by parameter; a notebook that declares some of them runs once for each combination.
        schedule: when it is to run, as the five fields of a crontab line in the host's time; empty for by hand.
        timeout_s: seconds that each notebook may take.
        memory_limit_bytes: resident memory that each notebook with its processes may take; None for no limit.
        retries: how often a notebook that failed is run once more.
        keep_runs: how many of its reports are kept, the newest; None for all.
        keep_days: for how many days its reports are kept; None for ever.
        notify: None for nobody.
    """

    notebooks: tuple[str, ...]
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    grid: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    schedule: str = ""
    timeout_s: float = 3600.0
    memory_limit_bytes: int | None = None
    retries: int = 0
    keep_runs: int | None = None
    keep_days: int | None = None
    notify: NotifySettings | None = None


def load_pipelines(path: str | Path = "perfkit.toml") -> Mapping[str, PipelineSettings]:
    """Read and check the pipelines in `perfkit.toml`.

    Args:
        path: the file.

    Returns:
        Settings by name, in the order of the file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a pipeline holds a key or value that does not exist: with
            path, line, column, what was got and what is allowed.
    """
    source = read_source(path, advice="`perfkit init` writes one")
    tables = source.table(source.body, "", "pipelines")
    return MappingProxyType({name: _pipeline(source, tables, name) for name in tables})


def read_pipelines(path: str | Path = "perfkit.toml") -> Mapping[str, PipelineSettings]:
    """The pipelines of a file; none where there is no such file.

    Raises:
        ConfigError: as `load_pipelines`.
    """
    try:
        return load_pipelines(path)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return MappingProxyType({})
        raise


def _pipeline(source: Source, tables: Mapping[str, Any], name: str) -> PipelineSettings:
    table = source.table(tables, "pipelines", name)
    full_name = f"pipelines.{name}"
    source.refuse_unknown(full_name, table, _KEYS)
    parameters = source.table(table, full_name, "parameters")
    grid = source.table(table, full_name, "grid")
    for key in grid:
        if not isinstance(grid[key], list) or not grid[key]:
            source.refuse(f"{full_name}.grid", key, f" == {shown(grid[key])}; must be a list of one value or more")
        if key in parameters:
            source.refuse(f"{full_name}.grid", key, ": stands among the parameters, too; leave one of them out")
    return PipelineSettings(
        notebooks=_texts(source, full_name, table, "notebooks", "names of notebooks such as ['10_benchmark']"),
        parameters=MappingProxyType({key: _plain(value) for key, value in parameters.items()}),
        grid=MappingProxyType({key: tuple(map(_plain, values)) for key, values in grid.items()}),
        schedule=_schedule(source, full_name, table),
        timeout_s=_duration_ns(source, full_name, table, "timeout", "1h") / 1e9,
        memory_limit_bytes=_memory(source, full_name, table),
        retries=_count(source, full_name, table, "retries", 0, least=0) or 0,
        keep_runs=_count(source, full_name, table, "keep_runs", None, least=1),
        keep_days=_keep_days(source, full_name, table),
        notify=_notify(source, full_name, table) if "notify" in table else None,
    )


def _plain(value: Any) -> Any:
    """Dates as ISO text: a notebook's parameters are plain literals."""
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _schedule(source: Source, full_name: str, table: Mapping[str, Any]) -> str:
    value = table.get("schedule", "")
    if value != "" and not (isinstance(value, str) and len(value.split()) == 5):
        example = "'0 3 * * *' for every night at 3:00"
        source.refuse(
            full_name, "schedule", f" == {shown(value)}; must be five fields of a crontab line, such as {example}"
        )
    return " ".join(value.split())


def _notify(source: Source, full_name: str, pipeline: Mapping[str, Any]) -> NotifySettings:
    if not isinstance(pipeline["notify"], dict):
        source.refuse(full_name, "notify", f": must be a table, written as [{full_name}.notify]{_NOT_SHOWN}")
    table = pipeline["notify"]
    full_name = f"{full_name}.notify"
    source.refuse_unknown(full_name, table, _NOTIFY_KEYS)
    on = NotifySettings().on
    if "on" in table:
        on = _texts(source, full_name, table, "on", f"some of {', '.join(NOTIFY_ON)}")
    for event in on:
        if event not in NOTIFY_ON:
            source.refuse(full_name, "on", f": {UnknownNameError('event', event, NOTIFY_ON)}")
    webhook = table.get("webhook", "")
    is_address = isinstance(webhook, str) and webhook.startswith(("http://", "https://")) and webhook.isprintable()
    if webhook != "" and not is_address:
        source.refuse(full_name, "webhook", f": must be text that begins with http:// or https://{_NOT_SHOWN}")
    email = _email(source, full_name, table) if "email" in table else None
    if not webhook and email is None:
        source.refuse(full_name, "", ": says nobody to tell; add webhook = 'https://…' or an email table")
    return NotifySettings(on, webhook, email)


def _email(source: Source, full_name: str, notify: Mapping[str, Any]) -> EmailSettings:
    table = source.table(notify, full_name, "email")
    full_name = f"{full_name}.email"
    source.refuse_unknown(full_name, table, _EMAIL_KEYS)
    for key in ("to", "sender", "server"):
        if key not in table:
            source.refuse(full_name, "", f": has no {key}; add it, such as {_EMAIL_EXAMPLES[key]}")
    to = _texts(source, full_name, table, "to", "addresses such as ['team@example.com']")
    server = _text(source, full_name, table, "server", "")
    host, _, port = server.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        source.refuse(full_name, "server", f" == {shown(server)}; must be host and port, such as 'localhost:25'")
    security = _text(source, full_name, table, "security", "starttls")
    if security not in SMTP_SECURITY:
        source.refuse(full_name, "security", f": {UnknownNameError('security', security, SMTP_SECURITY)}")
    return EmailSettings(
        to=to,
        sender=_text(source, full_name, table, "sender", ""),
        server=server,
        security=security,
        user=_text(source, full_name, table, "user", ""),
        password_variable=_text(source, full_name, table, "password_variable", ""),
    )


_EMAIL_EXAMPLES = {
    "to": "to = ['team@example.com']",
    "sender": "sender = 'perfkit@example.com'",
    "server": "server = 'localhost:25'",
}


def _text(source: Source, full_name: str, table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or "\n" in value or "\r" in value:
        source.refuse(full_name, key, f" == {shown(value)}; must be text of one line")
    return value


def _texts(source: Source, full_name: str, table: Mapping[str, Any], key: str, allowed: str) -> tuple[str, ...]:
    value = table.get(key)
    is_list = isinstance(value, list) and value and all(isinstance(one, str) and one.strip() for one in value)
    if value is None or not is_list or any("\n" in one or "\r" in one for one in value):
        where = "" if key in table else " is missing"
        source.refuse(full_name, key, f"{where or f' == {shown(value)}'}; must be a list of {allowed}")
    return tuple(value)


def _count(
    source: Source, full_name: str, table: Mapping[str, Any], key: str, default: int | None, *, least: int
) -> int | None:
    value = table.get(key, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**6):
        source.refuse(full_name, key, f" == {shown(value)}; must be a whole number from {least}, such as {least + 2}")
    return value


def _duration_ns(source: Source, full_name: str, table: Mapping[str, Any], key: str, default: str) -> int:
    value = table.get(key, default)
    try:
        duration_ns = int(parse_duration(value)) if isinstance(value, str) else 0
    except (UnitError, OverflowError):
        duration_ns = 0
    if duration_ns <= 0:
        source.refuse(full_name, key, f" == {shown(value)}; must be a duration of more than 0, such as '{default}'")
    return duration_ns


def _keep_days(source: Source, full_name: str, table: Mapping[str, Any]) -> int | None:
    if "keep" not in table:
        return None
    days, rest = divmod(_duration_ns(source, full_name, table, "keep", "90 days"), _DAY_NS)
    if rest or days < 1:
        source.refuse(full_name, "keep", f" == {shown(table['keep'])}; must be whole days, such as '90 days'")
    return days


def _memory(source: Source, full_name: str, table: Mapping[str, Any]) -> int | None:
    if "memory_limit" not in table:
        return None
    value = table["memory_limit"]
    try:
        limit_bytes = int(parse_bytes(value)) if isinstance(value, str) else 0
    except (UnitError, OverflowError):
        limit_bytes = 0
    if limit_bytes < 2**28:
        source.refuse(
            full_name,
            "memory_limit",
            f" == {shown(value)}; must be a size from 256MiB, such as '4GiB': a kernel alone takes over 100MiB",
        )
    return limit_bytes
