"""Published logs of conversations: ShareGPT, LMSYS-Chat-1M, WildChat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.reading.formats import Format, Notes, Record, are_turns, taken
from rlhf.data.reading.values import time_or_none

_OF_A_TURN = frozenset(("role", "content", "name", "weight", "tool_calls"))


def is_sharegpt(row: Mapping[str, Any]) -> bool:
    turns = row.get("conversations")
    return are_turns(turns, "from") or are_turns(turns)


def read_sharegpt(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """`from` and `value` are role and content."""
    turns = row.pop("conversations")
    row["messages"] = [
        {
            **turn,
            "role": turn.pop("from", turn.get("role")),
            "content": turn.pop("value", turn.get("content")),
        }
        if isinstance(turn, dict) and len(turn) > 2
        else {"role": turn.get("from", turn.get("role")), "content": turn.get("value", turn.get("content"))}
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]
    yield row


def is_lmsys(row: Mapping[str, Any]) -> bool:
    return are_turns(row.get("conversation"))


def read_lmsys(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    row["messages"] = row.pop("conversation")
    if row.get("id") is None:
        row["id"] = taken(row, "conversation_id")
    if "created_at" not in row and (time := time_or_none(row.get("tstamp"), notes)):
        row["created_at"] = time
        del row["tstamp"]
    yield row


def is_wildchat(row: Mapping[str, Any]) -> bool:
    return "conversation_hash" in row and are_turns(row.get("conversation"))


def read_wildchat(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """The user is `hashed_ip`, of the record or of its first turn; what else its turns hold is left out."""
    turns = row.pop("conversation")
    user = taken(row, "user_id", "hashed_ip")
    row["messages"] = [
        {key: value for key, value in turn.items() if key in _OF_A_TURN} if isinstance(turn, dict) else turn
        for turn in turns
    ]
    if user is None:
        named = (turn.get("hashed_ip") for turn in turns if isinstance(turn, dict))
        user = next((name for name in named if name), None)
    if user is not None:
        row["user_id"] = user
    row.pop("header", None)
    if row.get("id") is None:
        row["id"] = taken(row, "conversation_hash")
    if "created_at" not in row and (time := time_or_none(row.get("timestamp"), notes)):
        row["created_at"] = time
        del row["timestamp"]
    yield row


SHAREGPT = Format(
    "sharegpt",
    "ShareGPT: `conversations` of from/value (human, gpt, system) or role/content; `system` where given",
    ("prompts", "demonstrations"),
    frozenset(("conversations",)),
    is_sharegpt,
    read_sharegpt,
    {
        "id": "s1",
        "conversations": [
            {"from": "human", "value": "Why is the sky blue?"},
            {"from": "gpt", "value": "Short waves scatter more."},
        ],
    },
)
LMSYS = Format(
    "lmsys-chat",
    "LMSYS-Chat-1M: `conversation` of role/content with `conversation_id`",
    ("prompts", "demonstrations"),
    frozenset(("conversation",)),
    is_lmsys,
    read_lmsys,
    {
        "conversation_id": "c1",
        "model": "m",
        "conversation": [
            {"role": "user", "content": "Why is the sky blue?"},
            {"role": "assistant", "content": "Short waves scatter more."},
        ],
        "turn": 1,
        "language": "English",
        "redacted": False,
    },
)
WILDCHAT = Format(
    "wildchat",
    "WildChat: `conversation` with `conversation_hash`; `hashed_ip` is the user, `timestamp` the time",
    ("prompts", "demonstrations"),
    frozenset(("conversation_hash",)),
    is_wildchat,
    read_wildchat,
    {
        "conversation_hash": "c1",
        "timestamp": "2024-01-05T10:00:00Z",
        "conversation": [
            {"role": "user", "content": "Why is the sky blue?", "hashed_ip": "ab12", "turn_identifier": 1},
            {"role": "assistant", "content": "Short waves scatter more.", "turn_identifier": 1},
        ],
        "language": "English",
    },
)
