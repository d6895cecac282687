"""`perfkit gate` and `perfkit slos` on the command line: exit codes, files, annotations, JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from perfkit.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of a baseline, an unchanged candidate and a slower one, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    rng = np.random.default_rng(1)
    for name, factor in (("before", 1.0), ("same", 1.0), ("slower", 1.4)):
        rows = [
            (method, 1024, launch, one, int(20_000 * factor * rng.lognormal(0, 0.02)))
            for method in ("uds", "grpc", "shm")
            for launch in range(3)
            for one in range(3)
        ]
        columns = ["method", "payload_bytes", "launch", "round", "latency_ns"]
        pl.DataFrame(rows, schema=columns, orient="row").write_csv(f"{name}.csv")
    return tmp_path


def test_the_exit_code_says_whether_the_release_is_blocked(files, capsys):
    assert main(["gate", "same.csv", "--baseline", "before.csv"]) == 0
    assert main(["gate", "slower.csv", "--baseline", "before.csv"]) == 1
    shown = capsys.readouterr().out
    assert "Blocked: all methods together are slower" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "::error" not in shown


def test_json_is_the_last_line_and_the_files_are_written_beside_it(files, capsys):
    options = ["--junit", "gate.xml", "--markdown", "gate.md", "--json"]
    assert main(["gate", "slower.csv", "--baseline", "before.csv", *options]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["verdict"], found["blocked"]) == ("block", True)
    assert ET.parse("gate.xml").getroot().attrib["failures"] != "0"
    assert (files / "gate.md").read_text().startswith("## ❌ Performance gate: block")


def test_annotations_come_by_themselves_within_github_actions(files, capsys, monkeypatch):
    assert main(["gate", "slower.csv", "--baseline", "before.csv", "--github"]) == 1
    assert capsys.readouterr().out.startswith("::error title=perfkit gate%3A overall::")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    main(["gate", "same.csv", "--baseline", "before.csv", "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::notice ")
    assert json.loads(lines[-1])["verdict"] == "pass"


def test_a_broken_promise_blocks_and_shows_in_slos(files, capsys):
    (files / "perfkit.toml").write_text("[slos.fast]\nscenario = '*uds*'\nquantile = 'p50'\nlatency = '1us'\n")
    assert main(["gate", "same.csv", "--baseline", "before.csv"]) == 1
    assert "slo fast" in capsys.readouterr().out
    assert main(["slos"]) == 0
    assert "perfkit slos latest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate"], "CANDIDATE"),
        (["gate", "missing.csv", "--baseline", "before.csv"], "cannot be read as observations"),
        (["gate", "same.csv"], "name one by --baseline"),
        (["gate", "same.csv", "--baseline", "before.csv", "--tolerance", "much"], "share 'much'"),
        (["gate", "same.csv", "--baseline", "before.csv", "--false-blocks", "60%"], "false_block_rate == 0.6"),
        (["gate", "same.csv", "--baseline", "before.csv", "--settings", "other.toml"], "no such file"),
        (["slos", "--settings", "other.toml"], "other.toml"),
    ],
)
def test_wrong_input_is_refused_with_exit_code_2(files, capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(files, capsys):
    assert main(["gate", "same.csv", "--baseline", "before.csv", "--junit", "no/folder/gate.xml"]) == 1
    assert "no/folder/gate.xml cannot be written" in capsys.readouterr().err
