"""Thoughts at the beginning of an answer, <think>...</think>: cut off or kept, and never half of one.

A thought is told by its place: it begins the answer. A tag further on is text about tags. An answer that holds the
closing tag alone was written behind a chat template that opens the thought.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

Record = dict[str, Any]
_OPEN = re.compile(r"\s*<(think|thinking)>")
_CLOSED_ALONE = re.compile(r"(?:\A|\n)[^\S\n]*</(think|thinking)>|</(think|thinking)>[^\S\n]*(?:\n|\Z)")
NO_ANSWER = "no answer behind its thought"
CUT, OPENED = "thoughts cut off", "thoughts given the opening tag that their template had written"


def begins(text: str) -> bool:
    """Whether an answer begins with a thought, or with the rest of one."""
    return _OPEN.match(text) is not None or ("</think" in text and _closing(text) is not None)


def without(text: str) -> str | None:
    """The answer without the thoughts that it begins with; None where one never ends; "" where nothing is left."""
    while (closing := _closing(text)) is not None:
        text = text[closing.end() :]
    while match := _OPEN.match(text):
        end = text.find(f"</{match[1]}>", match.end())
        if end < 0:
            return None
        text = text[end + len(f"</{match[1]}>") :]
    return text.strip()


def whole(text: str) -> str | None:
    """The answer with its thought, whole: opened where a template had opened it; None where it never ends."""
    closing = _closing(text)
    if closing is not None:
        text = f"<{closing[1] or closing[2]}>\n{text.lstrip()}"
    return None if without(text) is None else text


def _closing(text: str) -> re.Match[str] | None:
    """The closing tag, on a line's edge, of a thought that the text does not open."""
    match = _CLOSED_ALONE.search(text) if "</think" in text else None
    return None if match is None or f"<{match[1] or match[2]}>" in text[: match.start()] else match


class Treatment:
    """What data.thinking does to demonstrations: to their completions, and to assistants' turns before them."""

    def __init__(self, how: Literal["cut", "keep"]) -> None:
        self.how = how
        self.done: Counter[str] = Counter()

    def apply(self, record: Mapping[str, Any]) -> Record | None:
        """The record as it is to be learned from; None where an answer is a thought alone, or half of one."""
        found = dict(record)
        completion = self._treated(record["completion"])
        if completion is None:
            return None
        found["completion"] = completion
        if any(turn["role"] == "assistant" and begins(turn["content"]) for turn in record["messages"]):
            found["messages"] = []
            for turn in record["messages"]:
                said = self._treated(turn["content"]) if turn["role"] == "assistant" else turn["content"]
                if said is None:
                    return None
                found["messages"].append({"role": turn["role"], "content": said})
        return found

    def _treated(self, text: str) -> str | None:
        if not begins(text):
            return text
        said = without(text) if self.how == "cut" else whole(text)
        if not said:
            return None
        if said != text:
            self.done[CUT if self.how == "cut" else OPENED] += 1
        return said
