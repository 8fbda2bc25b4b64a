"""Where random numbers begin: one seed for the experiment, and others made from it for each round and each use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def of_round(seed: int, number: int) -> int:
    """The seed of a round's own draws, in [0, 2^32): of the first round `seed` itself, of later ones a mixed one.

    seed: at least 0; number: of the round, from 1.
    """
    return seed if number == 1 else mixed(seed, f"round {number}")


def mixed(seed: int, use: str) -> int:
    """A seed in [0, 2^32) for one more use of `seed` (numpy's SeedSequence): uses of other names share no numbers."""
    return int(np.random.SeedSequence([seed, *use.encode()]).generate_state(1)[0])


def shuffled(items: Sequence[T], seed: int, use: str) -> list[T]:
    """The items in an order by chance, so that the first N are a sample of N; those of curated data are none, as its
    rows are sorted by ids, which carry their source. use: what they are for: other uses of `seed` draw others.
    """
    return random.Random(f"{use} {seed}").sample(items, len(items))
