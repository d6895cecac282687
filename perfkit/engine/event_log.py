"""Events as records of the standard `logging`: what every engine logs of itself, and what adapters build on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from perfkit.engine.events import EngineEvent
from perfkit.tables import plural

__all__ = ["ENGINE_LOGGER", "EventLog"]

ENGINE_LOGGER = "perfkit.engine"
"""The logger that every engine writes to, unless it is told otherwise."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_WINDOW_S = 60.0
_MOST_SUBJECTS = 1_000

logging.getLogger(ENGINE_LOGGER).addHandler(logging.NullHandler())  # silent where a service set up no logging


class EventLog:
    """A hook that writes events to a logger, at most so many of one kind and subject in a minute.

    What was left out is told with the next record of that kind and subject. Records carry the event's fields as
    `perfkit_event`, and its name, subject and severity as `perfkit_name`, `perfkit_subject` and `perfkit_severity`.

    Args:
        logger: where to.
        most_per_minute: records of one kind and subject in a minute, 1 or more; None for no limit.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        logger: logging.Logger,
        most_per_minute: int | None = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger, self._most, self._clock = logger, most_per_minute, clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, event: EngineEvent) -> None:
        """Write one event."""
        level = _LEVELS[event.severity]
        if not self._logger.isEnabledFor(level):
            return
        left_out = self._left_out(event)
        if left_out is None:
            return
        note = f" ({plural(left_out, 'more record')} like this left out before it)" if left_out else ""
        extra = {
            "perfkit_event": event.to_plain(),
            "perfkit_name": event.name,
            "perfkit_subject": event.subject,
            "perfkit_severity": event.severity,
        }
        self._logger.log(level, "%s%s", event.message, note, extra=extra)

    def _left_out(self, event: EngineEvent) -> int | None:
        """How many were left out until now; None where this one is to be left out, too."""
        if self._most is None:
            return 0
        key, now = (event.name, event.subject), self._clock()
        since, count = self._told.get(key, (now, 0))
        left_out = 0
        if now - since >= _WINDOW_S:
            left_out, since, count = max(count - self._most, 0), now, 0
        if key not in self._told and len(self._told) >= _MOST_SUBJECTS:
            self._told.clear()  # rather tell too much than fill the memory
        self._told[key] = since, count + 1
        return left_out if count < self._most else None
