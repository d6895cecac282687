"""`[pools.NAME]`: rules, thresholds, weights, what is inherited, and how a mistake is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from perfkit.config.expressions import parse_expression
from perfkit.config.pool_settings import FixedRange, PoolSettings, Rule, Weights
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.errors import ConfigError

DESIGN = """\
[engine]
mode = "decide"                   # "observe": decide what you would do, do the default
exploration_rate = 0.0            # 0.05 learns; 0 is the safe default
[pools.default]
goal = "balanced"                 # latency | throughput | memory | balanced
methods = ["grpc", "grpc_stream", "uds", "shm_pool"]
[[pools.ml.rules]]
when = "kind == 'dataframe' and bytes > '64MiB'"
use = "shm_pool"
"""
ALL_KEYS = """\
[pools."ml-*"]
goal = "memory"
methods = ["grpc", "shm_pool", "uds"]
tolerance = "2%"
margin = 0.1
simplicity_order = ["uds", "grpc", "shm_pool"]
weights = { latency = 1, copied = 0.01 }
override = "grpc"
policy = "night shift"
thresholds = [{ up_to = "10MiB", use = "grpc" }, { use = "shm_pool" }]
zero_copy_from = "1MiB"
[["pools"."ml-*".rules]]
when = "bytes > 64MiB"
use = ["shm_pool", "grpc"]
avoid = "uds"
[["pools"."ml-*".rules]]
avoid = ["shm_pool"]
"""


def load(folder: Path, text: str) -> Settings:
    path = folder / "perfkit.toml"
    path.write_text(text)
    return load_perfkit_toml(path)


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    loaded = load(tmp_path, DESIGN)
    rule = Rule(
        parse_expression("kind == 'dataframe' and bytes > '64MiB'"),
        ("shm_pool",),
        name="rule 1 (kind == 'dataframe' and bytes > '64MiB')",
    )
    methods = ("grpc", "grpc_stream", "uds", "shm_pool")
    assert loaded.pool("ml") == PoolSettings(methods=methods, rules=(rule,))
    assert loaded.pool("default") == PoolSettings(methods=methods)


def test_every_key_of_a_pool_is_read(tmp_path: Path) -> None:
    pool = load(tmp_path, ALL_KEYS).pool("ml-eu")
    assert pool == PoolSettings(
        goal="memory",
        methods=("grpc", "shm_pool", "uds"),
        tolerance=0.02,
        margin=0.1,
        simplicity_order=("uds", "grpc", "shm_pool"),
        weights=Weights(latency=1, cpu=0, copied=0.01),
        override="grpc",
        policy="night shift",
        thresholds=(FixedRange(10 * 2**20, "grpc"), FixedRange(math.inf, "shm_pool")),
        zero_copy_bytes=2**20,
        rules=(
            Rule(parse_expression("bytes > 64MiB"), ("shm_pool", "grpc"), ("uds",), "rule 1 (bytes > 64MiB)"),
            Rule(parse_expression("true"), (), ("shm_pool",), "rule 2 (always)"),
        ),
    )


def test_a_pool_inherits_rules_and_asks_its_own_first(tmp_path: Path) -> None:
    text = """
        [pools.default]
        override = "uds"
        policy = "one"
        thresholds = [{ use = "grpc" }]
        weights = { setup = 1 }
        rules = [{ avoid = "shm" }]
        [pools.ml]
        override = ""
        policy = ""
        thresholds = []
        rules = [{ use = "uds" }]
        [pools.other]
    """
    loaded = load(tmp_path, text)
    ml, default, other = (loaded.pool(name) for name in ("ml", "default", "other"))
    assert [rule.name for rule in default.rules] == ["rule 1 (always)"]
    assert [rule.name for rule in ml.rules] == ["rule 1 (always)", "default's rule 1 (always)"]
    assert [rule.name for rule in other.rules] == ["default's rule 1 (always)"]
    assert (ml.override, ml.policy, ml.thresholds) == (None, None, ())
    assert (other.override, other.policy, other.thresholds) == ("uds", "one", (FixedRange(math.inf, "grpc"),))
    assert ml.weights == other.weights == Weights(0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("[[pools.ml.rules]]\nwhen = 'bytes > 5'", (1, 1), ["pools.ml.rules[1]", "neither what to use nor"]),
        ("[[pools.ml.rules]]\nuse = 'grcp'", (2, 1), ["rules[1].use", "unknown method 'grcp'", "'grpc'?"]),
        ("[[pools.ml.rules]]\nuse = []", (2, 1), ["must be a method or a list of methods"]),
        ("[[pools.ml.rules]]\nuse = 'uds'\navoid = ['uds']", (3, 1), ["to be used and avoided"]),
        ("[[pools.ml.rules]]\nuse = 'uds'\nif = 'true'", (3, 1), ["unknown key 'if'", "when, use, avoid"]),
        ("[[pools.ml.rules]]\nuse = 'uds'\nwhen = 5", (3, 1), ["rules[1].when == 5", "a condition such as"]),
        (
            "[[pools.ml.rules]]\nuse = 'uds'\n[[pools.ml.rules]]\n  when = \"kind == 'tensr'\"\nuse = 'uds'",
            (4, 19),
            ["pools.ml.rules[2].when, column 9: unknown kind 'tensr'", "Did you mean 'tensor'?"],
        ),
        ("[pools.ml]\nrules = [{ use = 'uds', when = 'bytes >' }]", (2, 40), ["column 8: got the end"]),
        ("[pools.ml]\nrules = 5", (2, 1), ["must be a list of tables, written as [[pools.ml.rules]]"]),
        ("[pools.ml]\nrules = [5]", (2, 1), ["must be a list of tables"]),
        ("[pools.ml]\nrules = [" + "{avoid='shm'}," * 101 + "]", (2, 1), ["101 rules", "at most 100"]),
        (
            "[pools.default]\nmethods = ['uds']\n[[pools.ml.rules]]\nuse = ['uds', 'grpc']",
            (4, 1),
            ["'grpc' is not among the methods", "may only use uds", "add it to 'methods'"],
        ),
        ("[pools.ml]\nmethods = ['uds']\noverride = 'grpc'", (3, 1), ["override: 'grpc' is not among the methods"]),
        ("[pools.ml]\noverride = 5", (2, 1), ["a method such as 'shm_pool'"]),
        ("[pools.ml]\npolicy = 5", (2, 1), ["the name of a `@perfkit.policy` function"]),
        ('[pools.ml]\npolicy = "a\\nb"', (2, 1), ["in one line"]),
        ("[pools.ml]\nweights = {latency = -1}", (2, 12), ["weights.latency == -1", "a weight from 0 to 1e+06"]),
        ("[pools.ml]\nweights = {latency = 0}", (2, 1), ["with a weight above 0"]),
        ("[pools.ml.weights]\nram = 1", (2, 1), ["unknown key 'ram'", "latency, cpu, memory, copied, setup"]),
        ("[pools.ml]\nzero_copy_from = '1e999MiB'", (2, 1), ["a size from 0B"]),
        ("[pools.ml]\nzero_copy_from = -1", (2, 1), ["a size from 0B"]),
        ("[pools.ml]\nmargin = 2", (2, 1), ["a share from 0 to 1"]),
        ("[pools.ml]\nthresholds = [{ use = 'uds', up_to = 5 }]", (2, 30), ["the last range has no end"]),
        ("[pools.ml]\nthresholds = [{ use = 'uds' }, { use = 'uds' }]", (2, 15), ["thresholds[1]", "has no end"]),
        ("[pools.ml]\nthresholds = [{ up_to = 5 }, { use = 'uds' }]", (2, 15), ["names no method"]),
        ("[pools.ml]\nthresholds = [{ use = 'tcp' }]", (2, 17), ["thresholds[1].use", "unknown method 'tcp'"]),
        (
            "[pools.ml]\nthresholds = [{up_to=5,use='uds'},{up_to='5B',use='shm'},{use='uds'}]",
            (2, 36),
            ["thresholds[2].up_to == '5B'", "more than that of the range before"],
        ),
        ("[[pools.ml.thresholds]]\nuse = 'uds'\nupto = 5", (3, 1), ["unknown key 'upto'", "Did you mean 'up_to'?"]),
    ],
)
def test_a_mistake_in_a_pool_is_named_with_its_place(tmp_path: Path, text, place, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for part in expected:
        assert part in str(caught.value)
    assert (caught.value.line, caught.value.column) == place


def test_what_is_inherited_may_name_methods_that_a_pool_does_not_use(tmp_path: Path) -> None:
    text = "[pools.default]\noverride = 'grpc'\nrules = [{use = 'shm'}]\n[pools.ml]\nmethods = ['uds']\n"
    assert load(tmp_path, text).pool("ml").override == "grpc"
