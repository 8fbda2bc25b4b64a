"""A prompt's line read in one go, for speed: what nearly every line of a log is.

Whatever is not wholly plain is left to rlhf.data.json_line and the contract's checks, which say what is
wrong with it. The two agree: a test compares them.
"""

from __future__ import annotations

import msgspec

from rlhf.data.fields import MAX_ID, ROLES, SOURCES, USE_CASES
from rlhf.data.json_line import SPACED_COLON
from rlhf.data.lines import Record
from rlhf.data.moment import is_plain

_ROLES, _SOURCES, _USE_CASES = map(frozenset, (ROLES, SOURCES, USE_CASES))


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str


class _Prompt(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    user_id: str
    text: str = ""
    messages: list[_Message] = []
    source: str = ""
    use_case: str = ""
    created_at: str = ""


_decode = msgspec.json.Decoder(_Prompt).decode


def plain_prompt(line: bytes) -> Record | None:
    """The prompt record of a plain, valid line; None for every other line."""
    try:
        found = _decode(line)
    except (ValueError, RecursionError):
        return None
    text, messages, source, use_case, moment = (
        found.text, found.messages, found.source, found.use_case, found.created_at,
    )  # fmt: skip
    keys = 3 + bool(source) + bool(use_case) + bool(moment) + 2 * len(messages)
    if line.count(b'":') != keys or b"\\u0000" in line or SPACED_COLON.search(line):
        return None
    if bool(text) == bool(messages) or not (_is_plain(found.id) and _is_plain(found.user_id)):
        return None
    if len(found.id) > MAX_ID or len(found.user_id) > MAX_ID:
        return None
    if (source and source not in _SOURCES) or (use_case and use_case not in _USE_CASES):
        return None
    if moment and not is_plain(moment):
        return None
    if text:
        if not _is_plain(text):
            return None
        spoken = [{"role": "user", "content": text}]
    else:
        if messages[-1].role != "user":
            return None
        if not all(message.role in _ROLES and _is_plain(message.content) for message in messages):
            return None
        spoken = [{"role": message.role, "content": message.content} for message in messages]
    return {
        "id": found.id,
        "user_id": found.user_id,
        "messages": spoken,
        "source": source or "api",
        "use_case": use_case or None,
        "created_at": moment or None,
        "extra": None,
    }


def _is_plain(text: str) -> bool:
    """Whether it begins with a visible ASCII character, as nearly every text does."""
    return "!" <= text[:1] <= "~"
