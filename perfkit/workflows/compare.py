"""Compare two runs: per scenario and overall, over launches, with controls that tell the machine from the method."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.config.fingerprint import FINGERPRINT_KEYS, UNKNOWN
from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.comparison import Changes, common_levels, compare_launches
from perfkit.tables import plural
from perfkit.workflows.comparison import QUANTITIES, Comparison, Difference, ScenarioChange
from perfkit.workflows.run_sides import Levels, Run, Side, common_scenarios, read_side

__all__ = ["Run", "compare", "compare_sides"]

Floats = npt.NDArray[np.float64]

_FEW_LAUNCHES = 3


def compare(
    run_a: Run,
    run_b: Run,
    *,
    lake: str | Path = "data/lake",
    quantity: str = "latency",
    margin: float = 0.05,
    alpha: float = 0.05,
) -> Comparison:
    """Compare run B with run A, scenario by scenario and over all.

    The launches are the independent units: each counts with the smooth median of its rounds' medians, however many
    sends it has. A scenario is ``better`` or ``worse`` where its change is significant after Holm's adjustment for the
    number of scenarios, ``equivalent`` where two one-sided tests, adjusted alike, rule out a change as large as the
    margin, and ``inconclusive`` otherwise: more launches would tell. Controls, which measure the machine and no method,
    are judged apart; where one moved, the overall verdict is on the change relative to the controls.

    Args:
        run_a: the run to compare with: a name as `perfkit.workflows.runs.resolve_run` takes it, a result of
            `perfkit.bench`, or a frame with columns of `perfkit.schema.TRANSFER_COLUMNS`.
        run_b: the run to judge.
        lake: folder of the lake that names are looked up in; what waits in its journal is drained before.
        quantity: ``latency``, ``cpu`` (processor time of both sides) or ``resident`` (memory held for a transfer).
        margin: largest relative change that does not matter, above 0 and below 1.
        alpha: accepted share of comparisons with any wrong ``better`` or ``worse``, above 0 and below 1.

    Returns:
        Every scenario that both runs measured with its change, 95 % interval and verdict; what makes the runs hard to
        compare - other hosts, other scenarios, controls that moved - as warnings.

    Raises:
        InputError: no run is meant, both are the same, they share no scenario, or a figure is out of range.
        LakeError: the lake cannot be read.

    Source: Kalibera and Jones, *Rigorous benchmarking in reasonable time*, ISMM 2013, on launches as units.

    >>> columns = {"method": ["uds"] * 3, "payload_bytes": [1024] * 3, "launch": [0, 1, 2]}
    >>> before, after = {**columns, "latency_ns": [100, 101, 99]}, {**columns, "latency_ns": [150, 151, 149]}
    >>> comparison = compare(before, after)
    >>> comparison.verdict, str(comparison.overall)
    ('worse', '+50% (+47 to +53%)')
    """
    _check(quantity, margin, alpha)
    side_a, side_b = (read_side(run, name, lake, quantity) for run, name in ((run_a, "A"), (run_b, "B")))
    if side_a.name == side_b.name:
        raise InputError(f"both runs are {side_a.name}; name two runs, such as latest~1 and latest")
    return compare_sides(side_a, side_b, quantity=quantity, margin=margin, alpha=alpha)


def compare_sides(side_a: Side, side_b: Side, *, quantity: str, margin: float, alpha: float) -> Comparison:
    """As `compare`, of runs that were read.

    Raises:
        InputError: they share no scenario.
    """
    levels = {
        True: common_scenarios(side_a, side_b, is_control=True),
        False: common_scenarios(side_a, side_b, is_control=False),
    }
    if not levels[False].names:
        raise InputError(
            f"runs {side_a.name} and {side_b.name} share no scenario with {QUANTITIES[quantity]}; measure both with "
            "the same preset or scenario file"
        )
    judge = _Judge(margin, alpha)
    overall, of_controls, against_controls = _overall(levels[False], levels[True], judge)
    names_a, names_b = (set(side.cells.filter(~pl.col("is_control"))["scenario"]) for side in (side_a, side_b))
    comparison = Comparison(
        run_a=side_a.name,
        run_b=side_b.name,
        quantity=quantity,
        margin=margin,
        alpha=alpha,
        scenarios=judge.scenarios(levels[False]),
        controls=judge.scenarios(levels[True]),
        overall=overall,
        overall_of_controls=of_controls,
        against_controls=against_controls,
        only_in_a=tuple(sorted(names_a - names_b)),
        only_in_b=tuple(sorted(names_b - names_a)),
    )
    return dataclasses.replace(comparison, warnings=_warnings(side_a, side_b, comparison))


def _check(quantity: str, margin: float, alpha: float) -> None:
    if quantity not in QUANTITIES:
        raise UnknownNameError("quantity", quantity, QUANTITIES)
    for name, value in (("margin", margin), ("alpha", alpha)):
        if not 0 < value < 1:
            raise InputError(f"{name} == {value}, must be above 0 and below 1, for example 0.05")


# --- verdicts --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Judge:
    margin: float
    alpha: float

    def changes(self, before: Floats, after: Floats) -> Changes:
        return compare_launches(before, after, margin=self.margin, confidence=1 - self.alpha).adjusted()

    def differences(self, before: Floats, after: Floats) -> list[Difference]:
        """The change of every row, judged together."""
        changes = self.changes(before, after)
        launches = np.isfinite(before).sum(axis=1) + np.isfinite(after).sum(axis=1)
        columns = (changes.value, changes.low, changes.high, changes.p_different, changes.p_equivalent)
        figures = zip(*(column.tolist() for column in columns), strict=True)
        return [
            Difference(value, low, high, _known(different), _known(equivalent), n, verdict)
            for (value, low, high, different, equivalent), n, verdict in zip(
                figures, launches.tolist(), changes.verdicts(self.alpha).tolist(), strict=True
            )
        ]

    def scenarios(self, levels: Levels) -> tuple[ScenarioChange, ...]:
        if not levels.names:
            return ()
        rows = zip(
            levels.names, levels.before, levels.after, self.differences(levels.before, levels.after), strict=True
        )
        return tuple(
            ScenarioChange(name, _middle(before), _middle(after), (_count(before), _count(after)), change)
            for name, before, after, change in rows
        )


def _overall(
    scenarios: Levels, controls: Levels, judge: _Judge
) -> tuple[Difference, Difference | None, Difference | None]:
    """The change of everything at once: of the scenarios, of the controls, and of the ones relative to the others."""
    before, after = common_levels(scenarios.before, scenarios.after)
    (overall,) = judge.differences(before[None], after[None])
    if not controls.names:
        return overall, None, None
    control_before, control_after = common_levels(controls.before, controls.after)
    (of_controls,) = judge.differences(control_before[None], control_after[None])
    (against,) = judge.differences((before / control_before)[None], (after / control_after)[None])
    return overall, of_controls, against


def _known(p_value: float) -> float | None:
    return None if np.isnan(p_value) else p_value


def _middle(values: Floats) -> float:
    return float(np.exp(np.nanmean(np.log(values))))


def _count(values: Floats) -> int:
    return int(np.isfinite(values).sum())


def _warnings(side_a: Side, side_b: Side, comparison: Comparison) -> tuple[str, ...]:
    """What makes two runs hard to compare."""
    warnings = [
        f"another host: {words} {side_a.fingerprint[key]} (A), {side_b.fingerprint[key]} (B)"
        for key, words in FINGERPRINT_KEYS.items()
        if key in side_a.fingerprint
        and key in side_b.fingerprint
        and UNKNOWN not in (side_a.fingerprint[key], side_b.fingerprint[key])
        and side_a.fingerprint[key] != side_b.fingerprint[key]
    ]
    if side_a.preset != side_b.preset and side_a.preset and side_b.preset:
        warnings.append(f"measured with different presets: {side_a.preset} (A), {side_b.preset} (B)")
    for side, label in ((side_a, "A"), (side_b, "B")):
        launches = side.launches
        if launches < _FEW_LAUNCHES:
            measured = f"{QUANTITIES[comparison.quantity]} in {plural(launches, 'launch', ['launches'])}"
            warnings.append(
                f"run {label} measured {measured}: that tells little about how launches differ, three or more would"
            )
        if side.failed:
            warnings.append(f"run {label} has {plural(side.failed, 'failed transfer')}, which do not count")
    if not comparison.controls:
        warnings.append("no control was measured in both runs: whether the machine changed is not known")
    return tuple(warnings)
