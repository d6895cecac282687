"""Whether the world is still the one a model learned: shifts of its errors."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from perfkit.errors import InputError

__all__ = ["OVERALL", "ErrorDrift", "Shift", "codes_of", "watch_errors"]

Floats = npt.NDArray[np.float64]

OVERALL = "all"
"""Name of the stream of all errors together."""

_DELTA = 0.002
_CLIP = 3.0
_ALPHA = 1e-4
_MARGIN = 0.10
_LAUNCH_SD, _LAUNCH_PRIOR, _FEWEST_IN_LAUNCH = 0.05, 10, 20
"""Launches of the same build differ by about 5 %; that counts as much as ten launches seen."""
_COMMON_LUCK = 0.25
"""Share of that variance which all methods of a launch have in common, by assumption."""
_LAUNCH_ALPHA_PER_ERROR, _HIGHEST_LAUNCH_ALPHA, _SHARE_OF_STREAM = 1.5e-5, 0.02, 0.35
"""Every launch is a chance to be deceived by its luck: the longer launches are, the fewer are there, and the higher may
the level of each be at the same rate of false alarms per error. Where errors are watched together and by stream, both
may be deceived by the same luck."""
_FEWEST, _FEWEST_AFTER = 200, 16
_FEWEST_THROUGH = 100
_BATCHES = 10
_LOOK_AGAIN_AFTER = (32, 64, 128, 256, 512, 1024)
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Shift:
    """One place at which errors moved.

    Args:
        stream: whose errors: "all", or a name from `streams`.
        began: position of the first error after the shift.
        noticed: position of the error at which it was certain.
        factor: cost after over cost before, relative to what the model says.
        low, high: interval of the factor, 95 %.
        p: probability of a shift this large if nothing changed.
    """

    stream: str
    began: int
    noticed: int
    factor: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        """The shift, for a sentence.

        >>> str(Shift("all", 900, 960, 1.21, 1.15, 1.27, 1e-9))
        'all: +21 % (+15 to +27 %) since observation 900, noticed at 960'
        """
        change, low, high = (f"{100 * (one - 1):+.0f}" for one in (self.factor, self.low, self.high))
        return (
            f"{self.stream}: {change} % ({low} to {high} %) since observation {self.began}, noticed at {self.noticed}"
        )


@dataclasses.dataclass(frozen=True)
class ErrorDrift:
    """What the errors of a model say about the world.

    Args:
        shifts: places at which errors moved, after those of the history; by position.
        n: errors judged, without the history.
        margin: smallest relative shift that counts.
        verdict: "drift", "stable", or "too few" errors to tell.
    """

    shifts: tuple[Shift, ...]
    n: int
    margin: float
    verdict: str

    @property
    def method(self) -> str:
        """How shifts are found, for people."""
        return f"ADWIN (delta {_DELTA}) on clipped standardised errors, confirmed against batches and launches"

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values."""
        shifts = [dataclasses.asdict(one) for one in self.shifts]
        return {"verdict": self.verdict, "n": self.n, "margin": self.margin, "shifts": shifts, "method": self.method}

    def __str__(self) -> str:
        return "; ".join([f"errors: {self.verdict} ({self.n} observations)", *map(str, self.shifts)])


def watch_errors(
    errors: npt.ArrayLike,
    *,
    scale: npt.ArrayLike = 0.20,
    streams: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    history: int = 0,
    margin: float = _MARGIN,
) -> ErrorDrift:
    """Find where the errors of a model moved, overall and per stream.

    A shift counts when an adaptive window notices it, and its size is beyond what batches, launches and the margin
    explain: errors of one launch move together, and neighbours are alike.

    Args:
        errors: standardised log errors (observed - predicted) / scale, in order of time, finite.
        scale: spread of the log errors, above 0: one for all, or one of each error.
        streams: name of each error's stream, such as its method; each is also watched alone.
        groups: launch, or block of time, of each error; errors of one move together.
        history: how many of the first errors are known already: their shifts are not reported again.
        margin: smallest relative shift that counts, above 0.

    Raises:
        InputError: an error is not finite, a column is of another length, or a figure is out of range.

    Source: Bifet and Gavaldà, *Learning from time-changing data with adaptive windowing*, SDM (2007), as in river.

    >>> rng = np.random.default_rng(1)
    >>> found = watch_errors(np.concatenate((rng.normal(0, 1, 2000), rng.normal(0.91, 1, 500))), scale=0.2)
    >>> found.verdict, abs(found.shifts[0].began - 2000) < 100, round(found.shifts[0].factor, 1)
    ('drift', True, 1.2)
    """
    values = _column(errors, "errors")
    scales = np.broadcast_to(_positive(scale), values.shape) if np.ndim(scale) == 0 else _positive(scale)
    _check_arguments(values, scales, history, margin)
    clusters = None if groups is None else codes_of(groups, "groups", values.size)
    if values.size < _FEWEST:
        return ErrorDrift((), max(values.size - history, 0), margin, "too few")
    names: list[tuple[str, npt.NDArray[np.intp]]] = [(OVERALL, np.arange(values.size))]
    if streams is not None:
        codes = codes_of(streams, "streams", values.size)
        labels = np.unique(np.asarray(streams).astype(str))
        names += [(str(label), np.flatnonzero(codes == code)) for code, label in enumerate(labels)]
    watched = [(name, rows) for name, rows in names if rows.size >= _FEWEST]
    if len(watched) == 2:  # a single stream is all there is
        watched = watched[:1]
    alpha = _ALPHA / len(watched)
    mixed_luck = _LAUNCH_SD if streams is None else _luck_of_mixed(codes_of(streams, "streams", values.size))
    found = [
        dataclasses.replace(one, began=int(rows[one.began]), noticed=int(rows[one.noticed]))
        for name, rows in watched
        for one in _shifts(
            name,
            values[rows],
            scales[rows],
            None if clusters is None else clusters[rows],
            alpha,
            math.log1p(margin),
            mixed_luck if name == OVERALL else _LAUNCH_SD,
        )
    ]
    new = tuple(sorted((one for one in found if one.noticed >= history), key=lambda one: (one.noticed, one.stream)))
    return ErrorDrift(new, values.size - history, margin, "drift" if new else "stable")


