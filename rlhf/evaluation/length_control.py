"""Win rates at equal length: what is left of a win once the longer answer is no longer preferred for being longer.

As in length-controlled AlpacaEval (arXiv:2404.04475, eq. 2), a logistic regression explains each win:

    P(A wins against B) = σ(θ + φ · tanh((len A - len B) / sd)),

and the length-controlled win rate is σ(θ): what it says at a length difference of 0. AlpacaEval's term for a prompt's
difficulty is left out: it is estimated from many models' answers to a prompt, and here are two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from rlhf.evaluation.win_rate import Interval, Resampling

RIDGE = 1e-2  # on φ and θ, in pairs: where length explains every win, the estimates stay finite
STEPS = 25  # of Newton's method for the estimate; it converges in some eight
REFITS = 400  # resamples of its interval, at most: each is a regression
WARM_STEPS = 4  # of a resample's regression, which begins at the estimate


def length_controlled(
    wins: ArrayLike, lengths: ArrayLike, other_lengths: ArrayLike, how: Resampling
) -> Interval:
    """The win rate at equal length, with its bootstrap interval.

    wins: [R, N] of A against B's R answers to each of N prompts, in [0, 1]. lengths: [N] of A's answers;
    other_lengths: [R, N] of B's, in the same unit (AlpacaEval: characters).
    """
    won = np.atleast_2d(np.asarray(wins, dtype=np.float64))
    apart = np.asarray(lengths, dtype=np.float64) - np.asarray(other_lengths, dtype=np.float64)
    apart = np.broadcast_to(apart, won.shape)
    spread = float(apart.std())
    longer = np.tanh(apart / spread) if spread else np.zeros_like(apart)
    rows = np.stack([np.ones_like(longer), longer], axis=-1).reshape(-1, 2)
    ones = np.ones((1, len(rows)))
    fitted = _logistic(rows, won.ravel(), ones, np.zeros((1, 2)), STEPS)
    cluster = how.clusters(won.shape[1])
    few = Resampling(min(how.resamples, REFITS), how.seed, how.users, how.level)
    drawn = few.draws(int(cluster.max()) + 1)[:, np.tile(cluster, len(won))].astype(np.float64)
    refitted = _logistic(rows, won.ravel(), drawn, np.repeat(fitted, len(drawn), axis=0), WARM_STEPS)
    return how.interval(float(expit(fitted[0, 0])), expit(refitted[:, 0]))


def _logistic(
    rows: NDArray[np.float64],
    won: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: NDArray[np.float64],
    steps: int,
) -> NDArray[np.float64]:
    """[B, 2] coefficients of B weighted logistic regressions on the same rows, by Newton's method.

    rows: [P, 2]; won: [P] in [0, 1]; weights: [B, P]; start: [B, 2].
    """
    found = start.copy()
    squares = rows[:, :, None] * rows[:, None, :]  # [P, 2, 2]
    for _ in range(steps):
        chance = expit(found @ rows.T)  # [B, P]
        slope = (weights * (won - chance)) @ rows - RIDGE * found
        curve = weights * chance * (1 - chance)
        hessian = np.tensordot(curve, squares, axes=1) + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, slope[:, :, None])[:, :, 0]
        found += np.clip(step, -2.0, 2.0)  # a full step from far away may overshoot
    return found
