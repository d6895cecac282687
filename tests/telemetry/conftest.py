"""An engine that is listened to."""

from __future__ import annotations

import pytest

from perfkit.engine import Engine


class Emitting(Engine):
    """An engine whose events a test can make."""

    def emit(self, event) -> None:
        self._control.feedback.hooks.emit(event)


@pytest.fixture
def engine():
    """With the defaults, and without a thread of its own."""
    return Emitting.load("no-such-folder/perfkit.toml", background=False)
