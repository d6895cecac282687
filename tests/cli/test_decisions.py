"""`perfkit plan` and `perfkit explain`."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_plan_without_files_shows_the_defaults_and_what_to_do(perfkit) -> None:
    outcome = perfkit("plan")
    assert outcome.exit_code == 0
    assert "shm_pool" in outcome.stdout
    assert "perfkit run" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_plan_of_one_context_shows_only_that(perfkit) -> None:
    outcome = perfkit("plan", "--kind", "tensor", "--format", "numpy", "--signalling", "grpc")
    assert outcome.exit_code == 0
    assert "tensor/numpy" in outcome.stdout
    assert "binary/raw" not in outcome.stdout


def test_plan_as_json_is_one_object(perfkit) -> None:
    assert isinstance(perfkit("plan", "--json").json(), dict)


def test_a_plan_compared_with_itself_changes_nothing_with_and_without_traffic(perfkit) -> None:
    outcome = perfkit("plan", "--diff", "current", "current", "--exit-code")
    assert outcome.exit_code == 0
    assert "no size takes another method" in " ".join(outcome.stdout.split())
    outcome = perfkit("plan", "--diff", "current", "current", "--traffic", "1 day", "--json")
    assert outcome.exit_code == 0
    assert outcome.json()["transfers"] == 0


@pytest.mark.parametrize("size", ["64KiB", "10MiB", "3e9", "0"])
def test_explain_names_the_method_and_the_reason(perfkit, size: str) -> None:
    outcome = perfkit("explain", size, "--kind", "tensor", "--format", "numpy")
    assert outcome.exit_code == 0
    assert "Why:" in outcome.stdout
    found = perfkit("explain", size, "--json").json()
    assert found["method"] in ("grpc", "shm_pool")
    assert found["rule"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("explain", "10Mbit"), "10Mbit"),
        (("explain", "-5"), "-5"),
        (("explain", ""), "size"),
        (("explain",), "SIZE"),
        (("explain", "1MiB", "--kind", "tensr"), "Did you mean 'tensor'?"),
        (("explain", "1MiB", "--format", "parquet"), "arrow"),
        (("explain", "1MiB", "--compression", "lzma"), "lz4"),
        (("explain", "1MiB", "--signalling", "smoke"), "uds"),
        (("explain", "1MiB", "--pool", "absent"), "write [pools.absent] into perfkit.toml"),
        (("plan", "--pool", "absent"), "write [pools.absent] into perfkit.toml"),
        (("explain", "1MiB", "--kind", "tensor", "--format", "raw"), "allowed: numpy, arrow, msgpack, json, pickle"),
        (("explain", "1MiB", "--format", "arrow"), "Kinds with this format: tensor, dataframe"),
        (("plan", "--kind", "tensor", "--format", "raw"), "allowed: numpy, arrow, msgpack, json, pickle"),
        (("plan", "--kind", "binary", "--format", "arrow"), "allowed: raw, msgpack, pickle"),
        (("plan", "--settings", "absent.toml"), "perfkit init"),
        (("explain", "1MiB", "--settings", "absent.toml"), "perfkit init"),
        (("plan", "--diff", "v7", "current"), "unknown version 'v7'"),
        (("plan", "--diff", "absent.toml", "current"), "thresholds.toml, a folder with both"),
        (("plan", "--diff", "current"), "--diff"),
        (("plan", "--diff", "current", "current", "--pool", "ml"), "exclude each other"),
        (("plan", "--diff", "current", "current", "--lake", "data"), "--lake goes with --traffic"),
        (("plan", "--diff", "current", "current", "--traffic", "soon"), "'soon'"),
        (("plan", "--traffic", "1 day"), "--traffic goes with --diff"),
        (("plan", "--exit-code"), "--exit-code goes with --diff"),
    ],
)
def test_wrong_input_is_named_with_what_is_allowed(perfkit, arguments: tuple[str, ...], expected: str) -> None:
    outcome = perfkit(*arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(("kind", "natural"), [("tensor", "numpy"), ("dataframe", "arrow"), ("binary", "raw")])
def test_a_kind_alone_means_its_natural_format(perfkit, kind: str, natural: str) -> None:
    assert perfkit("explain", "1MiB", "--kind", kind, "--json").json()["format"] == natural
    assert [table["format"] for table in perfkit("plan", "--kind", kind, "--json").json()["tables"]] == [natural] * (
        2 if kind == "binary" else 1
    )


def test_where_no_codec_is_installed_every_format_can_be_asked_for(perfkit, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert perfkit("explain", "1MiB", "--kind", "tensor", "--format", "raw").exit_code == 0
    assert perfkit("explain", "1MiB", "--json").json()["format"] == "raw"


def test_explain_without_evidence_says_so_instead_of_an_empty_table(perfkit) -> None:
    outcome = perfkit("explain", "1MiB")
    assert "nothing is published, so the default applies" in " ".join(outcome.stdout.split())
    assert "unknown" not in outcome.stdout
    assert "95 % interval" not in outcome.stdout


@pytest.mark.parametrize("command", [("plan",), ("explain", "1MiB")])
@pytest.mark.parametrize("file", ["perfkit.toml", "thresholds.toml"])
def test_a_file_with_which_a_service_would_go_on_stops_a_person(perfkit, command: tuple[str, ...], file: str) -> None:
    Path(file).write_text("[broken\n")
    outcome = perfkit(*command)
    assert outcome.exit_code == 2
    assert f"{file}:1:" in outcome.stderr


def test_a_policy_in_the_current_folder_is_found_as_by_a_service_started_there(perfkit) -> None:
    Path("policies_of_this_test.py").write_text(
        "from perfkit.engine.policies import policy\n"
        "@policy('by-a-test')\n"
        "def take(context, costs):\n"
        "    return 'grpc_stream' if context.payload_bytes > 2**20 else None\n"
    )
    Path("perfkit.toml").write_text(
        "[engine]\npolicies = ['policies_of_this_test']\n[pools.default]\npolicy = 'by-a-test'\n"
    )
    assert perfkit("explain", "2MiB", "--json").json()["source"] == "policy"
    Path("plain.toml").write_text("")
    outcome = perfkit("plan", "--diff", "plain.toml", "current", "--json")
    assert {part["after"] for one in outcome.json()["changes"] for part in one["ranges"]} == {"grpc_stream"}