def _luck_of_mixed(streams: npt.NDArray[np.intp]) -> float:
    """By how much launches usually differ where streams, such as methods, are mixed, each with a luck of its own."""
    shares = np.bincount(streams) / streams.size
    alone = float((shares**2).sum())
    return _LAUNCH_SD * math.sqrt(alone + _COMMON_LUCK * (1 - alone))


def _shifts(
    stream: str,
    errors: Floats,
    scales: Floats,
    groups: npt.NDArray[np.intp] | None,
    alpha: float,
    margin: float,
    usual_luck: float,
) -> list[Shift]:
    from river.drift import ADWIN

    clipped = np.clip(errors, -_CLIP, _CLIP)
    window: Any = ADWIN(delta=_DELTA)  # type: ignore[no-untyped-call]
    found = list[Shift]()
    since, look_at = 0, list[int]()
    for at, error in enumerate(clipped.tolist()):
        window.update(error)
        if window.drift_detected:
            look_at = [at, *(at + later for later in _LOOK_AGAIN_AFTER)]
        if not look_at or at < look_at[0]:
            continue
        look_at.pop(0)
        # The window still holds some errors from before the shift: its length says that there was one, not where.
        cut = _split(clipped[since : at + 1]) + since
        shift = _confirmed(clipped, scales, groups, since, cut, at, alpha, margin, usual_luck)
        if shift is not None:
            found.append(dataclasses.replace(shift, stream=stream))
            since, look_at = cut, []
    return found


def _split(errors: Floats) -> int:
    """Where to part errors in two so that the means explain most; 0 where they are too few."""
    fewest, size = _FEWEST // 2, errors.size
    positions = np.arange(fewest, size - _FEWEST_AFTER + 1)
    if positions.size == 0:
        return 0
    lead = np.cumsum(errors - errors.mean())[positions - 1]
    return int(positions[np.argmax(lead**2 / (positions * (size - positions)))])


def _confirmed(
    errors: Floats,
    scales: Floats,
    groups: npt.NDArray[np.intp] | None,
    since: int,
    cut: int,
    at: int,
    alpha: float,
    margin: float,
    usual_luck: float,
) -> Shift | None:
    """The shift at a cut, where neither neighbours that are alike nor launches that differ explain it."""
    before, after = errors[since:cut], errors[cut : at + 1]
    if before.size < _FEWEST // 2 or after.size < _FEWEST_AFTER:
        return None
    variance, freedom = _long_run_variance(before if groups is None else _centred(before, groups[since:cut]))
    difference, scale = float(after.mean() - before.mean()), float(np.median(scales[cut : at + 1]))
    uncertain = variance * (1 / before.size + 1 / after.size)
    if uncertain <= 0 or abs(difference) * scale < margin:
        return None
    p = 2 * float(t.sf(abs(difference) / math.sqrt(uncertain), freedom))
    p_launches, is_luck = 0.0, False
    if groups is not None:
        spread, launches = _between(before, groups[since:cut], variance, usual_luck / scale)
        difference, uncertain = _difference(
            errors[since : at + 1], groups[since : at + 1], cut - since, variance, spread
        )
        p_launches = 2 * float(t.sf(abs(difference) / math.sqrt(uncertain), _LAUNCH_PRIOR + launches - 1))
        is_luck = p_launches > _launch_alpha(groups[since : at + 1], alpha == _ALPHA)
    if p > alpha or is_luck or abs(difference) * scale < margin:
        return None
    deviation = math.sqrt(uncertain)
    width = float(t.ppf((1 + _CONFIDENCE) / 2, freedom)) * deviation
    factor, low, high = (math.exp(scale * one) for one in (difference, difference - width, difference + width))
    return Shift("", cut, at, factor, low, high, max(p, p_launches))


