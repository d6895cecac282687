"""The example of a nightly report is what the generator makes of it today."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from perfkit.report.running.parameters import declared_parameters
from perfkit.report.schedule.job import ScheduledJob
from perfkit.report.schedule.planning import find_pipeline, plan_job, plan_setup

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "schedules"


@pytest.fixture
def job(tmp_path: Path) -> ScheduledJob:
    shutil.copy(EXAMPLE / "perfkit.toml", tmp_path)
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    planned = plan_job("nightly", tmp_path)
    return dataclasses.replace(planned, project=Path("/srv/perfkit"), python=Path("/srv/perfkit/.venv/bin/python"))


@pytest.mark.parametrize("kind", ["systemd", "crontab"])
def test_the_files_are_what_the_generator_writes(job: ScheduledJob, kind: str) -> None:
    for file in plan_setup(job, kind).files:
        assert (EXAMPLE / file.name).read_text(encoding=file.encoding) == file.text


def test_every_file_is_described() -> None:
    described = (EXAMPLE / "README.md").read_text()
    assert all(f"`{path.name}`" in described for path in EXAMPLE.iterdir() if path.name != "README.md")


def test_every_parameter_exists() -> None:
    pipeline = find_pipeline("nightly", EXAMPLE)
    declared = [declared_parameters(ROOT / "notebooks" / f"{name}.ipynb") for name in pipeline.notebooks]
    assert pipeline.parameters.keys() <= {name for one in declared for name in one}
