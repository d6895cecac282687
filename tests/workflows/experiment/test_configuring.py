"""Beginning an experiment: what is written, what is shown, and what is refused before anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

import perfkit
from perfkit.config.experiment_plan import ExperimentPlan, load_plan
from perfkit.config.settings import load_perfkit_toml
from perfkit.errors import ConfigError, FileError, InputError
from perfkit.workflows.experiment.configuring import configure, parse_change
from perfkit.workflows.experiment.ending import archive_experiment, roll_back_experiment
from perfkit.workflows.experiment.listing import experiments
from perfkit.workflows.experiment.planned import find_experiment, write_outcome
from perfkit.workflows.experiment.promoting import promote

SETTINGS = """\
[pools.default]
tolerance = "3%"

[pools.ml]
goal = "memory"
[[pools.ml.rules]]
when = "bytes > 1MiB"
use = "grpc"
"""
VARIANTS = {"A": {}, "B": {"goal": "latency", "rules": [{"when": "kind == 'tensor'", "use": "shm_pool"}]}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("perfkit.toml").write_text(SETTINGS)
    return Path()


def begin(**given: object) -> None:
    made = configure(ExperimentPlan("x"), variants=VARIANTS, pools=("ml",), **given)  # type: ignore[arg-type]
    Path("perfkit.toml").write_text(f"{SETTINGS}\n{made.section}")


def conclusion(**problems: list[str]) -> dict[str, object]:
    return {"recommended": "B", "verdict": "better", "promotion_problems": problems}


def keep(concluded: dict[str, object]) -> None:
    planned = find_experiment("x")
    write_outcome(planned, pools=list(planned.pools), variants=planned.variants, conclusion=concluded)


def test_the_section_that_is_shown_starts_the_experiment_and_nothing_is_written_into_the_settings(here: Path) -> None:
    made = configure(
        ExperimentPlan("x", hypothesis="faster"), variants=VARIANTS, shares={"A": 0.9, "B": 0.1}, pools=("ml",)
    )
    assert Path("perfkit.toml").read_text() == SETTINGS
    assert made.section in str(made) + "\n"
    assert all(len(line) <= 80 for line in str(made).splitlines())
    assert load_plan(made.plan_path) == made.plan
    assert made.plan.registered_at is not None
    assert experiments().experiments[0].state == "planned"
    Path("perfkit.toml").write_text(f"{SETTINGS}\n{made.section}")
    (experiment,) = load_perfkit_toml().experiments
    assert (experiment.pools, [one.share for one in experiment.variants]) == (("ml",), [0.9, 0.1])
    assert experiment.variants[1].changes["goal"] == "latency"
    assert experiments().experiments[0].state == "running"


def test_the_section_can_go_into_a_file_and_the_plan_becomes_an_event(here: Path) -> None:
    made = configure(ExperimentPlan("x"), variants=VARIANTS, output="section.toml", lake="lake")
    assert Path("section.toml").read_text() == made.section
    with pytest.raises(InputError, match=r"section\.toml exists already"):
        configure(ExperimentPlan("y"), variants=VARIANTS, output="section.toml")
    assert not Path("experiments/y.toml").exists()
    perfkit.drain("lake", journal="journal")
    (event,) = perfkit.open_lake("lake").events.to_pyarrow().to_pylist()
    assert (event["name"], event["subject"]) == ("experiment planned", "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variants": {"A": {}, "B": {"gaol": "latency"}}}, r"with the experiment: .*unknown key 'gaol'"),
        ({"variants": {"A": {}}}, "must have 2 to 8"),
        ({"variants": {"A": {}, "B": {}}, "shares": {"A": 0.5}}, "shares are of A, variants are A, B"),
        ({"variants": {"A": {}, "B": {}}, "shares": {"A": 0.9, "B": 0.2}}, "add up to 1.1"),
        ({"variants": {"A": {}, "B": {}}, "pools": ("mll",)}, "unknown pool 'mll'"),
        ({}, "experiment 'x' is not in perfkit.toml; name what its variants change"),
    ],
)
def test_what_a_service_could_not_use_is_refused_and_leaves_no_plan(
    here: Path, given: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        configure(ExperimentPlan("x"), **given)  # type: ignore[arg-type]
    assert not Path("experiments").exists()


def test_a_plan_is_not_written_twice(here: Path) -> None:
    begin()
    with pytest.raises(InputError, match="a plan is not written twice"):
        configure(ExperimentPlan("x"))
    Path("experiments/x.toml").unlink()
    with pytest.raises(InputError, match=r"is in perfkit\.toml already; leave variants and shares out"):
        configure(ExperimentPlan("x"), variants=VARIANTS)
    assert configure(ExperimentPlan("x")).section == ""


def test_a_folder_that_cannot_be_written_is_said(here: Path) -> None:
    Path("experiments").write_text("a file")
    with pytest.raises(FileError, match="cannot be written"):
        configure(ExperimentPlan("x"), variants=VARIANTS)


@pytest.mark.parametrize("text", ["", ":goal=latency", "B:goal", "B:=latency", "B:goal="])
def test_what_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no variant"):
        parse_change(text)


def test_a_promotion_means_what_the_variant_meant_rules_and_inheritance_included(here: Path) -> None:
    begin()
    wanted = find_experiment("x").experiment.variants[1].applied_to(load_perfkit_toml().pools["ml"])  # type: ignore[union-attr]
    keep(conclusion(A=[], B=[]))
    shown = promote("x")
    Path("perfkit.toml").write_text(shown.settings_text)
    promoted = load_perfkit_toml()
    assert promoted.experiments == ()
    assert promoted.pools["ml"].goal == wanted.goal
    assert [rule.when.text for rule in promoted.pools["ml"].rules] == [rule.when.text for rule in wanted.rules]
    assert promoted.pools["default"] == load_perfkit_toml().pools["default"]


def test_pools_that_inherit_a_promotion_are_named(here: Path) -> None:
    made = configure(ExperimentPlan("x"), variants={"A": {}, "B": {"margin": "2%"}}, pools=("default",))
    Path("perfkit.toml").write_text(f"{SETTINGS}\n{made.section}")
    keep(conclusion(B=[]))
    assert promote("x").inherited == ("ml",)
    assert "ml took no part and would change, too" in str(promote("x")).replace("\n", " ")


def test_pools_that_inherit_all_of_a_promotion_get_no_lines_of_their_own(here: Path) -> None:
    made = configure(ExperimentPlan("x"), variants={"A": {}, "B": {"margin": "2%"}})
    Path("perfkit.toml").write_text(f"{SETTINGS}\n{made.section}")
    keep(conclusion(B=[]))
    shown = promote("x")
    assert shown.settings_text == SETTINGS.replace('"3%"\n', '"3%"\nmargin = "2%"\n')
    assert shown.inherited == ()


def test_a_promotion_is_refused_with_the_reasons_of_the_conclusion(here: Path) -> None:
    begin()
    keep(conclusion(B=["it breaks the guardrail failed ratio"]))
    refused = promote("x")
    assert (refused.refused, refused.patch) == (True, "")
    assert "it breaks the guardrail failed ratio" in str(refused).replace("\n", " ")
    assert promote("x", force=True).patch


def test_an_experiment_that_was_removed_without_its_change_is_not_taken_for_promoted(here: Path) -> None:
    begin()
    write_outcome(
        find_experiment("x"), conclusion=conclusion(B=[]), variants=find_experiment("x").variants, pools=["ml"]
    )
    Path("perfkit.toml").write_text(SETTINGS)
    with pytest.raises(InputError, match="the settings of B are not, either"):
        promote("x")
    Path("perfkit.toml").write_text(
        SETTINGS.replace("memory", "latency").replace(
            "[[pools.ml.rules]]",
            "[[pools.ml.rules]]\nwhen = \"kind == 'tensor'\"\nuse = 'shm_pool'\n[[pools.ml.rules]]",
            1,
        )
    )
    assert promote("x", lake="lake").applied, "however somebody wrote it"


def test_the_kill_switch_is_shown_and_only_that(here: Path) -> None:
    begin()
    back = roll_back_experiment("x", lake="lake")
    assert [line for line in back.patch.splitlines() if line[0] in "+-"][2:] == ["+enabled = false"]
    with pytest.raises(InputError, match=r"is enabled in perfkit\.toml"):
        archive_experiment("x", lake="lake")


def test_an_archived_name_may_be_taken_again(here: Path) -> None:
    for number in (1, 2):
        configure(ExperimentPlan("x"), variants=VARIANTS)
        assert archive_experiment("x", lake="lake").files[0].parent.name == ("x" if number == 1 else "x-2")
    assert [one.name for one in experiments().experiments] == ["x", "x-2"]


def test_a_damaged_result_is_named(here: Path) -> None:
    begin()
    Path("experiments/x.result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"experiments/x\.result\.json: cannot be read"):
        find_experiment("x")
