"""`[engine]`, `[resources]`, `[breaker]`, `[calibration]`, `[recorder]`: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.config.engine_settings import (
    RESOURCE_STATES,
    SOURCES,
    BreakerSettings,
    CalibrationSettings,
    EngineSettings,
    ExplorationSettings,
    RecorderSettings,
    ResourceSettings,
)
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.engine.circumstances import STATES
from perfkit.errors import ConfigError

ALL_KEYS = """\
[engine]
mode = "observe"
priority = ["model", "rule"]
confidence = 0.9
policies = ["my_service.policies", "other", "other"]
exploration_rate = "5%"
exploration_budget = "20ms"
exploration_max_cost = 2
[resources]
react = false
cpu = "90%"
memory = 0.7
arena = 1
interval = "1s"
[breaker]
failures = 3
open = "5min"
[calibration]
correct = false
max_factor = 1.5
min_outcomes = 10
max_error = 8
[recorder]
enabled = false
journal = "elsewhere/journal"
buffer_rows = 500
flush_interval = "1s"
decision_share = 1
"""


def load(folder: Path, text: str) -> Settings:
    path = folder / "perfkit.toml"
    path.write_text(text)
    return load_perfkit_toml(path)


def test_every_key_of_the_engine_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, ALL_KEYS).engine == EngineSettings(
        mode="observe",
        priority=("model", "rule", "override", "policy", "threshold", "default"),
        confidence=0.9,
        policy_modules=("my_service.policies", "other"),
        exploration=ExplorationSettings(0.05, 20_000_000, 2.0),
        resources=ResourceSettings(False, 0.9, 0.7, 1.0, 10**9),
        breaker=BreakerSettings(3, 300 * 10**9),
        calibration=CalibrationSettings(False, 1.5, 10, 8.0),
        recorder=RecorderSettings(False, "elsewhere/journal", 500, 10**9, 1.0),
    )


def test_the_states_of_conditions_are_those_of_the_engine() -> None:
    assert RESOURCE_STATES == STATES


@pytest.mark.parametrize(
    ("written", "order"),
    [
        ("[]", SOURCES),
        ("['rule', 'override']", ("rule", "override", "policy", "model", "threshold", "default")),
        (str(list(SOURCES)), SOURCES),
    ],
)
def test_sources_that_are_left_out_of_the_priority_follow(tmp_path: Path, written: str, order) -> None:
    assert load(tmp_path, f"[engine]\npriority = {written}").engine.priority == order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[engine]\npriority = ['rules']", ["unknown source 'rules'", "Did you mean 'rule'?"]),
        ("[engine]\npriority = ['rule', 'rule']", ["'rule' is named 2 times"]),
        ("[engine]\npriority = ['rule', 'default']", ["'default' always comes last", "leave it out"]),
        ("[engine]\npriority = 'rule'", ["a list of some or all of 'override', 'rule'"]),
        ("[engine]\npolicies = 'module'", ["a list of modules"]),
        ("[engine]\npolicies = ['not a module']", ["a list of modules, such as ['my_service.policies']"]),
        ("[engine]\npolicies = ['..']", ["a list of modules"]),
        ("[engine]\nconfidence = 1.5", ["a share from 0 to 1"]),
        ("[engine]\nexploration_budget = '2s'", ["a duration from 0ns to 1s, such as '5ms'"]),
        ("[engine]\nexploration_budget = 5", ["a duration"]),
        ("[engine]\nexploration_budget = '1e999s'", ["a duration"]),
        ("[engine]\nexploration_max_cost = 0.5", ["a factor from 1 to 100"]),
        ("[resources]\ninterval = '1ms'", ["a duration from 50ms to 10s"]),
        ("[resources]\ncpu = 0", ["a share above 0 to 1"]),
        ("[resources]\nreact = 'yes'", ["true or false"]),
        ("[resources]\ndisk = 0.5", ["unknown key 'disk'", "react, cpu, memory, arena, interval"]),
        ("[breaker]\nfailures = 0", ["a whole number from 1"]),
        ("[breaker]\nopen = '0s'", ["a duration from 10ms"]),
        ("[breaker]\nclosed = 1", ["unknown key 'closed'"]),
        ("[calibration]\nmax_error = 1", ["a factor of more than 1 to 1000"]),
        ("[calibration]\nmax_factor = inf", ["a factor from 1 to 100"]),
        ("[calibration]\nmin_outcomes = 1.5", ["a whole number"]),
        ("[recorder]\njournal = ''", ["a folder"]),
        ('[recorder]\njournal = "a\\u0000b"', ["a folder"]),
        ("[recorder]\nbuffer_rows = 0", ["a whole number from 1"]),
        ("[recorder]\nflush_interval = '1h'", ["a duration from 10ms to 60s"]),
        ("resources = 5", ["resources == 5", "written as [resources]"]),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for part in expected:
        assert part in str(caught.value)
    assert (caught.value.line, caught.value.column) == (text.count("\n") + 1, 1)
