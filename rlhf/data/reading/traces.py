"""Exports of what watches applications: Langfuse, and spans of OpenTelemetry's GenAI conventions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.reading.formats import Format, LeftOut, Notes, Record, are_turns, taken
from rlhf.data.reading.values import at_path, structure, time_or_none

_LANGFUSE = frozenset((
    "traceId", "trace_id", "sessionId", "session_id", "parentObservationId", "parent_observation_id", "observations",
    "userId", "traceName", "trace_name", "htmlPath",
))  # fmt: skip
_ASKED = ("input", "question", "query", "prompt", "text", "content", "message")
_ANSWERED = ("content", "output", "answer", "completion", "response", "text", "message", "result")
_FLAT = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(role|content)")
_KIND = "GENERATION"


def is_langfuse(row: Mapping[str, Any]) -> bool:
    if "messages" in row:
        return False
    return ("input" in row and not row.keys().isdisjoint(_LANGFUSE)) or isinstance(row.get("trace"), dict)


def read_langfuse(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """A trace or a generation: `input` is what was asked, `output` what was answered, `userId` the user."""
    trace = row.get("trace")
    if isinstance(trace, dict):
        row = trace | {"observations": row.get("observations", trace.get("observations"))}
    steps = row.pop("observations", None)
    if row.get("input") is None and isinstance(steps, list):
        generations = [step for step in steps if isinstance(step, dict) and step.get("type") == _KIND]
        if generations:
            row |= {key: generations[-1].get(key) for key in ("input", "output")}
    told = row.get("type")
    if isinstance(told, str) and told.upper() != _KIND and "input" in row:
        raise LeftOut("an observation that is no generation")
    asked = _turns(structure(row.pop("input", None)), "user", _ASKED)
    if not asked:
        raise LeftOut("an input that is neither text nor messages")
    answered = _turns(structure(row.pop("output", None)), "assistant", _ANSWERED)
    for name in ("user_id", "userId"):
        if row.get(name) in (None, ""):
            row.pop(name, None)
    user = taken(row, "user_id", "userId")
    if user is not None:
        row["user_id"] = user
    _when(row, notes, "timestamp", "startTime", "start_time")
    row["messages"] = [*asked, *answered]
    yield row


def _when(row: Record, notes: Notes, *names: str) -> None:
    """Move the first time of these fields to created_at."""
    for name in names:
        if row.get("created_at") is None and (time := time_or_none(row.get(name), notes)):
            row["created_at"] = time
            del row[name]


def _turns(value: Any, role: str, names: tuple[str, ...]) -> list[Record]:
    """The turns of an input or output in any of the shapes that are logged; [] where it is none of them."""
    if isinstance(value, str):
        return [{"role": role, "content": value}] if value.strip() else []
    if are_turns(value) or are_turns(value, "type"):
        return [_parted(turn) for turn in value]
    if not isinstance(value, dict):
        return []
    messages = value.get("messages", at_path(value, "kwargs.messages"))
    if are_turns(messages):
        found = [_parted(turn) for turn in messages]
        for name in ("system", "instructions"):
            if isinstance(value.get(name), str):
                found.insert(0, {"role": "system", "content": value[name]})
        return found
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return _turns(choices[0].get("message", choices[0].get("text")), role, names)
    if "role" in value and ("content" in value or "parts" in value or "tool_calls" in value):
        return [_parted(value)]
    for name in names:
        if value.get(name) is not None:
            return _turns(value[name], role, names)
    return []


def _parted(turn: Any) -> Any:
    """A turn of {role, parts}, as OpenTelemetry and Gemini have it, as one of {role, content}."""
    if isinstance(turn, dict) and "parts" in turn and turn.get("content") is None:
        return {"role": turn.get("role"), "content": turn["parts"]}
    return turn


# ------------------------------------------------------------ OpenTelemetry


def is_otel(row: Mapping[str, Any]) -> bool:
    if "resourceSpans" in row or "gen_ai.input.messages" in row:
        return True
    attributes = row.get("attributes")
    if isinstance(attributes, dict):
        return any(name.startswith("gen_ai") for name in attributes)
    return isinstance(attributes, list) and any(
        isinstance(item, dict) and str(item.get("key")).startswith("gen_ai") for item in attributes
    )


def read_otel(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """A span, or OTLP's resourceSpans with many; spans that hold no messages are left out and counted."""
    empty = 0
    for span, resource in _spans(row):
        given = _attributes(span.get("attributes")) or span
        draft = _of_span(given, kind)
        if draft is None:
            empty += 1
            continue
        user = next(
            (given.get(name) for name in ("user.id", "enduser.id", "gen_ai.user.id") if given.get(name)), None
        )
        draft["user_id"] = user if user is not None else resource.get("user.id")
        draft["id"] = next(
            (span.get(name) for name in ("span_id", "spanId") if span.get(name)),
            at_path(span, "context.span_id"),
        )
        for name in (
            "startTimeUnixNano",
            "start_time_unix_nano",
            "start_time",
            "startTime",
            "timestamp",
            "time",
        ):
            if "created_at" not in draft and (time := time_or_none(span.get(name), notes)):
                draft["created_at"] = time
        for name in ("gen_ai.conversation.id", "gen_ai.request.model"):
            if given.get(name) is not None:
                draft[name] = given[name]
        yield {key: value for key, value in draft.items() if value is not None}
    if empty:
        notes["spans without messages left out"] += empty


