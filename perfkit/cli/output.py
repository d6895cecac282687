"""How every command speaks: its result, progress on a terminal, and leaving on Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import click

from perfkit.units import format_duration

__all__ = ["Interrupted", "interruptible", "progress_bar", "show", "to_json"]


_REDRAW_S = 0.5


class Result(Protocol):
    """What every result of perfkit can do."""

    def to_plain(self) -> Mapping[str, Any]: ...


class Progress(Protocol):
    """How far a long command has come."""

    @property
    def done(self) -> float: ...
    @property
    def total(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def seconds_left(self) -> float | None: ...


class Interrupted(click.ClickException):
    """Ctrl-C or a termination signal; the message says what was kept."""

    exit_code = 130


def show(result: Result, *, as_json: bool) -> None:
    """Print a result for people, or as one line of JSON."""
    click.echo(to_json(result.to_plain()) if as_json else str(result))


def to_json(plain: Mapping[str, Any]) -> str:
    """One line of strict JSON: what is not finite becomes null.

    >>> to_json({"value": float("inf"), "n": 3})
    '{"value": null, "n": 3}'
    """
    return json.dumps(_finite(plain), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@contextlib.contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Leave on Ctrl-C, or when asked to terminate, with a sentence that says what was kept."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {kept}") from None
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None] | None]:
    """A bar on standard error with the time that is left; None where no person watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    # Redrawn only now and then, and only on progress: drawing takes time from what is being measured.
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("starting", total=None, left="")
        drawn_at = -_REDRAW_S

        def update(progress: Progress) -> None:
            nonlocal drawn_at
            left = "" if progress.seconds_left is None else f"{format_duration(progress.seconds_left * 1e9)} left"
            bar.update(task, completed=progress.done, total=progress.total, description=progress.label, left=left)
            if time.monotonic() - drawn_at >= _REDRAW_S:
                bar.refresh()
                drawn_at = time.monotonic()

        bar.refresh()
        yield update
