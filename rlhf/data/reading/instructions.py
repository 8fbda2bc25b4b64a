"""Instructions and their answers in columns of text: Alpaca, Dolly, questions and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.lines import Wrong
from rlhf.data.reading.chat import with_passages
from rlhf.data.reading.formats import Format, Notes, Record, answered, taken

_PAIRS = (("question", "answer"), ("query", "response"), ("query", "answer"), ("input", "output"))


def is_alpaca(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("instruction"), str) and "messages" not in row and "response" not in row


def is_dolly(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("instruction"), str) and isinstance(row.get("response"), str)


def read_instruction(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """`instruction` with its `input` or `context` is what is asked; `history` holds earlier turns in pairs."""
    row["text"] = row.pop("instruction")
    with_passages(row, "text", notes)
    completion = taken(row, "completion", "output", "response")
    history = row.pop("history", None)
    if history:
        asked = {"role": "user", "content": row.pop("text")}
        row["messages"] = [*_earlier(history), asked]
    yield from answered(row, completion, kind, "output", notes)


def is_pair(row: Mapping[str, Any]) -> bool:
    return "messages" not in row and any(
        isinstance(row.get(asked), str) and (answer in row or asked == "question") for asked, answer in _PAIRS
    )


def read_pair(row: Record, kind: str, notes: Notes) -> Iterator[Record]:
    """A question, with its context, and an answer."""
    asked, answer = next(pair for pair in _PAIRS if isinstance(row.get(pair[0]), str))
    row["text"] = row.pop(asked)
    with_passages(row, "text", notes)
    completion = taken(row, "completion", *(name for first, name in _PAIRS if first == asked))
    yield from answered(row, completion, kind, answer, notes)


def _earlier(history: Any) -> Iterator[Record]:
    pairs = history if isinstance(history, list) else [None]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Wrong("history", "must be a list of [question, answer]")
        yield {"role": "user", "content": pair[0]}
        yield {"role": "assistant", "content": pair[1]}


ALPACA = Format(
    "alpaca",
    "Alpaca: `instruction` and `input` are the prompt, `output` the completion; `history` and `system` where given",
    ("prompts", "demonstrations"),
    frozenset(("instruction",)),
    is_alpaca,
    read_instruction,
    {"instruction": "Name the colour.", "input": "A clear sky at noon.", "output": "Blue."},
)
DOLLY = Format(
    "dolly",
    "Dolly: `instruction` and `context` are the prompt, `response` the completion; `category` is an extra",
    ("prompts", "demonstrations"),
    frozenset(("instruction",)),
    is_dolly,
    read_instruction,
    {
        "instruction": "Name the colour.",
        "context": "A clear sky.",
        "response": "Blue.",
        "category": "closed_qa",
    },
)
PAIRS = Format(
    "question-answer",
    "a question and its answer in columns: question/answer, query/response, input/output, with `context` where given",
    ("prompts", "demonstrations"),
    frozenset(
        (
            "question",
            "query",
            "input",
        )
    ),
    is_pair,
    read_pair,
    {"question": "Which colour is a clear sky?", "answer": "Blue."},
)
