"""One line of JSON Lines to an object, or what is wrong with it.

msgspec reads what is right; what it refuses, or what it would pass over in silence (a key given twice),
is read again by the standard library to say what is wrong.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from rlhf.data.lines import Record, Wrong

MAX_DEPTH = 64  # objects and lists in each other
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
SPACED_COLON = re.compile(rb'"\s+:')
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decode(line: bytes, known: frozenset[str]) -> tuple[Record, str]:
    """The object of a line without the nulls of known fields. Raises Wrong.

    The second value is "" or why the line is wrong anyhow: a NUL, a lone surrogate or a number that JSON
    cannot carry stands in it, which a check of the known fields may place.
    """
    flaw = ""
    try:
        row = _decode(line)
    except (ValueError, RecursionError):
        row = _decoded_again(line)
        flaw = "an unknown field holds a NUL, a lone surrogate or a number that is NaN or out of range"
    if not isinstance(row, dict):
        raise Wrong("", "not a JSON object")
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _depth(row) > MAX_DEPTH:
        raise Wrong("", _TOO_DEEP)
    if not flaw and (line.count(b'":') != _keys(row) or SPACED_COLON.search(line)):
        _refuse_repeated_keys(line, known)
    if None in row.values():
        row = {key: value for key, value in row.items() if value is not None or key not in known}
    return row, flaw


def decode_any(line: bytes, known: frozenset[str]) -> tuple[Record, str]:
    """As `decode`, at the same speed for objects that hold objects anywhere."""
    try:
        row = _decode(line)
    except (ValueError, RecursionError):
        row = None
    if type(row) is not dict or b"\\u0000" in line:
        return decode(line, known)
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _depth(row) > MAX_DEPTH:
        raise Wrong("", _TOO_DEEP)
    if line.count(b'":') != _encode(row).count(b'":') or SPACED_COLON.search(line):
        _refuse_repeated_keys(line, known)
    if None in row.values():
        row = {key: value for key, value in row.items() if value is not None or key not in known}
    return row, ""


def _decoded_again(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong("", "not UTF-8") from None
    try:
        return json.loads(text.replace("\x00", "\\u0000"))
    except RecursionError:
        raise Wrong("", _TOO_DEEP) from None
    except ValueError as error:
        if "\x00" in text:
            raise Wrong("", "holds a NUL byte") from None
        several = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        raise Wrong("", "more than one JSON value" if several else "not JSON") from None


def _depth(value: Any) -> int:
    """How many objects and lists stand in each other, counted as far as MAX_DEPTH + 1."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        depth += 1
    return depth


def _keys(row: Record) -> int:
    """The keys of a line's object and of the objects in `messages`."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return len(row)
    return len(row) + sum(len(message) for message in messages if isinstance(message, dict))


class _Repeated(dict[str, Any]):
    """An object that gives `key` twice."""

    key = ""


def _refuse_repeated_keys(line: bytes, known: frozenset[str]) -> None:
    """Raises Wrong where an object gives a key twice: nobody knows which of the two was meant."""
    found: list[_Repeated] = []

    def pairs(items: list[tuple[str, Any]]) -> Record:
        row = _Repeated(items)
        if len(row) == len(items):
            return row
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                row.key = key
            seen.add(key)
        found.append(row)
        return row

    row = json.loads(line, object_pairs_hook=pairs)
    if not found:
        return
    if row is found[-1]:
        raise Wrong(row.key if row.key in known else "", "given twice")
    messages = row.get("messages")
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        if any(message is repeated for repeated in found):
            key = f".{message.key}" if message.key in ("role", "content") else ""
            raise Wrong(f"messages[{at}]{key}", "given twice")
    raise Wrong("", "an object gives a key twice")
