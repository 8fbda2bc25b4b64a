"""Conversations in one text: HH-RLHF's "Human:" and "Assistant:", and "### Human:"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.reading.formats import Format, Notes, Record

_HH = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):[ \t]?")
_HASHES = re.compile(r"(?:\A|\s*)###\s*(Human|Assistant):[ \t]?")
_FIELDS = ("text", "prompt")


def is_text(text: Any) -> bool:
    """Whether a text is a transcript: it begins with a marker, and "Human:" alone needs an answer's beside it."""
    if not isinstance(text, str):
        return False
    start = text.lstrip()
    if start.startswith("###"):
        return _HASHES.match(start) is not None and "Human:" in start[:20]
    return start.startswith("Human:") and (text.startswith("\n\nHuman:") or "\n\nAssistant:" in text)


def turns(text: str) -> list[Record]:
    """The turns of a transcript; a last "Assistant:" with nothing behind it asks for an answer and is no turn."""
    marker = _HASHES if text.lstrip().startswith("###") else _HH
    _, *parts = marker.split(text.strip())
    found = [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    if len(found) > 1 and found[-1] == {"role": "assistant", "content": ""}:
        found.pop()
    return found


def is_transcript(row: Mapping[str, Any]) -> bool:
    return "chosen" not in row and any(is_text(row.get(name)) for name in _FIELDS)


def read_transcript(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    name = next(name for name in _FIELDS if is_text(row.get(name)))
    row["messages"] = turns(row.pop(name))
    yield row


HH = Format(
    "hh-transcript",
    "a conversation in one text, split at HH-RLHF's markers Human: and Assistant: (or ### Human:)",
    ("prompts", "demonstrations"),
    frozenset(
        (
            "text",
            "prompt",
        )
    ),
    is_transcript,
    read_transcript,
    {"id": "h1", "user_id": "u1", "text": "\n\nHuman: Why is the sky blue?\n\nAssistant:"},
)
