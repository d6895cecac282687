"""`perfkit predict`: one shape of JSON, which the reference describes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.learn.models import train
from perfkit.workflows.learning.versions import keep_version

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "predictions.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a model of two methods."""
    sizes = [1024, 65536, 1048576] * 40
    observed = {
        "method": ["uds"] * 60 + ["shm"] * 60,
        "payload_bytes": sizes,
        "launch": [row % 60 // 20 for row in range(120)],
        "latency_ns": [1e4 + 0.3 * size for size in sizes[:60]] + [4e4 + 0.1 * size for size in sizes[60:]],
        "cpu_sender_ns": [5e3] * 120,
        "cpu_receiver_ns": [5e3] * 120,
        "resident_bytes": sizes,
    }
    folder = tmp_path_factory.mktemp("models")
    keep_version(train(observed), folder)
    return str(folder)


def test_a_prediction_is_shown_for_people_and_for_tools(perfkit: Callable[..., Any], models: str) -> None:
    shown = perfkit("predict", "64KiB", "--method", "uds", "--models", models)
    assert shown.exit_code == 0
    assert "one transfer (90%)" in shown.stdout
    plain = perfkit("predict", "64KiB", "1MiB", "--models", models, "--json").json()
    rows = [(one["payload_bytes"], one["method"]) for one in plain["predictions"]]
    assert rows == [(65536, "uds"), (65536, "shm"), (2**20, "shm"), (2**20, "uds")]
    one = perfkit("predict", "64KiB", "--method", "uds", "--models", models, "--json").json()
    assert one["predictions"] == plain["predictions"][:1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_batch_is_read_from_a_file(perfkit: Callable[..., Any], models: str, suffix: str) -> None:
    import polars as pl

    frame = pl.DataFrame({"payload_bytes": [1024, 65536], "method": ["uds", "shm"], "in_flight": [1, 4]})
    (frame.write_csv if suffix == "csv" else frame.write_parquet)(f"batch.{suffix}")
    plain = perfkit("predict", "--batch", f"batch.{suffix}", "--models", models, "--json").json()
    assert [one["in_flight"] for one in plain["predictions"]] == [1, 4]
    assert [one["method"] for one in plain["predictions"]] == ["uds", "shm"]


def test_empty_cells_are_as_the_options_say(perfkit: Callable[..., Any], models: str) -> None:
    Path("batch.csv").write_text("payload_bytes;method;available_bytes;kind\n1KiB;uds;2GiB;text\n64KiB;;;\n")
    asked = ("predict", "--batch", "batch.csv", "--models", models)
    plain = perfkit(*asked, "--method", "shm", "--kind", "tensor", "--json").json()["predictions"]
    assert [(one["method"], one["kind"], one["available_bytes"]) for one in plain] == [
        ("uds", "text", 2**31),
        ("shm", "tensor", None),
    ]
    failed = perfkit(*asked)
    assert failed.exit_code == 2
    assert "method is empty in row 2" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give payload sizes"),
        (("1KiB", "--batch", "x.csv"), "give payload sizes"),
        (("--batch", "absent.csv"), "there is no file absent.csv"),
        (("--batch", "absent.txt"), "ends with .csv, .tsv, .parquet or .arrow"),
        (("10XB",), "10XB"),
        (("1KiB", "--method", "nobody"), "nobody"),
        (("1KiB", "--in-flight", "0"), "in_flight == 0"),
        (("1KiB", "--hour", "25"), "hour == 25"),
        (("1KiB", "--available-memory", "-1"), "-1"),
        (("1KiB", "--settings", "absent.toml"), "no such file"),
    ],
)
def test_bad_input_ends_with_two(
    perfkit: Callable[..., Any], models: str, arguments: tuple[str, ...], message: str
) -> None:
    failed = perfkit("predict", *arguments, "--models", models)
    assert message in failed.stderr
    assert failed.exit_code == 2


def test_without_model_and_publication_it_says_what_to_run(perfkit: Callable[..., Any]) -> None:
    failed = perfkit("predict", "1MiB", "--json")
    assert failed.exit_code == 2
    assert "perfkit learn" in failed.json()["error"]["message"]


def test_the_reference_describes_every_key_and_no_other(perfkit: Callable[..., Any], models: str) -> None:
    plain = perfkit("predict", "64KiB", "--models", models, "--json").json()
    described = set(re.findall(r"^\| `([^`]+)` \|", REFERENCE.read_text(), re.MULTILINE))
    first = plain["predictions"][0]
    cost = first["latency_ns"]
    assert described == {*plain, *first, *cost, *plain["origin"]}
