"""Which format a record has. The order of FORMATS counts: the first that recognises a record reads it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlhf.data.lines import Wrong
from rlhf.data.reading import chat, instructions, oasst, public_chats, traces, transcripts
from rlhf.data.reading.formats import Format

FORMATS: tuple[Format, ...] = (
    # what is told by fields that no other format has
    public_chats.WILDCHAT,
    public_chats.LMSYS,
    public_chats.SHAREGPT,
    oasst.TREES,
    oasst.ROWS,
    traces.OTEL,
    traces.LANGFUSE,
    chat.OPENAI_BATCH,
    chat.ANTHROPIC,
    # what is told by the shape of fields that others have too
    transcripts.HH,
    chat.CONTRACT,
    chat.OPENAI_CHAT,
    chat.TRL,
    instructions.DOLLY,
    instructions.ALPACA,
    chat.OPENAI_RESPONSES,
    instructions.PAIRS,
)
NAMES = tuple(format.name for format in FORMATS)


def named(name: str, kind: str) -> Format:
    """The format of a name; ValueError where there is none, or where it gives no records of the kind."""
    format = next((format for format in FORMATS if format.name == name), None)
    if format is None:
        raise ValueError(f"there is no format {name!r} (allowed: {', '.join(NAMES)})")
    if kind not in format.kinds:
        raise ValueError(f"format {name} gives no {kind} (allowed: {', '.join(format.kinds)})")
    return format


def recognised(row: Mapping[str, Any], kind: str) -> Format:
    """The format of a record that gives records of the kind. Raises Wrong where there is none."""
    other = None
    for format in _candidates(tuple(row)):
        if format.recognises(row):
            if kind in format.kinds:
                return format
            other = other or format
    if other is not None:
        raise Wrong(
            "", f"a record of format {other.name}, which gives {' and '.join(other.kinds)}, no {kind}"
        )
    field = {"comparisons": "completions", "pretraining": "text"}.get(kind, "text or messages")
    raise Wrong(
        field,
        "missing, and no known format has this record's fields: `rlhf data formats` lists them, "
        "--format names one and --map OURS=THEIRS fields of your own",
    )


@lru_cache(maxsize=1 << 10)
def _candidates(fields: tuple[str, ...]) -> tuple[Format, ...]:
    """The formats that a record of these fields may have."""
    return tuple(format for format in FORMATS if not format.needs.isdisjoint(fields))
