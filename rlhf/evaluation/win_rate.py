"""Win rates on paired prompts, and their intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: scores this close are equal: the same answer in another batch is scored otherwise in float32's last digits
TIE = 1e-5
Interval = list[float]  # [low, mid, high]: mid is the estimate, low and high its 95 % bootstrap interval


def wins_each(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """[R, N] 1 where A beats B's answer on a prompt, 0.5 where they tie, 0 where it loses.

    scores: [N] of A; others: [R, N] of B's R answers to each prompt, or [N] of one.
    """
    a, b = np.asarray(scores, dtype=np.float64), np.atleast_2d(np.asarray(others, dtype=np.float64))
    assert a.shape == b.shape[1:], "a win rate compares answers to the same prompts"
    return np.where(np.isclose(a, b, rtol=TIE, atol=TIE), 0.5, a > b)


def wins(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """[N] the share of B's answers to each prompt that A beats, ties half. scores, others: as `wins_each`."""
    return wins_each(scores, others).mean(axis=0)


@dataclass(frozen=True)
class Resampling:
    """How the prompts of an interval are drawn again.

    users: [N] whose prompt each is; where one has several, users are drawn with all of their prompts (the cluster
    bootstrap), since a user's prompts resemble one another; None, or a user each: prompts are. resamples: at least 100.
    """

    resamples: int
    seed: int
    users: Sequence[Hashable] | None = None
    level: float = 0.95

    def first(self, count: int) -> Resampling:
        """The same for the first so many prompts."""
        users = None if self.users is None else self.users[:count]
        return Resampling(self.resamples, self.seed, users, self.level)

    def clusters(self, count: int) -> NDArray[np.int64]:
        """[N] the number of each prompt's cluster, from 0."""
        if self.users is None:
            return np.arange(count)
        assert len(self.users) == count, "an interval wants a user for each prompt"
        numbers: dict[Hashable, int] = {}
        return np.array([numbers.setdefault(user, len(numbers)) for user in self.users], dtype=np.int64)

    def draws(self, clusters: int) -> NDArray[np.int64]:
        """[resamples, clusters] how often each is drawn."""
        draw = np.random.default_rng(self.seed)
        drawn = draw.integers(0, clusters, (self.resamples, clusters))
        drawn += clusters * np.arange(self.resamples)[:, None]
        return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)

    def interval(self, mid: float, estimates: NDArray[np.float64]) -> Interval:
        """[low, mid, high] of an estimate and of its resamples, by percentiles."""
        tail = 50 * (1 - self.level)
        low, high = np.percentile(estimates, [tail, 100 - tail])
        return [float(low), float(mid), float(high)]


def win_rate(scores: ArrayLike, others: ArrayLike, how: Resampling) -> Interval:
    """Share of prompts that A wins against B, ties half, with its interval. scores, others: as `wins_each`."""
    return mean_interval(wins(scores, others), how)


def mean_interval(values: ArrayLike, how: Resampling) -> Interval:
    """The mean of [N] values with its percentile bootstrap interval; nan without values."""
    listed = np.asarray(values, dtype=np.float64)
    return ratio_interval(listed, np.ones(len(listed)), how)


def ratio_interval(parts: ArrayLike, wholes: ArrayLike, how: Resampling) -> Interval:
    """Sum of [N] parts over sum of [N] wholes with its percentile bootstrap interval; nan where the wholes are 0."""
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    if not whole.sum():
        return [float("nan")] * 3
    cluster = how.clusters(len(part))
    sums, sizes = np.bincount(cluster, weights=part), np.bincount(cluster, weights=whole)
    drawn = how.draws(len(sums)).astype(np.float64)
    below = drawn @ sizes
    kept = below > 0  # a resample of prompts that have nothing to count says nothing
    return how.interval(part.sum() / whole.sum(), (drawn @ sums)[kept] / below[kept])


def text(interval: Sequence[float], digits: int = 2) -> str:
    """ "0.61 (0.57-0.65)" of [low, mid, high]."""
    low, mid, high = interval
    dash = "–" if low >= 0 else " to "
    return f"{mid:.{digits}f} ({low:.{digits}f}{dash}{high:.{digits}f})"
