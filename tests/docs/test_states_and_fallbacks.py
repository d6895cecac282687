"""The page of states and fallbacks names all there are: whoever adds one describes it there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perfkit.config.engine_settings import RESOURCE_STATES, SOURCES
from perfkit.engine.events import EVENTS
from perfkit.engine.outcomes.breaker import CLOSED, HALF_OPEN, OPEN

PAGE = (Path(__file__).parents[2] / "docs/explanation/states-and-fallbacks.md").read_text()
(DIAGRAM,) = re.findall(r"^```mermaid\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXT = PAGE.replace(DIAGRAM, "")


@pytest.mark.parametrize("name", [*RESOURCE_STATES, *SOURCES, "exploration", "probe"])
def test_every_state_and_source_is_in_the_diagram_and_in_the_text(name):
    assert re.search(rf"\b{name}\b", DIAGRAM)
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("name", [CLOSED, OPEN, HALF_OPEN])
def test_every_state_of_a_breaker_is_in_the_diagram_and_in_the_text(name):
    assert re.search(rf"\b{name}\b", DIAGRAM)
    assert f"\n| {name.replace('_', ' ')} |" in TEXT


@pytest.mark.parametrize("event", [event.__name__ for event in EVENTS])
def test_every_event_is_in_the_text(event):
    assert f"`{event}`" in TEXT


def test_no_event_is_made_up():
    shaped_like_events = set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", TEXT))
    errors = {"TypeError", "ValueError", "InputError"}
    assert shaped_like_events - errors == {event.__name__ for event in EVENTS}


def test_sources_are_listed_in_the_order_of_priority():
    assert tuple(re.findall(r"^\d\. `(\w+)`", TEXT, re.MULTILINE)) == SOURCES
