"""The fields of a record: each function gives a checked value, or raises Wrong with the field's name."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import msgspec

from rlhf.data.lines import MAX_LINE, Record, Wrong

MAX_ID = 256  # characters
ROLES = ("system", "user", "assistant")
SOURCES = ("api", "labeler-plain", "labeler-few-shot", "labeler-user-based")
USE_CASES = (
    "generation", "open_qa", "brainstorming", "chat", "rewrite",
    "summarization", "classification", "other", "closed_qa", "extraction",
)  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_VISIBLE_ASCII = re.compile("[!-~]")
_UNSEEN = frozenset(("Zs", "Zl", "Zp", "Mn", "Mc", "Me", "Cc", "Cf"))
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without ink
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def string(value: Any, field: str) -> str:
    """A string with something to read in it."""
    if value is None:
        raise Wrong(field, "missing")
    if not isinstance(value, str):
        raise Wrong(field, f"must be a string, found {type(value).__name__}")
    refuse_bad_characters(value, field)
    if not _VISIBLE_ASCII.search(value) and not any(map(_visible, set(value))):
        raise Wrong(field, "empty, white space or invisible characters alone")
    if len(value) >= MAX_LINE:
        raise Wrong(field, f"{MAX_LINE:,} characters or longer")
    return value


def refuse_bad_characters(value: str, field: str) -> None:
    if "\x00" in value or (not value.isascii() and _SURROGATE.search(value)):
        raise Wrong(field, "holds a NUL or a lone surrogate")


def _visible(char: str) -> bool:
    """No separator, control or format character, no mark without a letter below it."""
    return unicodedata.category(char) not in _UNSEEN and char not in _BLANK


def identity(value: Any, field: str) -> str:
    found = string(value, field)
    if len(found) > MAX_ID:
        raise Wrong(field, f"longer than {MAX_ID} characters")
    return found


def messages(row: Record) -> list[dict[str, str]]:
    """The conversation that `messages` or `text` gives. A list of content parts is not read: it is wrong."""
    given = row.get("messages")
    if given is None:
        return [{"role": "user", "content": string(row.get("text"), "text")}]
    if row.get("text") is not None:
        raise Wrong("text", "given beside messages; one of them is allowed")
    if not isinstance(given, list) or not given:
        raise Wrong("messages", "must be a list of {role, content}, not empty")
    checked = []
    for at, message in enumerate(given):
        if not isinstance(message, dict):
            raise Wrong(f"messages[{at}]", "must be an object {role, content}")
        if message.get("role") not in ROLES:
            raise Wrong(f"messages[{at}].role", f"must be one of {', '.join(ROLES)}")
        content = string(message.get("content"), f"messages[{at}].content")
        checked.append({"role": message["role"], "content": content})
    if checked[-1]["role"] != "user":
        raise Wrong("messages", "must end with a user's message")
    return checked


def one_of(row: Record, field: str, allowed: tuple[str, ...], default: str | None) -> str | None:
    value = row.get(field)
    if value is None:
        return default
    if value not in allowed:
        raise Wrong(field, f"must be one of {', '.join(allowed)}")
    return value


def extra(row: Record, known: frozenset[str]) -> str | None:
    """The fields that the contract does not know, as JSON with sorted keys; those of messages, too."""
    given = (row.get("messages") or ()) if "messages" in known else ()
    told = any([len(message) > 2 and any(_unknown(message)) for message in given])
    if not told and row.keys() <= known:
        return None
    rest = {key: row[key] for key in row if key not in known}
    if told:
        rest.setdefault("message_fields", [_unknown(message) for message in given])
    try:
        found = msgspec.json.encode(rest, enc_hook=str, order="sorted").decode()
    except (TypeError, ValueError, RecursionError):
        raise Wrong("", "holds a field that JSON cannot carry") from None
    if "\\u0000" in found and _ESCAPED_NUL.search(found):
        raise Wrong("", "an unknown field holds a NUL")
    return found


def _unknown(message: Record) -> Record:
    return {key: item for key, item in message.items() if key not in ("role", "content") and item is not None}
