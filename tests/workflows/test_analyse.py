"""An analysis finds what was put into the rows, says so where there is too little, and mixes nothing."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from perfkit.cli.output import to_json
from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.lake import open_lake
from perfkit.lake.records import RunRecord
from perfkit.workflows.analyse import AnalysisProgress, analyse
from perfkit.workflows.analyse_rows import DIMENSIONS

COSTS = {"uds": (20_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (400_000, 2.0)}
SIZES = tuple(1024 * 4**power for power in range(8))
NOISE = 0.2
NOW = datetime.datetime(2026, 1, 5, 9, tzinfo=datetime.UTC)


def transfers(
    costs: dict[str, tuple[float, float]] = COSTS,
    *,
    launches: int = 4,
    rounds: int = 4,
    sends: int = 25,
    sizes: tuple[int, ...] = SIZES,
    noise: float = NOISE,
    seed: int = 1,
    **columns: Any,
) -> pl.DataFrame:
    """Rows whose latency is ``fixed + per_byte * bytes``, with a lognormal factor of its own for each send."""
    fixed, per_byte = (pl.Series([float(cost[part]) for cost in costs.values()]) for part in (0, 1))
    frame = pl.DataFrame({"method": list(costs), "fixed": fixed, "per_byte": per_byte})
    for name, values in (
        ("payload_bytes", sizes),
        ("launch", range(launches)),
        ("round", range(rounds)),
        ("sequence", range(sends)),
    ):
        frame = frame.join(pl.DataFrame({name: list(values)}), how="cross")
    factors = np.random.default_rng(seed).lognormal(0, noise, frame.height)
    typical = pl.col("fixed") + pl.col("per_byte") * pl.col("payload_bytes")
    started = pl.lit(NOW) + pl.duration(seconds=pl.col("launch") * 100 + pl.col("round"))
    return (
        frame.with_columns(
            latency_ns=(typical * pl.Series(factors)).cast(pl.Int64), observed_at=started.dt.cast_time_unit("us")
        )
        .drop("fixed", "per_byte")
        .with_columns(**{name: pl.lit(value) for name, value in columns.items()})
    )


def codec_stages(encode_ns: float, decode_ns: float, **columns: Any) -> pl.DataFrame:
    stages = {"encode": (encode_ns, 0.0), "decode": (decode_ns, 0.0)}
    names = {"kind": "tensor", "format": "numpy", "compression": "lz4", **columns}
    frame = transfers(stages, sends=3, noise=0.01, **names, wire_bytes=1)
    return frame.rename({"method": "stage"}).with_columns(method=pl.lit(""), wire_bytes=pl.col("payload_bytes"))


def controls(factors: Any, launches: int = 4) -> pl.DataFrame:
    """A control copy of each round that takes 50 us times the round's factor."""
    frame = transfers({"control_copy": (50_000, 0)}, launches=launches, rounds=len(factors), sends=5, sizes=(2**20,))
    factor = pl.col("round").replace_strict(list(range(len(factors))), list(factors))
    return frame.with_columns(stage=pl.lit("control"), latency_ns=(50_000 * factor).cast(pl.Int64))


