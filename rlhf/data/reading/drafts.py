"""What a format gave, finished: cleaned, cut for its kind, with ids, a user and a time, and checked by the contract.

The same for all formats. A draft is a row in the contract's names whose values are still as somebody's program wrote
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from xxhash import xxh3_128_hexdigest

from rlhf.data import contract, thoughts
from rlhf.data.fields import MAX_ID, SOURCES, USE_CASES, extra, identity, string
from rlhf.data.lines import Record, Wrong
from rlhf.data.moment import created_at
from rlhf.data.reading import conversation, values
from rlhf.data.reading.formats import LeftOut, Notes

#: fields that look like what a model should have read
CONTENT = (
    "system", "instructions", "instruction", "system_prompt", "system_message", "input", "context", "passage",
    "question", "query", "document", "article", "tool_calls", "functions", "function_call", "tools", "documents",
)  # fmt: skip
UNNAMED, USERLESS = "unknown", "records without a user"
_SYSTEM = ("system", "instructions", "system_prompt", "system_message")
_OTHER_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_IDENTITY = ("id", "user_id", "labeler_id", "prompt_id")
_NO_USER = "missing: name its field by --user-field, or say --one-user-each or --anonymous"
_ABSENT = (None, "")
_PROMPT = frozenset(("id", "user_id", "messages", "text", "source", "use_case", "created_at"))
_ASKS_FOR_MORE = frozenset(
    (*CONTENT, *_OTHER_MEDIA, "source", "use_case", "created_at", "text", "message_fields")
)
_QUICK = frozenset(("text", "created_at", "system"))
_CONTENT = frozenset(CONTENT)
_as_it_stands = msgspec.json.Encoder().encode  # of a prompt's record, whose fields have an order
_encode = msgspec.json.Encoder(enc_hook=str, order="sorted").encode


@dataclass(frozen=True)
class Options:
    """How files are to be read where they do not say it themselves.

    format: a name from recognition.NAMES; None recognises. user_field: where the user's id stands (a.b for a field
    in a field). map: {our field: theirs}. users: what a prompt without a user gets: nothing (it is rejected), a user
    of its own, or one that all share.
    """

    format: str | None = None
    user_field: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    users: Literal["named", "one-each", "anonymous"] = "named"


def finished(draft: Record, kind: str, options: Options, notes: Notes, unused: Notes) -> Record:
    """The record of a draft. Raises Wrong and LeftOut.

    notes: what is done is counted there. unused: so are fields that look like content and stay extras.
    """
    special = draft.keys() & _ASKS_FOR_MORE
    if kind == "prompts" and special <= _QUICK:
        if "system" in special or not _is_one_text(draft):
            if "messages" in draft:
                _clean_prompt(draft, notes)
            elif special:
                _said(draft, kind, notes)
        if "created_at" in special:
            draft["created_at"] = values.moment(draft["created_at"], notes)
        return _prompt(draft, options, notes)
    if kind != "pretraining":
        _said(draft, kind, notes)
    _name_by_contract(draft, kind, notes)
    for name in special:
        if name in _CONTENT and draft.get(name):
            unused[name] += 1
    if kind == "prompts":
        return _prompt(draft, options, notes)
    for name in _IDENTITY:
        if name in draft:
            draft[name] = values.identity(draft[name], notes)
    if kind in ("demonstrations", "comparisons") and draft.get("labeler_id") in _ABSENT:
        draft["labeler_id"] = UNNAMED
        notes[f"records name no labeler: labeler_id is {UNNAMED}"] += 1
    if kind != "pretraining" and draft.get("id") in _ABSENT:
        draft.pop("id", None)
        draft["id"] = made_id(draft)
    return contract.CHECKS[kind](draft)


def _is_one_text(draft: Record) -> bool:
    """Whether a prompt is one text, which then is its messages. Raises Wrong where there is nothing to read in it."""
    text = draft.get("text")
    if type(text) is not str or "messages" in draft:
        return False
    if not "!" <= text[:1] <= "~" or "\x00" in text:
        string(text, "text")
    del draft["text"]
    draft["messages"] = [{"role": "user", "content": text}]
    return True


def _clean_prompt(draft: Record, notes: Notes) -> None:
    done = conversation.cleaned(draft["messages"], notes)
    if "system" in draft and (text := _system_text(draft, "system")):
        conversation.with_system(done, text)
    conversation.prompt(done, notes)
    draft["messages"] = done.turns
    if done.has_fields:
        draft["message_fields"] = done.fields


def _prompt(draft: Record, options: Options, notes: Notes) -> Record:
    """A prompt's record, once what it says is clean."""
    if "messages" not in draft and not _is_one_text(draft):
        contract.check_prompt(draft | {"id": "none", "user_id": "none"})  # says what is missing
        raise AssertionError("a prompt without messages passed the contract")
    if draft.get("text") is not None:
        raise Wrong("text", "given beside messages; one of them is allowed")
    moment = draft.get("created_at")
    record = {
        "id": "",
        "user_id": draft.get("user_id"),
        "messages": draft["messages"],
        "source": draft.get("source") or "api",
        "use_case": draft.get("use_case"),
        "created_at": moment if moment is None else created_at(moment),
        "extra": None if draft.keys() <= _PROMPT else extra(draft, _PROMPT),
    }
    return identified(record, draft.get("id"), options, notes)


