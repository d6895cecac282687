"""Gradient boosting of what the curves leave unexplained."""

from __future__ import annotations

import dataclasses
import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.encoding import MONOTONE

__all__ = ["MOST_ROWS", "Booster", "fit_booster", "sample_rows"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

MOST_ROWS = 250_000
"""Rows that a booster is trained on; more change its trees little, and take minutes."""
_CLIP_SPREADS = 4.0
_FEWEST_PER_LEAF = 40
_ROWS_PER_LEAF, _LEAVES = 200, (8, 31)
_ROWS_FOR_THREADS = 50_000
_ROWS_TO_WALK = 64


@dataclasses.dataclass(frozen=True)
class Booster:
    """A fitted booster of log cost, nondecreasing in size.

    Attributes:
        estimator: scikit-learn's HistGradientBoostingRegressor.
        n: rows that it was trained on.
    """

    estimator: Any
    n: int

    def predict(self, matrix: Floats) -> Floats:
        """What to add to the logarithm of the baseline's cost, per row of `Encoding.matrix`."""
        if len(matrix) <= _ROWS_TO_WALK:
            return self._walk(matrix)
        with few_threads(len(matrix)):
            return np.asarray(self.estimator.predict(matrix), float)

    def _walk(self, matrix: Floats) -> Floats:
        """The same for few rows: scikit-learn's checks take ten times as long as the trees themselves."""
        forest = self._forest
        rows = np.arange(len(matrix))[:, None]
        place = np.broadcast_to(forest.roots, (len(matrix), forest.roots.size))
        for _ in range(forest.depth):
            figures = matrix[rows, forest.column[place]]
            is_left = np.where(np.isnan(figures), forest.missing_left[place], figures <= forest.threshold[place])
            place = np.where(is_left, forest.left[place], forest.right[place])
        return np.asarray(forest.start + forest.value[place].sum(axis=1))

    @functools.cached_property
    def _forest(self) -> _Forest:
        return _Forest.of(self.estimator)


@dataclasses.dataclass(frozen=True)
class _Forest:
    """All trees of a booster as one list of nodes; a leaf leads to itself."""

    roots: Integers
    left: Integers
    right: Integers
    column: Integers
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    value: Floats
    depth: int
    start: float

    @staticmethod
    def of(estimator: Any) -> _Forest:
        """Of scikit-learn's HistGradientBoostingRegressor without categories."""
        trees = [tree.nodes for (tree,) in estimator._predictors]
        nodes = np.concatenate(trees)
        sizes = np.array([len(tree) for tree in trees])
        roots = np.cumsum(sizes) - sizes
        itself, shift = np.arange(len(nodes)), np.repeat(roots, sizes)
        is_leaf = nodes["is_leaf"].astype(bool)
        left, right = (np.where(is_leaf, itself, nodes[side].astype(np.int64) + shift) for side in ("left", "right"))
        return _Forest(
            roots,
            left,
            right,
            np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int64),
            nodes["num_threshold"].astype(float),
            nodes["missing_go_to_left"].astype(bool),
            np.where(is_leaf, nodes["value"], 0.0),
            int(nodes["depth"].max()),
            float(np.asarray(estimator._baseline_prediction).item()),
        )


def fit_booster(
    matrix: Floats, residual: Floats, *, seed: int, trees: int = 120, learning_rate: float = 0.1
) -> Booster:
    """Fit a booster to log residuals.

    The loss is squared, on residuals clipped to four robust standard deviations about their median: the leaves of an
    absolute loss are replaced by medians after the constraint was applied, so that it does not keep predictions
    nondecreasing.

    Args:
        matrix: of `Encoding.matrix`.
        residual: log cost less log baseline, finite.
        seed: the same rows and seed give the same booster.
        trees: at most so many; fewer rows get fewer leaves.
        learning_rate: share of each tree that counts.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    middle = float(np.median(residual))
    spread = 1.4826 * float(np.median(np.abs(residual - middle)))
    reach = _CLIP_SPREADS * spread if spread > 0 else np.inf
    clipped = np.clip(residual, middle - reach, middle + reach)
    estimator = HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=learning_rate,
        max_leaf_nodes=int(np.clip(residual.size / _ROWS_PER_LEAF, *_LEAVES)),
        min_samples_leaf=max(_FEWEST_PER_LEAF, residual.size // 2000),
        l2_regularization=5.0,
        monotonic_cst=list(MONOTONE),
        early_stopping=False,
        random_state=seed,
    )
    # scikit-learn cannot bin a column without a single known value; a constant one never splits a tree.
    matrix = np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)
    with few_threads(residual.size):
        return Booster(estimator.fit(matrix, clipped), residual.size)


def few_threads(rows: int) -> AbstractContextManager[object]:
    """One thread for few rows: several wait for each other longer than they work, much longer on a busy machine."""
    return nullcontext() if rows >= _ROWS_FOR_THREADS else _controller().limit(limits=1, user_api="openmp")


@functools.cache
def _controller() -> Any:
    import sklearn.ensemble  # noqa: F401 - what is not loaded yet would not be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def sample_rows(strata: Integers, seed: int, most: int = MOST_ROWS) -> Integers:
    """Positions of at most `most` rows, in order: of small strata all, of large ones equally many.

    Args:
        strata: one number per row, 0 or more.
        seed: of the draw.
        most: rows to keep.
    """
    if strata.size <= most:
        return np.arange(strata.size)
    order = np.random.default_rng(seed).permutation(strata.size)
    ranked = order[np.argsort(strata[order], kind="stable")]
    counts = np.bincount(strata)
    rank = np.arange(strata.size) - np.repeat(np.cumsum(counts) - counts, counts)
    # The largest number per stratum with which all of them together are at most `most`.
    low, high = 1, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    return np.asarray(np.sort(ranked[rank < low][:most]))
