"""What a prompt asks: the question apart from the passage, the examples and the words of the instruction.

The last user message counts as the request; earlier turns (few-shot examples, a dialog so far) are context.
A passage is recognised in it by form: a "Question:" that begins a line under other text, or paragraphs of
PASSAGE_WORDS words or more beside the paragraph that asks. Then the question is closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.chat import Message
from rlhf.labeling.words import content_stems, stop_words, words

PASSAGE_WORDS = 12

_QUESTION_LINE = re.compile(r"^[ \t]*(?:question|query|q)[ \t]*:[ \t]*", re.I | re.M)
_QUESTION_LABEL = re.compile(r"^.*\b(?:question|query)\s*:\s+", re.I | re.S)
_PASSAGE_LABEL = re.compile(r"^\s*(?:passage|context|text|article|document)\s*:\s*", re.I)
_ANSWER_LABEL = re.compile(r"\n\s*(?:answer|a)\s*:\s*$", re.I)
_TELL_ME_ABOUT = re.compile(r"tell me (?:\w+ )?about\b", re.I)

_POLITE = frozenset(
    {
        "please", "kindly", "can", "could", "would", "will", "you", "i", "i'd", "want", "need", "like",
        "to", "now", "also", "then", "ok", "hi", "hello",
    }
)  # fmt: skip
_VERBS = frozenset(
    {
        "tell", "explain", "describe", "summarize", "summarise", "write", "give", "list", "name", "define",
        "discuss", "rewrite", "paraphrase", "translate", "answer", "reply", "respond", "state", "say",
        "show", "provide", "outline", "compare", "classify", "extract", "complete", "continue", "create",
        "compose", "generate", "make", "help", "suggest", "read", "correct", "improve", "shorten",
        "simplify", "sum",
    }
)  # fmt: skip
_FRAME = frozenset(
    {
        "sentence", "sentences", "word", "words", "paragraph", "paragraphs", "line", "lines", "short",
        "brief", "briefly", "simple", "simply", "single", "clear", "clearly", "concise", "following",
        "text", "passage", "article", "document", "description", "summary", "overview", "explanation",
        "definition", "answer", "question", "two", "three", "four", "five", "detail", "details", "bit",
        "little", "story",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A prompt, taken apart.

    text: all of it; asked: stems of the content words that an answer should take up; passage: the text that a
    closed question is about, None for an open one; tells_about: the request is a "Tell me about ...".
    """

    text: str
    asked: frozenset[str]
    passage: str | None
    tells_about: bool


def read_request(messages: Sequence[Message]) -> Request:
    """Take a prompt apart. `messages` end with the user's; an empty list gives an empty open request."""
    last = messages[-1]["content"] if messages else ""
    question, passage = split_passage(last)
    asked = asked_stems(question)
    if not asked and passage is not None:  # "Summarize in one sentence.": the passage is what is asked about
        asked = content_stems(words(passage))
    return Request(
        text="\n".join(message["content"] for message in messages),
        asked=frozenset(asked),
        passage=passage,
        tells_about=bool(_TELL_ME_ABOUT.match(question.strip())),
    )


def split_passage(message: str) -> tuple[str, str | None]:
    """(question, passage) of a user's message; passage None where it has none."""
    message = _ANSWER_LABEL.sub("", message.strip())
    labels = list(_QUESTION_LINE.finditer(message))
    if labels and _long(message[: labels[-1].start()]):
        return message[labels[-1].end() :].strip(), _bare(message[: labels[-1].start()])
    parts = [part.strip() for part in re.split(r"\n\s*\n", message) if part.strip()]
    if len(parts) > 1:
        asking = 0 if _is_instruction(parts[0]) or not parts[-1].endswith("?") else len(parts) - 1
        rest = "\n\n".join(part for at, part in enumerate(parts) if at != asking)
        if _long(rest):
            return parts[asking], _bare(rest)
    return _QUESTION_LABEL.sub("", message), None


def asked_stems(question: str) -> set[str]:
    """Stems of a question's content words, the words that only instruct ("Tell me about ...") left aside."""
    listed = words(question)
    start = 0
    while start < len(listed) and listed[start] in _POLITE:
        start += 1
    if start < len(listed) and listed[start] in _VERBS:
        while start < len(listed) and (listed[start] in _VERBS | _FRAME or listed[start] in stop_words()):
            start += 1
            if listed[start - 1] in (
                "about",
                "of",
            ):  # what follows is the subject: "of the Five Little Peppers"
                break
        listed = listed[start:]
    return content_stems(listed)


def _is_instruction(part: str) -> bool:
    first = next((word for word in words(part) if word not in _POLITE), "")
    return first in _VERBS


def _long(text: str) -> bool:
    return len(words(text)) >= PASSAGE_WORDS


def _bare(passage: str) -> str:
    return _PASSAGE_LABEL.sub("", passage).strip()
