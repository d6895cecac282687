"""Who hears of a run, and over which channels, within seconds and whatever goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from perfkit.config.pipelines import NotifySettings
from perfkit.report.notify import mail, webhook
from perfkit.report.notify.message import Message, events_of, message_about, trial_message
from perfkit.report.results import PipelineResult
from perfkit.report.site.runs import find_last_good

__all__ = ["notify_about", "send_test"]

CHANNEL_S = 10.0
"""Seconds that a channel may take in all."""


def notify_about(run: PipelineResult, settings: NotifySettings, earlier: PipelineResult | None) -> tuple[str, ...]:
    """Tell of a run whoever is to hear of it.

    Args:
        run: the run, ended.
        settings: which events are told of, and to whom.
        earlier: the run of the same pipeline before it, whatever came of it; None for the first.

    Returns:
        What went wrong, a sentence each; empty when everybody was told, or there was nothing to tell.
    """
    last_good = earlier if earlier is None or earlier.status == "complete" else find_last_good(run)
    events, changes = events_of(run, earlier, last_good)
    told = tuple(event for event in events if event in settings.on)
    return _tell(message_about(run, told, changes), settings) if told else ()


def send_test(pipeline: str, settings: NotifySettings) -> tuple[str, ...]:
    """Send a message that says it is a test, over every channel.

    Args:
        pipeline: its name.
        settings: to whom.

    Returns:
        What went wrong, a sentence each; empty when it was sent.
    """
    return _tell(trial_message(pipeline), settings)


def _tell(message: Message, settings: NotifySettings) -> tuple[str, ...]:
    deadline = time.monotonic() + CHANNEL_S
    channels: dict[str, Callable[[], str]] = {}
    if settings.webhook:
        channels["the webhook"] = lambda: webhook.post(settings.webhook, message.to_webhook(), deadline)
    if (email := settings.email) is not None:
        channels["the e-mail"] = lambda: mail.send(email, message, deadline)
    problems: dict[str, str] = {}

    def use(name: str, send: Callable[[], str]) -> None:
        try:
            problems[name] = send()
        except Exception as error:  # noqa: BLE001 - a run that went well must not fail on its messages
            problems[name] = f"{name} could not be sent: {type(error).__name__}"  # its words may repeat a secret

    # Threads, because a timeout of a socket counts from its last byte, and looking up a name has none at all.
    threads = [threading.Thread(target=use, args=channel, daemon=True) for channel in channels.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline + 0.5 - time.monotonic(), 0.0))
    late = {name: f"{name} was not sent: no answer within {CHANNEL_S:g} s" for name in channels}
    return tuple(filter(None, (late | problems).values()))
