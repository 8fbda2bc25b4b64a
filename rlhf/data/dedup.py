"""Copies: equal folded texts, equal long prefixes, near copies. The earliest is kept.

Earliest is by created_at, then id; a record without a time comes after those that have one. One pass in order of
age: a record goes if an earlier record THAT IS KEPT equals it, has its first characters, or is nearly the same,
asked in this order. So what stands in the way of a record is always there to be seen, and later arrivals change
nothing that stands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlhf.data import near
from rlhf.data.near import Verify

Record = dict[str, Any]
STEPS = ("", "exact", "prefix", "near")
REASONS = {"exact": "exact copy", "prefix": "prefix copy", "near": "near copy"}


def by_age(record: Record) -> tuple[bool, str, str]:
    """Sorts the earliest first."""
    moment = record.get("created_at")
    return (moment is None, (moment or "").removesuffix("Z"), record["id"])


def copies(prints: np.ndarray, limit: float, verify: Verify) -> tuple[np.ndarray, np.ndarray]:
    """What each record is a copy of: (step [rows], a place in STEPS, 0 where kept; of [rows] int64, -1 where kept).

    prints: [rows] FINGERPRINT in order of age; limit: the Jaccard index of near copies; verify: which of
    [pairs, 2] rows are near copies.
    """
    first = first_of_each(prints["whole"])
    rows = np.flatnonzero(first == np.arange(len(prints)))  # one of each text
    sketches = near.Sketches(prints["minima"][rows], prints["fixed"][rows])
    of_left, is_near = near.greedy(
        sketches,
        first_of_each(prints["start"][rows]),
        limit,
        lambda pairs: verify(rows[pairs]),
    )
    step = np.zeros(len(prints), np.uint8)
    of = np.full(len(prints), -1, np.int64)
    gone = of_left >= 0
    step[rows[gone]] = np.where(is_near[gone], STEPS.index("near"), STEPS.index("prefix"))
    of[rows[gone]] = rows[of_left[gone]]
    again = np.flatnonzero(first != np.arange(len(prints)))
    stands = of[first[again]] < 0
    step[again] = np.where(stands, STEPS.index("exact"), step[first[again]])
    of[again] = np.where(stands, first[again], of[first[again]])
    return step, of


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """[rows] int64: the first row of the same key. keys: [rows, 2], halves of a hash."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: rows of a key stay in order
    ordered = keys[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(keys), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))]
    return first
