"""Continual learning in a loop: what `perfkit learn --watch` does until it is told to stop."""

from __future__ import annotations

import dataclasses
import datetime
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from perfkit.errors import InputError
from perfkit.workflows.learning.continual import refresh
from perfkit.workflows.learning.evidence import THIS_HOST
from perfkit.workflows.learning.refreshed import NO_MODEL, RefreshResult
from perfkit.workflows.learning.versions import MODELS

__all__ = ["Round", "WatchResult", "watch"]

_LONGEST_PAUSE_S = 3600.0
_MOST_DOUBLINGS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """One round of watching.

    Attributes:
        number: from 1.
        at: when it ended, UTC.
        result: what it did; None where it failed.
        error: why it failed; empty where it did not.
        pause_s: seconds until the next one.
    """

    number: int
    at: datetime.datetime
    result: RefreshResult | None
    error: str
    pause_s: float

    def __str__(self) -> str:
        """One line for a log.

        >>> at = datetime.datetime(2026, 3, 1, 8, tzinfo=datetime.UTC)
        >>> str(Round(2, at, RefreshResult("updated", 500, 3), "", 60))
        '2026-03-01T08:00:00+00:00 round 2: updated, 500 new observations, version 3'
        """
        begin = f"{self.at.isoformat(timespec='seconds')} round {self.number}: "
        if self.result is None:
            return f"{begin}failed: {self.error}; next try in {self.pause_s:g} s"
        one = self.result
        version = "no version" if one.version is None else f"version {one.version}"
        drifted = f", errors moved: {', '.join(one.update.drifted)}" if one.update and one.update.drifted else ""
        refused = ", publication refused" if one.published is not None and one.published.refused else ""
        why = f": {one.warnings[0]}" if one.verdict == NO_MODEL and one.warnings else ""
        return f"{begin}{one.verdict}, {one.n} new observations, {version}{drifted}{refused}{why}"


@dataclasses.dataclass(frozen=True)
class WatchResult:
    """What watching came to.

    Attributes:
        rounds: how many there were.
        failed: how many of them failed.
        last: the last one; None where it was stopped before the first.
    """

    rounds: int
    failed: int
    last: Round | None

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values."""
        last = None if self.last is None or self.last.result is None else self.last.result.to_plain()
        return {"rounds": self.rounds, "failed": self.failed, "last": last}

    def __str__(self) -> str:
        return f"{self.rounds} rounds, {self.failed} of them failed"


def watch(
    lake: str | Path = "data/lake",
    models: str | Path = MODELS,
    *,
    host: str = THIS_HOST,
    every_s: float = 60.0,
    publish: bool = False,
    thresholds: str | Path = "thresholds.toml",
    settings: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[Round], None] | None = None,
    stop: threading.Event | None = None,
) -> WatchResult:
    """Refresh the model in force again and again, until `stop` is set, Ctrl-C or SIGTERM.

    A round that fails is told and counted; the pause after it doubles with every failure in a row, up to an hour.

    Args:
        lake, models, host, publish, thresholds, settings, seed: as for `refresh`.
        every_s: pause between rounds in seconds, above 0.
        progress: called after each round; `str` of what it gets is a line for a log.
        stop: ends the loop when set, also during a pause. A round under way is finished.

    Raises:
        InputError: the pause is out of range.
    """
    if isinstance(every_s, bool) or not isinstance(every_s, int | float) or not 0 < every_s < math.inf:
        raise InputError(f"every_s == {every_s!r}, must be above 0, for example 60")
    ended = stop or threading.Event()
    how: dict[str, Any] = {"publish": publish, "thresholds": thresholds, "settings": settings, "seed": seed}
    number = failed = in_a_row = 0
    last: Round | None = None
    with _ending_on_signals(ended):
        while not ended.is_set():
            number += 1
            result, error = None, ""
            try:
                result = refresh(lake, models, host=host, **how)
                in_a_row = 0
            except Exception as problem:  # noqa: BLE001 - a loop that ends at a full disk learns nothing the next day
                error, failed, in_a_row = f"{type(problem).__name__}: {problem}", failed + 1, in_a_row + 1
            pause_s = max(every_s, min(every_s * 2.0 ** min(in_a_row, _MOST_DOUBLINGS), _LONGEST_PAUSE_S))
            last = Round(number, datetime.datetime.now(datetime.UTC), result, error, pause_s)
            if progress is not None:
                progress(last)
            ended.wait(pause_s)
    return WatchResult(number, failed, last)


@contextmanager
def _ending_on_signals(ended: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the loop after the round under way; only the main thread may listen to them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
