"""How far rankings agree: with one another, and with scores. Pairs that a ranking ties do not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


def pair_counts(ranks: Sequence[float], other: Sequence[float]) -> tuple[float, int]:
    """(agreeing, counted) pairs of two rankings of the same K completions; 1 is best in both.

    A pair counts where `ranks` is untied; it is half agreed on where `other` ties it.
    """
    agreeing, counted = 0.0, 0
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] == ranks[j]:
            continue
        counted += 1
        agreeing += 0.5 if other[i] == other[j] else float((ranks[i] < ranks[j]) == (other[i] < other[j]))
    return agreeing, counted


def pairwise_accuracy(scores: Iterable[Sequence[float]], ranks: Iterable[Sequence[int]]) -> float:
    """Share of untied pairs that scores (higher is better) put in the order of the ranks (1 is best).

    scores, ranks: for each prompt, K numbers. nan where every pair is tied.
    """
    counts = pair_counts_many(scores, ranks)
    return float(counts[:, 0].sum() / counts[:, 1].sum()) if counts[:, 1].sum() else float("nan")


def pair_counts_many(
    scores: Iterable[Sequence[float]], ranks: Iterable[Sequence[int]]
) -> NDArray[np.float64]:
    """[prompts, 2]: for each prompt, pairs that the scores order as the ranks do, and untied pairs."""
    counts = [
        pair_counts(given, [-score for score in scored]) for scored, given in zip(scores, ranks, strict=True)
    ]
    return np.array(counts, dtype=np.float64).reshape(-1, 2)


def ranks_of(values: Sequence[float]) -> list[int]:
    """Competition ranks of values, 1 for the highest; equal values tie: [3, 5, 3] -> [2, 1, 2]."""
    return [1 + sum(other > value for other in values) for value in values]
