"""Lists of messages: the contract's own records, OpenAI's, Anthropic's and TRL's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.fields import ROLES
from rlhf.data.lines import Wrong
from rlhf.data.reading.formats import Format, Notes, Record, answered, are_turns, taken

_PASSAGES = ("input", "context", "passage")
_STRICT = frozenset(ROLES)


def is_contract(row: Mapping[str, Any]) -> bool:
    if "completions" in row and "ranks" in row:
        return True
    messages = row.get("messages")
    if messages is None:
        return isinstance(row.get("text"), str)
    return (
        isinstance(messages, list)
        and ("user_id" in row or "labeler_id" in row)
        and all(
            isinstance(turn, dict)
            and turn.get("role") in _STRICT
            and isinstance(turn.get("content"), str)
            and "tool_calls" not in turn
            for turn in messages
        )
    )


def read_contract(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """As it stands; a passage beside `text` is part of what is asked."""
    text = row.get("text")
    if isinstance(text, str) and kind in ("prompts", "demonstrations") and row.get("messages") is None:
        with_passages(row, "text", notes)
    yield row


def with_passages(row: Record, field: str, notes: Notes) -> None:
    """Join input, context or passage, where they are text, to the text of a field by a blank line."""
    for name in _PASSAGES:
        passage = row.get(name)
        if not isinstance(passage, str):
            continue
        del row[name]
        if passage.strip():
            row[field] = f"{row[field]}\n\n{passage}"
            notes[f"prompts with the text of `{name}` joined to them"] += 1


def is_anthropic(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("system"), str | list) and are_turns(row.get("messages"))


def read_anthropic(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """`metadata.user_id` is the user of a request."""
    metadata = row.get("metadata")
    if row.get("user_id") is None and isinstance(metadata, dict) and metadata.get("user_id") is not None:
        row["user_id"] = metadata["user_id"]
    yield row


def is_openai(row: Mapping[str, Any]) -> bool:
    return are_turns(row.get("messages"))


def read_openai(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """A request, a fine-tuning line, or a request beside its answer (`response`, `choices`, `output`)."""
    _user(row)
    answer = _answer(row)
    if answer is not None:
        row["messages"] = [*row["messages"], answer]
    yield row


def is_openai_batch(row: Mapping[str, Any]) -> bool:
    body = row.get("body", row.get("request"))
    if isinstance(body, dict) and isinstance(body.get("body"), dict):
        body = body["body"]
    return isinstance(body, dict) and (are_turns(body.get("messages")) or "input" in body)


def read_openai_batch(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """A request in an envelope: a line of the Batch API, or a gateway's log with `request` and `response`."""
    body = row.pop("body", None) or row.pop("request")
    if isinstance(body.get("body"), dict):
        body = body["body"]
    row = body | {key: value for key, value in row.items() if key not in body or key == "id"}
    if row.get("id") is None:
        row["id"] = taken(row, "custom_id", "request_id")
    yield from read_openai(row, kind, notes) if is_openai(row) else read_responses(row, kind, notes)


def is_responses(row: Mapping[str, Any]) -> bool:
    """A request of OpenAI's Responses API: `input` is text beside `model`, or a list of items."""
    given = row.get("input")
    return "messages" not in row and (
        are_turns(given) or (isinstance(given, str) and "model" in row and "instruction" not in row)
    )


def read_responses(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    _user(row)
    given = row.pop("input", None)
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        raise Wrong("input", "must be text or a list of {role, content}")
    output = row.get("output")
    if isinstance(output, list):
        del row["output"]
        messages = [*messages, *output]
    row["messages"] = messages
    yield row


def is_trl(row: Mapping[str, Any]) -> bool:
    prompt = row.get("prompt")
    return "chosen" not in row and (isinstance(prompt, str) or are_turns(prompt))


def read_trl(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """`prompt` and `completion`, each text or messages."""
    prompt, completion = row.pop("prompt"), taken(row, "completion", "response")
    if isinstance(prompt, str):
        row["text"] = prompt
    else:
        row["messages"] = prompt
    if completion is None and kind == "demonstrations" and not isinstance(prompt, str):
        yield row  # its last turn is the completion
    else:
        yield from answered(row, completion, kind, "completion", notes)


def _user(row: Record) -> None:
    for name in ("user", "safety_identifier"):
        value = row.get(name)
        if row.get("user_id") is None and isinstance(value, str | int) and value != "":
            row["user_id"] = row.pop(name)


def _answer(row: Record) -> Record | None:
    """The message of a response beside its request."""
    response = row.get("response")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        response = response["body"]
    for holder in (response, row):
        choices = holder.get("choices") if isinstance(holder, dict) else None
        first = choices[0] if isinstance(choices, list) and choices else None
        message = first.get("message") if isinstance(first, dict) else None
        if isinstance(message, dict):
            row.pop("response" if holder is response else "choices")
            return message
    if isinstance(response, str):
        return {"role": "assistant", "content": row.pop("response")}
    if isinstance(response, dict) and "role" in response and "content" in response:
        found: Record = row.pop("response")
        return found
    return None


CONTRACT = Format(
    "contract",
    "this project's own records",
    ("prompts", "demonstrations", "comparisons", "pretraining"),
    frozenset(
        (
            "text",
            "messages",
            "completions",
        )
    ),
    is_contract,
    read_contract,
    {"id": "p1", "user_id": "u1", "text": "Why is the sky blue?", "created_at": "2026-01-05T10:00:00Z"},
)
ANTHROPIC = Format(
    "anthropic",
    "Anthropic requests: `system` beside messages of text or content blocks",
    ("prompts", "demonstrations"),
    frozenset(("system",)),
    is_anthropic,
    read_anthropic,
    {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": 100,
    },
)
OPENAI_CHAT = Format(
    "openai-chat",
    "OpenAI chat requests, logs and fine-tuning files: messages of text or content parts, tool calls, `user`",
    ("prompts", "demonstrations"),
    frozenset(("messages",)),
    is_openai,
    read_openai,
    {
        "model": "gpt-x",
        "user": "u1",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]},
            {"role": "assistant", "content": "Short waves scatter more."},
        ],
    },
)
OPENAI_BATCH = Format(
    "openai-batch",
    "OpenAI requests in an envelope: lines of the Batch API, a gateway's request beside its response",
    ("prompts", "demonstrations"),
    frozenset(
        (
            "body",
            "request",
        )
    ),
    is_openai_batch,
    read_openai_batch,
    {
        "custom_id": "r1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-x", "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
    },
)
OPENAI_RESPONSES = Format(
    "openai-responses",
    "OpenAI requests to the Responses API: `input` is text or a list of items, `instructions` the system turn",
    ("prompts", "demonstrations"),
    frozenset(("input",)),
    is_responses,
    read_responses,
    {
        "model": "gpt-x",
        "instructions": "Be brief.",
        "input": "Why is the sky blue?",
        "safety_identifier": "u1",
    },
)
TRL = Format(
    "trl",
    "TRL's prompt-only and prompt-completion records, as text or messages",
    ("prompts", "demonstrations"),
    frozenset(("prompt",)),
    is_trl,
    read_trl,
    {"prompt": "Why is the sky blue?", "completion": "Short waves scatter more."},
)
