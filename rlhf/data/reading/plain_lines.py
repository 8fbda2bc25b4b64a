"""A prompt's line of ShareGPT, Alpaca, TRL or OpenAI read in one go, for speed, as rlhf.data.prompt_line does ours.

Whatever is not wholly plain is left to the formats and to drafts, which say what is wrong with it. The two agree: a
test compares them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from rlhf.data.fields import MAX_ID
from rlhf.data.json_line import SPACED_COLON
from rlhf.data.lines import Record
from rlhf.data.reading.conversation import ROLES
from rlhf.data.reading.formats import ANSWERS

_OURS = frozenset(("id", "user_id", "text"))
_SPEAKERS = {name: role for name, role in ROLES.items() if role != "tool"}
_CUT = "turns after the last user's left out"
_JOINED = "prompts with the text of `{}` joined to them"


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""


class _Turn(msgspec.Struct, gc=False):
    role: str = ""
    content: str | list[_Part] = ""


class _Said(msgspec.Struct, gc=False):
    role: str = msgspec.field(name="from", default="")
    content: str = msgspec.field(name="value", default="")


class _Line(msgspec.Struct, gc=False):
    """Fields that are not listed are seen by the number of keys, and leave the line to others."""

    id: str = ""
    user_id: str = ""
    user: str = ""
    text: str = ""
    messages: list[_Turn] = []
    conversations: list[_Said] = []
    instruction: str = ""
    input: str | UnsetType = UNSET
    output: str | UnsetType = UNSET
    context: str | UnsetType = UNSET
    response: str | UnsetType = UNSET
    prompt: str = ""
    completion: str | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Line).decode


def plain_line(line: bytes) -> tuple[str, Record, str, dict[str, int]] | None:
    """(name of the format, the record without its id, its id or "", notes) of a plain line; None for others."""
    try:
        row = _decode(line)
    except (ValueError, RecursionError):
        return None
    keys = line.count(b'":') - (row.id != "")
    if b"\\u0000" in line or SPACED_COLON.search(line):
        return None
    said: Any
    if row.conversations:
        name, said = "sharegpt", row.conversations
        keys -= 1 + 2 * len(said)
    elif row.messages:
        name, said = "openai-chat", row.messages
        keys -= 1 + 2 * len(said) + (row.user != "")  # with a user_id it is a record of ours
    else:
        return _of_text(row, keys)
    turns: list[dict[str, str]] = []
    before, end = "", 0
    for turn in said:
        role, content = _SPEAKERS.get(turn.role), turn.content
        if type(content) is not str:
            keys -= 2 * len(content)
            content = _joined(content)
        if role is None or role == before or not "!" <= content[:1] <= "~":
            return None
        turns.append({"role": role, "content": content})
        before = role
        if role == "user":
            end = len(turns)
    if keys or not end:
        return None
    notes = {}
    if end < len(turns):
        notes[_CUT] = len(turns) - end
        del turns[end:]
    return name, _record(row.user or None if name == "openai-chat" else None, turns), row.id, notes


def _of_text(row: _Line, keys: int) -> tuple[str, Record, str, dict[str, int]] | None:
    notes = {}
    if row.prompt:
        name, text = "trl", row.prompt
        keys -= 1 + (row.completion is not UNSET)
        if row.completion:
            notes[ANSWERS] = 1
        start = text[:1]
        if start == "H" or start == "#":  # may be a transcript
            return None
    elif row.instruction:
        text = row.instruction
        for field, passage in (("input", row.input), ("context", row.context)):
            if passage is not UNSET and passage:
                if passage.isspace():
                    return None
                text = f"{text}\n\n{passage}"
                notes[_JOINED.format(field)] = 1
        name = "alpaca" if row.response is UNSET else "dolly"
        if name == "dolly" and row.output is not UNSET:
            return None
        given = (row.input, row.context, row.output, row.response)
        keys -= 1 + sum([value is not UNSET for value in given])
        if row.output or row.response:
            notes[ANSWERS] = 1
    elif row.text:
        return _of_transcript(row, keys - 1 - (row.user_id != ""))
    else:
        return None
    if keys or not "!" <= text[:1] <= "~":
        return None
    return name, _record(None, [{"role": "user", "content": text}]), row.id, notes


def _joined(parts: list[_Part]) -> str:
    """The text of text parts; "" where one of them is anything else."""
    if all([part.type == "text" and part.text != "" for part in parts]):
        return "\n".join([part.text for part in parts])
    return ""


def _of_transcript(row: _Line, keys: int) -> tuple[str, Record, str, dict[str, int]] | None:
    """A text split at HH-RLHF's markers, where there are no others that look like them."""
    begin, *exchanges = row.text.split("\n\nHuman:")
    if keys or begin or not exchanges:
        return None
    turns: list[dict[str, str]] = []
    answers = 0
    for exchange in exchanges:
        asked, marker, said = exchange.partition("\n\nAssistant:")
        asked = asked.strip()
        if not "!" <= asked[:1] <= "~" or (turns and turns[-1]["role"] == "user"):
            return None
        turns.append({"role": "user", "content": asked})
        if marker:
            answers += 1
            said = said.strip()
            if "!" <= said[:1] <= "~":
                turns.append({"role": "assistant", "content": said})
            elif said or exchange is not exchanges[-1]:
                return None
    if row.text.count("Human:") != len(exchanges) or row.text.count("Assistant:") != answers:
        return None
    notes = {}
    if turns[-1]["role"] == "assistant":
        turns.pop()
        notes[_CUT] = 1
    return "hh-transcript", _record(row.user_id or None, turns), row.id, notes


def plain_row(row: Record) -> Record | None:
    """The record of a plain row {id, user_id, text} that comes from no line of JSON; None for others."""
    if len(row) != 3 or row.keys() != _OURS:
        return None
    name, user, text = row["id"], row["user_id"], row["text"]
    if type(name) is not str or type(user) is not str or type(text) is not str:
        return None
    if not ("!" <= name[:1] <= "~" and "!" <= user[:1] <= "~" and "!" <= text[:1] <= "~") or text[0] in "H#":
        return None
    if len(name) > MAX_ID or len(user) > MAX_ID or not (name.isascii() and user.isascii() and text.isascii()):
        return None
    if "\x00" in text or "\x00" in name or "\x00" in user:
        return None
    record = _record(user, [{"role": "user", "content": text}])
    record["id"] = name
    return record


def _record(user: str | None, turns: list[dict[str, str]]) -> Record:
    return {
        "id": "", "user_id": user, "messages": turns, "source": "api", "use_case": None, "created_at": None, "extra": None
    }  # fmt: skip
