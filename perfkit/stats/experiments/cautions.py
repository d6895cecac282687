"""What people should know before they believe an experiment, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from scipy import special

from perfkit.stats.experiments.question import Question
from perfkit.stats.experiments.result import Excluded, MetricEffect
from perfkit.stats.experiments.units import Arm
from perfkit.tables import plural

__all__ = ["of_data", "of_effects", "of_size"]

_POWER = 0.8


def of_data(excluded: Excluded, n_rows: int, unit: str) -> Iterator[str]:
    """What was left out.

    Args:
        excluded: the counts.
        n_rows: rows of the frame.
        unit: name of the unit.
    """
    if excluded.units_in_several_variants:
        examples = ", ".join(excluded.examples)
        yield (
            f"{plural(excluded.units_in_several_variants, unit)} seen in several variants ({examples}) "
            f"with {plural(excluded.rows_of_those, 'row')} left out: assignment is not consistent"
        )
    for count, what in ((excluded.rows_without_unit, unit), (excluded.rows_without_variant, "variant")):
        if count:
            yield f"{count} of {plural(n_rows, 'row')} name no {what}; they were left out"
    for metric, count in excluded.rows_invalid.items():
        yield f"{metric}: {count} of {plural(n_rows, 'row')} left out, missing, infinite or negative"


def of_size(
    question: Question, variants: Sequence[str], arms: Mapping[str, Sequence[Arm]], effects: Sequence[MetricEffect]
) -> Iterator[str]:
    """Whether there are the planned observations, and what so few can show."""
    primary = effects[0]
    rows = {name: one.n_rows for name, one in zip(variants, arms[primary.metric], strict=True)}
    if min(rows.values()) >= question.minimum:
        return
    counts = ", ".join(f"{name} {count}" for name, count in rows.items())
    said = f"fewer observations than the minimum of {question.minimum} per variant ({counts})"
    error = primary.standard_error
    if primary.is_known and math.isfinite(primary.relative) and error > 0 and question.inference == "fixed":
        reach = float(special.ndtri(1 - question.alpha / 2) + special.ndtri(_POWER))
        found = math.expm1(min(reach * error, 10.0))
        said += f"; they show a change of {primary.metric} {primary.statistic} by {found:.0%} with {_POWER:.0%} power"
    yield said


def of_effects(effects: Sequence[MetricEffect]) -> Iterator[str]:
    """Warnings of effects, each once, with what they are about."""
    about: dict[str, list[str]] = {}
    for effect in effects:
        for warning in effect.warnings:
            about.setdefault(warning, []).append(f"{effect.metric} {effect.statistic}")
    for warning, names in about.items():
        yield f"{', '.join(dict.fromkeys(names))}: {warning}"
