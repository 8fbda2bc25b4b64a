"""Values as other programs write them: lists in strings, columns of lists, whole-number ids, times in milliseconds."""

from __future__ import annotations

import ast
import re
from typing import Any

import msgspec

from rlhf.data.lines import Wrong
from rlhf.data.moment import created_at
from rlhf.data.reading.formats import Notes, Record

#: fields that hold lists or objects; in CSV, and where a column had to be of one type, they are strings of JSON
STRUCTURED = frozenset((
    "messages", "conversation", "conversations", "prompt", "completion", "completions", "chosen", "rejected", "input",
    "output", "system", "ranks", "ratings", "metadata", "body", "request", "response", "responses", "tools",
    "attributes", "annotations", "predictions", "data", "preferred_output", "non_preferred_output", "suggestions",
    "conversation_a", "conversation_b", "full_conversation", "context", "replies", "choices", "instructions",
))  # fmt: skip
_NUMBER = re.compile(r"-?\d{1,19}(?:\.\d+)?", re.A)
_UNITS = ((1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds"))
WHOLE_IDS = "whole-number ids read as text"


def unpacked(row: Record) -> Record:
    """The row with lists that stand in strings, and lists of columns, as lists of objects."""
    for name in row.keys() & STRUCTURED:
        value = row[name]
        if isinstance(value, str):
            if value[:1] in ("[", "{") and value[-1:] in ("]", "}"):
                row[name] = _structure(value)
        elif isinstance(value, dict):
            row[name] = _rows(value)
    return row


def structure(value: Any) -> Any:
    """What a string of JSON holds, where it is a list or object of messages; every other value as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{") and value[-1:] in ("]", "}"):
        return _structure(value)
    return _rows(value) if isinstance(value, dict) else value


def _structure(text: str) -> Any:
    """The list or object of a string of JSON, or of Python's own notation; the string where it is neither.

    A list of anything but objects or numbers stays text: somebody's prompt may be JSON.
    """
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        if "'" not in text:
            return text
        try:
            found = ast.literal_eval(text)  # what pandas' to_csv makes of a list; literals alone
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return text
    if isinstance(found, dict):
        return _rows(found) if found.keys() & _SPEAKS or all(map(_is_list, found.values())) else text
    is_list = isinstance(found, list) and found
    if is_list and all(isinstance(item, dict) for item in found):
        return found
    if is_list and all(isinstance(item, int | float) and not isinstance(item, bool) for item in found):
        return found
    return text


_SPEAKS = frozenset(("role", "from", "messages", "content", "choices", "text", "input", "query"))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _rows(columns: Record) -> Any:
    """A struct of lists, as `datasets` writes a Sequence of objects, as a list of objects."""
    if not columns or not columns.keys() & {"role", "from", "text", "content", "value"}:
        return columns
    lists = list(columns.values())
    if not all(map(_is_list, lists)) or len({len(items) for items in lists}) != 1:
        return columns
    return [dict(zip(columns, items, strict=True)) for items in zip(*lists, strict=True)]


def identity(value: Any, notes: Notes) -> Any:
    """A whole number as text; everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float):
        if not value.is_integer() or abs(value) >= 2**53:
            return value
        value = int(value)
    notes[WHOLE_IDS] += 1
    return str(value)


def moment(value: Any, notes: Notes) -> str | None:
    """ISO 8601 of a time; Unix time may stand in a string, and in milli-, micro- or nanoseconds. Raises Wrong."""
    if isinstance(value, str):
        if not value or value.isspace():
            return None
        if _NUMBER.fullmatch(value) and len(value.split(".")[0]) >= 9:
            value = float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for least, unit, name in _UNITS:
            if value > least:
                notes[f"times in {name}"] += 1
                value = value / unit
                break
    return created_at(value)


def time_or_none(value: Any, notes: Notes) -> str | None:
    """As `moment`, and None where it is no time: a field of another program that need not be one."""
    try:
        return moment(value, notes)
    except Wrong:
        return None


def at_path(row: Any, path: str) -> Any:
    """The value at `a.b.c` (a field of that whole name comes first); None where there is none."""
    if isinstance(row, dict) and path in row:
        return row[path]
    first, dot, rest = path.partition(".")
    if dot and isinstance(row, dict) and first in row:
        return at_path(row[first], rest)
    return None
