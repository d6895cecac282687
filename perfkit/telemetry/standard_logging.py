"""Events of an engine as records of the standard `logging`."""

from __future__ import annotations

import logging

from perfkit.engine import Engine
from perfkit.engine.event_log import EventLog
from perfkit.engine.events import EVENTS, OutcomesRecorded
from perfkit.telemetry.attachment import Attachment

__all__ = ["log_to"]


def log_to(
    engine: Engine, logger: str | logging.Logger = "perfkit", *, most_per_minute: int | None = None
) -> Attachment:
    """Write what happens in an engine to a logger of your own, beside `perfkit.engine`, where it is written anyway.

    A handler of the root logger gets both; `logging.getLogger("perfkit.engine").disabled = True` leaves this one alone.

    Every event but the batches of outcomes becomes a record: those that people should know of as warnings, reloads as
    info, what sessions and exploration do as debug. Records carry the event's fields: `perfkit_event` (all of them, as
    plain data), `perfkit_name`, `perfkit_subject` and `perfkit_severity`.

    Args:
        engine: the engine to listen to.
        logger: the logger, or its name.
        most_per_minute: records of one kind and subject in a minute, 1 or more; what is beyond is told as a count. None
            for no limit.

    Returns:
        What takes it off again.

    >>> engine = Engine.load("no-such-folder/perfkit.toml", background=False)
    >>> log_to(engine, "service.transfers").remove()
    """
    log = EventLog(logging.getLogger(logger) if isinstance(logger, str) else logger, most_per_minute)
    hooks = [engine.on(kind, log) for kind in EVENTS if kind is not OutcomesRecorded]
    return Attachment(hook.remove for hook in hooks)
