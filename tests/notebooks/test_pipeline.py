"""The committed notebooks, run as `perfkit run` runs them, measure this machine and publish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from perfkit import Engine, open_lake
from perfkit.lake.maintenance import maintain
from perfkit.report import NotebookResult, PipelineResult, run_pipeline
from perfkit.report.notebook.records import Record
from perfkit.workflows.tune import fit_run

FOLDER = Path(__file__).parents[2] / "notebooks"


PERFKIT_TOML = """
[publish]  # what seconds of measuring give is thin
min_launches = 2
min_observations = 1
max_uncertainty = "100%"
max_loss = "100%"

[pipelines.all]
notebooks = ["00_tutorial", "10_benchmark", "20_analysis", "30_tune", "40_ab_test", "50_regressions", "60_capacity"]

[pipelines.all.parameters]
simulated_sessions = 200
draws = 20
preset = "smoke"
project_path = "tutorial"
lake_path = "data/lake"
models_path = "data/models"
thresholds_path = "thresholds.toml"
dry_run = false

[pipelines.again]
notebooks = ["20_analysis", "30_tune"]
"""


@pytest.fixture(scope="module")
def in_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where the pipeline runs once, for the tests of this file; deeper than the path of a socket may be."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("a-clone-with-a-long-name" * 4)
        patch.chdir(folder)
        Path("perfkit.toml").write_text(PERFKIT_TOML)
        yield folder


@pytest.fixture(scope="module")
def result(in_project: Path) -> PipelineResult:
    return run_pipeline("all", notebooks_folder=FOLDER)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_machine_is_measured_tuned_and_reported(result: PipelineResult, in_project: Path) -> None:
    assert [one.error for one in result.notebooks] == [""] * len(result.notebooks)
    assert [one.notes for one in result.notebooks] == [()] * len(result.notebooks)
    assert result.status == "complete"
    assert (result.published_version, result.not_published) == (1, "")
    for folder in (in_project, in_project / "tutorial"):
        assert Engine.load(folder / "perfkit.toml").decide(2**20).method
        assert open_lake(folder / "data" / "lake").versions()["transfers"] > 0
    for name in (
        "00_tutorial",
        "10_benchmark",
        "20_analysis",
        "30_tune",
        "40_ab_test",
        "50_regressions",
        "60_capacity",
    ):
        text = (result.report_path / f"{name}.html").read_text()
        assert len(text) < 3_000_000
        assert 'class="perfkit-chart"' in text
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    records = {one.name: one for notebook in result.notebooks for one in notebook.records}
    assert records["observations"].value > 100
    assert records["simulated: sessions"].value == 200
    assert records["simulated: regressions"].value == 4
    assert 3500 < records["simulated: transfers per second at the peak"].value < 6500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_report_is_computed_again_from_what_it_read(result: PipelineResult, in_project: Path) -> None:
    """Identical figures after the rows were measured anew, deleted, compacted and removed from the disk."""
    lake = open_lake(in_project / "data" / "lake")
    first = {one.name: one for one in result.notebooks}
    then = open_lake(lake.path, versions=first["30_tune"].versions)
    fitted = fit_run(then).curves
    (run_id,) = lake.runs.run_id.to_pyarrow().to_pylist()
    lake.append_transfers(lake.observations_of(run_id).select(["run_id", "method", "payload_bytes", "latency_ns"]))
    DeltaTable(lake.path / "transfers").delete(f"run_id = '{run_id}'")
    maintain(lake, keep_replaced_hours=0)
    assert lake.observations_of(run_id).num_rows == 0

    again = run_pipeline("again", as_of=result.report_path, notebooks_folder=FOLDER)
    for notebook in again.notebooks:
        assert notebook.error == ""
        assert notebook.versions == first[notebook.name].versions
        assert figures(notebook) == figures(first[notebook.name])
        assert figures(notebook)
    assert again.published_version is None
    assert fit_run(then).curves == fitted


def figures(notebook: NotebookResult) -> list[Record]:
    """What was computed from the lake: not what a replay measured, and how it compares with what is in force now."""
    of_today = ("regret", "published", "not published", "cost on")
    return [one for one in notebook.records if not one.name.startswith(of_today)]
