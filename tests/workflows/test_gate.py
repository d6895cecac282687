"""`perfkit.gate`: what blocks, what passes, what cannot be settled, what is refused, and how pipelines show it."""

from __future__ import annotations

import datetime
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.slos import Slo
from perfkit.errors import ConfigError, InputError
from perfkit.lake import RunRecord
from perfkit.schema import arrow_schema
from perfkit.workflows.gate_reports import to_annotations, to_junit, to_markdown

METHODS = ("grpc", "shm", "shm_pool", "uds")
JUDGE = Path(__file__).parents[3] / "shared/judge/worlds.py"
HOST = {"os": "Linux", "cpu": "EPYC", "python": "3.11", "perfkit": "1.0"}


def measured(seed, slower=None, *, launches=3, control=None, failed=0.0, methods=METHODS, spread=0.02):
    """A run of a few sizes; `slower` maps methods to factors, `control` is the machine's own factor."""
    rng = np.random.default_rng(seed)
    machine = control or 1.0
    parts = [(method, size, (slower or {}).get(method, 1.0)) for method in methods for size in (1024, 65536)]
    rows = []
    for launch in range(launches):
        luck = {method: rng.lognormal(0, spread) for method in methods}
        for method, size, factor in parts:
            level = (10_000 + 0.2 * size) * factor * machine * luck[method]
            rows += [("transport", method, size, launch, one, level * rng.lognormal(0, 0.05)) for one in range(5)]
        if control is not None:
            rows += [("control", "control_copy", 2**20, launch, one, 5000 * machine) for one in range(5)]
    names = ("stage", "method", "payload_bytes", "launch", "round", "latency_ns")
    frame = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    frame["latency_ns"] = frame["latency_ns"].astype(np.int64)
    return {**frame, "ok": rng.random(len(rows)) >= failed}


def lake_with(folder, *runs):
    """A lake with runs, each (id, frame, fields of its record)."""
    lake = perfkit.open_lake(folder)
    tables = [pa.table({**frame, "run_id": [run_id] * len(frame["ok"])}) for run_id, frame, _ in runs]
    table = pa.concat_tables(tables)
    lake.append_transfers(table.cast(pa.schema([arrow_schema().field(name) for name in table.column_names])))
    for number, (run_id, frame, fields) in enumerate(runs):
        record = {"status": "complete", "preset": "quick", "launches": 3, "fingerprint": json.dumps(HOST), **fields}
        at = datetime.datetime(2026, 11, 1 + number, tzinfo=datetime.UTC)
        lake.append_run(RunRecord(run_id, recorded_at=at, observations=len(frame["ok"]), **record))
    return folder


def verdicts(result):
    return {check.name: check.verdict for check in result.checks}


def test_a_candidate_that_is_slower_is_blocked_and_an_unchanged_one_passes():
    before = measured(1)
    slower = perfkit.gate(measured(2, dict.fromkeys(METHODS, 1.3)), baseline=before)
    same = perfkit.gate(measured(3), baseline=before)
    assert (slower.verdict, slower.blocked, same.verdict, same.blocked) == ("block", True, "pass", False)
    assert slower.interval[0] < 0.3 < slower.interval[1]
    assert slower.n == 6


def test_a_single_method_blocks_by_itself_and_is_named():
    result = perfkit.gate(measured(2, {"grpc": 1.6}), baseline=measured(1))
    assert result.blocked
    assert verdicts(result)["method grpc"] == "block"
    assert "grpc is slower" in result.sentence


def test_too_few_launches_to_tell_do_not_block_and_the_number_that_would_is_named():
    after, before = (measured(seed, methods=("uds",), spread=0.2) for seed in (1, 2))
    result = perfkit.gate(after, baseline=before)
    assert (result.verdict, result.blocked) == ("inconclusive", False)
    assert "launches of each" in str(result)


def test_a_machine_that_became_slower_is_not_the_releases_fault():
    before, after = measured(1, control=1.0), measured(2, control=1.4)
    result = perfkit.gate(after, baseline=before)
    assert not result.blocked
    assert result.against_controls
    assert any("the machine changed" in warning for warning in result.warnings)


