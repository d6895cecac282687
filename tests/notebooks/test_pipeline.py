"""The committed notebooks, run as `perfkit run` runs them, measure this machine and publish."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perfkit import Engine, open_lake
from perfkit.report import run_pipeline

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_machine_is_measured_tuned_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_pipeline("default", {"preset": "smoke"}, notebooks_folder=FOLDER)
    assert [one.error for one in result.notebooks] == [""] * len(result.notebooks)
    assert result.status == "complete"
    assert "launches" in result.not_published  # two of them are too thin for the gate
    assert "not published: refused (" in " ".join(str(result).split())
    assert not (tmp_path / "thresholds.toml").exists()
    limits = 'min_launches = 2\nmin_observations = 1\nmax_uncertainty = "100%"'
    (tmp_path / "perfkit.toml").write_text(f"[publish]\n{limits}\n")
    tuned = run_pipeline("tune", notebooks_folder=FOLDER)
    assert (tuned.published_version, tuned.not_published) == (1, "")
    assert Engine.load(tmp_path / "perfkit.toml").decide(2**20).method
    assert open_lake(tmp_path / "data" / "lake").versions()["transfers"] > 0
    for page in result.report_path.glob("*.html"):
        text = page.read_text()
        assert len(text) < 5_000_000
        assert 'class="perfkit-chart"' in text
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    records = {one.name: one for notebook in result.notebooks for one in notebook.records}
    assert records["observations"].value > 100
