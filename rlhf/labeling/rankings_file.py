"""Rankings by people through files: what goes out to be ranked, and what came back.

A line of to_rank.jsonl is a comparison without labeler_id and with empty ranks: a person fills both in
and brings the file back. The completions may come back in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def to_rank(samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sampled completions as lines for a person to fill in (labeler_id, ranks: 1 is best, equal is a tie)."""
    for row in samples:
        yield {**row, "labeler_id": "", "ranks": []}


def ranked(samples: Iterable[dict[str, Any]], rankings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of `samples` that `rankings` rank; rankings of anything else are left out.

    One comparison a labeler and prompt: the last one counts. ValueError, naming the id, where a ranking's
    completions are not the ones that were sampled.
    """
    known = {row["id"]: row for row in samples}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for ranking in rankings:
        row = known.get(ranking.get("id", ""))
        if row is None or not ranking.get("ranks"):
            continue
        texts = [completion["text"] for completion in ranking["completions"]]
        if sorted(texts) != sorted(completion["text"] for completion in row["completions"]):
            raise ValueError(
                f"comparison {row['id']}: its completions are not the ones that were sampled for this round"
            )
        left = list(zip(texts, ranking["ranks"], strict=True))
        ranks = []
        for completion in row["completions"]:
            place = next(n for n, (text, _) in enumerate(left) if text == completion["text"])
            ranks.append(left.pop(place)[1])
        labeler = ranking.get("labeler_id") or "unknown"
        found[row["id"], labeler] = {**row, "labeler_id": labeler, "ranks": ranks}
    return [found[name] for name in sorted(found)]
