"""What a candidate plan would have cost on traffic in which services explored."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.config.publication import read_current
from perfkit.config.settings import Settings, read_settings
from perfkit.config.thresholds import Thresholds, load_thresholds
from perfkit.engine.costs import Context
from perfkit.engine.plan import Publication, known_methods
from perfkit.errors import InputError
from perfkit.lake import Lake
from perfkit.stats.off_policy import off_policy_value
from perfkit.stats.off_policy_result import OffPolicyValue
from perfkit.stats.tabular import to_arrow
from perfkit.workflows.candidate import CompiledPlan, compiled_plan
from perfkit.workflows.effect import Effect, Ratio
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.off_policy_costs import COLUMNS, ExploredTraffic, Named, PolicyCosts, traffic_of
from perfkit.workflows.workload import EXPLORED_TRAFFIC

__all__ = ["ExploredTraffic", "explored_effect", "explored_traffic", "off_policy", "traffic_value"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_DAYS = 7.0
"""How far back exploring is looked at: it is rare on purpose, so a day holds little."""


def off_policy(
    candidate: Any,
    *,
    lake: str | Path | Lake = "data/lake",
    frame: Any = None,
    settings: str | Path | None = None,
    thresholds: str | Path = "thresholds.toml",
    days: float = _DAYS,
    method: str = "doubly_robust",
    scale: str = "geometric",
) -> OffPolicyValue:
    """Estimate what another plan would have cost on traffic that services explored, against the plan in force.

    Args:
        candidate: a fit, curves, or anything with `curves`; the path of a thresholds file; or a function of a `Context`
            and the payload's size in bytes that names a method.
        lake: where services record.
        frame: transfers instead of those of the lake: columns of `perfkit.schema.TRANSFER_COLUMNS`, at least
            ``method``, ``payload_bytes``, ``latency_ns`` and ``propensity``.
        settings: the `perfkit.toml` whose pools and goals count; by default the one beside `thresholds`.
        thresholds: what is in force; without such a file, the defaults.
        days: how far back transfers count, more than 0.
        method: ``doubly_robust`` (with the candidate's curves as its model) or ``snips``.
        scale: ``geometric`` counts every transfer alike, ``mean`` every nanosecond.

    Returns:
        The estimate: ratio of the candidate's cost to that of the plan in force, each in its pool's goal. Without
        enough exploration it is inconclusive.

    Raises:
        InputError: nothing was explored, or the candidate is none of these.
        ConfigError: a file cannot be used.
        LakeError: the lake cannot be read.
    """
    given = traffic_of(to_arrow(frame)) if frame is not None else explored_traffic(lake, days=days)
    if not given.explored:
        left_out = given.failed + given.impossible
        without = f" ({left_out} that failed, or have no latency above 0, are left out)" if left_out else ""
        raise InputError(
            f"none of {given.rows.num_rows} transfers{without} could have taken another method: nothing was "
            "explored. Let a service explore with [engine] exploration_rate = 0.05 in perfkit.toml, then ask again"
        )
    current = read_current(Path(thresholds)).thresholds
    plan, curves = _plan_of(candidate, Path(thresholds), settings)
    in_force = Publication.of(current) if current else Publication()
    chosen = _settings(Path(thresholds), settings, current.curves if current else curves)
    before = compiled_plan(chosen, in_force)
    return traffic_value(given, before, plan, curves, method=method, scale=scale)


def explored_traffic(
    lake: str | Path | Lake, *, days: float = _DAYS, now: datetime.datetime | None = None
) -> ExploredTraffic:
    """What services sent lately.

    Args:
        lake: folder of the lake, drained before; or a lake, read as it was opened.
        days: how far back transfers count, more than 0.
        now: end of the time that counts; by default this moment.

    Raises:
        LakeError: the lake cannot be read.
    """
    if not isinstance(days, int | float) or not days > 0:
        raise InputError(f"days == {days!r}, must be more than 0, for example 7")
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=days)
    rows = opened.transfers
    rows = rows.filter(rows.source == "service", rows.direction == "request", rows.observed_at >= since)
    return traffic_of(opened.read(rows.select(*COLUMNS, "ok")))


def traffic_value(
    traffic: ExploredTraffic,
    before: CompiledPlan | Callable[[Context, float], str],
    after: CompiledPlan | Callable[[Context, float], str],
    curves: CurveSet | None,
    *,
    method: str = "doubly_robust",
    scale: str = "geometric",
) -> OffPolicyValue:
    """Compare two plans on explored traffic.

    Args:
        traffic: at least one transfer.
        before: the plan in force, by context, or a function of context and size that names a method.
        after: the candidate, in the same way.
        curves: model of the costs; None for none, then only the transfers themselves count.
        method: an estimator of `perfkit.stats.off_policy`.
        scale: ``geometric`` or ``mean``.

    Returns:
        The estimate. Costs are in the goal of the plan `after`: latency as it was measured; of ``balanced``, what was
        measured in the place of the model's latency; of ``throughput``, the model's slowest stage scaled by what was
        measured. Pools with the goal ``memory`` are left out.
    """
    return _value(traffic, PolicyCosts.of(traffic, before, after, curves), method, scale)


def _value(traffic: ExploredTraffic, costs: PolicyCosts, method: str, scale: str) -> OffPolicyValue:
    keep = costs.is_judged
    if not keep.any():
        raise InputError("every pool has the goal memory, of which the latency of transfers says nothing")
    predictions: dict[str, Any] = {}
    if np.isfinite(costs.predicted[:, keep]).all():
        names = ("predicted_logged", "predicted_chosen", "predicted_against")
        predictions = {name: one[keep] for name, one in zip(names, costs.predicted, strict=True)}
    found = off_policy_value(
        costs.cost[keep],
        costs.propensity[keep],
        costs.logged[keep],
        costs.chosen[keep],
        against=costs.in_force[keep],
        clusters=costs.cluster[keep],
        groups=costs.group[keep],
        method=method,
        scale=scale,
        **predictions,
    )
    warnings = list(found.warnings)
    if not keep.all():
        left_out = np.count_nonzero(~keep)
        warnings.append(f"{left_out:,} transfers are of pools with the goal memory, which latency cannot judge")
    if traffic.failed:
        warnings.append(f"{traffic.failed:,} transfers failed: their cost is unknown, and they are left out")
    if traffic.impossible:
        warnings.append(f"{traffic.impossible:,} transfers have no latency above 0, or no size: they are left out")
    return dataclasses.replace(found, warnings=tuple(warnings))


def explored_effect(
    traffic: ExploredTraffic, before: CompiledPlan, after: CompiledPlan, curves: CurveSet, *, margin: float
) -> Effect | None:
    """The effect that explored traffic shows, for the gate before publication; None where it shows nothing.

    A candidate is never held up because nobody explored. What was explored counts with its whole interval: the gate
    refuses a candidate of which even the lower bound of the cost is too high (its saving surely is a loss), and says
    what is surely saved.

    Args:
        traffic: what services sent.
        before: the plan in force, by context.
        after: the candidate, by context.
        curves: the candidate's curves, as the model of what was not taken.
        margin: how far from 1 a ratio still counts as equivalent, as a share from 0 to 1.
    """
    if not traffic.explored:
        return None
    try:
        costs = PolicyCosts.of(traffic, before, after, curves)
        geometric, mean = (_value(traffic, costs, "doubly_robust", scale) for scale in ("geometric", "mean"))
    except InputError:
        return None  # nothing in it can be judged: no reason to hold a candidate up
    if not np.isfinite(geometric.ratio) or not np.isfinite(mean.ratio):
        return None
    ratio, total = (Ratio(one.ratio, *one.ratio_interval) for one in (geometric, mean))
    share = geometric.n_changed / geometric.n
    saved = f"surely saved (one-sided 95 %): {geometric.saving_low:+.1%}"
    return Effect(
        workload=EXPLORED_TRAFFIC,
        ratio=ratio,
        total=total,
        n=geometric.n,
        share_changed=share,
        share_of_bytes_changed=costs.share_of_bytes_changed,
        share_unknown=geometric.unsupported_share,
        method=f"measured on explored transfers, each for those that were not ({geometric.estimator}); {saved}",
        verdict=ratio.verdict(margin),
    )


def _plan_of(candidate: Any, thresholds: Path, settings: str | Path | None) -> tuple[Any, CurveSet | None]:
    if isinstance(candidate, str | Path):
        candidate = load_thresholds(candidate)
    curves = candidate if isinstance(candidate, CurveSet) else getattr(candidate, "curves", None)
    if isinstance(curves, CurveSet):
        publication = Publication.of(candidate) if isinstance(candidate, Thresholds) else Publication(curves)
        return compiled_plan(_settings(thresholds, settings, curves), publication), curves
    if callable(candidate):
        current = read_current(thresholds).thresholds
        return Named(candidate), current.curves if current else None
    raise InputError(
        f"candidate == {candidate!r}, must be a fit, curves, the path of a thresholds file, or a function of a context "
        "and a size that names a method"
    )


def _settings(thresholds: Path, settings: str | Path | None, curves: CurveSet | None) -> Settings:
    """Settings in mode ``decide``: what is compared is what plans would take."""
    methods = known_methods(Publication(curves))
    found = read_settings(settings or thresholds.parent / "perfkit.toml", measured_methods=methods)
    return dataclasses.replace(found, engine=dataclasses.replace(found.engine, mode="decide"))
