"""Predicted against measured medians on this machine: `python benchmarks/predictions.py --json`.

Method. Three runs of `perfkit bench`'s own measuring: A to learn from (preset `quick`), B to be predicted, and C, which
measures once more what B measured. Each consists of `--launches` launches of `--launch-s` seconds, every one a fresh
pair of processes. The runs take turns, launch by launch, each going first equally often: whatever the machine does in
the meantime, no run is nearer to B in time than another. B and C hold every method, signalling and placement at A's
sizes and between them, one and four in flight, and whole transfers of codecs drawn anew.

A cell is a method, signalling, placement, load, codec and size; it is measured by the median of its warm transfers in
all launches of a run. `model` is what `perfkit.train` learned from A (its champion, which may be the curves), `curves`
are those of `perfkit.fit` on A alone, `second_run` is C; each is compared with B. `within_15` is the share of cells
within 15 % of B, with a 95 % interval from 4000 bootstrap draws of whole methods (method, signalling, placement, load
and stage), whose cells share their errors. `model_less_second_run` is the difference on the same cells, and `as_often`
says whether the model is as often within 15 %, as far as these cells can tell: the difference is not surely below 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

import perfkit
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.learn.models import rows_of
from perfkit.learn.models.baseline import composed_cost
from perfkit.measurement.presets import make_sweep
from perfkit.measurement.scenarios import CodecChoice, Sweep, crossed_cells, transports
from perfkit.measurement.sweep import run_sweep
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.tables import ResultTable
from perfkit.transfer.platform import capabilities

Floats = npt.NDArray[np.float64]

KIB = 2**10
MARGIN = 0.15
FEWEST_TRANSFERS = 10
DRAWS = 4000
SEEN = tuple(KIB * 4**power for power in range(8))
BETWEEN = tuple(round(KIB * 4 ** (power + 0.5)) for power in range(7))
CODECS = (
    CodecChoice("tensor", "numpy"),
    CodecChoice("dataframe", "arrow", "lz4"),
    CodecChoice("binary", "raw", "zstd"),
)
CONDITIONS = ("method", "signalling", "placement", "in_flight", "kind", "format", "compression")
CELL = ("stage", *CONDITIONS, "payload_bytes")
CLUSTER = ("stage", "method", "signalling", "placement", "in_flight")


def to_predict() -> Sweep:
    """What B and C measure."""
    lacking = {name for name, capability in capabilities().items() if not capability.available}
    methods = [name for name in SIMPLICITY_ORDER if name not in lacking]
    scheduled = [
        *transports(methods, (*SEEN[::2], *BETWEEN)),
        *transports(methods, BETWEEN[1:6:2], in_flight=4, every_rounds=2),
        *crossed_cells(methods, CODECS, BETWEEN[1:6], share=0.3, seed=2),
    ]
    return Sweep("predictions", tuple(scheduled))


def measure(launches: int, launch_s: float) -> dict[str, pa.Table]:
    """The runs A, B and C, in turns."""
    sweeps = {"A": make_sweep("quick", sizes=SEEN), "B": to_predict(), "C": to_predict()}
    found: dict[str, list[pa.Table]] = {name: [] for name in sweeps}
    began = time.monotonic()
    for number in range(launches):
        order = [*sweeps][number % 3 :] + [*sweeps][: number % 3]
        for name in order:
            # Rounds are shuffled by the seed: B and C measure the same in different order.
            seed = 3 * number + ord(name)
            sweep = dataclasses.replace(sweeps[name], launches=1, budget_s=launch_s, seed=seed, probed_stages=())
            found[name].append(run_sweep(sweep, name, first_launch=number).observations)
        print(f"launch {number + 1} of {launches}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return {name: pa.concat_tables(tables) for name, tables in found.items()}


def medians(observations: pa.Table) -> pl.DataFrame:
    """Median latency of every cell."""
    frame = pl.from_arrow(observations)
    assert isinstance(frame, pl.DataFrame)
    is_usual = (pl.col("temperature") == "warm") & pl.col("ok") & ~pl.col("touched")
    return (
        frame.filter(is_usual & pl.col("stage").is_in(["transport", "whole"]))
        .group_by(CELL)
        .agg(pl.col("latency_ns").median().alias("median_ns"), pl.len().alias("n"))
        .filter(pl.col("n") >= FEWEST_TRANSFERS)
    )


def judge(runs: dict[str, pa.Table], seed: int) -> dict[str, Any]:
    """Train on A, predict B, and compare with C."""
    began = time.perf_counter()
    model = perfkit.train(runs["A"], seed=seed)
    train_seconds = time.perf_counter() - began
    cells = medians(runs["B"]).join(medians(runs["C"]), on=CELL, suffix="_again").sort(CELL)
    rows = rows_of(
        cells["payload_bytes"].to_numpy(),
        **{name: cells[name].to_numpy() if name == "in_flight" else cells[name].to_list() for name in CONDITIONS},
        source="bench",
    )
    measured = cells["median_ns"].to_numpy()
    answers = {
        "model": np.exp(model.predict_rows(rows).log_median),
        "curves": composed_cost(perfkit.fit(runs["A"]).curves, "latency_ns", rows),
        "second_run": cells["median_ns_again"].to_numpy(),
    }
    errors = {name: np.abs(answer / measured - 1) for name, answer in answers.items()}
    _, cluster = np.unique(cells.select(pl.concat_str(CLUSTER, separator="/")).to_series(), return_inverse=True)
    unseen = ~np.isin(cells["payload_bytes"].to_numpy(), SEEN)
    hits = {name: (error <= MARGIN).astype(float) for name, error in errors.items()}
    less = interval(hits["model"] - hits["second_run"], cluster)
    return {
        "cells": len(cells),
        "methods": int(cluster.max()) + 1,
        "transfers": {name: table.num_rows for name, table in runs.items()},
        "champion": model.targets["latency_ns"].champion,
        "train_seconds": train_seconds,
        "within_15": {name: interval(hit, cluster) for name, hit in hits.items()},
        "within_15_unseen_sizes": {name: interval(hit[unseen], cluster[unseen]) for name, hit in hits.items()},
        "median_error": {name: float(np.median(error)) for name, error in errors.items()},
        "model_less_second_run": less,
        "as_often": less["high"] >= 0,
    }


def interval(values: Floats, cluster: npt.NDArray[np.integer]) -> dict[str, float]:
    """Mean with the 95 % interval of a bootstrap over clusters."""
    _, cluster = np.unique(cluster, return_inverse=True)
    sums, counts = np.bincount(cluster, values), np.bincount(cluster)
    drawn = np.random.default_rng(0).integers(0, counts.size, (DRAWS, counts.size))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "n": int(values.size)}


def to_table(figures: dict[str, Any]) -> ResultTable:
    """The shares, for people."""
    rows = []
    for name, one in figures["within_15"].items():
        unseen = figures["within_15_unseen_sizes"][name]
        shares = [f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})" for share in (one, unseen)]
        rows.append((name.replace("_", " "), *shares, f"{figures['median_error'][name]:.1%}"))
    columns = ("against run B", f"within 15 %, {figures['cells']} cells", "sizes not in A", "median error")
    less = figures["model_less_second_run"]
    notes = (
        f"Model less second run: {less['value']:+.1%} ({less['low']:+.1%} to {less['high']:+.1%}): "
        f"{'as often' if figures['as_often'] else 'less often'}.",
    )
    return ResultTable("Predicted against measured medians", columns, tuple(rows), notes, align_right=(1, 2, 3))


def main() -> None:
    """Measure, predict, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=6, help="of each run")
    parser.add_argument("--launch-s", type=float, default=8.0)
    parser.add_argument("--quick", action="store_true", help="two launches of 3 s: does it run?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    launches, launch_s = (2, 3.0) if given.quick else (given.launches, given.launch_s)
    began = time.monotonic()
    figures = judge(measure(launches, launch_s), given.seed)
    if given.json:
        settings = {"launches": launches, "launch_s": launch_s, "seconds": time.monotonic() - began}
        print(json.dumps({**figures, **settings, "fingerprint": dict(collect_fingerprint())}))
    else:
        print(to_table(figures).to_text())


if __name__ == "__main__":
    main()
