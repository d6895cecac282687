"""A model is published through the gate of every publication: what it refuses changes nothing, and is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from perfkit.cli import main
from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.thresholds import load_thresholds
from perfkit.workflows.learning.continual import refresh
from perfkit.workflows.learning.versions import current_version
from perfkit.workflows.publish import publish


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_trees: None, curves: CurveSet, record: Any) -> None:
    """A folder with published curves, and traffic of which dataframes take twice as long as these say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "lake", Path("data/lake"))
    publish(Fitted(dataclasses.replace(curves, fingerprint=collect_fingerprint())), path="thresholds.toml")
    record(320, tight=2.0)


def learn(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["learn", "--publish", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().glob("thresholds.*") if path.is_file()}


def test_a_refusal_leaves_the_file_names_the_reason_and_ends_with_one_until_the_reason_is_gone(
    capsys: pytest.CaptureFixture[str], record: Any
) -> None:
    settings, before = Path("perfkit.toml"), files()
    settings.write_text("[publish]\nmin_observations = 1000000\n")
    code, found = learn(capsys)
    assert (code, found["is_unpublished"], found["verdict"]) == (1, True, "kept")
    assert [one["name"] for one in found["published"]["refusals"]] == ["observations"]
    assert files() == before

    settings.rename("strict.toml")  # the model is in force nevertheless: the same command publishes it now
    code, found = learn(capsys)
    assert (code, found["verdict"], found["published"]["published"]) == (0, "not kept", True)
    assert "dataframe" in {key.kind for key in load_thresholds("thresholds.toml").curves.curves}

    record(150, begins=3600, tight=2.0, slower=1.5)
    before = files()
    refused = refresh("data/lake", publish=True, settings="strict.toml")
    assert (refused.verdict, refused.published.refused) == ("updated", True)
    assert "Refused: observations" in str(refused)
    assert files() == before


@pytest.mark.parametrize("text", [None, "version = {"])
def test_without_a_sound_file_nothing_is_published(capsys: pytest.CaptureFixture[str], text: str | None) -> None:
    path = Path("thresholds.toml")
    path.unlink()
    if text is not None:
        path.write_text(text)
    code, found = learn(capsys)
    assert (code, found["verdict"], found["published"]) == (1, "kept", None)
    assert any("thresholds.toml" in one for one in found["warnings"])
    assert (path.read_text() if path.exists() else None) == text
    assert current_version("data/models") is not None
