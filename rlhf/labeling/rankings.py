"""Rankings that cannot all be true: of one labeler's several of the same answers the latest stands, and equal texts tie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]


def standing(comparisons: Iterable[Record]) -> tuple[list[Record], int]:
    """(the comparisons that stand, how many do not), in their order.

    Where one labeler ranked the same answers to the same prompt more than once, whichever way round they stood, the latest does: by
    created_at where both have one, else by place.
    """
    latest: dict[tuple[Any, str, tuple[str, ...]], tuple[int, Record]] = {}
    every = list(comparisons)
    for at, record in enumerate(every):
        texts = tuple(sorted(completion["text"] for completion in record["completions"]))
        labeler = record.get("labeler_id", at)  # nobody's is nobody else's
        key = (labeler, json.dumps(record["messages"], sort_keys=True), texts)
        if key not in latest or _is_later(record, latest[key][1]):
            latest[key] = at, record
    kept = sorted(at for at, _ in latest.values())
    return [every[at] for at in kept], len(every) - len(kept)


def _is_later(record: Record, other: Record) -> bool:
    mine, theirs = record.get("created_at"), other.get("created_at")
    return not (mine and theirs) or mine >= theirs


def tied(record: Record) -> list[float]:
    """The ranks of a comparison's completions, in which equal texts have one rank: the mean of theirs."""
    ranks: dict[tuple[str, bool], list[float]] = {}
    keys = [(completion["text"], completion.get("ended", True)) for completion in record["completions"]]
    for key, rank in zip(keys, record["ranks"], strict=True):
        ranks.setdefault(key, []).append(rank)
    return [sum(ranks[key]) / len(ranks[key]) for key in keys]
