"""`[experiments.NAME]`: variants, shares, pools, and what cannot run together."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.config.experiments import Experiment, Variant
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.errors import ConfigError

TWO = "variants = { A = { share = 0.5 }, B = { share = 0.5, goal = 'memory' } }\n"


def load(folder: Path, text: str) -> Settings:
    path = folder / "perfkit.toml"
    path.write_text(text)
    return load_perfkit_toml(path)


def test_an_experiment_is_read(tmp_path: Path) -> None:
    text = """
        [pools.ml]
        methods = ["uds", "grpc", "shm_pool"]
        rules = [{ use = "uds", when = "bytes < 1KiB" }]
        [experiments.larger]
        pools = ["ml"]
        salt = "again"
        [experiments.larger.variants.A]
        share = 0.5
        [experiments.larger.variants.B]
        share = "30%"
        zero_copy_from = "64KiB"
        rules = [{ use = "shm_pool" }]
        [experiments.off]
        enabled = false
        variants = { first = { share = 0 }, second = { share = 1 } }
    """
    loaded = load(tmp_path, text)
    larger, off = loaded.experiments
    control, variant = larger.variants
    assert larger == Experiment("larger", (control, variant), ("ml",), True, "again")
    assert control == Variant("A", 0.5)
    assert (variant.name, variant.share, set(variant.changes)) == ("B", 0.3, {"zero_copy_bytes", "rules"})
    assert (off.enabled, off.pools, [v.name for v in off.variants]) == (False, (), ["first", "second"])
    ml = loaded.pool("ml")
    assert control.applied_to(ml) == ml
    changed = variant.applied_to(ml)
    assert changed.zero_copy_bytes == 65536
    assert [rule.name for rule in changed.rules] == ["variant B's rule 1 (always)", "rule 1 (bytes < 1KiB)"]


def test_experiments_of_different_pools_run_together(tmp_path: Path) -> None:
    text = (
        f"[pools.a]\n[pools.b]\n[experiments.x]\npools = ['a']\n{TWO}[experiments.y]\npools = ['b', 'default']\n{TWO}"
    )
    assert [experiment.name for experiment in load(tmp_path, text).experiments] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("[experiments.x]", (1, 1), ["has 0 variants", "2 to 8", "[experiments.x.variants.A] with share"]),
        ("[experiments.x]\nvariants = {A = {share = 1}}", (2, 1), ["has 1 variants"]),
        ("[experiments.x.variants]\n" + "\n".join(f"v{i}.share = 0" for i in range(9)), (1, 1), ["has 9 variants"]),
        ("[experiments.x]\nvariants = {A = {share = 0.5}, B = {}}", (2, 32), ["variants.B: has no share"]),
        ("[experiments.x]\nvariants = {A = {share = 0.6}, B = {share = '41%'}}", (2, 1), ["add up to 1.01"]),
        ("[experiments.x]\nvariants = {A = {share = 2}, B = {share = 0}}", (2, 18), ["a share from 0 to 1"]),
        ("[experiments.x]\nvariants = {A = {share=0, gaol = 'x'}, B = {}}", (2, 27), ["unknown key 'gaol'", "'goal'?"]),
        ("[experiments.x]\nvariants = {A = {share=0}, B = {share=0, override='tcp'}}", (2, 42), ["unknown method"]),
        ("[experiments.x]\nvariants = {A = 5}", (2, 13), ["must be a table"]),
        ("[experiments.x]\nvariants = 5", (2, 1), ["must be a table"]),
        ("[experiments.x]\nvariants = {'' = {share=0}, B = {share=0}}", (2, 1), ["'' is no name"]),
        (f"[experiments.x]\npools = ['ml']\n{TWO}", (2, 1), ["unknown pool 'ml'", "Or write [pools.ml]"]),
        (f"[experiments.x]\npools = []\n{TWO}", (2, 1), ["a list of pools"]),
        (f"[experiments.x]\nenabled = 1\n{TWO}", (2, 1), ["true or false"]),
        (f"[experiments.x]\nsalt = 5\n{TWO}", (2, 1), ["salt == 5"]),
        (f"[experiments.x]\nshare = 1\n{TWO}", (2, 1), ["unknown key 'share'", "enabled, pools, salt, variants"]),
        (
            f"[pools.a]\n[experiments.x]\npools = ['a']\n{TWO}[experiments.y]\n{TWO}",
            (5, 1),
            ["experiments.y: pool 'a' takes part in experiment 'x' already", "write enabled = false"],
        ),
        (
            f"[pools.a]\n[experiments.x]\n{TWO}[experiments.y]\npools = ['a']\n{TWO}",
            (5, 1),
            ["experiments.y.pools: pool 'a' takes part"],
        ),
        (
            "".join(f"[pools.p{i}]\n[experiments.x{i}]\npools = ['p{i}']\n{TWO}" for i in range(5)),
            (18, 1),
            ["4 experiments are enabled already"],
        ),
        (
            "[pools.ml]\nmethods=['uds']\n[experiments.x.variants]\nA.share = 0.5\nB.share = 0.5\nB.override = 'shm'",
            (6, 1),
            ["'shm' is not among the methods: pool ml, which takes part, may only use uds"],
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_named_with_its_place(tmp_path: Path, text, place, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for part in expected:
        assert part in str(caught.value)
    assert (caught.value.line, caught.value.column) == place
