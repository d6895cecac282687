"""`perfkit event`: what is told goes through the journal into the lake, and what cannot be told is refused."""

from __future__ import annotations

import pytest


def test_an_event_is_told_and_listed(perfkit):
    said = ("--subject", "api", "--message", "version 4 is out", "--severity", "warning")
    added = perfkit("event", "add", "deployed", *said, "--at", "2026-11-21T08:00+01:00", "--json")
    assert added.exit_code == 0
    listed = perfkit("event", "list", "--json").json()["events"]
    assert [one["name"] for one in listed] == ["deployed"]
    assert listed[0]["occurred_at"] == "2026-11-21T07:00:00+00:00"
    assert (listed[0]["subject"], listed[0]["message"]) == ("api", "version 4 is out")
    assert "version 4 is out" in perfkit("event", "list").stdout


def test_events_are_listed_newest_first_and_from_a_moment_on(perfkit):
    for name, at in (("old", "3h"), ("new", "1h")):
        perfkit("event", "add", name, "--at", at)
    assert [one["name"] for one in perfkit("event", "list", "--json").json()["events"]] == ["new", "old"]
    assert [one["name"] for one in perfkit("event", "list", "--since", "2h", "--json").json()["events"]] == ["new"]


def test_a_lake_that_was_told_nothing_says_how_to_tell_it(perfkit):
    assert "perfkit event add" in perfkit("event", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", " "), "no name"),
        (("add", "deployed", "--severity", "bad"), "info, warning, error"),
        (("add", "deployed", "--at", "2026-11-21T08:00"), "time zone"),
        (("add", "deployed", "--at", "yesterday"), "yesterday"),
        (("tell",), "add, list"),
    ],
)
def test_what_cannot_be_told_is_refused(perfkit, arguments, message):
    outcome = perfkit("event", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
