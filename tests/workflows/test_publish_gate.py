"""The gate: each reason for a refusal, what overrides it, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from perfkit.config.curves import CurveSet, Evidence
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.gate_record import GateRecord
from perfkit.config.thresholds import load_thresholds, to_toml
from perfkit.errors import ConfigError, PublishError
from perfkit.workflows.publish import history, publish, publish_if_sound, rollback

NEXT = Evidence(("02RUN",), 270, 3, 9)


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')
    return tmp_path / "thresholds.toml"


def reasons(path: Path, curves: CurveSet, **options) -> list[str]:
    return [one.name for one in publish_if_sound(Fitted(curves), path=path, **options).refusals]


def thin(curves: CurveSet, **facts: int) -> CurveSet:
    return dataclasses.replace(curves, curves={k: dataclasses.replace(c, **facts) for k, c in curves.curves.items()})


def test_sound_evidence_is_published(path: Path, make_curves) -> None:
    result = publish(Fitted(make_curves(fingerprint=collect_fingerprint())), path=path)
    assert result.published
    assert (result.refusals, result.refused, result.not_published) == ((), False, "")
    assert [effect.verdict for effect in result.effects] == ["better"]


def test_without_a_curve_nothing_can_be_forced(path: Path) -> None:
    with pytest.raises(PublishError, match=r"empty: .*perfkit bench.*\n.*cannot be forced"):
        publish(Fitted(CurveSet({})), path=path, force=True)
    assert not path.exists()


@pytest.mark.parametrize(
    ("facts", "name", "said"),
    [
        ({"launches": 2}, "launches", "2"),
        ({"n": 29}, "observations", "29"),
        ({"min_bytes": 2**16, "max_bytes": 2**16}, "sizes", "64KiB to 64KiB"),
        ({"min_bytes": 2**16, "max_bytes": 2**20 - 1}, "sizes", "64KiB to 1MiB"),
    ],
)
def test_one_thin_curve_under_a_range_is_enough(
    path: Path, make_curves, facts: dict[str, int], name: str, said: str
) -> None:
    curves = make_curves()
    pool = {key: curve for key, curve in curves.curves.items() if key.method == "shm_pool"}
    thinned = {key: dataclasses.replace(curve, **facts) for key, curve in pool.items()}
    (refusal,) = publish_if_sound(
        Fitted(dataclasses.replace(curves, curves={**curves.curves, **thinned})), path=path
    ).refusals
    assert refusal.name == name
    assert "shm_pool" in refusal.message
    assert said in refusal.message
    assert "perfkit bench" in refusal.message


def test_a_goal_of_memory_can_be_published(path: Path, make_curves) -> None:
    """Memory is probed in one launch of its own, so its curves never rest on more."""
    path.with_name("perfkit.toml").write_text('[pools.default]\ngoal = "memory"\n')
    curves = make_curves()
    resident = {
        dataclasses.replace(key, quantity="resident_bytes"): dataclasses.replace(curve, launches=1)
        for key, curve in curves.curves.items()
    }
    measured = dataclasses.replace(curves, curves={**curves.curves, **resident})
    result = publish(Fitted(measured), path=path)
    assert (result.published, {table.goal for table in load_thresholds(path).tables}) == (True, {"memory"})


def test_limits_come_from_the_settings(path: Path, make_curves) -> None:
    path.with_name("perfkit.toml").write_text("[publish]\nmin_launches = 1\nmin_observations = 1\n")
    assert reasons(path, thin(make_curves(evidence=Evidence((), 5, 1, 1)), launches=1, n=5)) == []


def test_wide_intervals_are_refused_where_they_cost_something(path: Path, make_curves) -> None:
    near = {"uds": (100_000, 0.0), "shm_pool": (100_000, 0.0)}
    assert reasons(path, make_curves(near, half_width=0.6), dry_run=True) == ["interval"]
    assert reasons(path, make_curves(near, half_width=0.05), dry_run=True) == []
    far = {"uds": (10_000, 0.0), "shm_pool": (10_000_000, 0.0)}
    assert reasons(path, make_curves(far, half_width=0.6), dry_run=True) == []


def test_wide_intervals_are_better_than_what_surely_costs_more(path: Path, make_curves) -> None:
    """The defaults take gRPC: a doubtful choice between two that are ten times cheaper is no reason to keep it."""
    near = {"uds": (100_000, 0.0), "shm_pool": (100_000, 0.0), "grpc": (10**6, 0.0)}
    first = make_curves(near, half_width=0.6)
    assert reasons(path, first) == []
    again = make_curves({**near, "shm_pool": (90_000, 0.0)}, half_width=0.6, evidence=NEXT)
    assert reasons(path, again) == ["interval"]


def test_an_edge_that_may_lie_anywhere_is_harmless_where_both_methods_cost_the_same(path: Path, make_curves) -> None:
    curves = make_curves({"uds": (100_000, 0.1), "shm_pool": (100_500, 0.0999)}, half_width=0.05)
    assert reasons(path, curves) == []


def test_leaving_the_best_method_out_is_a_loss(path: Path, make_curves) -> None:
    publish(Fitted(make_curves()), path=path)
    curves = make_curves({"uds": (10_000, 0.3), "grpc": (500_000, 2.0)}, evidence=NEXT)
    result = publish_if_sound(Fitted(curves), path=path)
    assert [one.name for one in result.refusals] == ["worse"]
    assert "even mix" in result.refusals[0].message
    assert load_thresholds(path).version == 1
    assert result.not_published == "refused (worse)"


def test_what_cannot_be_compared_does_not_replace_what_was_published(path: Path, make_curves) -> None:
    """Of another kernel, so that the two measurements are not joined; the first publication replaces only defaults."""
    only_stream = make_curves({"grpc_stream": (900_000, 3.0)})
    assert "unknown" not in reasons(path, only_stream, dry_run=True)
    publish(Fitted(make_curves(fingerprint={"kernel": "5.0"})), path=path, force=True)
    changed = dataclasses.replace(only_stream, evidence=NEXT, fingerprint=collect_fingerprint())
    (refusal,) = (one for one in publish_if_sound(Fitted(changed), path=path).refusals if one.name == "unknown")
    assert refusal.forcible
    assert "shm_pool" in refusal.message
    assert "--replay" in refusal.message


def test_measurements_that_are_sure_of_the_opposite_are_looked_at_twice(path: Path, make_curves) -> None:
    publish(Fitted(make_curves()), path=path)
    contrary = make_curves({"uds": (90_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}, evidence=NEXT)
    (refusal,) = publish_if_sound(Fitted(contrary), path=path).refusals
    assert refusal.name == "step"
    assert "uds" in refusal.message
    assert "shm_pool" in refusal.message
    assert "--replay" in refusal.message


def test_an_edge_that_moves_a_little_is_no_step(path: Path, make_curves) -> None:
    publish(Fitted(make_curves()), path=path)
    nearby = make_curves({"uds": (10_000, 0.3), "shm_pool": (80_000, 0.1), "grpc": (500_000, 2.0)}, evidence=NEXT)
    assert reasons(path, nearby) == []


def test_an_edge_that_moves_on_another_host_is_no_step(path: Path, make_curves) -> None:
    publish(Fitted(make_curves(fingerprint={"cpu": "Abacus 3000"})), path=path, force=True)
    contrary = make_curves({"uds": (90_000, 0.3), "shm_pool": (40_000, 0.1)}, evidence=NEXT, fingerprint={"cpu": "x"})
    assert reasons(path, contrary) == ["fingerprint"]


def test_evidence_of_another_host_is_refused_by_name(path: Path, make_curves) -> None:
    elsewhere = {**collect_fingerprint(), "cpu": "Abacus 3000"}
    with pytest.raises(PublishError, match=r"fingerprint: .*Abacus 3000.*\n.*--force.* overrides fingerprint"):
        publish(Fitted(make_curves(fingerprint=elsewhere)), path=path)


def test_every_reason_is_named_at_once(path: Path, make_curves) -> None:
    curves = thin(make_curves(evidence=Evidence((), 5, 1, 1), fingerprint={"cpu": "Abacus 3000"}), launches=1, n=5)
    with pytest.raises(PublishError) as caught:
        publish(Fitted(curves), path=path)
    assert [line.split(":")[0] for line in str(caught.value).splitlines() if line.startswith("- ")] == [
        "- launches",
        "- observations",
        "- fingerprint",
    ]


def test_what_was_forced_is_kept_and_shown(path: Path, make_curves) -> None:
    curves = make_curves(fingerprint={"cpu": "Abacus 3000"})
    result = publish(Fitted(curves), path=path, force=True)
    assert (result.published, result.overridden) == (True, ("fingerprint",))
    assert "Overridden: fingerprint" in str(result)
    gate = load_thresholds(path).gate
    assert gate.forced == ("fingerprint",)
    assert [effect.workload for effect in gate.effects] == ["even mix"]
    assert "forced: fingerprint" in " ".join(str(history(path)).split())
    assert history(path).to_plain()["versions"][0]["gate"]["forced"] == ("fingerprint",)


def test_what_already_holds_is_not_judged_again(path: Path, make_curves) -> None:
    curves = make_curves(fingerprint={"cpu": "Abacus 3000"})
    publish(Fitted(curves), path=path, force=True)
    result = publish(Fitted(curves), path=path)
    assert (result.published, result.refused) == (False, False)
    assert result.not_published == "version 1 already says this"


def test_a_version_that_was_not_previewed_cannot_be_forced(path: Path, make_curves) -> None:
    publish(Fitted(make_curves()), path=path)
    result = publish_if_sound(Fitted(make_curves(evidence=NEXT)), path=path, expected_version=0, force=True)
    assert ([one.name for one in result.refusals], result.refused) == (["changed"], True)
    with pytest.raises(PublishError, match="changed: "):
        rollback(path, expected_version=0)


def test_a_preview_shows_refusals_and_raises_none(path: Path, make_curves) -> None:
    result = publish(Fitted(make_curves(fingerprint={"cpu": "Abacus 3000"})), path=path, dry_run=True)
    assert result.refused
    assert "Refused: fingerprint" in str(result)
    assert all(len(line) <= 80 for line in str(result).splitlines())
    plain = json.loads(json.dumps(result.to_plain()))
    assert plain["refusals"][0]["name"] == "fingerprint"
    assert plain["effect"]["verdict"] == "better"
    assert "Effect on the cost" in result._repr_html_()


def test_a_rollback_is_never_judged(path: Path, make_curves) -> None:
    publish(Fitted(make_curves(fingerprint={"cpu": "Abacus 3000"})), path=path, force=True)
    publish(Fitted(make_curves({"uds": (1, 1)}, evidence=NEXT)), path=path, force=True)
    assert rollback(path).published


def test_an_effect_without_bounds_can_be_published_and_read(path: Path, make_curves) -> None:
    """The method in force is of another host and unknown to the candidate: nobody can say what changes."""
    publish(Fitted(make_curves({"shm_pool": (1, 1)}, fingerprint={"cpu": "Abacus 3000"})), path=path, force=True)
    publish(Fitted(make_curves({"uds": (1, 1)}, fingerprint={"cpu": "x"}, evidence=NEXT)), path=path, force=True)
    assert load_thresholds(path).version == 2
    assert load_thresholds(path).gate.effects[0].high == float("inf")


@pytest.mark.parametrize(
    "entry",
    [
        'forced = "step"',
        "effects = [{ on = 1 }]",
        'regret = { uds = "low" }',
        'effects = [{ on = "x", ratio = nan, ci = [1, 2], n = 1, changed = 0, verdict = "y" }]',
        'effects = [{ on = "x", ratio = 1, ci = [1], n = 1, changed = 0, verdict = "y" }]',
        'effects = [{ on = "x", ratio = 1, ci = [1, 2], n = inf, changed = 0, verdict = "y" }]',
        "surprise = 1",
    ],
)
def test_a_damaged_record_of_the_gate_is_named(path: Path, make_curves, entry: str) -> None:
    publish(Fitted(make_curves()), path=path)
    loaded = dataclasses.replace(load_thresholds(path), gate=GateRecord())
    path.write_text(to_toml(loaded, curves_name="thresholds.curves.json") + f"\n[gate]\n{entry}\n")
    with pytest.raises(ConfigError, match="gate"):
        load_thresholds(path)
