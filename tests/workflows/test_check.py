"""`perfkit.check`: policies in Python are looked at as a service would."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.engine.policies import policy
from perfkit.workflows.check import check
from perfkit.workflows.publish import publish


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def problems(text: str) -> list[str]:
    Path("perfkit.toml").write_text(text)
    return [finding.message for finding in check().findings if finding.state == "problem"]


def test_a_module_beside_the_settings_is_imported_and_its_policy_found(folder: Path) -> None:
    source = "from perfkit.engine.policies import policy\n@policy('checked one')\ndef one(context, figures): ...\n"
    (folder / "policies_to_check.py").write_text(source)
    before = list(sys.path)
    text = "[engine]\npolicies = ['policies_to_check']\n[pools.ml]\npolicy = 'checked one'\n"
    assert problems(text) == []
    assert sys.path == before
    sys.modules.pop("policies_to_check")


@pytest.mark.parametrize(
    ("source", "said"),
    [(None, "ModuleNotFoundError"), ("1 / 0", "ZeroDivisionError"), ("exit(3)", "SystemExit(3)"), ("(", "SyntaxError")],
)
def test_a_module_that_cannot_be_imported_is_a_problem(folder: Path, source: str | None, said: str) -> None:
    if source is not None:
        (folder / "broken_policies.py").write_text(source)
    (message,) = problems("[engine]\npolicies = ['broken_policies']\n")
    assert "module broken_policies of engine.policies cannot be imported" in message
    assert said in message


def test_a_policy_that_is_not_registered_is_a_problem(folder: Path) -> None:
    @policy("a known one")
    def known(context: object, figures: object) -> None: ...

    variants = "[experiments.x.variants]\nA = { share = 0 }\nB = { share = 1, policy = 'nobody' }\n"
    first, second = problems(f"[pools.ml]\npolicy = 'a knwon one'\n{variants}")
    assert first.startswith("pools.ml.policy: unknown policy 'a knwon one'")
    assert "Did you mean 'a known one'?" in first
    assert second.startswith("experiments.x.variants.B.policy: unknown policy 'nobody'")


def test_a_policy_that_raises_or_names_no_method_is_a_problem(folder: Path) -> None:
    @policy("raises when checked")
    def raises(context: object, figures: object) -> str:
        raise ZeroDivisionError

    @policy("dreams when checked")
    def dreams(context: object, figures: object) -> str:
        return "telepathy"

    first, second = problems("[pools.a]\npolicy = 'raises when checked'\n[pools.b]\npolicy = 'dreams when checked'\n")
    assert "raised ZeroDivisionError()" in first
    assert "named 'telepathy', must be one of" in second


def test_a_goal_that_the_curves_do_not_tell_is_a_note(folder: Path, make_curves) -> None:
    curves = make_curves(fingerprint=collect_fingerprint())
    publish(Fitted(curves), path=folder / "thresholds.toml", force=True)
    Path("perfkit.toml").write_text("[pools.ml]\ngoal = 'memory'\n")
    result = check()
    assert result.ok
    assert any("were not measured, so latency decides" in finding.message for finding in result.findings)