def _launch_alpha(groups: npt.NDArray[np.intp], is_alone: bool) -> float:
    """Level of the test against the luck of launches, by the errors that one has."""
    level = min(_LAUNCH_ALPHA_PER_ERROR * groups.size / np.unique(groups).size, _HIGHEST_LAUNCH_ALPHA)
    return level if is_alone else _SHARE_OF_STREAM * level


def _centred(errors: Floats, groups: npt.NDArray[np.intp]) -> Floats:
    """Errors less the mean of their launch: its luck is judged apart, and is no likeness of neighbours."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(errors - (np.bincount(inverse, errors) / counts)[inverse])


def _difference(
    errors: Floats, groups: npt.NDArray[np.intp], cut: int, noise: float, luck: float
) -> tuple[float, float]:
    """Difference between after and before a cut, and its variance, by generalised least squares.

    All errors of a launch share its luck: a launch that runs through the cut tells of the difference without it.
    """
    is_after = np.arange(errors.size) >= cut
    through = groups == groups[cut]
    if min(int((through & ~is_after).sum()), int((through & is_after).sum())) < _FEWEST_THROUGH:
        # The cut may be off by some errors: a launch that hardly reaches through it began, or ended, at it.
        is_after = np.where(through, 2 * int((through & is_after).sum()) >= int(through.sum()), is_after)
    inverse = np.unique(groups, return_inverse=True)[1]
    weight = np.bincount(inverse) / noise
    weight_after = np.bincount(inverse, is_after) / noise
    total = np.bincount(inverse, errors) / noise
    total_after = np.bincount(inverse, errors * is_after) / noise
    shared = 1 + luck * weight
    both = float(np.sum(weight / shared))
    mixed = float(np.sum(weight_after / shared))
    own = float(np.sum(weight_after - luck * weight_after**2 / shared))
    level = float(np.sum(total / shared))
    moved = float(np.sum(total_after - luck * weight_after * total / shared))
    determinant = both * own - mixed**2
    if determinant <= 0:
        return 0.0, math.inf
    return (both * moved - mixed * level) / determinant, both / determinant


def _long_run_variance(errors: Floats) -> tuple[float, int]:
    """Variance of the mean times n, neighbours being alike: the largest that batches of any length show."""
    best, freedom, length = float(errors.var(ddof=1)), errors.size - 1, 2
    while errors.size // length >= _BATCHES:
        batches = errors.size // length
        means = errors[errors.size - batches * length :].reshape(batches, length).mean(axis=1)
        variance = length * float(means.var(ddof=1))
        if variance > best:
            best, freedom = variance, batches - 1
        length *= 2
    return best, freedom


def _between(errors: Floats, groups: npt.NDArray[np.intp], variance: float, usual: float) -> tuple[float, int]:
    """Variance between launches beyond what their own noise explains, and their number; few lean on what is usual."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, errors) / counts
    means, counts = means[counts >= _FEWEST_IN_LAUNCH], counts[counts >= _FEWEST_IN_LAUNCH]
    known = max(means.size - 1, 0)
    seen = max(float(means.var(ddof=1)) - variance * float(np.mean(1 / counts)), 0.0) if known else 0.0
    return (_LAUNCH_PRIOR * usual**2 + known * seen) / (_LAUNCH_PRIOR + known), max(means.size, 1)


def codes_of(values: npt.ArrayLike, name: str, size: int) -> npt.NDArray[np.intp]:
    """Which of the sorted distinct values each value is; `InputError` where they are not `size`."""
    given = np.asarray(values)
    if given.shape != (size,):
        raise InputError(f"{name} has shape {given.shape}, must have one value for each of the {size} rows")
    return np.unique(given.astype(str), return_inverse=True)[1].astype(np.intp)


def _column(values: npt.ArrayLike, name: str) -> Floats:
    try:
        column = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a column of finite numbers, got {type(values).__name__}") from error
    if column.ndim != 1:
        raise InputError(f"{name} must be one column of numbers, got an array with {column.ndim} dimensions")
    wrong = np.flatnonzero(~np.isfinite(column))
    if wrong.size:
        raise InputError(f"{name}[{wrong[0]}] == {column[wrong[0]]}, must be finite; leave such rows out")
    return column


def _positive(scale: npt.ArrayLike) -> Floats:
    spread = _column(np.atleast_1d(np.asarray(scale)), "scale")
    if (spread <= 0).any():
        raise InputError(f"scale == {spread.min()}, must be above 0")
    return spread


def _check_arguments(values: Floats, scales: Floats, history: int, margin: float) -> None:
    if scales.shape != values.shape:
        raise InputError(f"scale has {scales.size} values, must be one number or one for each of {values.size} errors")
    if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= values.size:
        raise InputError(f"history == {history!r}, must be from 0 to the number of errors, {values.size}")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < math.inf:
        raise InputError(f"margin == {margin!r}, must be above 0, for example 0.10")