def identified(record: Record, name: Any, options: Options, notes: Notes) -> Record:
    """A prompt's record with its id (made of what it says where it has none) and its user. Raises Wrong."""
    user = record["user_id"]
    if name in _ABSENT:
        name = f"row-{xxh3_128_hexdigest(_as_it_stands(record))}"
    else:
        if type(name) is not str:
            name = values.identity(name, notes)
        if not _is_plain_id(name):
            name = identity(name, "id")
    if user in _ABSENT:
        if options.users == "named":
            raise Wrong("user_id", _NO_USER)
        notes[USERLESS] += 1
        user = name if options.users == "one-each" else "anonymous"
    else:
        if type(user) is not str:
            user = values.identity(user, notes)
        if not _is_plain_id(user):
            user = identity(user, "user_id")
    record["id"], record["user_id"] = name, user
    return record


def made_id(record: Record) -> str:
    """The same for records that say the same, wherever they stand."""
    return f"row-{xxh3_128_hexdigest(_encode(record))}"


def _is_plain_id(name: Any) -> bool:
    return (
        isinstance(name, str)
        and "!" <= name[:1] <= "~"
        and len(name) <= MAX_ID
        and name.isascii()
        and "\x00" not in name
    )


def _said(draft: Record, kind: str, notes: Notes) -> None:
    """Clean what is said in a draft, and cut it as its kind needs it."""
    for name in _OTHER_MEDIA:
        if draft.get(name):
            raise LeftOut(f"the record holds `{name}`")
    given = draft.get("messages")
    completion = draft.get("completion")
    if given is None:
        text = draft.get("text")
        if not isinstance(text, str):
            return  # the contract says what is missing
        if isinstance(completion, str | None) and not any(draft.get(name) for name in _SYSTEM):
            return
        given = [{"role": "user", "content": text}]
        del draft["text"]
    if kind == "demonstrations" and isinstance(completion, list | dict):
        given = [*given, *(completion if isinstance(completion, list) else [completion])]
        completion = None
    done = conversation.cleaned(given, notes)
    for name in _SYSTEM:
        text = _system_text(draft, name)
        if text:
            conversation.with_system(done, text)
    if kind == "demonstrations" and completion is None:
        draft["completion"] = conversation.demonstration(done, notes)
    else:
        if kind != "prompts" and done.turns and done.turns[-1]["role"] != "user":
            raise Wrong("messages", "must end with a user's message")
        conversation.prompt(done, notes)
    draft["messages"] = done.turns
    if done.has_fields:
        draft.setdefault("message_fields", done.fields)


def _system_text(draft: Record, name: str) -> str:
    """The text of a system prompt beside the messages, taken out of the draft."""
    value = draft.get(name)
    if not isinstance(value, str | list):
        return ""
    del draft[name]
    if not value:
        return ""
    if type(value) is str and "!" <= value[:1] <= "~" and "\x00" not in value:
        return value
    turns = conversation.cleaned([{"role": "system", "content": value}], Notes(), name).turns
    return turns[0]["content"] if turns else ""


def _name_by_contract(draft: Record, kind: str, notes: Notes) -> None:
    """Times in ISO 8601; a source or use case of another vocabulary is an extra; thoughts are told."""
    if draft.get("created_at") is not None:
        draft["created_at"] = values.moment(draft["created_at"], notes)
    if (
        kind == "demonstrations"
        and isinstance(draft.get("completion"), str)
        and thoughts.begins(draft["completion"])
    ):
        notes["completions with thoughts, which data.thinking cuts off or keeps at curation"] += 1
    if kind not in ("prompts", "demonstrations"):
        return
    for name, allowed in (("source", SOURCES), ("use_case", USE_CASES)):
        value = draft.get(name)
        if value is not None and value not in allowed:
            draft[f"{name}_given"] = draft.pop(name)
            notes[f"records with a {name} that is none of ours, kept as {name}_given"] += 1