def _spans(row: Record) -> Iterator[tuple[Record, Record]]:
    """(span, attributes of its resource)."""
    if "resourceSpans" not in row:
        yield row, {}
        return
    for resource in _objects(row["resourceSpans"]):
        told = _attributes(at_path(resource, "resource.attributes"))
        for scope in _objects(resource.get("scopeSpans")):
            for span in _objects(scope.get("spans")):
                yield span, told


def _objects(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _attributes(value: Any) -> Record:
    """{name: value} of attributes, which OTLP writes as a list of {key, value: {stringValue}}."""
    if isinstance(value, dict):
        return value
    return {
        item["key"]: _plain(item.get("value")) for item in _objects(value) if isinstance(item.get("key"), str)
    }


def _plain(value: Any, depth: int = 0) -> Any:
    """A value without OTLP's wrapper."""
    if not isinstance(value, dict) or len(value) != 1 or depth > 32:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return (
            [_plain(item, depth + 1) for item in _objects(inner.get("values"))]
            if isinstance(inner, dict)
            else []
        )
    if kind == "kvlistValue" and isinstance(inner, dict):
        pairs = _objects(inner.get("values"))
        return {pair.get("key"): _plain(pair.get("value"), depth + 1) for pair in pairs}
    return inner if kind.endswith("Value") else value


def _of_span(given: Record, kind: str) -> Record | None:
    asked = _turns(structure(given.get("gen_ai.input.messages")), "user", _ASKED)
    answered = _turns(structure(given.get("gen_ai.output.messages")), "assistant", _ANSWERED)
    if not asked:
        asked, answered = _flat(given, "prompt"), _flat(given, "completion")
    if not asked:
        return None
    draft: Record = {"messages": [*asked, *answered[:1]]}
    system = structure(given.get("gen_ai.system_instructions"))
    if isinstance(system, str | list):
        draft["system"] = system
    return draft


def _flat(given: Record, which: str) -> list[Record]:
    """Messages whose fields are attributes of their own, gen_ai.prompt.0.role, as OpenLLMetry writes them."""
    found: dict[int, Record] = {}
    for name, value in given.items():
        match = _FLAT.fullmatch(name) if isinstance(name, str) and name.startswith("gen_ai.") else None
        if match and match[1] == which:
            found.setdefault(int(match[2]), {})[match[3]] = structure(value)
    return [{"role": found[at].get("role"), "content": found[at].get("content")} for at in sorted(found)]


LANGFUSE = Format(
    "langfuse",
    "Langfuse exports of traces and generations: `input`, `output`, `userId`",
    ("prompts", "demonstrations"),
    frozenset(
        (
            "input",
            "trace",
        )
    ),
    is_langfuse,
    read_langfuse,
    {
        "id": "o1",
        "traceId": "t1",
        "type": "GENERATION",
        "startTime": "2026-01-05T10:00:00.000Z",
        "userId": "u1",
        "input": [{"role": "user", "content": "Why is the sky blue?"}],
        "output": {"role": "assistant", "content": "Short waves scatter more."},
    },
)
OTEL = Format(
    "otel-genai",
    "OpenTelemetry spans with gen_ai.input.messages (also OTLP's resourceSpans, and gen_ai.prompt.0.content)",
    ("prompts", "demonstrations"),
    frozenset(
        (
            "resourceSpans",
            "gen_ai.input.messages",
            "attributes",
        )
    ),
    is_otel,
    read_otel,
    {
        "span_id": "s1",
        "start_time": "2026-01-05T10:00:00Z",
        "attributes": {
            "user.id": "u1",
            "gen_ai.input.messages": [
                {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
            ],
        },
    },
)
