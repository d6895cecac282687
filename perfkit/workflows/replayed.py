"""What another plan costs on the payloads of a replay, by what their sends took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from perfkit.config.fingerprint import differences
from perfkit.engine.plan import Publication
from perfkit.measurement.replay_workload import REPLAY_SETTINGS
from perfkit.stats.regret import ratio_over_groups
from perfkit.workflows.effect import Effect, Ratio
from perfkit.workflows.replay_result import ReplayResult, SettingResult
from perfkit.workflows.replay_strategies import tuned_choices
from perfkit.workflows.workload import REPLAY

__all__ = ["replayed_effect", "too_weak"]

Floats = npt.NDArray[np.float64]
MEASURED = "measured: sends of a held-out workload by every method, payloads resampled"
_DRAWS = 2000
_SEED = 20_114
_MIN_LAUNCHES, _MIN_ROUNDS, _MIN_PAYLOADS = 2, 8, 12  # fewer payloads make a percentile bootstrap far too sure


def too_weak(replay: ReplayResult, host: Mapping[str, str]) -> str:
    """Why a replay cannot judge a candidate on a host; empty where it can.

    Args:
        replay: what was measured.
        host: the fingerprint of the host to publish on.
    """
    found = differences(replay.fingerprint, host)
    if found:
        return f"it is of another host ({'; '.join(found)})"
    counts = (
        ("launches", replay.launches, _MIN_LAUNCHES),
        ("rounds", replay.rounds, _MIN_ROUNDS),
        ("payloads", replay.n, _MIN_PAYLOADS),
    )
    return "; ".join(f"{name} == {got}, must be at least {least}" for name, got, least in counts if got < least)


def replayed_effect(replay: ReplayResult, before: Publication, after: Publication, *, margin: float) -> Effect:
    """What the payloads of a replay cost with a new plan, relative to the plan before.

    Every payload was sent by every method, so both plans are read from the same sends, whatever was replayed.

    Args:
        replay: the measured costs.
        before: what is in force; without curves the defaults.
        after: the candidate.
        margin: how far from 1 a ratio still counts as equivalent, as a share from 0 to 1.

    Returns:
        Ratios over all settings, which count alike, each in the cost of its own goal; a bootstrap over payloads.
    """
    numbers = sorted({one.number for setting in replay.settings.values() for one in setting.payloads})
    costs = np.full((2, len(replay.settings), len(numbers)), np.nan)
    sizes = np.zeros((len(replay.settings), len(numbers)))
    changed = np.zeros(sizes.shape, bool)
    for row, setting in enumerate(replay.settings.values()):
        columns = np.searchsorted(numbers, [one.number for one in setting.payloads])
        old, new = (_choices(setting, publication) for publication in (before, after))
        costs[0, row, columns], costs[1, row, columns] = _costs(setting, old), _costs(setting, new)
        sizes[row, columns] = [one.payload_bytes for one in setting.payloads]
        changed[row, columns] = [one != other for one, other in zip(old, new, strict=True)]
    estimate = ratio_over_groups(np.log(costs[1] / costs[0]))
    ratio = Ratio(estimate.value, estimate.low, estimate.high)
    return Effect(
        workload=REPLAY,
        ratio=ratio,
        total=_total(costs),
        n=len(numbers),
        share_changed=float(changed[sizes > 0].mean()),
        share_of_bytes_changed=float(sizes[changed].sum() / sizes.sum()),
        share_unknown=0.0,
        method=MEASURED,
        verdict=ratio.verdict(margin),
    )


def _choices(setting: SettingResult, publication: Publication) -> tuple[str, ...]:
    return tuned_choices(publication, REPLAY_SETTINGS[setting.name], setting.payloads, setting.costs.methods)


def _costs(setting: SettingResult, choices: Sequence[str]) -> Floats:
    columns = np.array([setting.costs.methods.index(method) for method in choices])
    return np.exp(setting.costs.log_costs(columns))


def _total(costs: Floats) -> Ratio:
    """The ratio of totals in each setting; settings count alike, as they differ in the unit of their cost."""
    picks = np.random.default_rng(_SEED).integers(0, costs.shape[2], (_DRAWS, costs.shape[2]))
    drawn = np.nansum(costs[:, :, picks], axis=3)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold none of a setting's payloads
        draws = np.nanmean(np.where(drawn[0] > 0, np.log(drawn[1] / drawn[0]), np.nan), axis=0)
    sums = np.nansum(costs, axis=2)
    value = float(np.log(sums[1] / sums[0]).mean())
    return Ratio(*np.exp([value, *np.quantile(draws, (0.025, 0.975))]).tolist())
