"""Texts that training may not contain, from files of benchmarks and evaluation prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from rlhf.data import verdicts
from rlhf.data.lines import Wrong
from rlhf.data.reading import containers, conversation, recognition, values
from rlhf.data.reading.formats import LeftOut, Notes

Record = dict[str, Any]
_SHAPE = (
    "must be an object with `text` (a string) or `messages` (a list of {role, content} with a user's turn), "
    "or of a format that `rlhf data formats` lists"
)


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """`text`, or the user's turns of `messages`, of every row of files in any format that is read.

    A held-out text that is overlooked would leak, so nothing is set aside here: a row that is wrong, or a turn
    that cannot be read, is a ValueError that names file and line, and never repeats what stands there.
    """
    for source in containers.sources(paths):
        for number, value in containers.rows(source):
            try:
                found = _texts(_row(value))
            except Wrong as wrong:
                where = f", field {wrong.field}" if wrong.field else ""
                raise ValueError(f"{source.path}, line {number}{where}: {wrong.reason}") from None
            except LeftOut as left:
                raise ValueError(
                    f"{source.path}, line {number}: {left.reason}; every row must be read"
                ) from None
            if not found:
                raise ValueError(f"{source.path}, line {number}: {_SHAPE}")
            yield from found


def _row(value: bytes | Record | Wrong) -> Record:
    if isinstance(value, Wrong):
        raise value
    if isinstance(value, bytes):
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            raise Wrong("", _SHAPE) from None
    if not isinstance(value, dict):
        raise Wrong("", _SHAPE)
    return values.unpacked({key: item for key, item in value.items() if item is not None})


def _texts(row: Record) -> list[str]:
    try:
        format = recognition.recognised(row, "prompts")
    except Wrong:
        raise Wrong("", _SHAPE) from None
    notes: Notes = Counter()
    found: list[str] = []
    for draft in format.read(row, "prompts", notes):
        text = draft.get("text")
        if isinstance(text, str) and text.strip():
            found += verdicts.held_out_texts({"text": text})
        if draft.get("messages") is not None:
            found += _asked(draft["messages"], notes)
    return found


def _asked(messages: Any, notes: Notes) -> list[str]:
    """The user's turns, each by itself and as training would join them. Raises Wrong for one that cannot be read."""
    joined = [turn for turn in conversation.cleaned(messages, notes).turns if turn["role"] == "user"]
    apart = []
    for at, message in enumerate(messages):
        alone = conversation.cleaned([message], notes, f"messages[{at}]")
        if alone.missing and not alone.turns:
            raise Wrong(f"messages[{at}].content", f"holds a part of type {alone.missing[0]} and no text")
        apart += [turn for turn in alone.turns if turn["role"] == "user"]
    found = [verdicts.held_out_texts({"messages": said}) for said in (joined, apart) if said]
    return list(dict.fromkeys(text for texts in found for text in texts))
