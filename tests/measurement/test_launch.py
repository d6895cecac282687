"""The sender's end of a launch."""

from __future__ import annotations

import contextlib
import os

import pytest

from perfkit.measurement.launch import _answer


def test_sender_stops_when_its_driver_is_gone():
    reader, writer = os.pipe()
    os.close(reader)
    output = os.fdopen(writer, "w")
    try:
        with pytest.raises(SystemExit):
            _answer(output, {"batch": {}})
    finally:
        with contextlib.suppress(BrokenPipeError):  # what could not be written is still in its buffer
            output.close()
