"""Rankings by people through files: what goes out to be ranked, and what came back.

A line of to_rank.jsonl is a comparison without labeler_id and with empty ranks: a person fills both in
and brings the file back. The completions may come back in another order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any


def to_rank(samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sampled completions as lines for a person to fill in (labeler_id, ranks: 1 is best, equal is a tie).

    Blind: in an order by chance, the same each time, without the names of the models that wrote them.
    """
    for row in samples:
        texts = [{key: c[key] for key in ("text", "ended") if key in c} for c in row["completions"]]
        shuffled = random.Random(row["id"]).sample(texts, len(texts))
        yield {**row, "completions": shuffled, "labeler_id": "", "ranks": []}


def asks(samples: Iterable[dict[str, Any]], lines: Iterable[dict[str, Any]]) -> bool:
    """Whether lines that went out, filled in or not and under whatever ids, all ask about these samples."""
    texts = {_texts(row) for row in samples}
    return all(_texts(line) in texts for line in lines)


def _texts(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(completion["text"] for completion in row["completions"]))


def ranked(samples: Iterable[dict[str, Any]], rankings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of `samples` that `rankings` rank; rankings of anything else are left out.

    A ranking belongs to a sample by its id, or by round and prompt_id, so that several labelers may rank one
    prompt under ids of their own. ValueError, naming the id, where its completions are not the sampled ones.
    """
    by_id = {row["id"]: row for row in samples}
    by_prompt = {(row["round"], row["prompt_id"]): row for row in by_id.values()}
    found: dict[str, dict[str, Any]] = {}
    for ranking in rankings:
        row = by_id.get(ranking["id"]) or by_prompt.get((ranking.get("round"), ranking.get("prompt_id")))
        if row is not None:
            ranks = _in_order(row, ranking)
            found[ranking["id"]] = {
                **row,
                "id": ranking["id"],
                "labeler_id": ranking["labeler_id"],
                "ranks": ranks,
            }
    return [found[name] for name in sorted(found)]


def _in_order(row: dict[str, Any], ranking: dict[str, Any]) -> list[int]:
    """The ranking's ranks in the order in which the sample has its completions."""
    left = [
        (completion["text"], rank)
        for completion, rank in zip(ranking["completions"], ranking["ranks"], strict=True)
    ]
    ranks = []
    for completion in row["completions"]:
        place = next((n for n, (text, _) in enumerate(left) if text == completion["text"]), None)
        if place is None:
            break
        ranks.append(left.pop(place)[1])
    if left or len(ranks) != len(row["completions"]):
        raise ValueError(f"comparison {ranking['id']}: its completions are not the ones that were sampled")
    return ranks
