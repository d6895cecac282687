"""`perfkit check`: what a service would not say aloud."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from perfkit.config.check import check
from perfkit.config.curves import CurveSet, Evidence
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import ConfigError
from perfkit.workflows.publish import publish


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "perfkit.toml"
    path.write_text('[pools.ml]\nmethods = ["uds", "shm"]\n')
    return path


def test_settings_alone_are_in_order(settings: Path) -> None:
    result = check(settings)
    assert result.ok
    assert [finding.state for finding in result.findings] == ["ok", "note"]
    assert "2 pools: default, ml" in result.findings[0].message
    assert "nothing is published" in str(result)


def test_missing_settings_are_a_note(tmp_path: Path) -> None:
    result = check(tmp_path / "perfkit.toml")
    assert result.ok
    assert [finding.state for finding in result.findings] == ["note", "note"]
    assert "the defaults apply" in result.findings[0].message


def test_thin_evidence_and_unmeasured_methods_are_notes(settings: Path, make_curves) -> None:
    evidence = Evidence(("r",), 5, 1, 1, warnings=("only one launch; measure again",))
    curves = make_curves(fingerprint=collect_fingerprint(), evidence=evidence)
    publish(Fitted(curves), path=settings.with_name("thresholds.toml"), force=True)
    result = check(settings)
    assert result.ok
    messages = " ".join(finding.message for finding in result.findings if finding.state == "note")
    assert "pool ml may use shm" in messages
    assert "only one launch" in messages


def test_another_host_fails_the_check(settings: Path, make_curves) -> None:
    curves = make_curves(fingerprint={**collect_fingerprint(), "cpu": "Abacus 3000"})
    publish(Fitted(curves), path=settings.with_name("thresholds.toml"), force=True)
    result = check(settings)
    assert not result.ok
    assert result.to_plain()["ok"] is False
    assert any("Abacus 3000" in finding.message for finding in result.findings if finding.state == "problem")


def test_where_a_service_goes_on_with_the_defaults_a_check_stops(settings: Path) -> None:
    settings.with_name("thresholds.toml").write_text("schema = 1\n")
    with pytest.raises(ConfigError, match="version == None"):
        check(settings)
    settings.write_text("[engine\n")
    settings.with_name("thresholds.toml").unlink()
    with pytest.raises(ConfigError, match="not TOML"):
        check(settings)
