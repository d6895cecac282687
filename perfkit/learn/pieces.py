"""A monotone curve of few straight pieces through log medians: where its knees lie, and how it reacts to noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from perfkit.config.curves import Piece

__all__ = ["PieceFit", "fit_pieces", "straight_pieces"]

Floats = npt.NDArray[np.float64]

_MOST_KNEES = 4
_KNEE_PENALTY = 6.0  # least gain in squared standardised residuals for which a knee is believed
_SMALLEST_SD = 0.02  # no need to follow medians closer than this
_HUBER = 2.0  # residuals beyond this many standard deviations pull linearly instead of quadratically
_KNEE_SD = 0.5  # how far, in log size, a knee may lie off before the evidence is looked at
_KNEES_PER_DOUBLING = 3  # candidates for a knee in each doubling of the size
_FINE_STEPS = 18  # the same, when a knee is moved to its final place


@dataclasses.dataclass(frozen=True)
class PieceFit:
    """A continuous, nondecreasing curve ``fixed + slopes`` with a change of slope at each knee.

    Args:
        sizes: measured sizes in bytes.
        residuals: log median minus log prediction at each size.
        standard_deviations: noise of each log median.
        knees: sizes at which the slope changes, ascending.
        fixed: cost at size 0, over 0.
        slopes: cost per byte before the first knee, between the knees and after the last.
    """

    sizes: Floats
    residuals: Floats
    standard_deviations: Floats
    knees: tuple[float, ...]
    fixed: float
    slopes: tuple[float, ...]

    def at(self, sizes: Floats) -> Floats:
        """Predicted cost at each size."""
        return np.asarray(self.fixed + _basis(sizes, self.knees)[:, 1:] @ np.array(self.slopes))

    def pieces(self) -> tuple[Piece, ...]:
        """The curve as ``fixed + per_byte * bytes`` from a start; pieces with the same slope are one."""
        pieces: list[Piece] = []
        starts = (0.0, *self.knees)
        values = (self.fixed, *self.at(np.array(self.knees)))
        for start, value, slope in zip(starts, values, self.slopes, strict=True):
            if not pieces or slope != pieces[-1].per_byte:
                pieces.append(Piece(float(start), float(value - slope * start), float(slope)))
        return tuple(pieces)

    def sensitivity(self, points: Floats) -> tuple[Floats, Floats]:
        """How predictions react, to first order, when the log medians move; knees move with them.

        Returns:
            A matrix that maps changes of the log medians to changes of the log predictions at `points`, and the
            variance of those that stays because the evidence hardly says where the knees are.
        """
        weights = self.standard_deviations**-2
        prior = np.zeros(1 + len(self.slopes) + len(self.knees))
        prior[1 + len(self.slopes) :] = _KNEE_SD**-2
        at_sizes, at_points = self._jacobian(self.sizes), self._jacobian(points)
        free = np.concatenate([[True], np.array(self.slopes) > 0, np.ones(len(self.knees), bool)])
        at_sizes, at_points, prior = at_sizes[:, free], at_points[:, free], prior[free]
        scale = np.maximum(np.sqrt(weights @ at_sizes**2 + prior), 1e-300)
        at_sizes, at_points, prior = at_sizes / scale, at_points / scale, prior / scale**2
        inverse = np.linalg.pinv((at_sizes.T * weights) @ at_sizes + np.diag(prior), hermitian=True)
        reaction = at_points @ inverse
        return reaction @ (at_sizes.T * weights), np.asarray((reaction**2 * prior).sum(axis=1))

    def _jacobian(self, sizes: Floats) -> Floats:
        """Change of the log prediction with the fixed cost, each slope and the logarithm of each knee."""
        basis = _basis(sizes, self.knees)
        bends = [
            (before - after) * knee * (sizes > knee)
            for knee, before, after in zip(self.knees, self.slopes, self.slopes[1:], strict=False)
        ]
        return np.column_stack([basis, *bends]) / self.at(sizes)[:, None]


def straight_pieces(sizes: Floats, values: Floats, allowed: Floats) -> tuple[Piece, ...]:
    """Straight lines that join some of the points and are nowhere farther from the others than is allowed.

    Each line goes as far as it may, from the first point on.

    Args:
        sizes: ascending, at least one.
        values: at each size, nondecreasing.
        allowed: at each size, largest distance, 0 or more.

    Returns:
        Pieces from the first size to the last; beyond it, nothing is said. None for a single size.

    >>> sizes = np.array([1.0, 2.0, 3.0, 4.0])
    >>> [piece.start_bytes for piece in straight_pieces(sizes, np.array([1.0, 2.0, 3.0, 9.0]), np.full(4, 0.1))]
    [1.0, 3.0]
    """
    pieces = []
    start = 0
    while start < sizes.size - 1:
        end = start + 1
        for candidate in range(start + 2, sizes.size):
            slope = (values[candidate] - values[start]) / (sizes[candidate] - sizes[start])
            between = slice(start + 1, candidate)
            line = values[start] + slope * (sizes[between] - sizes[start])
            if (np.abs(line - values[between]) <= allowed[between]).all():
                end = candidate
        slope = float((values[end] - values[start]) / (sizes[end] - sizes[start]))
        pieces.append(Piece(float(sizes[start]), float(values[start]) - slope * float(sizes[start]), slope))
        start = end
    return tuple(pieces)


def fit_pieces(sizes: Floats, log_medians: Floats, standard_deviations: Floats) -> PieceFit:
    """Fit a continuous nondecreasing curve of few straight pieces to log medians.

    The knees are searched: one is added at a time where it helps most, all are moved until nothing improves, and only
    those are kept that the noise cannot explain. Slopes come from non-negative least squares on relative error,
    weighted against outliers (Huber).

    Args:
        sizes: distinct sizes in bytes, ascending, 0 or more.
        log_medians: logarithm of the median at each size.
        standard_deviations: noise of each log median, 0 or more.

    >>> sizes = 1024.0 * 4.0 ** np.arange(8)
    >>> costs = 10_000 + 0.5 * sizes
    >>> (piece,) = fit_pieces(sizes, np.log(costs), np.zeros(8)).pieces()
    >>> round(piece.fixed), round(piece.per_byte, 6)
    (10000, 0.5)
    """
    problem = _Problem(sizes, log_medians, np.maximum(standard_deviations, _SMALLEST_SD))
    candidates = _candidates(sizes)
    loss, knees = problem.best([()])
    best = (loss, knees)
    for count in range(1, min(_MOST_KNEES, (sizes.size - 2) // 2, len(candidates)) + 1):
        loss, knees = problem.best([_with(knees, candidate) for candidate in candidates])
        loss, knees = _move_knees(problem, loss, knees, candidates)
        best = min(best, (loss + _KNEE_PENALTY * count, knees))
        if loss <= _KNEE_PENALTY:
            break  # even a perfect curve would not be worth one more knee
    nearby = [knee * 2.0 ** (step / _FINE_STEPS) for knee in best[1] for step in range(-3, 4)]
    return problem.solve(_move_knees(problem, problem.best([best[1]])[0], best[1], nearby)[1] if nearby else ())


class _Problem:
    """Log medians to be followed, and how far a curve with given knees is from them."""

    def __init__(self, sizes: Floats, log_medians: Floats, standard_deviations: Floats) -> None:
        self.sizes, self.log_medians, self.sds = sizes, log_medians, standard_deviations
        self.medians = np.exp(log_medians)
        self.least_fixed = 0.01 * self.medians.min()  # the fixed cost stays over 0

    def best(self, choices: Sequence[tuple[float, ...]]) -> tuple[float, tuple[float, ...]]:
        """The loss of the best choice of knees (all of the same number), and that choice.

        All choices are solved at once without the bounds on the coefficients. That loss is a lower bound of the true
        one, so the bounds are imposed only on choices that could still win.
        """
        bases = np.stack([_basis(self.sizes, knees) for knees in choices])
        scaled = bases / (self.sds * self.medians)[:, None]
        norms = np.maximum(np.sqrt((scaled**2).sum(axis=1, keepdims=True)), 1e-300)
        scaled = scaled / norms
        gram = np.swapaxes(scaled, 1, 2) @ scaled + 1e-10 * np.eye(bases.shape[2])
        free = np.linalg.solve(gram, np.swapaxes(scaled, 1, 2) @ (1 / self.sds)[:, None])[..., 0] / norms[:, 0]
        allowed = (free[:, 1:] >= 0).all(axis=1) & (free[:, 0] >= self.least_fixed)
        losses = self._loss(np.log(np.maximum((bases @ free[..., None])[..., 0], self.least_fixed)))
        best = (np.inf, choices[0])
        for index in np.argsort(losses, kind="stable"):
            if losses[index] >= best[0]:
                break
            loss = losses[index] if allowed[index] else self._loss(self.log_medians - self._fit(choices[index], 1)[1])
            best = min(best, (float(loss), choices[index]))
        return best

    def solve(self, knees: tuple[float, ...]) -> PieceFit:
        """The curve with these knees, to convergence."""
        coefficients, residuals = self._fit(knees, steps=8)
        slopes = tuple(float(slope) for slope in coefficients[1:])
        return PieceFit(self.sizes, residuals, self.sds, knees, float(coefficients[0]), slopes)

    def _loss(self, log_fitted: Floats) -> Floats:
        """Sum of squared standardised residuals along the last axis, linear beyond the Huber bound."""
        distance = np.abs(self.log_medians - log_fitted) / self.sds
        return np.asarray(np.where(distance < _HUBER, distance**2, _HUBER * (2 * distance - _HUBER)).sum(axis=-1))

    def _fit(self, knees: tuple[float, ...], steps: int) -> tuple[Floats, Floats]:
        """Coefficients and residuals after some steps of Gauss-Newton on the logarithm of the curve."""
        basis = _basis(self.sizes, knees)
        fitted = self.medians
        weights = 1 / self.sds
        residuals = np.zeros_like(fitted)
        for _ in range(steps):
            rows = weights / fitted
            target = rows * (fitted * (1 + residuals) - self.least_fixed)
            scaled = basis * rows[:, None]
            norms = np.sqrt((scaled**2).sum(axis=0))
            norms[norms == 0] = 1.0
            coefficients = nnls(scaled / norms, target)[0] / norms
            coefficients[0] += self.least_fixed
            fitted = basis @ coefficients
            residuals = self.log_medians - np.log(fitted)
            weights = 1 / self.sds * np.sqrt(np.minimum(1.0, _HUBER * self.sds / np.maximum(np.abs(residuals), 1e-12)))
        return coefficients, residuals


def _basis(sizes: Floats, knees: tuple[float, ...]) -> Floats:
    """A column of ones and, per piece, how many of a size's bytes lie on it."""
    starts, ends = np.array([0.0, *knees]), np.array([*knees, np.inf])
    return np.column_stack([np.ones(sizes.size), np.clip(sizes[:, None], starts, ends) - starts])


def _candidates(sizes: Floats) -> list[float]:
    """Sizes at which a knee may lie: geometrically from the smallest measured one to the largest."""
    first, last = max(float(sizes[0]), 1.0), max(float(sizes[-1]), 1.0)
    count = int(np.ceil(_KNEES_PER_DOUBLING * np.log2(last / first)))
    return [float(knee) for knee in np.geomspace(first, last, count + 1)[1:-1]]


def _with(knees: tuple[float, ...], knee: float) -> tuple[float, ...]:
    return tuple(sorted((*knees, knee)))


def _move_knees(
    problem: _Problem, loss: float, knees: tuple[float, ...], candidates: list[float]
) -> tuple[float, tuple[float, ...]]:
    """Move one knee at a time to its best place until nothing improves."""
    for _ in range(4):
        before = loss
        for index in range(len(knees)):
            others = knees[:index] + knees[index + 1 :]
            loss, knees = min((loss, knees), problem.best([_with(others, candidate) for candidate in candidates]))
        if loss >= before:
            break
    return loss, knees
