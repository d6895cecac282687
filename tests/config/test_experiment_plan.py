"""Plans of experiments: written, read, and refused with their place."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.experiment_plan import (
    PLAN_KEYS,
    ExperimentPlan,
    load_plan,
    parse_metric,
    plan_path,
    plan_to_toml,
)
from perfkit.config.toml_text import toml_key, toml_value
from perfkit.errors import ConfigError, InputError

_SCALARS = st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(_VALUES, st.text())
def test_what_is_written_as_toml_is_read_back(value: object, key: str) -> None:
    if any(0xD800 <= ord(letter) < 0xE000 for letter in f"{value}{key}"):
        return
    assert tomllib.loads(f"{toml_key(key)} = {toml_value(value)}") == {key: value}


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = ExperimentPlan(
        "larger",
        hypothesis='p95 falls by 10 %, "nothing" fails',
        metrics={"latency_ns": ("p95", "mean"), "cpu_sender_ns": ("ratio",)},
        guardrails={"failed": ("ratio",)},
        segments=("kind",),
        margin=0.025,
        minimum=500,
        planned_units=600,
        inference="fixed",
        alpha=0.1,
        registered_at=datetime.datetime(2026, 11, 26, 9, tzinfo=datetime.UTC),
    )
    path = tmp_path / "larger.toml"
    path.write_text(plan_to_toml(plan))
    assert load_plan(path) == plan
    assert plan.primary == ("latency_ns", "p95")
    path.write_text("")
    assert load_plan(path) == ExperimentPlan("larger")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("margin = 0", r":1:1: margin == 0; must be a share above 0"),
        ("metrics = ['latency_ns:p123']", r"'latency_ns:p123' is no metric; write a column"),
        ("metrics = []", "metrics names none"),
        ("metrics = 'latency_ns'", "must be a list of metrics"),
        ("segments = ['a b']", "must be a list of columns"),
        ("inference = 'peeking'", "allowed: sequential, fixed"),
        ("registered_at = 2026-11-26T09:00:00", "must be a moment with its time zone"),
        ("margins = '5%'", "unknown key 'margins'.*Did you mean 'margin'"),
        ("minimum = 0", "must be a whole number from 1"),
    ],
)
def test_a_mistake_in_a_plan_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "larger.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plan(tmp_path / "larger.toml")


def test_the_page_shows_a_plan_that_loads_and_describes_every_key(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/plan-and-conclude-an-experiment.md").read_text()
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "latency-first.toml").write_text(shown)
    assert load_plan(tmp_path / "latency-first.toml").primary == ("latency_ns", "mean")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [key.name for key in PLAN_KEYS]


def test_a_missing_plan_is_told_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`perfkit ab configure larger` writes one"):
        load_plan(tmp_path / "larger.toml")


@pytest.mark.parametrize("name", ["../up", "a/b", "archive", ".hidden", ""])
def test_a_name_that_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="its name becomes that of a file"):
        plan_path("perfkit.toml", name)


@pytest.mark.parametrize("text", ["", "a b", "latency_ns:", "latency_ns:median", "latency_ns:p95,", "x:p"])
def test_what_is_no_metric_is_refused(text: str) -> None:
    if text == "latency_ns:":
        assert parse_metric(text) == ("latency_ns", ("mean",))
        return
    with pytest.raises(InputError, match="is no metric"):
        parse_metric(text)
