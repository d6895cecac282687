"""`perfkit regressions`: a bare file with nothing set up, what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("history")


@pytest.fixture
def history(perfkit):
    """history.csv: 40 builds, then 20 that are a fifth slower."""
    values = np.repeat((100.0, 120.0), (40, 20)) * np.random.default_rng(1).lognormal(0, 0.03, 60)
    rows = [f"{build},{value:.3f}" for build, value in enumerate(values, 1)]
    Path("history.csv").write_text("\n".join(("build,ms", *rows)) + "\n")


def test_a_bare_file_is_judged(perfkit):
    outcome = perfkit("regressions", "history.csv", "--index", "build", "--value", "ms", "--json")
    assert outcome.exit_code == 0
    (found,) = outcome.json()["regressions"]
    assert {"row", "index", "before", "after", "relative", "p_value"} <= set(found)
    assert found["index"] == found["row"]
    assert abs(found["row"] - 40) <= 2
    assert outcome.json()["improvements"] == []
    assert outcome.json()["series"]["ms"]["rows"] == 60
    assert not Path("data").exists()


def test_it_is_readable_at_eighty_columns(perfkit):
    outcome = perfkit("regressions", "history.csv", "--index", "build", "--value", "ms")
    assert "1 regression and 0 improvements" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_ci_can_ask_for_an_exit_code(perfkit):
    arguments = ("regressions", "history.csv", "--index", "build", "--value", "ms", "--exit-code")
    assert perfkit(*arguments).exit_code == 1
    assert perfkit(*arguments, "--better", "higher").exit_code == 0
    assert perfkit(*arguments, "--minimum-change", "50%").exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("build,ms\n", "no rows"),
        ("build,ms\n1,2.0\n2,fast\n", "ms of row 2 is 'fast'"),
        ("build;ms\n1;2\n", "the columns are build;ms"),
        ("build,ms\n1,2,3\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_judged_is_refused(perfkit, content, message):
    Path("bad.csv").write_text(content)
    outcome = perfkit("regressions", "bad.csv", "--index", "build", "--value", "ms", "--json")
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert message in outcome.json()["error"]["message"]


def test_several_columns_tell_series_apart(perfkit):
    rows = [f"{day},{method},{100 + day % 3}" for day in range(30) for method in ("grpc", "uds")]
    Path("wide.csv").write_text("\n".join(("day,method,ms", *rows)) + "\n")
    outcome = perfkit("regressions", "wide.csv", "--index", "day", "--value", "ms", "--group", "method", "--json")
    assert list(outcome.json()["series"]) == ["grpc", "uds"]
    assert outcome.json()["series"]["uds"]["expected"]["n"] == 20


def test_a_lake_without_transfers_is_no_input_error(perfkit):
    outcome = perfkit("regressions")
    assert outcome.exit_code == 1
    assert "perfkit bench" in outcome.stderr


def test_options_of_the_other_source_are_refused(perfkit):
    assert perfkit("regressions", "--index", "build").exit_code == 2
    assert perfkit("regressions", "history.csv").exit_code == 2
    named = ("history.csv", "--index", "build", "--value", "ms")
    assert perfkit("regressions", *named, "--freeze", "a").exit_code == 2
