"""Copies: equal folded texts, equal long prefixes, near copies. The earliest is kept.

Earliest is by created_at, then id; a record without a time comes after those that have one. One pass in order of
age: a record goes if an earlier record THAT IS KEPT equals it, has its first characters, or is nearly the same,
asked in this order. So what stands in the way of a record is always there to be seen, and later arrivals change
nothing that stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlhf.data import fingerprints, near
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


def exact(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """(kept, {id, duplicate_of} of the copies) of records in memory: equal folded texts alone."""
    return _equal(records, "whole", 1)


def long_prefix(records: Sequence[Record], characters: int) -> tuple[list[Record], list[Record]]:
    """The same: prompts whose first so many folded characters are equal, or whose whole texts are."""
    return _equal(records, "start", characters)


def near_copies(records: Sequence[Record], limit: float) -> tuple[list[Record], list[Record]]:
    """The same: equal texts, and near copies at a Jaccard index of `limit`; no rule of prefixes."""
    rows = sorted(records, key=by_age)
    prints = fingerprints.of_texts([fingerprints.compared(row, 10**9) for row in rows])
    step, of = copies(prints, limit, lambda pairs: near.are_copies(rows, pairs, limit))
    return _parted(rows, np.where(step > 0, of, np.arange(len(rows))))


def _equal(records: Sequence[Record], key: str, characters: int) -> tuple[list[Record], list[Record]]:
    rows = sorted(records, key=by_age)
    prints = fingerprints.of_texts([fingerprints.compared(row, characters) for row in rows])
    return _parted(rows, first_of_each(prints[key]))


def _parted(rows: list[Record], first: np.ndarray) -> tuple[list[Record], list[Record]]:
    kept = [row for at, row in enumerate(rows) if first[at] == at]
    gone = [
        {"id": row["id"], "duplicate_of": rows[first[at]]["id"]}
        for at, row in enumerate(rows)
        if first[at] != at
    ]
    return kept, gone


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """[rows] int64: the first row of the same key. keys: [rows, 2], halves of a hash."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: rows of a key stay in order
    ordered = keys[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(keys), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))]
    return first
