"""`perfkit check`: what a service would not say aloud."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from perfkit.config.check import check_files as check
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


def notes(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [finding.message for finding in check(path).findings if finding.state == "note"][:-1]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (["bytes > 5 and bytes < 3"], "rule 1 (bytes > 5 and bytes < 3): can never hold"),
        (["5 < bytes < 6"], "can never hold"),
        (["5 < bytes < 7"], ""),
        (["in_flight < 1"], "can never hold"),
        (["load == 'idle' and in_flight > 1"], "can never hold"),
        (["load == 'busy' and in_flight >= 4"], ""),
        (["kind == 'text' and kind != 'text'"], "can never hold"),
        (["pool == 'other'"], "can never hold"),
        (["pool like 'm*' and not in_place"], ""),
        (["bytes > 5", "bytes > 6"], "rule 2 (bytes > 6): wherever it holds, rule 1 (bytes > 5) comes first"),
        (["bytes > 6", "bytes > 5"], ""),
        (["bytes <= 6", "bytes > 6", "kind == 'text'"], "rule 1 (bytes <= 6), rule 2 (bytes > 6) comes first"),
        (["true", "false"], "rule 2 (false): can never hold"),
        (
            [" or ".join(f"bytes == {size}" for size in range(0, 200, 2)) + " and kind == 'text' and format == 'raw'"],
            "",
        ),
    ],
)
def test_rules_that_do_nothing_are_noted(settings: Path, conditions: list[str], said: str) -> None:
    rules = "".join(f'[[pools.ml.rules]]\nwhen = "{condition}"\nuse = "uds"\n' for condition in conditions)
    found = notes(settings, rules)
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(
    ("section", "condition", "noted"),
    [
        ("default", "pool == 'elsewhere'", False),
        ("default", "pool == 'a' and pool == 'b'", True),
        ("'ml-*'", "pool == 'ml-a'", False),
        ("'ml-*'", "pool == 'images'", True),
        ("'ml-*'", "pool like 'images-*'", False),  # nobody tries whether two patterns meet
    ],
)
def test_a_rule_about_pools_is_judged_by_the_pools_it_is_asked_for(
    settings: Path, section: str, condition: str, noted: bool
) -> None:
    assert bool(notes(settings, f'[[pools.{section}.rules]]\nwhen = "{condition}"\nuse = "uds"\n')) is noted


def test_too_many_cases_are_not_tried(settings: Path) -> None:
    sizes = " or ".join(f"bytes == {size}" for size in range(1, 99))
    names = "kind != 'text' or format != 'raw' or compression != 'lz4' or state != 'normal' or load != 'idle'"
    assert notes(settings, f'[[pools.ml.rules]]\nwhen = "({sizes}) and ({names}) and false"\nuse = "uds"\n') == []


def test_inherited_methods_that_a_pool_may_not_use_are_noted(settings: Path) -> None:
    text = "[pools.default]\noverride = 'grpc'\nrules = [{ use = 'uds' }]\n[pools.ml]\nmethods = ['shm']\n"
    assert notes(settings, text) == [
        "pool ml may not use grpc, uds, which it inherits from default; it is passed over there"
    ]


def test_experiments_are_told_with_their_shares(settings: Path) -> None:
    settings.write_text(
        "[experiments.x.variants]\nA = { share = 0.5 }\n"
        "B = { share = 0.25, rules = [{ use = 'uds', when = 'false' }] }\n"
        "[experiments.y]\nenabled = false\npools = ['default']\nvariants = { A = { share = 0 }, B = { share = 1 } }\n"
    )
    result = check(settings)
    messages = [finding.message for finding in result.findings]
    assert "experiment x: A 0.5, B 0.25 in every pool" in messages
    assert "experiment y, switched off: A 0, B 1 in default" in messages
    assert "experiment x, variant B's rule 1 (false): can never hold; correct or remove it" in messages
    assert result.ok
