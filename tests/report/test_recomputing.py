"""A report says what it read, keeps it readable, and its figures can be computed again from it."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pyarrow as pa
import pytest

from perfkit.errors import InputError
from perfkit.lake import Lake, open_lake
from perfkit.lake.maintenance import maintain
from perfkit.lake.pins import active_pins
from perfkit.report import run_pipeline
from perfkit.report.notebook.lake_versions import LakeVersions, open_recorded
from perfkit.report.results import NotebookResult, PipelineResult, read_run, write_run
from perfkit.report.running.one_notebook import _pinned
from perfkit.report.running.steps import Step

WriteNotebook = Callable[[str, list[str]], Path]

READ = """\
from perfkit.report import open_recorded, record
lake = open_recorded(lake_path, versions)
rows = lake.transfers
record("rows", rows.count().to_pyarrow().as_py())
record("mean", rows.latency_ns.mean().to_pyarrow().as_py(), unit="ns", verdict=str(dry_run))"""


def rows(count: int, latency_ns: int) -> pa.Table:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(30)
    return pa.table(
        {
            "observed_at": pa.array([long_ago] * count, pa.timestamp("us", tz="UTC")),
            "method": ["uds"] * count,
            "payload_bytes": [1024] * count,
            "latency_ns": [latency_ns] * count,
        }
    )


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    lake = open_lake("data/lake")
    for latency_ns in (100, 200, 300):
        lake.append_transfers(rows(10, latency_ns))
    return lake


def test_a_report_is_computed_again_after_more_came_in_retention_compaction_and_vacuum(
    lake: Lake, write_notebook: WriteNotebook, tmp_path: Path
) -> None:
    write_notebook("30_tune", [READ])
    first = run_pipeline("tune", {"dry_run": "false"})
    assert first.status == "complete", first.notebooks[0].error
    assert first.notebooks[0].versions == lake.versions()
    assert read_run(first.report_path) == first
    assert [dict(one.versions) for one in active_pins(lake)] == [{"transfers": 3}]
    page = (first.report_path / "30_tune.html").read_text()
    assert "transfers 3" in page

    lake.append_transfers(rows(1000, 7))
    maintain(lake, keep_replaced_hours=0)
    assert lake.transfers.count().to_pyarrow().as_py() == 0

    again = run_pipeline("tune", as_of=first.report_path)
    values = [(kept.name, kept.value) for kept in first.notebooks[0].records]
    assert values == [("rows", 30), ("mean", 200.0)]
    assert [(kept.name, kept.value) for kept in again.notebooks[0].records] == values
    assert again.notebooks[0].records[1].verdict == "True"  # dry run: to compute again publishes nothing
    assert again.notebooks[0].versions == first.notebooks[0].versions

    (lake.path / "pins").rename(lake.path / "elsewhere")
    (lake.path / "pins").write_text("a file where the folder should be")
    executed = nbformat.read(again.report_path / "30_tune.ipynb", as_version=4)
    step = Step(tmp_path / "notebooks" / "30_tune.ipynb", "30_tune", {}, {}, {})
    (note,) = _pinned(again.notebooks[0], again, step, executed).notes[-1:]
    assert "`perfkit maintain` may remove what it was made from" in note
    (lake.path / "pins").unlink()
    (lake.path / "elsewhere").rename(lake.path / "pins")

    for report in (first, again):
        shutil.rmtree(report.report_path)
    result = maintain(lake, keep_replaced_hours=0)
    assert len(result.released_pins) == 2
    assert active_pins(lake) == ()


def test_what_cannot_be_computed_again_is_refused_before_anything_starts(
    lake: Lake, write_notebook: WriteNotebook, tmp_path: Path
) -> None:
    write_notebook("30_tune", ["1 + 1"])
    folder = tmp_path / "reports" / "20261120T120000Z-ab12"
    folder.mkdir(parents=True)
    notebooks = (NotebookResult("30_tune", "complete"),)
    silent = PipelineResult(folder.name, "tune", "complete", "", 1.0, folder, Path("t"), None, {}, "", notebooks)
    write_run(silent)
    before = sorted((tmp_path / "reports").iterdir())
    with pytest.raises(InputError, match="does not say what 30_tune read"):
        run_pipeline("tune", as_of=silent.report_path)
    write_notebook("10_benchmark", ["1 + 1"])
    write_notebook("20_analysis", ["1 + 1"])
    text = (tmp_path / "notebooks" / "10_benchmark.ipynb").read_text()
    (tmp_path / "notebooks" / "10_benchmark.ipynb").write_text(text.replace("versions = ", "others = "))
    with pytest.raises(InputError, match="10_benchmark measures anew"):
        run_pipeline("quick", as_of=silent.report_path)
    with pytest.raises(InputError, match=r"notebooks is no report: run.json cannot be read"):
        run_pipeline("tune", as_of=tmp_path / "notebooks")
    assert sorted((tmp_path / "reports").iterdir()) == before


@pytest.mark.parametrize("versions", ["transfers 3", "[3]", '{"transfers": "3"}', '{"transfers": true}'])
def test_versions_that_cannot_be_read_are_refused(lake: Lake, versions: str) -> None:
    with pytest.raises(InputError, match=r"must be JSON such as"):
        open_recorded(lake.path, versions)


def test_versions_show_themselves() -> None:
    shown = LakeVersions("../data/lake", {"transfers": 3, "runs": -1})
    bundle = shown._repr_mimebundle_()
    assert bundle["text/plain"] == "Lake versions: transfers 3"
    assert json.loads(json.dumps(bundle))["application/vnd.perfkit.versions+json"]["lake"] == "../data/lake"
    assert "no table has rows" in str(LakeVersions("x", {}))
