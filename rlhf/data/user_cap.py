"""No user may dominate: at most so many prompts of each (paper: 200)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rlhf.data.dedup import by_age

Record = dict[str, Any]


def user_cap(records: Iterable[Record], cap: int) -> tuple[list[Record], list[Record]]:
    """The earliest `cap` prompts of each user; what is over it is removed."""
    kept: list[Record] = []
    removed: list[Record] = []
    count: Counter[str] = Counter()
    for record in sorted(records, key=by_age):
        count[record["user_id"]] += 1
        if count[record["user_id"]] <= cap:
            kept.append(record)
        else:
            removed.append(
                {"id": record["id"], "step": "user_cap", "reason": f"over {cap} prompts of one user"}
            )
    return kept, removed
