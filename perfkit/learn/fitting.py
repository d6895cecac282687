"""From observations to cost curves: `perfkit.fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfkit.config.curves import CostCurve, CurveSet, Evidence, IntervalPoint
from perfkit.engine.ranges import TOLERANCE
from perfkit.errors import FitError, InputError
from perfkit.learn.cells import Cells, codec_entries, collect_cells, setup_cells
from perfkit.learn.frames import Observations, read_cold_observations, read_observations, to_table
from perfkit.learn.pieces import PieceFit, fit_pieces
from perfkit.learn.result import Fit, SampleCell
from perfkit.learn.uncertainty import Noise, Spread, curve_spread, intervals, measure_noise
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.tables import plural

__all__ = ["fit"]

_FEWEST_LAUNCHES = 3
_FEWEST_ROUNDS = 3
_FEWEST_SIZES = 4


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """One curve on its way: evidence, medians, pieces, spread."""

    cells: Cells
    noise: Noise
    pieces: PieceFit
    spread: Spread


def fit(
    frame: Any,
    *,
    fingerprint: Mapping[str, str] | None = None,
    table_versions: Mapping[str, int] | None = None,
    simplicity_order: Sequence[str] = SIMPLICITY_ORDER,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Fit cost curves to observations, and learn from them where each method wins.

    Every stage, method, signalling, placement, load and codec gets a curve of few straight, nondecreasing pieces
    through its median latency (and processor time, resident and copied bytes where they were measured), with a 95 %
    interval from a bootstrap over launches and rounds. Only warm, successful, untouched transfers count; what cold ones
    take longer than the curve of the warm ones says is their setup, and gets a curve, too.

    Args:
        frame: a dictionary of arrays, an Arrow table, a pandas or polars frame, an Ibis table, or a result of
            `perfkit.bench`. ``method``, ``payload_bytes`` and ``latency_ns`` are required; ``signalling``, ``launch``
            and ``round`` are wanted; any other column has the default of `perfkit.schema.TRANSFER_COLUMNS`.
        fingerprint: the host that was measured; by default that of a `perfkit.bench` result.
        table_versions: versions of the tables that the frame was read from.
        simplicity_order: methods from simple to complicated: among indistinguishable methods the first is taken.
        tolerance: largest expected loss for which a simpler method is taken, 0 to 1.

    Returns:
        A `Fit`: `choose`, `predict`, `table`, `crossovers`, `curves`, `warnings`.

    Raises:
        FitError: the frame lacks a column or holds impossible figures, or no transfer was measured.
        InputError: the tolerance is outside 0 to 1.

    >>> sizes = [1024, 65536, 4194304, 268435456] * 9
    >>> rows = [(m, s, i // 12, i // 4 % 3, f + b * s) for m, f, b in (("uds", 1e4, 0.3), ("shm_pool", 4e4, 0.1))
    ...         for i, s in enumerate(sizes)]
    >>> columns = dict(zip(("method", "payload_bytes", "launch", "round", "latency_ns"), zip(*rows)))
    >>> learned = fit(columns)
    >>> learned.choose("1KiB"), learned.choose("1GiB")
    ('uds', 'shm_pool')
    >>> round(learned.predict("uds", 1_000_000).value)
    310000
    """
    if not 0 <= tolerance <= 1:
        raise InputError(f"tolerance == {tolerance!r}, must be a share between 0 and 1")
    table = to_table(frame)
    observations = read_observations(table)
    fitted = [_fit_curve(cells) for cells in collect_cells(observations)]
    fitted += _setup(read_cold_observations(table), fitted)
    if not any(one.cells.key.stage == "transport" for one in fitted):
        raise FitError("no transfer of stage 'transport' was measured; run `perfkit bench`, or set the column stage")
    curves = {
        one.cells.key: _curve(one, points) for one, points in zip(fitted, _intervals_of_comparable(fitted), strict=True)
    }
    if fingerprint is None:
        fingerprint = getattr(frame, "fingerprint", {}) if hasattr(frame, "observations") else {}
    evidence = _evidence(observations, fitted, table_versions or {})
    return Fit(
        CurveSet(curves, codec_entries(observations), dict(fingerprint), evidence),
        tuple(row for one in fitted for row in _sample_cells(one, curves[one.cells.key])),
        tuple(simplicity_order),
        tolerance,
    )


def _fit_curve(cells: Cells) -> _Fitted:
    noise = measure_noise(cells)
    pieces = fit_pieces(cells.sizes, noise.log_medians, noise.standard_deviations)
    return _Fitted(cells, noise, pieces, curve_spread(pieces, noise))


