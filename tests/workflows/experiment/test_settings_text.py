"""Changes to perfkit.toml that are shown: what they touch, and that they touch nothing else."""

from __future__ import annotations

import random
import subprocess
import tomllib
from pathlib import Path

import pytest

from perfkit.config.template import PERFKIT_TOML
from perfkit.errors import InputError
from perfkit.workflows.experiment.settings_text import (
    difference,
    with_pool_changes,
    with_switch,
    without_experiment,
)

TEXT = """\
# mine
[engine]
mode = "decide"

# the pool of models
[pools.ml]
goal = "memory" # why
methods = [
  "grpc",  # not a header:
  "uds",
]
weights = { latency = 1 }
[[pools.ml.rules]]
when = "bytes > 1MiB"
use = "grpc"

[experiments.x]
pools = ["ml"]
[experiments.x.variants.A]
share = 0.5
[experiments.x.variants.B]
share = 0.5
goal = "latency"

# keep this
[publish]
max_loss = 0.05
"""


def test_removing_an_experiment_leaves_every_other_line(tmp_path: Path) -> None:
    after = without_experiment(TEXT, "x")
    removed = [line for line in TEXT.splitlines() if line not in after.splitlines()]
    assert removed == [
        "[experiments.x]",
        'pools = ["ml"]',
        "[experiments.x.variants.A]",
        "share = 0.5",
        "[experiments.x.variants.B]",
        "share = 0.5",
        'goal = "latency"',
    ]
    assert "# keep this\n[publish]" in after


@pytest.mark.parametrize("text", [TEXT, TEXT.replace('[experiments.x]\npools = ["ml"]\n', "")])
def test_switching_off_changes_one_line_and_back_gives_the_same_meaning(text: str) -> None:
    off = with_switch(text, "x", enabled=False)
    assert tomllib.loads(off)["experiments"]["x"]["enabled"] is False
    on = tomllib.loads(with_switch(off, "x", enabled=True))
    assert on["experiments"]["x"].pop("enabled") is True
    assert on == tomllib.loads(text)


def test_a_pool_gets_other_values_and_its_new_rules_come_first() -> None:
    after = with_pool_changes(
        TEXT,
        "ml",
        {"goal": "latency", "methods": ["uds"], "margin": "2%", "rules": [{"when": "true", "avoid": "grpc"}]},
    )
    pool = tomllib.loads(after)["pools"]["ml"]
    assert (pool["goal"], pool["methods"], pool["margin"]) == ("latency", ["uds"], "2%")
    assert [rule["when"] for rule in pool["rules"]] == ["true", "bytes > 1MiB"]
    before, after_all = tomllib.loads(TEXT), tomllib.loads(after)
    del before["pools"], after_all["pools"]
    assert before == after_all


def test_a_pool_without_a_section_gets_one() -> None:
    after = with_pool_changes(TEXT, "default", {"goal": "latency"})
    assert tomllib.loads(after)["pools"]["default"] == {"goal": "latency"}
    assert tomllib.loads(with_pool_changes("", "ml", {"goal": "latency"})) == {"pools": {"ml": {"goal": "latency"}}}


def test_random_changes_of_the_template_mean_what_they_say_and_nothing_else() -> None:
    chance = random.Random(0)
    values = {"goal": "latency", "tolerance": 0.02, "methods": ["uds", "grpc"], "weights": {"latency": 1.0}}
    for _ in range(50):
        pool = chance.choice(["default", "ml", "night shift"])
        changes = {key: values[key] for key in chance.sample(sorted(values), 2)}
        after = with_pool_changes(PERFKIT_TOML, pool, changes)
        before, got = tomllib.loads(PERFKIT_TOML), tomllib.loads(after)
        wanted = {
            **before,
            "pools": {**before.get("pools", {}), pool: {**before.get("pools", {}).get(pool, {}), **changes}},
        }
        assert got == wanted
        assert [line for line in PERFKIT_TOML.splitlines() if line.startswith("#")] == [
            line for line in after.splitlines() if line.startswith("#")
        ]


def test_what_is_not_written_as_sections_is_left_to_people() -> None:
    inline = 'pools = { ml = { goal = "memory" } }\n[experiments]\nx = { variants = {} }\n'
    with pytest.raises(InputError, match="edit by hand"):
        without_experiment(inline, "x")
    with pytest.raises(InputError, match="edit by hand"):
        with_switch(inline, "x", enabled=False)
    with pytest.raises(InputError, match="edit by hand"):
        with_pool_changes(inline, "ml", {"goal": "latency"})
    with pytest.raises(InputError, match=r"write them as \[\[pools.ml.rules\]\] first"):
        with_pool_changes("[pools.ml]\nrules = [{ use = 'uds' }]\n", "ml", {"rules": [{"use": "grpc"}]})


@pytest.mark.parametrize("text", [TEXT, TEXT.rstrip("\n"), TEXT.replace("\n", "\r\n")], ids=["unix", "no end", "dos"])
def test_the_difference_is_what_patch_takes(tmp_path: Path, text: str) -> None:
    after = without_experiment(with_pool_changes(text, "ml", {"goal": "latency"}), "x")
    (tmp_path / "perfkit.toml").write_bytes(text.encode())
    (tmp_path / "change.patch").write_bytes(difference(text, after, "perfkit.toml").encode())
    subprocess.run(["patch", "-s", "--binary", "perfkit.toml", "change.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "perfkit.toml").read_bytes().rstrip() == after.encode().rstrip()
