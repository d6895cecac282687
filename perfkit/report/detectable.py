"""What an experiment could have found, and what it would take to find more."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from perfkit.stats.experiments.power import Design, minimum_detectable_effect, pilot_of_effect, units_needed

if TYPE_CHECKING:
    from perfkit.workflows.experiment.report import ExperimentReport

__all__ = ["WANTED_POWER", "detectable_changes", "units_for_the_margin"]

WANTED_POWER = 0.8
"""Power that people ask for: four changes in five are found."""


def detectable_changes(experiment: ExperimentReport, wanted: float = WANTED_POWER) -> tuple[float, float] | None:
    """The smallest decrease and the smallest increase that are found with a probability; None where it is not known.

    Args:
        experiment: what `perfkit.experiment_report` returned.
        wanted: that probability.
    """
    effect = experiment.result.primary
    if not experiment.power_by_change:
        return None
    found = minimum_detectable_effect(pilot_of_effect(effect), effect.n_units, wanted, _design(experiment))
    return (1 / (1 + found) - 1, found) if isfinite(found) else None


def units_for_the_margin(experiment: ExperimentReport, wanted: float = WANTED_POWER) -> int | None:
    """How many units it takes to find a change as large as the margin; None where the noise is not known.

    Args:
        experiment: what `perfkit.experiment_report` returned.
        wanted: probability of finding it.
    """
    effect = experiment.result.primary
    if not experiment.power_by_change or not effect.margin:
        return None
    return units_needed(pilot_of_effect(effect), effect.margin, wanted, _design(experiment))


def _design(experiment: ExperimentReport) -> Design:
    effect = experiment.result.primary
    return Design(effect.units_variant / effect.n_units, effect.alpha, experiment.result.inference)
