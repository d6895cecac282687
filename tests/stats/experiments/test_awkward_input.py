"""What people hand over: an answer that JSON can hold, or a refusal that says why; nothing else."""

from __future__ import annotations

import decimal
import json
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from perfkit import ab, ab_self_check
from perfkit.errors import InputError

STATISTICS = {"latency_ns": ["mean", "ratio", "rank", "p50", "p99"]}
SESSION = np.repeat(np.arange(80), 10)
VARIANT = np.where(SESSION < 40, "A", "B")
LATENCY_NS = 1e6 * np.random.default_rng(1).lognormal(0, 0.5, SESSION.size)
FRAME = {"session": SESSION, "variant": VARIANT, "latency_ns": LATENCY_NS}


def dictionary(values: Any, labels: list[str | None], index: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(values).cast(index), pa.array(labels))


ANSWERED = {
    "step from zero": {"latency_ns": np.where(VARIANT == "B", 1.0, 0.0)},
    "step to zero": {"latency_ns": np.where(VARIANT == "B", 0.0, 1.0)},
    "constant": {"latency_ns": np.ones(SESSION.size)},
    "zeros": {"latency_ns": np.zeros(SESSION.size)},
    "some infinite": {"latency_ns": np.where(SESSION % 7 == 0, np.inf, LATENCY_NS)},
    "truth values": {"latency_ns": LATENCY_NS > 1e6},
    "whole numbers": {"latency_ns": LATENCY_NS.astype(int)},
    "decimals": {"latency_ns": np.array([decimal.Decimal(int(one)) for one in LATENCY_NS], object)},
    "missing objects": {"latency_ns": np.array([None, *LATENCY_NS[1:]], object)},
    "three variants": {"variant": np.array(list("ABC"))[SESSION % 3]},
    "sessions of floats": {"session": np.where(SESSION == 3, np.nan, SESSION)},
    "sessions without a name": {"session": np.where(SESSION == 3, "", SESSION.astype(str))},
}
REFUSED = {
    "all missing": ({"latency_ns": np.full(SESSION.size, np.nan)}, "no row with a value"),
    "one arm": ({"variant": np.full(SESSION.size, "A")}, "another variant"),
    "every unit in both arms": ({"variant": np.where(np.arange(SESSION.size) % 2, "A", "B")}, "no unit is left"),
    "no unit at all": ({"session": np.full(SESSION.size, None)}, "no unit is left"),
    "text": ({"latency_ns": VARIANT}, "must hold numbers"),
    "moments": ({"latency_ns": SESSION.astype("M8[s]")}, "must hold numbers"),
    "too large": ({"latency_ns": np.full(SESSION.size, 10**30, object)}, "cannot be read"),
}


@pytest.mark.parametrize("inference", ["fixed", "sequential"])
@pytest.mark.parametrize("changed", ANSWERED.values(), ids=ANSWERED)
def test_awkward_columns_are_answered(changed: dict[str, Any], inference: str) -> None:
    result = ab({**FRAME, **changed}, metrics=STATISTICS, inference=inference)
    json.dumps(result.to_plain(), allow_nan=False)
    assert all(not one.is_known or 0 <= one.p_value <= 1 for one in result.effects)


@pytest.mark.parametrize(("changed", "why"), REFUSED.values(), ids=REFUSED)
def test_unusable_columns_are_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        ab({**FRAME, **changed}, metrics=STATISTICS)


@pytest.mark.parametrize("index", ["int8", "uint8", "uint16", "uint32", "uint64"])
def test_categories_with_any_index_and_without_a_label_count_as_plain_labels(index: str) -> None:
    lacking = SESSION % 10 == 0
    plain = ab({**FRAME, "variant": np.where(lacking, "", VARIANT)}, metrics=STATISTICS)
    codes = np.where(lacking, 2, VARIANT == "B")
    for labels in (["A", "B", ""], ["A", "B", None]):
        frame = pa.table({**FRAME, "variant": dictionary(codes, labels, index)})
        assert ab(frame, metrics=STATISTICS).to_plain() == plain.to_plain()
    nulls = pa.array(codes, mask=lacking).cast(index)
    frame = pa.table({**FRAME, "variant": pa.DictionaryArray.from_arrays(nulls, pa.array(["A", "B"]))})
    assert ab(frame, metrics=STATISTICS).to_plain() == plain.to_plain()


def test_a_category_that_is_listed_twice_is_one() -> None:
    twice = dictionary((VARIANT == "B") + 2 * (SESSION % 2 == 0), ["A", "B", "A", "B"], "uint8")
    assert ab(pa.table({**FRAME, "variant": twice})).to_plain() == ab(FRAME).to_plain()


def test_polars_categories_with_nulls_can_be_checked() -> None:
    frame = pl.DataFrame(FRAME).with_columns(
        pl.when(pl.col("session") > 2).then(pl.col("session").cast(pl.String)).cast(pl.Categorical)
    )
    assert ab_self_check(frame, metrics={"latency_ns": ["mean"]}, runs=5).n == 77


@pytest.mark.parametrize(
    "frame", [[1, 2], None, "rows", pa.Table.from_arrays([pa.array([1])] * 2, ["session", "session"])]
)
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(InputError, match="frame"):
        ab(frame)


@pytest.mark.parametrize(
    "argument",
    [
        {"alpha": "x"},
        {"alpha": 2},
        {"minimum": float("nan")},
        {"margin": "x"},
        {"metrics": 3},
        {"segments": 5},
        {"segments": "kind"},
        {"directions": 5},
    ],
)
def test_arguments_of_another_type_are_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"must (be|name|say)"):
        ab(FRAME, **argument)


@pytest.mark.parametrize("seed", ["x", -1, None])
def test_a_seed_that_is_no_number_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number"):
        ab_self_check(FRAME, runs=2, seed=seed)
