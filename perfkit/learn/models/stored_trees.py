"""Whether a booster from a file can be asked: its trees are walked by compiled code that checks nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_booster"]


def check_booster(name: str, booster: Any) -> None:
    """Refuse a booster whose trees would lead compiled code out of its arrays, in circles, or to no figure.

    Args:
        name: what it is called among the parts of its model.
        booster: what a file held.

    Raises:
        ValueError: it is not a fitted HistGradientBoostingRegressor as `perfkit.train` makes them.
        AttributeError: it lacks what every fitted one has.
        TypeError: a part of it is something else.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    if type(booster) is not HistGradientBoostingRegressor:
        raise ValueError(f"{name} is a {type(booster).__name__}, not a HistGradientBoostingRegressor")
    columns, mapper = booster.n_features_in_, booster._bin_mapper
    if type(columns) is not int or columns < 1 or getattr(booster, "_in_fit", False):
        raise ValueError(f"{name} was not fitted to columns")
    if type(mapper) is not _BinMapper or booster._preprocessor is not None or booster.is_categorical_ is not None:
        raise ValueError(f"{name} treats columns as categories, which no model here does")
    if np.shape(mapper.is_categorical_) != (columns,) or np.any(mapper.is_categorical_):
        raise ValueError(f"{name} treats columns as categories, which no model here does")
    start = booster._baseline_prediction
    if booster.n_trees_per_iteration_ != 1 or np.shape(start) != (1, 1) or not np.isfinite(start).all():
        raise ValueError(f"{name} does not begin with one finite figure")
    for (tree,) in booster._predictors:
        if type(tree) is not TreePredictor:
            raise ValueError(f"{name} holds a {type(tree).__name__} as a tree")
        _check_tree(name, tree.nodes, columns)


def _check_tree(name: str, nodes: Any, columns: int) -> None:
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    if type(nodes) is not np.ndarray or nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1 or nodes.size < 1:
        raise ValueError(f"{name} has a tree that is no list of nodes")
    if not np.isfinite(nodes["value"]).all() or np.isnan(nodes["num_threshold"]).any():
        raise ValueError(f"{name} has a tree with a figure that is not finite")
    inner = nodes["is_leaf"] == 0
    place = np.flatnonzero(inner)
    for side in ("left", "right"):
        child = nodes[side][inner].astype(np.int64)
        # A child that comes after its parent: whoever walks down ends at a leaf.
        if np.any((child <= place) | (child >= nodes.size)):
            raise ValueError(f"{name} has a tree whose nodes lead out of it or in circles")
    feature = nodes["feature_idx"][inner]
    if np.any((feature < 0) | (feature >= columns)) or nodes["is_categorical"].any():
        raise ValueError(f"{name} has a tree that asks for a column that there is not")
