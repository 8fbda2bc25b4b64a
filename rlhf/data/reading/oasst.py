"""OpenAssistant's exports: trees of messages, and one message a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlhf.data.reading.formats import Format, LeftOut, Notes, Record
from rlhf.data.reading.values import time_or_none

_ROLES = ("prompter", "assistant")


def is_tree(row: Mapping[str, Any]) -> bool:
    prompt = row.get("prompt")
    return isinstance(prompt, dict) and "text" in prompt and ("message_tree_id" in row or "replies" in prompt)


def is_row(row: Mapping[str, Any]) -> bool:
    return "message_id" in row and "text" in row and row.get("role") in _ROLES


def read_tree(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """Prompts: each prompter's turn, with the path to it; demonstrations: the best of the answers to each.

    A deleted message is left out with all that follow it.
    """
    root = row["prompt"]
    if root is None:
        raise LeftOut("the message that it replies to is not in the file")
    for path in paths(root, notes):
        if path[-1].get("role") != "prompter":
            continue
        messages = [{"role": node.get("role"), "content": node.get("text")} for node in path]
        asked = path[-1]
        if kind == "prompts":
            yield _named(asked, {"messages": messages, "user_id": asked.get("user_id")}, notes)
            continue
        best = best_reply(asked)
        if best is not None:
            found = {"messages": messages, "completion": best.get("text"), "labeler_id": best.get("user_id")}
            yield _named(best, found, notes)


def paths(root: Record, notes: Notes) -> Iterator[list[Record]]:
    """The path from the root to each message that is not deleted, parents before their replies."""
    waiting = [[root]]
    while waiting:
        path = waiting.pop()
        if path[-1].get("deleted"):
            notes["deleted messages left out"] += 1
            continue
        yield path
        waiting += [[*path, reply] for reply in reversed(replies(path[-1]))]


def replies(node: Record) -> list[Record]:
    given = node.get("replies")
    return [reply for reply in given if isinstance(reply, dict)] if isinstance(given, list) else []


def best_reply(asked: Record) -> Record | None:
    """The assistant's reply of the lowest rank; the first where none has a rank; None where there is none."""
    answers = [node for node in replies(asked) if node.get("role") == "assistant" and not node.get("deleted")]
    ranks = [node.get("rank") for node in answers]
    ranked = [
        (rank, at)
        for at, rank in enumerate(ranks)
        if isinstance(rank, int | float) and not isinstance(rank, bool) and rank == rank
    ]
    if not answers:
        return None
    return answers[min(ranked)[1]] if ranked else answers[0]


def _named(node: Record, draft: Record, notes: Notes) -> Record:
    draft["id"] = node.get("message_id")
    time = time_or_none(node.get("created_date"), notes)
    if time is not None:
        draft["created_at"] = time
    if isinstance(node.get("lang"), str):
        draft["lang"] = node["lang"]
    return {key: value for key, value in draft.items() if value is not None}


def trees(rows: Iterable[Record]) -> Iterator[Record]:
    """Messages, one a row and in any order, as trees."""
    nodes: dict[Any, Record] = {}
    for row in rows:
        nodes.setdefault(str(row["message_id"]), row)
    roots: list[Record] = []
    lost = 0
    for node in nodes.values():
        parent = node.get("parent_id")
        if parent is None or parent == "":
            roots.append(node)
        elif str(parent) in nodes and nodes[str(parent)] is not node:
            nodes[str(parent)].setdefault("_replies", []).append(node)
        else:
            lost += 1
    for node in nodes.values():
        node["replies"] = node.pop("_replies", [])
    for root in roots:
        yield {"message_tree_id": root["message_id"], "prompt": root}
    for _ in range(lost):
        yield {"prompt": None}


_EXAMPLE = {
    "message_id": "m1",
    "user_id": "u1",
    "text": "Why is the sky blue?",
    "role": "prompter",
    "created_date": "2023-02-05T14:23:50Z",
}
TREES = Format(
    "oasst-trees",
    "OpenAssistant's trees: each prompter's turn is a prompt, its best answer a demonstration",
    ("prompts", "demonstrations"),
    frozenset(("prompt",)),
    is_tree,
    read_tree,
    {
        "message_tree_id": "m1",
        "prompt": _EXAMPLE
        | {
            "replies": [
                {"message_id": "m2", "text": "Short waves scatter more.", "role": "assistant", "rank": 0}
            ]
        },
    },
)
ROWS = Format(
    "oasst-rows",
    "OpenAssistant's messages, one a row: put together by `parent_id`, then as its trees",
    ("prompts", "demonstrations"),
    frozenset(("message_id",)),
    is_row,
    read_tree,
    _EXAMPLE | {"parent_id": None, "message_tree_id": "m1"},
    gather=trees,
)
