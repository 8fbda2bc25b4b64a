"""Win rates on paired prompts, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: scores this close are equal: the same answer in another batch is scored otherwise in float32's last digits
TIE = 1e-5
Interval = list[float]  # [low, mid, high]: mid is the estimate, low and high its 95 % bootstrap interval


def wins(scores: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """[N] 1 where A beats B on a prompt, 0.5 where they tie, 0 where it loses.

    scores: [N] of A. other: [N] of B; or [R, N] of B's R answers to each prompt, and then the share of them that lose.
    """
    a, b = np.asarray(scores, dtype=np.float64), np.atleast_2d(np.asarray(other, dtype=np.float64))
    assert a.shape == b.shape[1:], "a win rate compares answers to the same prompts"
    return np.where(np.isclose(a, b, rtol=TIE, atol=TIE), 0.5, a > b).mean(axis=0)


def win_rate(scores: ArrayLike, other: ArrayLike, *, resamples: int, seed: int) -> Interval:
    """Share of prompts that A wins against B, ties half, with its interval. scores, other: as `wins`."""
    return mean_interval(wins(scores, other), resamples=resamples, seed=seed)


def paired_difference(
    first: ArrayLike, second: ArrayLike, against: ArrayLike, *, resamples: int, seed: int
) -> Interval:
    """Win rate of `first` minus win rate of `second`, both against the same answers, prompts resampled together.

    first, second: [N] scores on the same prompts; against: [N], or [R, N], as in `wins`.
    """
    gain = wins(first, against) - wins(second, against)
    return mean_interval(gain, resamples=resamples, seed=seed)


def mean_interval(values: ArrayLike, *, resamples: int, seed: int, level: float = 0.95) -> Interval:
    """The mean of [N] values with its percentile bootstrap interval; nan without values."""
    listed = np.asarray(values, dtype=np.float64)
    if not len(listed):
        return [float("nan")] * 3
    draw = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, 500):
        rows = min(500, resamples - start)
        means[start : start + rows] = listed[draw.integers(0, len(listed), (rows, len(listed)))].mean(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return [float(low), float(listed.mean()), float(high)]


def text(interval: Sequence[float], digits: int = 2) -> str:
    """ "0.61 (0.57-0.65)" of [low, mid, high]."""
    low, mid, high = interval
    dash = "–" if low >= 0 else " to "
    return f"{mid:.{digits}f} ({low:.{digits}f}{dash}{high:.{digits}f})"
