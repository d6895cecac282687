"""The Universal Scalability Law as a least-squares problem, solved for many data sets at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "fit_freely", "fit_lawfully", "highest_throughput", "parameters", "predict", "slopes_of"]

Floats = npt.NDArray[np.float64]

_ITERATIONS = 40
_ALL = (0, 1, 2)
_ON_A_BOUND = ((0, 1), (0, 2), (0,))
"""Coefficients that stay free where beta, alpha, or both are held at 0."""
_TINY = 1e-300


def fit_freely(concurrency: Floats, throughput: Floats, weights: Floats, free: tuple[int, ...] = _ALL) -> Floats:
    """Least squares of throughput, absolute errors, without bounds.

    Written as N / X = theta . (1, N - 1, N (N - 1)) the law is linear in theta = (1, alpha, beta) / gamma: that gives
    the start, and Levenberg and Marquardt's steps the rest.

    Args:
        concurrency: m levels, above 0.
        throughput: (data sets, m), above 0.
        weights: m, above 0.
        free: which coefficients are fitted; the others are 0.

    Returns:
        theta, (data sets, 3).
    """
    basis = _basis(concurrency)[list(free)]
    scale = np.maximum(np.abs(basis).max(axis=1, keepdims=True), _TINY)
    basis = basis / scale
    theta = _linear_start(concurrency, throughput, weights, basis)
    fitted, error = _errors(theta, basis, concurrency, throughput, weights)
    lost = ~np.isfinite(error)
    if lost.any():
        theta[lost] = 0.0
        theta[lost, 0] = (concurrency / throughput[lost]).mean(axis=1)
        fitted, error = _errors(theta, basis, concurrency, throughput, weights)
    damping = np.full(len(theta), 1e-3)
    for _ in range(_ITERATIONS):
        slopes = -(fitted**2 / concurrency)[:, None, :] * basis
        weighted = slopes * weights
        normal = weighted @ slopes.transpose(0, 2, 1)
        pull = (weighted @ (throughput - fitted)[..., None])[..., 0]
        step = _solved(normal, pull, damping)
        tried_fitted, tried_error = _errors(theta + step, basis, concurrency, throughput, weights)
        better = tried_error <= error
        damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-12, 1e12)
        theta = np.where(better[:, None], theta + step, theta)
        fitted = np.where(better[:, None], tried_fitted, fitted)
        error = np.where(better, tried_error, error)
        if (np.abs(step) <= 1e-11 * np.abs(theta).max(axis=1, keepdims=True)).all():
            break
    complete = np.zeros((len(theta), 3))
    complete[:, list(free)] = theta / scale[:, 0]
    return complete


def fit_lawfully(concurrency: Floats, throughput: Floats, weights: Floats) -> Floats:
    """As `fit_freely`, with alpha and beta at least 0; theta, (data sets, 3)."""
    best = fit_freely(concurrency, throughput, weights)
    outside = (best[:, 1:] < 0).any(axis=1)
    if not outside.any():
        return best
    least = np.full(int(outside.sum()), np.inf)
    for free in _ON_A_BOUND:
        theta = fit_freely(concurrency, throughput[outside], weights, free)
        fitted = concurrency / (theta @ _basis(concurrency))
        error = (weights * (throughput[outside] - fitted) ** 2).sum(axis=1)
        error[(theta[:, 1:] < 0).any(axis=1)] = np.inf
        is_better = error < least
        chosen = np.flatnonzero(outside)[is_better]
        best[chosen], least = theta[is_better], np.minimum(error, least)
    return best


def predict(theta: Floats, concurrency: Floats) -> Floats:
    """X(N) of every fit at every level, (data sets, levels); infinite where the denominator is not positive."""
    below = theta @ _basis(concurrency)
    return np.where(below > 0, concurrency / np.where(below > 0, below, 1.0), np.inf)


def parameters(theta: Floats) -> dict[str, Floats]:
    """gamma, alpha, beta and the concurrency of the peak of every fit; infinite where beta is not above 0."""
    gamma = 1 / theta[:, 0]
    alpha, beta = theta[:, 1] * gamma, theta[:, 2] * gamma
    square = np.maximum(1 - alpha, 0.0) / np.where(beta > 0, beta, 1.0)
    peak = np.where(beta > 0, np.maximum(np.sqrt(square), 1.0), np.where(alpha >= 1, 1.0, np.inf))
    return {"gamma": gamma, "alpha": alpha, "beta": beta, "peak_concurrency": peak}


def highest_throughput(theta: Floats) -> Floats:
    """Throughput of every fit at its peak; where that is infinite, what throughput tends to."""
    at = parameters(theta)["peak_concurrency"]
    finite = np.where(np.isfinite(at), at, 1.0)
    below = (theta * _basis(finite).T).sum(axis=1)
    below = np.where(np.isfinite(at), below / finite, theta[:, 1])
    return np.where(below > 0, 1 / np.where(below > 0, below, 1.0), np.inf)


def slopes_of(theta: Floats, concurrency: Floats) -> Floats:
    """Derivatives of X(N) of one fit (3) with respect to theta, (levels, 3), each column of length 1."""
    fitted = concurrency / (theta @ _basis(concurrency))
    slopes: Floats = (-(fitted**2 / concurrency) * _basis(concurrency)).T
    lengths = np.maximum(np.linalg.norm(slopes, axis=0), _TINY)
    return np.asarray(slopes / lengths, dtype=np.float64)


def _basis(concurrency: Floats) -> Floats:
    return np.stack([np.ones_like(concurrency), concurrency - 1, concurrency * (concurrency - 1)])


def _linear_start(concurrency: Floats, throughput: Floats, weights: Floats, basis: Floats) -> Floats:
    """Least squares of N / X, weighted so that it minimises about the same as least squares of X."""
    about = weights * (throughput**2 / concurrency) ** 2
    normal = np.einsum("km,dm,lm->dkl", basis, about, basis)
    pull = np.einsum("km,dm,dm->dk", basis, about, concurrency / throughput)
    return _solved(normal, pull, np.full(len(throughput), 1e-13))


def _solved(normal: Floats, pull: Floats, damping: Floats) -> Floats:
    diagonal = np.einsum("dkk->dk", normal) * damping[:, None] + _TINY
    spread = np.einsum("dkk->d", normal)[:, None] * 1e-15
    damped = normal + (diagonal + spread)[:, :, None] * np.eye(normal.shape[-1])
    return np.asarray(np.linalg.solve(damped, pull[..., None])[..., 0], dtype=np.float64)


def _errors(
    theta: Floats, basis: Floats, concurrency: Floats, throughput: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Fitted throughput, and the sum of squares that is minimised; infinite where a denominator is not positive."""
    below = theta @ basis
    is_possible = (below > 0).all(axis=1)
    fitted = concurrency / np.where(below > 0, below, np.inf)
    return fitted, np.where(is_possible, (weights * (throughput - fitted) ** 2).sum(axis=1), np.inf)