def joined(*frames: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(frames, how="diagonal")


def test_percentiles_are_those_of_the_rows_with_intervals_over_launches() -> None:
    frame = transfers({"uds": (20_000, 0.0)}, sends=200)
    (found,) = analyse(frame).percentiles
    assert found.group == {"method": "uds"}
    by_launch = frame.group_by("launch").agg(pl.col("latency_ns").median())["latency_ns"].to_numpy()
    assert found.latency_ns[0].value == pytest.approx(stats.gmean(by_launch), rel=1e-6)
    assert found.latency_ns[0].method == "over clusters"
    assert [one.groups for one in found.latency_ns] == [4, 4, 4, 4]
    for one in found.latency_ns[1:]:
        assert one.value == pytest.approx(20_000 * math.exp(NOISE * stats.norm.ppf(one.q)), rel=0.05)


def test_tails_do_not_depend_on_the_mixture_of_sizes() -> None:
    (found,) = analyse(transfers({"grpc": (400_000, 2.0)}, sends=60)).percentiles
    assert found.latency_ns[1].value > 20 * found.latency_ns[0].value  # the largest payloads
    expected = math.exp(NOISE * stats.norm.ppf(0.95))
    assert found.tail[0].low * 0.99 <= expected <= found.tail[0].high * 1.01


def test_no_tail_is_shorter_than_the_median_whatever_two_launches_make_of_its_interval() -> None:
    calm, busy = transfers({"uds": (20_000, 0.0)}, launches=2, sends=60).partition_by("launch")
    restless = busy.with_columns(pl.col("latency_ns") * (1 + 40 * (pl.int_range(pl.len()) % 9 == 0)))
    analysis = analyse(joined(calm, restless))
    tail = analysis.percentiles[0].tail[0]
    assert (tail.enough, tail.low) == (True, 1.0)
    assert "(vague)" in str(analysis.tail_table())


@pytest.mark.parametrize(
    ("dimension", "value"),
    [("in_flight", 16), ("placement", "in_place"), ("temperature", "cold"), ("touched", True), ("signalling", "grpc")],
)
def test_a_setting_is_mixed_with_another_only_when_it_is_asked_for(dimension: str, value: Any) -> None:
    plain = transfers({"shm_pool": (40_000, 0.1)})
    other = transfers({"shm_pool": (9_000_000, 0.1)}, **{dimension: value})
    assert analyse(joined(plain, other)).percentiles == analyse(plain).percentiles
    groups = [one.group[dimension] for one in analyse(joined(plain, other), by=(dimension,)).percentiles]
    assert len(groups) == 2
    assert value in groups


def test_codecs_are_apart_from_raw_bytes() -> None:
    plain = transfers({"uds": (20_000, 0.1)})
    other = transfers({"uds": (9_000_000, 0.1)}, stage="whole", kind="tensor", format="numpy", compression="lz4")
    analysis = analyse(joined(plain, other))
    assert analysis.percentiles == analyse(plain).percentiles
    codecs = {cell.group["compression"] for cell in analysis.profiles["codec"].cells}
    assert codecs == {"none", "lz4"}
    assert {cell.group["method"] for cell in analysis.profiles["size"].cells} == {"uds"}


def test_traffic_of_services_is_taken_as_it_is() -> None:
    traffic = [transfers({"uds": (20_000, 0.1)}, source="service", in_flight=count, kind="text") for count in (1, 4)]
    analysis = analyse(joined(*traffic))
    assert analysis.percentiles[0].n == sum(frame.height for frame in traffic)
    assert analysis.stage_shares == analysis.dominance == ()
    assert any("need a sweep" in warning for warning in analysis.warnings)


def test_replies_are_shown_where_their_direction_is_asked_for() -> None:
    requests, replies = (
        transfers({"uds": (20_000, 0.1)}, source="service", direction=direction) for direction in ("request", "reply")
    )
    traffic = joined(requests, replies)
    assert analyse(traffic).percentiles[0].n == requests.height
    groups = {one.group["direction"]: one.n for one in analyse(traffic, by=("direction",)).percentiles}
    assert groups == {"request": requests.height, "reply": replies.height}


def test_too_few_rows_are_said_to_be_too_few() -> None:
    analysis = analyse(transfers(sizes=SIZES[:1]))
    quantile = analysis.percentiles[0].latency_ns[-1]
    assert (quantile.name, quantile.enough) == ("p99.9", False)
    assert "too few" in str(analysis.to_table())
    assert "4,000 rows for p99.9" in str(analysis.to_table())
    assert analysis.to_plain()["percentiles"][0]["latency_ns"]["p99.9"]["value"] is None


def test_the_fixed_cost_dominates_up_to_where_the_bytes_cost_as_much() -> None:
    found = {one.method: one for one in analyse(transfers()).dominance}
    for method, (fixed, per_byte) in COSTS.items():
        one = found[method]
        assert one.even_low <= fixed / per_byte <= one.even_high
        assert one.fixed_low_ns <= fixed <= one.fixed_high_ns
        assert one.shares[0] > one.shares[-1]
        assert one.shares[0] == pytest.approx(fixed / (fixed + per_byte * one.sizes[0]), rel=0.05)


def test_a_method_whose_bytes_cost_nothing_never_comes_to_the_even_size() -> None:
    (found,) = analyse(transfers({"shm_pool": (40_000, 0.0)})).dominance
    assert found.even_bytes > 10 * found.sizes[-1]
    json.dumps(found.to_plain(), allow_nan=False)


def test_stages_add_up_and_the_share_of_the_codec_is_within_its_interval() -> None:
    frame = joined(transfers({"uds": (100_000, 0.0)}, noise=0.02), codec_stages(60_000, 40_000))
    (found,) = [one for one in analyse(frame).stages_at() if one.compression == "lz4"]
    assert found.payload_bytes == 2**20
    assert found.encode_ns + found.transport_ns + found.decode_ns == pytest.approx(found.total_ns)
    assert found.total_ns == pytest.approx(200_000, rel=0.05)
    assert found.codec_share == pytest.approx(0.5, abs=0.03)
    assert found.codec_low <= 0.5 <= found.codec_high
    assert found.codec == "tensor as numpy, lz4"


def test_size_goes_with_latency_and_what_is_held_equal_is_no_finding() -> None:
    """Sixteen in flight only for large payloads, and no slower for it: the sweep's design is not the load's effect."""
    small, large = transfers(sizes=SIZES[:4]), transfers(sizes=SIZES[4:])
    loaded = transfers(sizes=SIZES[4:], in_flight=16, seed=2)
    found = {(one.method, one.factor): one.correlation for one in analyse(joined(small, large, loaded)).relations}
    for method in COSTS:
        assert found[method, "payload_bytes"].low > 0.3
        assert abs(found[method, "in_flight"].value) < 0.3
        assert not found[method, "observed_at"].low > 0.2


def test_what_follows_the_control_is_found() -> None:
    factors = np.random.default_rng(3).lognormal(0, 0.5, 12)
    following = transfers({"uds": (20_000, 0.1)}, rounds=12, sends=5)
    factor = pl.col("round").replace_strict(list(range(12)), list(factors))
    following = following.with_columns(latency_ns=(pl.col("latency_ns") * factor).cast(pl.Int64))
    free = transfers({"grpc": (20_000, 0.1)}, rounds=12, sends=5)
    found = {
        one.method: one
        for one in analyse(joined(following, free, controls(factors))).relations
        if one.factor == "control_ns"
    }
    assert found["uds"].correlation.low > 0.5
    assert abs(found["grpc"].correlation.value) < 0.3


def test_failed_transfers_are_counted_and_left_out() -> None:
    plain = transfers()
    failed = plain.head(50).with_columns(ok=pl.lit(False), error=pl.lit("PeerLostError"), latency_ns=pl.lit(10**12))
    analysis = analyse(joined(plain.with_columns(ok=pl.lit(True)), failed))
    assert analysis.percentiles == analyse(plain).percentiles
    assert analysis.quality.failures == {"PeerLostError": 50}
    assert any("PeerLostError 50" in warning for warning in analysis.warnings)


def test_a_noisy_or_changing_machine_is_told() -> None:
    steady = analyse(joined(transfers(), controls([1.0] * 12))).quality
    assert (steady.rounds, steady.noisy_rounds, steady.warnings) == (48, 0, ())
    noisy = analyse(joined(transfers(), controls([1.0, 1.0, 3.0] * 4))).quality
    assert noisy.noisy_rounds == 16
    assert any("noisy" in warning for warning in noisy.warnings)
    slower = controls([1.0, 1.01, 0.99]).with_columns(
        latency_ns=(pl.col("latency_ns") * (1 + pl.col("launch"))).cast(pl.Int64)
    )
    drifted = analyse(joined(transfers(), slower)).quality
    assert drifted.control_drift is not None
    assert drifted.control_drift.low > 1.5
    assert any("changed meanwhile" in warning for warning in drifted.warnings)


def test_few_launches_are_told() -> None:
    assert any("1 launch" in warning for warning in analyse(transfers(launches=1)).warnings)


def test_rows_alone_without_a_transfer_give_an_empty_analysis() -> None:
    analysis = analyse(codec_stages(60_000, 40_000))
    assert analysis.percentiles == ()
    assert "unknown" in str(analysis)


def test_every_table_fits_a_terminal_and_a_page() -> None:
    frame = joined(transfers(), codec_stages(60_000, 40_000), controls([1.0, 1.1, 0.9]))
    analysis = analyse(frame)
    assert max(map(len, str(analysis).splitlines())) <= 80
    assert analysis._repr_html_().count("<table>") == len(analysis.tables())
    assert all(method.replace("_", " ") in str(analysis) for method in COSTS)
    json.loads(to_json(analysis.to_plain()))


def test_many_groups_are_shortened_in_print_and_whole_in_the_result() -> None:
    analysis = analyse(transfers(sizes=tuple(2**power for power in range(1, 21)), sends=4), by=("size_class", "method"))
    assert len(analysis.percentiles) == 60
    assert "20 more groups" in str(analysis.to_table())


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_can_be_asked_for(dimension: str) -> None:
    assert all(dimension in one.group for one in analyse(transfers(sends=5), by=("method", dimension)).percentiles)


def test_progress_is_told_part_by_part() -> None:
    seen: list[AnalysisProgress] = []
    analyse(transfers(sends=3), progress=seen.append)
    assert [one.done for one in seen] == list(range(5))
    assert {one.total for one in seen} == {5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": ("metod",)}, "Did you mean 'method'"),
        ({"stage": ("transfer",)}, "unknown stage"),
        ({"run": "r", "since": "24h"}, "must be one of them"),
        ({"run": "r"}, "select from a lake"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyse(transfers(sends=1), **arguments)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"method": ["uds"], "payload_bytes": [1]}, "lacks latency_ns"),
        ({"method": ["uds"], "payload_bytes": ["large"], "latency_ns": [1]}, "does not fit"),
        ({"method": [], "payload_bytes": [], "latency_ns": []}, "no rows"),
        (3.5, "cannot be read as a frame"),
    ],
)
def test_a_frame_that_cannot_be_used_is_refused(frame: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyse(frame)


# --- from a lake -----------------------------------------------------------------------------------------------------


def keep(path: Path, run_id: str, status: str, frame: pl.DataFrame, source: str = "bench") -> None:
    lake = open_lake(path)
    named = frame.with_columns(run_id=pl.lit(run_id), source=pl.lit(source))
    lake.append_transfers(named.to_arrow())
    if run_id:
        lake.append_run(
            RunRecord(
                run_id=run_id,
                status=status,
                preset="quick",
                parameters="{}",
                fingerprint="{}",
                git_revision="",
                seconds=1.0,
                launches=4,
                rounds=4,
                observations=frame.height,
                warnings="[]",
            )
        )


@pytest.fixture(scope="module")
def lake_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and one that is under way, a replay, and traffic of the last hour."""
    path = tmp_path_factory.mktemp("analyse") / "lake"
    keep(path, "run-a", "complete", transfers({"uds": (20_000, 0.1)}, sends=4))
    keep(path, "run-b", "budget", transfers({"uds": (80_000, 0.1)}, sends=4))
    keep(path, "run-c", "running", transfers({"uds": (20_000, 0.1)}, sends=4))
    recent = pl.lit(datetime.datetime.now(datetime.UTC)).dt.cast_time_unit("us")
    traffic = transfers({"grpc": (20_000, 0.1)}, sends=4).with_columns(observed_at=recent)
    keep(path, "", "", traffic, "service")
    keep(path, "run-d", "running", traffic.with_columns(method=pl.lit("shm")), "replay")
    return path


def test_the_newest_finished_run_is_taken_or_the_one_that_is_named(lake_path: Path) -> None:
    assert analyse(lake_path).subject == "run run-b"
    assert analyse(open_lake(lake_path), run="run-a").subject == "run run-a"
    assert (
        analyse(lake_path, run="run-a").percentiles == analyse(transfers({"uds": (20_000, 0.1)}, sends=4)).percentiles
    )


def test_a_period_holds_what_was_recorded_in_it_but_no_replay(lake_path: Path) -> None:
    recent = analyse(lake_path, since="1h")
    assert [one.group["method"] for one in recent.percentiles] == ["grpc"]
    everything = analyse(lake_path, since=NOW - datetime.timedelta(days=400))
    assert [one.group["method"] for one in everything.percentiles] == ["grpc", "uds"]


def test_what_the_lake_does_not_have_is_refused(lake_path: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="run-a"):
        analyse(lake_path, run="run-z")
    with pytest.raises(InputError, match="no time zone"):
        analyse(lake_path, since=datetime.datetime(2026, 1, 1))
    with pytest.raises(LakeError, match="no transfers"):
        analyse(lake_path, since="1ns")
    with pytest.raises(LakeError, match="no transfers"):
        analyse(tmp_path / "empty")


def test_services_alone_are_analysed_where_nothing_was_measured(tmp_path: Path) -> None:
    keep(tmp_path / "lake", "", "", transfers({"grpc": (20_000, 0.1)}, sends=4), "service")
    analysis = analyse(tmp_path / "lake")
    assert analysis.subject == "what services recorded"
    assert analysis.percentiles[0].n > 0


def test_an_analysis_is_the_same_at_the_versions_that_it_was_made_from(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    keep(path, "run-a", "complete", transfers({"uds": (20_000, 0.1)}, sends=4))
    versions = open_lake(path).versions()
    first = analyse(path)
    keep(path, "run-a", "complete", transfers({"uds": (90_000, 0.1)}, sends=4))
    assert analyse(open_lake(path, versions=versions)) == first
    assert analyse(path) != first
