"""Scenario files: lists are crossed, mistakes are named with their place."""

from __future__ import annotations

import pytest

from perfkit.errors import ConfigError
from perfkit.measurement.scenario_files import load_sweep

GOOD = """
launches = 5
budget = "2min"
[[scenario]]
method = ["uds", "shm_pool"]
payload = ["64KiB", "1MiB"]
in_flight = 4
[[scenario]]
method = "grpc"
payload = "1MiB"
kind = "tensor"
format = "numpy"
interval = "1ms"
"""


def write(tmp_path, text):
    path = tmp_path / "workload.toml"
    path.write_text(text)
    return path


def test_lists_are_crossed(tmp_path):
    sweep = load_sweep(write(tmp_path, GOOD))
    assert (sweep.launches, sweep.budget_s, sweep.name) == (5, 120.0, "workload.toml")
    transports = [scenario for scenario in sweep.scenarios if scenario.stage == "transport"]
    assert {(s.method, s.payload_bytes, s.in_flight) for s in transports} == {
        (method, size, 4) for method in ("uds", "shm_pool") for size in (65536, 2**20)
    }
    (whole,) = [scenario for scenario in sweep.scenarios if scenario.stage == "whole"]
    assert (whole.method, whole.kind, whole.interval_ns) == ("grpc", "tensor", 1_000_000)
    assert any(scenario.stage == "control" for scenario in sweep.scenarios)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("launches = [", r"workload.toml:1:\d+: not TOML"),
        ("", r"has no \[\[scenario\]\]"),
        ("[[scenario]]\nmethod = 'uds'", "lacks 'payload'"),
        ("[[scenario]]\nmethod = 'udp'\npayload = '1KiB'", "unknown method 'udp'.*Did you mean 'uds'"),
        ("[[scenario]]\nmethod = 'uds'\npayload = '1 lot'", "size '1 lot' cannot be read"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 0", "payload_bytes == 0, must be at least 1"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\nsize = 3", "unknown key of a scenario 'size'"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\nin_flight = 'many'", "in_flight == 'many'"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\nkind = 'tenser'", "Did you mean 'tensor'"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\nsignalling = 'grpc'", "cannot be signalled over 'grpc'"),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\nplacement = 'in_place'", "use shm_pool"),
        (
            "[[scenario]]\nmethod = 'shm_pool'\npayload = 1\nplacement = 'in_place'\ncompression = 'lz4'",
            "'in_place' with stage 'whole'.*leave kind, format and compression out",
        ),
        ("[[scenario]]\nmethod = 'uds'\npayload = 1\ntemperature = 'cold'\ntouched = true", "'cold' with touched:"),
        (
            "[[scenario]]\nmethod = 'uds'\npayload = 1\ntemperature = 'cold'\nin_flight = 4",
            "'cold' with in_flight == 4",
        ),
        (
            "[[scenario]]\nmethod = 'shm_pool'\npayload = 1\ntemperature = 'cold'\nplacement = 'in_place'",
            "'cold' with placement 'in_place'",
        ),
        (
            "[[scenario]]\nmethod = 'uds'\npayload = 1\ntemperature = 'cold'\nkind = 'text'\ninterval = '1ms'",
            "'cold' with stage 'whole' and an interval: a cold start is",
        ),
        ("launches = 0\n[[scenario]]\nmethod = 'uds'\npayload = 1", "launches == 0"),
        ("budget = 'soon'\n[[scenario]]\nmethod = 'uds'\npayload = 1", "duration 'soon'"),
        ("scenario = 3", "has no"),
        ("scenario = [3]", "must be a table"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_sweep(write(tmp_path, text))


def test_missing_file_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load_sweep(tmp_path / "none.toml")