def _setup(cold: Observations | None, warm: Sequence[_Fitted]) -> list[_Fitted]:
    """What cold transfers take longer, by the curve of the warm ones that have all else in common."""
    if cold is None:
        return []
    by_key = {one.cells.key: one.pieces for one in warm}
    return [
        _fit_curve(setup_cells(cells, by_key[cells.key].at(cells.sizes)))
        for cells in collect_cells(cold, ("transport",), ("latency_ns",))
        if cells.key in by_key
    ]


def _intervals_of_comparable(fitted: Sequence[_Fitted]) -> list[tuple[IntervalPoint, ...]]:
    """Intervals in the order of the curves; transports are compared with transports, codecs with codecs."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, one in enumerate(fitted):
        groups.setdefault((one.cells.key.quantity, one.cells.key.stage == "transport"), []).append(index)
    by_index: dict[int, tuple[IntervalPoint, ...]] = {}
    for members in groups.values():
        by_index.update(zip(members, intervals([fitted[index].spread for index in members]), strict=True))
    return [by_index[index] for index in range(len(fitted))]


def _curve(one: _Fitted, points: tuple[IntervalPoint, ...]) -> CostCurve:
    sizes = one.cells.sizes
    return CostCurve(one.pieces.pieces(), points, float(sizes[0]), float(sizes[-1]), one.cells.n, one.cells.launches)


def _sample_cells(one: _Fitted, curve: CostCurve) -> list[SampleCell]:
    key = one.cells.key
    codec = f"{key.kind}/{key.format}/{key.compression}"
    rows = []
    for index, size in enumerate(one.cells.sizes.tolist()):
        by_launch = np.exp(one.noise.by_launch[:, index])
        low, high = curve.interval(max(size, 1.0))
        row = SampleCell(
            key.stage,
            key.method,
            key.signalling,
            key.placement,
            key.in_flight,
            codec,
            key.quantity,
            payload_bytes=size,
            median=float(np.exp(one.noise.log_medians[index])),
            lowest_launch=float(np.nanmin(by_launch)),
            highest_launch=float(np.nanmax(by_launch)),
            predicted=curve.at(size),
            low=low,
            high=high,
            n=one.cells.n_by_size[index],
        )
        rows.append(row)
    return rows


def _evidence(observations: Observations, fitted: Sequence[_Fitted], table_versions: Mapping[str, int]) -> Evidence:
    names = observations.names["run_id"]
    return Evidence(
        runs=tuple(names[code] for code in np.unique(observations.codes["run_id"]) if names[code]),
        observations=len(observations),
        launches=max(one.cells.launches for one in fitted),
        rounds=max(one.noise.rounds for one in fitted),
        first_observed_at=observations.first_observed_at,
        last_observed_at=observations.last_observed_at,
        table_versions=dict(table_versions),
        warnings=_warnings(fitted),
    )


def _warnings(fitted: Sequence[_Fitted]) -> tuple[str, ...]:
    transports = [one for one in fitted if (one.cells.key.stage, one.cells.key.quantity) == ("transport", "latency_ns")]
    usual_load = min(
        one.cells.key.in_flight for one in transports
    )  # heavier loads are measured at few sizes on purpose
    transports = [one for one in transports if one.cells.key.in_flight == usual_load]
    methods = sorted({one.cells.key.method for one in transports})
    warnings = []
    launches = min(one.cells.launches for one in transports)
    if launches < _FEWEST_LAUNCHES:
        assumed = "taken to differ by 10 %" if launches == 1 else "hardly known to differ"
        warnings.append(
            f"thin evidence: {plural(launches, 'launch', ['launches'])}, so launches are {assumed} and intervals are "
            f"wide; measure at least {_FEWEST_LAUNCHES} launches (`perfkit bench`)"
        )
    rounds = min(one.noise.rounds for one in transports)
    if rounds < _FEWEST_ROUNDS:
        warnings.append(
            f"thin evidence: {plural(rounds, 'round')} in a launch; measure at least {_FEWEST_ROUNDS} "
            "(`perfkit bench` with a larger budget)"
        )
    few = sorted({one.cells.key.method for one in transports if one.cells.sizes.size < _FEWEST_SIZES})
    if few:
        warnings.append(
            f"thin evidence: {', '.join(few)} at fewer than {_FEWEST_SIZES} sizes; costs between and beyond them are "
            "guesses, measure more sizes (`perfkit bench`)"
        )
    if len(methods) == 1:
        warnings.append(f"only {methods[0]} was measured, so there is nothing to choose between; measure other methods")
    return tuple(warnings)
