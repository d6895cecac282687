"""Ten thousand damaged `perfkit.toml`: each gives settings or a message, and nothing else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.config.reference import GROUPS
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.errors import ConfigError

MUTATIONS = 10_000
ENGINE = """\
[engine]
mode = "observe"
priority = ["model", "rule"]
confidence = 0.9
policies = ["a.b"]
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
journal = "j"
buffer_rows = 500
flush_interval = "1s"
decision_share = 1
"""
POOLS = """\
[pools.ml]
goal = "memory"
methods = ["grpc", "shm_pool", "uds"]
tolerance = "2%"
margin = 0.1
simplicity_order = ["uds", "grpc"]
weights = { latency = 1, cpu = 1, memory = 0, copied = 0.01, setup = 1 }
override = "grpc"
policy = "night"
thresholds = [{ up_to = "10MiB", use = "grpc" }, { use = "uds" }]
zero_copy_from = "1MiB"
[[pools.ml.rules]]
when = "64KiB <= bytes < 1MiB and not (kind in ['text'] or pool like 'm*')"
use = ["shm_pool", "grpc"]
avoid = "uds"
[experiments.x]
enabled = true
pools = ["ml"]
salt = "s"
[experiments.x.variants.A]
share = 0.5
[experiments.x.variants.B]
share = 0.5
goal = "latency"
"""
PUBLISH = """\
[slos.checkout]
pool = "ml*"
quantile = "p99.9"
latency = "5ms"
error_rate = "0.1%"
window = "28 days"
[slos.copies]
scenario = "transport *"
throughput = "200MB"
memory = "64MiB"
[publish]
min_launches = 3
min_observations = 30
max_uncertainty = "10%"
max_loss = 0.05
max_step = 4.0
[lake]
keep_rows = "7 days"
keep_rollups = "400 days"
"""
EVERY_KEY = ENGINE + POOLS + PUBLISH
FILES = tuple(text.encode().splitlines() for text in (EVERY_KEY, ENGINE, POOLS, PUBLISH))
VALUES = (
    *("0", "-1", "1e999", "nan", "-inf", "true", "[]", "{}", "''", "'x'", "'5%'", "'1 day'", "'10MiB'", "1979-05-27"),
    *(
        "[1]",
        "[[]]",
        "[{}]",
        "{ a = 1 }",
        "['uds']",
        "['uds', 'uds']",
        "99999999999999999999",
        "'1e999s'",
        "0x" + "f" * 40,
    ),
    *("'" + "(" * 50, "'bytes >'", "'true'", "'\\u0000'", '"\\u0000"', "'µ'", "9" * 5000, "[" * 200 + "]" * 200),
)


def _flip(chance: random.Random, lines: list[bytes]) -> bytes:
    content = bytearray(b"\n".join(lines))
    for _ in range(chance.choice([1, 1, 2, 8])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def _swap(chance: random.Random, lines: list[bytes]) -> bytes:
    first, second = chance.sample(range(len(lines)), 2)
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _delete(chance: random.Random, lines: list[bytes]) -> bytes:
    start = chance.randrange(len(lines))
    del lines[start : start + chance.choice([1, 1, 1, 5])]
    return b"\n".join(lines)


def _duplicate(chance: random.Random, lines: list[bytes]) -> bytes:
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"\n".join(lines)


def _other_value(chance: random.Random, lines: list[bytes]) -> bytes:
    number = chance.choice([number for number, line in enumerate(lines) if b" = " in line])
    key = lines[number].partition(b" = ")[0]
    lines[number] = key + b" = " + chance.choice(VALUES).encode()
    return b"\n".join(lines)


def _cut(chance: random.Random, lines: list[bytes]) -> bytes:
    content = b"\n".join(lines)
    return content[: chance.randrange(len(content))]


def _other_text(chance: random.Random, lines: list[bytes]) -> bytes:
    """Another character within a text, so that TOML stays TOML and values do not."""
    content = b"\n".join(lines).decode()
    places = [match.start() for match in re.finditer(r"(?<=[\w ])[\w<=(]", content)]
    place = chance.choice(places)
    return (content[:place] + chance.choice("x0 )<_%é") + content[place + 1 :]).encode()


DAMAGES: tuple[Callable[[random.Random, list[bytes]], bytes], ...] = (
    _flip,
    _swap,
    _delete,
    _duplicate,
    _other_value,
    _cut,
    _other_text,
)


def test_the_file_uses_every_key(tmp_path: Path) -> None:
    path = tmp_path / "perfkit.toml"
    path.write_text(EVERY_KEY)
    assert isinstance(load_perfkit_toml(path), Settings)
    for group in GROUPS:
        for key in group.keys:
            assert re.search(rf"\b{key.name}\b", EVERY_KEY), key.name


def test_a_damaged_file_gives_settings_or_a_message(tmp_path: Path) -> None:
    seed = 20261125
    chance = random.Random(seed)
    path = tmp_path / "perfkit.toml"
    read = refused = placed = longest = 0
    with path.open("wb", buffering=0) as file:  # opened once: making ten thousand files takes longer than reading them
        for number in range(MUTATIONS):
            content = chance.choice(DAMAGES)(chance, list(chance.choice(FILES)))
            file.seek(0)
            file.write(content)
            file.truncate()
            try:
                settings = load_perfkit_toml(path)
            except ConfigError as error:
                refused += 1
                placed += error.line is not None
                longest = max(longest, len(str(error)))
            except Exception as error:  # noqa: BLE001 - that is what must not be
                pytest.fail(f"mutation {number} of seed {seed}: {error!r} for {content!r}")
            else:
                read += 1
                assert isinstance(settings, Settings)
    assert longest < len(str(path)) + 600
    assert read > MUTATIONS / 20
    assert refused > MUTATIONS / 5
    assert placed > 0.9 * refused
