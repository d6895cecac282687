"""Judging a replay: regret of every strategy in every setting, and tuned against each fixed choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.engine.plan import Publication
from perfkit.errors import MeasurementError
from perfkit.measurement.replay_workload import REPLAY_SETTINGS, ReplayPayload, ReplaySetting
from perfkit.stats.regret import CostTable, best_threshold, cost_table, ratio_over_groups, regret_of
from perfkit.workflows.replay_result import DecadeRegret, FixedComparison, SettingResult
from perfkit.workflows.replay_strategies import (
    BEST_EVERYWHERE,
    BEST_STATIC,
    TUNED,
    fall_back,
    fixed_choices,
    hindsight,
    tuned_choices,
)

__all__ = ["compare_with_fixed", "judge", "judge_settings"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def judge_settings(
    rows: pa.Table,
    settings: Sequence[ReplaySetting],
    workload: Sequence[ReplayPayload],
    publication: Publication,
    methods: Sequence[str],
) -> tuple[dict[str, SettingResult], list[str]]:
    """The result of every setting, and which payloads had to be left out of which."""
    results: dict[str, SettingResult] = {}
    warnings = []
    for setting in settings:
        sends = rows.filter(pc.field("setting") == setting.name)
        table = _complete_costs(sends, setting, methods)
        held = sum(map(setting.holds, workload))
        if table is None:
            warnings.append(f"setting {setting.name} is left out: none of {held} payloads was sent by every method")
            continue
        if len(table.payloads) < held:
            warnings.append(
                f"setting {setting.name} rests on {len(table.payloads)} of {held} payloads: the others were not sent "
                "by every method in both halves; see what was not measured"
            )
        results[setting.name] = judge(
            setting, table, [workload[number] for number in table.payloads], publication, methods
        )
    if not results:
        raise MeasurementError(
            f"no payload was sent by every method in any setting: {'; '.join(warnings) or 'none is large enough'}; "
            "give a longer --budget or other --settings"
        )
    return results, warnings


def _complete_costs(sends: pa.Table, setting: ReplaySetting, methods: Sequence[str]) -> CostTable | None:
    """Costs of the payloads that every method of the setting carried in both halves."""
    if not len(sends):
        return None
    table = cost_table(*(sends.column(name).to_numpy() for name in ("payload", "method", "half", "cost")))
    is_complete = table.complete if set(table.methods) == set(setting.available(methods)) else ()
    return table.of(is_complete) if any(is_complete) else None


def judge(
    setting: ReplaySetting,
    table: CostTable,
    payloads: Sequence[ReplayPayload],
    publication: Publication,
    methods: Sequence[str],
) -> SettingResult:
    """The regret of every strategy in a setting.

    Args:
        setting: what the costs were measured in.
        table: costs of these payloads by every method of the setting.
        payloads: in the order of the table.
        publication: what decides for ``tuned``.
        methods: all that are compared, also those that this setting lacks.
    """
    choices = {TUNED: tuned_choices(publication, setting, payloads, methods)}
    choices |= fixed_choices(setting, payloads, methods)
    best_static, choices[BEST_STATIC] = hindsight(payloads, table.methods, _all_log_costs(table))
    taken = {name: np.array([table.methods.index(one) for one in names]) for name, names in choices.items()}
    return SettingResult(
        name=setting.name,
        goal=setting.goal,
        payloads=tuple(payloads),
        costs=table,
        choices=choices,
        strategies={name: regret_of(table, columns) for name, columns in taken.items()},
        decades=tuple(_decades(table, payloads, taken)),
        best_static=best_static,
    )


def _all_log_costs(table: CostTable) -> Floats:
    """Logarithm of the cost by payload and method, the mean of both halves."""
    rows = len(table.payloads)
    return np.stack([table.log_costs(np.full(rows, column)) for column in range(len(table.methods))], axis=1)


def _decades(
    table: CostTable, payloads: Sequence[ReplayPayload], taken: Mapping[str, Indices]
) -> Iterator[DecadeRegret]:
    decades = np.floor(np.log10([one.payload_bytes for one in payloads])).astype(int)
    for decade in np.unique(decades):
        rows = decades == decade
        part = table.of(rows)
        strategies = {name: regret_of(part, columns[rows]) for name, columns in taken.items()}
        yield DecadeRegret(10.0**decade, 10.0 ** (decade + 1), int(rows.sum()), strategies)


def compare_with_fixed(settings: Mapping[str, SettingResult], methods: Sequence[str]) -> tuple[FixedComparison, ...]:
    """Tuned against every fixed strategy; the payloads that settings share are resampled together.

    ``best_static`` has a threshold of its own in each setting; ``best_static everywhere`` is the one threshold, the
    same in all of them, that is best in hindsight.
    """
    names = dict.fromkeys(name for one in settings.values() for name in one.choices if name != TUNED)
    costs = {name: {setting: one.log_costs(name) for setting, one in settings.items()} for name in names}
    costs[BEST_EVERYWHERE] = _best_everywhere(settings, methods)
    return tuple(_comparison(name, settings, by_setting) for name, by_setting in costs.items())


def _best_everywhere(settings: Mapping[str, SettingResult], methods: Sequence[str]) -> dict[str, Floats]:
    """Log costs, by setting, of the single threshold that is best over all settings, which count alike."""
    by_method = {}
    for name, one in settings.items():
        taken = [one.costs.methods.index(fall_back(REPLAY_SETTINGS[name], methods, method)) for method in methods]
        by_method[name] = _all_log_costs(one.costs)[:, taken]
    sizes = np.array([payload.payload_bytes for one in settings.values() for payload in one.payloads], float)
    below, threshold_bytes, above = best_threshold(sizes, np.concatenate([c / len(c) for c in by_method.values()]))
    return {
        name: np.array(
            [
                row[below if payload.payload_bytes < threshold_bytes else above]
                for row, payload in zip(by_method[name], one.payloads, strict=True)
            ]
        )
        for name, one in settings.items()
    }


def _comparison(
    strategy: str, settings: Mapping[str, SettingResult], log_costs: Mapping[str, Floats]
) -> FixedComparison:
    numbers = sorted({one.number for setting in settings.values() for one in setting.payloads})
    log_ratios = np.full((len(settings), len(numbers)), np.nan)
    for row, setting in enumerate(settings.values()):
        columns = np.searchsorted(numbers, [one.number for one in setting.payloads])
        log_ratios[row, columns] = log_costs[setting.name] - setting.log_costs(TUNED)
    by_setting = {name: ratio_over_groups(log_ratios[[row]]) for row, name in enumerate(settings)}
    return FixedComparison(strategy, ratio_over_groups(log_ratios), by_setting)