def test_stalls_do_not_block():
    after = measured(3)
    stalled = np.random.default_rng(1).random(after["ok"].size) < 0.02
    after["latency_ns"] = np.where(stalled, after["latency_ns"] + 5_000_000, after["latency_ns"])
    assert not perfkit.gate(after, baseline=measured(1)).blocked


def test_failures_block_and_so_does_a_scenario_that_always_fails():
    before, broken = measured(1), measured(2)
    assert verdicts(perfkit.gate(measured(2, failed=0.1), baseline=before))["failed transfers"] == "block"
    broken["ok"] = ~((broken["method"] == "shm") & (broken["payload_bytes"] == 65536))
    result = perfkit.gate(broken, baseline=before)
    assert verdicts(result)["failed transfers"] == "block"
    assert "succeeded any more" in result.sentence


def test_promises_about_scenarios_are_checked():
    promises = [
        Slo("fast", scenario="*uds*", quantile=0.5, latency_ns=1_000),
        Slo("lean", scenario="*uds*", memory_bytes=1),
        Slo("none", scenario="nothing like this", latency_ns=1),
    ]
    result = perfkit.gate(measured(2), baseline=measured(1), slos=promises)
    found = [(check.name.partition(":")[0], check.verdict) for check in result.checks if check.kind == "slo"]
    assert set(found) == {("slo fast", "block"), ("slo lean", "inconclusive")}
    assert any("nothing like this" in warning for warning in result.warnings)


def test_the_newest_earlier_run_of_the_same_preset_and_host_is_the_baseline(tmp_path):
    other_host = {"fingerprint": json.dumps({**HOST, "cpu": "Xeon"})}
    newer_python = {"fingerprint": json.dumps({**HOST, "python": "3.12"})}
    lake = lake_with(
        tmp_path / "lake",
        ("old", measured(1), {}),
        ("right", measured(2), newer_python),
        ("other-preset", measured(3), {"preset": "limits"}),
        ("other-host", measured(4), other_host),
        ("unfinished", measured(5), {"status": "failed"}),
        ("candidate", measured(6), {}),
        ("later", measured(7), {}),
    )
    assert perfkit.gate("candidate", lake=lake).baseline == "right"
    with pytest.raises(InputError, match=r"different hosts \(CPU: baseline Xeon, candidate EPYC\)"):
        perfkit.gate("candidate", baseline=["right", "other-host"], lake=lake)
    forced = perfkit.gate("candidate", baseline="other-host", lake=lake, force=True)
    assert any("another host" in warning for warning in forced.warnings)
    with pytest.raises(InputError, match="no finished run before old"):
        perfkit.gate("old", lake=lake)
    with pytest.raises(InputError, match="is the candidate and a baseline"):
        perfkit.gate("old", baseline="old", lake=lake)


def test_pooled_baselines_count_every_launch_and_see_more():
    one = perfkit.gate(measured(9), baseline=measured(1))
    several = perfkit.gate(measured(9), baseline=[measured(1), measured(2), measured(3)])
    assert several.overall.launches == (9, 3)
    assert several.overall.detectable < one.overall.detectable


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_of_observations_are_judged(tmp_path, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in ("before", "after")]
    for path, frame in zip(paths, (measured(1), measured(2, dict.fromkeys(METHODS, 1.5))), strict=True):
        table = pl.DataFrame(frame)
        table.write_csv(path) if suffix == ".csv" else table.write_parquet(path)
    assert perfkit.gate(str(paths[1]), baseline=str(paths[0])).blocked


def test_what_cannot_be_judged_is_refused_with_the_next_step(tmp_path):
    before = measured(1)
    with pytest.raises(InputError, match=r"has 1 launch: .* three or more"):
        perfkit.gate(measured(2, launches=1), baseline=before)
    with pytest.raises(InputError, match="share no scenario"):
        perfkit.gate(measured(2, methods=("other",)), baseline=before)
    with pytest.raises(InputError, match="no run of the lake"):
        perfkit.gate(before)
    with pytest.raises(InputError, match="no transfer that succeeded"):
        perfkit.gate(measured(2, failed=1.1), baseline=before)
    with pytest.raises(InputError, match="no baseline is given"):
        perfkit.gate(measured(2), baseline=[])
    with pytest.raises(InputError, match="cannot be read as observations"):
        perfkit.gate(str(tmp_path / "missing.csv"), baseline=before)
    with pytest.raises(InputError, match="tolerance == 2"):
        perfkit.gate(measured(2), baseline=before, tolerance=2)
    with pytest.raises(ConfigError):
        perfkit.gate(measured(2), baseline=before, slos=tmp_path / "missing.toml")
    empty = {name: column[:0] for name, column in before.items()}
    with pytest.raises(InputError, match="no transfer"):
        perfkit.gate(empty, baseline=before)


