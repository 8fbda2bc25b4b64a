"""Small tools on English text: cleaning, sentences, content words, stable draws by hash."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

STOP_WORDS = (
    "a an the this that these those and or but nor so yet of in on at to for from by with without as into "
    "onto over under about between through during before after above below up down out off again than "
    "then once here there when where why how what which who whom whose is are was were be been being am "
    "do does did doing done have has had having can could will would shall should may might must i me my "
    "we us our you your he him his she her it its they them their not no yes if because while both each "
    "few more most other some such only own same too very just also any all one ones s t get got someone "
    "something tell use used "
)
STOP = frozenset(STOP_WORDS.split())
_ABBREVIATIONS = re.compile(
    r"(?:\b(?:[A-Z]|[A-Z][a-z]|Mr|Mrs|Ms|Dr|St|Mt|Jr|Sr|vs|No|Inc|Ltd|Co|Corp|Gen|Col|Lt|Capt|Sgt|Rev|Hon|Prof|Gov|Sen|"
    r"Rep|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec|approx|ca?|etc|e\.g|i\.e|cf|al|v|Bros|Ft|Fig|Vol|pp?|U\.S|U\.K|D\.C|a\.m|p\.m))\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PHONETIC = re.compile(
    r"\s*\([^()]*(?:/[^/()]+/|\blisten\b|pronounced|pronunciation|IPA|[\u0250-\u02ff])[^()]*\)"
)


def unit(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def pick(options: list[str] | tuple[str, ...], *key: object) -> str:
    return options[int(unit(*key) * len(options))]


def short_hash(*key: object) -> str:
    return hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=6).hexdigest()


def clean(text: str) -> str:
    """One line of plain typography, without pronunciation brackets and markup leftovers."""
    text = text.replace("``", '"').replace("''", '"').replace("\u00a0", " ")
    text = re.sub(r"\(\s*listen\s*\)", "", text)
    text = _PHONETIC.sub("", text)
    text = re.sub(r"(?<=\w)--(?=\w)", "-", text).replace(" -- ", " - ").replace("--", "-")
    text = re.sub(r"\(\s*[;,]\s*", "(", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", "", text)
    text = re.sub(r"\s+([,.;:!?)])", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def sentences(text: str) -> list[str]:
    """Sentences of one paragraph; abbreviations and initials do not end one."""
    parts: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        piece = text[start : match.end()].strip()
        if _ABBREVIATIONS.search(text[start : match.start()]):
            continue
        parts.append(piece)
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def words(text: str) -> list[str]:
    return _WORD.findall(text)


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A crude stem: what is left of a lower-cased word without its most usual endings."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    for ending in ("ing", "ies", "ed", "es", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def content_stems(text: str) -> set[str]:
    return {stem(word) for word in words(text) if word.lower() not in STOP}


def overlap(prompt: str, answer: str) -> float:
    """Share of the prompt's content words that the answer takes up, in [0, 1]."""
    wanted = content_stems(prompt)
    return len(wanted & content_stems(answer)) / len(wanted) if wanted else 0.0


def is_complete(sentence: str, low: int = 6, high: int = 40) -> bool:
    """Starts like a sentence, ends with . ! or ?, brackets and quotes closed, low..high words."""
    starts = sentence[:1].isupper() or sentence[:1].isdigit() or sentence[:1] == '"'
    closed = sentence.count('"') % 2 == 0 and sentence.count("(") == sentence.count(")")
    return starts and closed and sentence[-1:] in ".!?" and low <= len(sentence.split()) <= high


def as_question(text: str) -> str:
    """Capitalised, ended by one question mark."""
    text = text.strip().rstrip("?!. ").strip()
    return text[:1].upper() + text[1:] + "?"


def as_sentence(text: str) -> str:
    """Capitalised, ended by a full stop where nothing ends it."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(",;:- ")
    if text and text[-1] not in '.!?"':
        text += "."
    return text[:1].upper() + text[1:]
