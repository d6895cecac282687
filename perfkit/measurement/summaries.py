"""Observations reduced: the median of every round, and of every scenario with its interval."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perfkit.stats.hierarchical import Estimate, median_of_launches

__all__ = ["RoundMedians", "Summary", "round_medians", "summarise"]

RoundMedians = dict[int, dict[int, float]]
"""launch -> round -> median latency in nanoseconds"""

_DESCRIBING = (
    "scenario",
    "stage",
    "method",
    "signalling",
    "placement",
    "touched",
    "temperature",
    "in_flight",
    "payload_bytes",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """One scenario of a run: what it was, and its median latency in nanoseconds."""

    scenario: str
    stage: str
    method: str
    signalling: str
    placement: str
    touched: bool
    temperature: str
    in_flight: int
    payload_bytes: int
    latency_ns: Estimate


def round_medians(observations: pa.Table) -> dict[str, RoundMedians]:
    """Median latency of every round, by scenario name, launch and round."""
    cells = _cells(observations, ("scenario",))
    medians: dict[str, RoundMedians] = {}
    for cell in cells:
        medians.setdefault(cell["scenario"], {}).setdefault(cell["launch"], {})[cell["round"]] = cell["median_ns"]
    return medians


def summarise(observations: pa.Table) -> tuple[Summary, ...]:
    """Median with interval of every scenario, by name."""
    medians = round_medians(observations)
    described = {cell["scenario"]: cell for cell in _cells(observations, _DESCRIBING)}
    return tuple(
        Summary(
            **{name: described[scenario][name] for name in _DESCRIBING},
            latency_ns=median_of_launches([list(rounds.values()) for rounds in launches.values()]),
        )
        for scenario, launches in sorted(medians.items())
    )


def _cells(observations: pa.Table, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    succeeded = observations.filter(pc.field("ok"))
    # Exact for the batches of a few sends that a round has: the sketch holds a hundred values before it merges any.
    cells = succeeded.group_by([*keys, "launch", "round"]).aggregate([("latency_ns", "approximate_median")])
    return list(cells.rename_columns([*keys, "launch", "round", "median_ns"]).to_pylist())