def test_durations_that_are_none_are_left_out():
    after = measured(2)
    latency = after["latency_ns"].astype(float)
    latency[:8] = [np.nan, np.inf, -1, 0, np.nan, np.inf, -5, 0]
    result = perfkit.gate({**after, "latency_ns": latency}, baseline=measured(1))
    assert np.isfinite(result.value)
    assert not result.blocked


@pytest.fixture(scope="module")
def hostile():
    """A blocked result whose names hold what XML, Markdown and GitHub take for markup."""
    odd = "uds <&\"'|`*\x00\x1b%::,\n]]>"
    rename = {"method": lambda frame: np.where(frame["method"] == "uds", odd, frame["method"])}
    before, after = measured(1), measured(2, dict.fromkeys(METHODS, 1.5))
    before, after = ({**frame, "method": rename["method"](frame)} for frame in (before, after))
    return perfkit.gate(after, baseline=before)


def test_junit_holds_every_check_as_readers_of_the_format_expect_it(hostile):
    for result in (hostile, perfkit.gate(measured(3), baseline=measured(1))):
        root = ET.fromstring(to_junit(result))
        (suite,) = root
        cases = suite.findall("testcase")
        assert (root.tag, suite.tag) == ("testsuites", "testsuite")
        assert [child.tag for child in suite] == ["properties", *["testcase"] * len(cases), "system-out"]
        assert {*suite.attrib} == {"name", "tests", "failures", "errors", "skipped", "time"}
        assert int(suite.attrib["tests"]) == len(cases) == len(result.checks)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        assert bool(suite.findall("testcase/failure")) == result.blocked
        for case in cases:
            assert {*case.attrib} == {"classname", "name", "time"}
            assert {child.tag for child in case} <= {"failure", "skipped"}


def test_markdown_keeps_its_table_whatever_things_are_called(hostile):
    text = to_markdown(hostile)
    table = [line for line in text.splitlines() if line.startswith("| ")][: len(hostile.checks) + 1]
    assert {line.replace("\\|", "").count("|") for line in table} == {6}
    assert "<&" not in text
    assert "Performance gate: block" in text


def test_annotations_are_one_line_each_and_escaped(hostile):
    lines = to_annotations(hostile)
    assert all(line.startswith("::error title=perfkit gate%3A ") and "\n" not in line for line in lines)
    assert all(line.count("::") == 2 or "%25" in line for line in lines)
    (notice,) = to_annotations(perfkit.gate(measured(3), baseline=measured(1)))
    assert notice.startswith("::notice title=perfkit gate::Passed")


def test_every_line_of_the_table_fits_a_terminal():
    result = perfkit.gate(measured(2, dict.fromkeys(METHODS, 1.3)), baseline=measured(1))
    assert max(map(len, str(result).splitlines())) <= 80


@pytest.mark.skipif(not JUDGE.exists(), reason="the worlds with known truth are not beside the repository")
def test_on_the_worlds_with_known_truth_a_tenth_is_found_and_nothing_is_not(monkeypatch):
    monkeypatch.syspath_prepend(str(JUDGE.parent))
    import worlds

    sizes = [1024 * 8**power for power in range(6)]
    found = {1.0: 0, 1.1: 0}
    for seed in range(4):
        host = worlds.Host(7000 + seed)
        before = host.sweep(seed, sizes)
        for factor in found:
            after = host.sweep(100 + seed, sizes)
            after["latency_ns"] = after["latency_ns"] * factor
            found[factor] += perfkit.gate(after, baseline=before).blocked
    assert found == {1.0: 0, 1.1: 4}
    sys.modules.pop("worlds")
