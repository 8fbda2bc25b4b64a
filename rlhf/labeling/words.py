"""Words, stems and content words, as the simulated labelers see them."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text: str) -> list[str]:
    """Lower-cased words of a text: letters and digits, with apostrophes inside a word kept."""
    return _WORD.findall(text.replace("’", "'").lower())


@cache
def stop_words() -> frozenset[str]:
    """The fixed list of stop_words.txt beside this file."""
    return frozenset(
        (resources.files("rlhf.labeling") / "stop_words.txt").read_text(encoding="utf-8").split()
    )


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@cache
def stem(word: str) -> str:
    """The word's stem by Porter 2 (Snowball's English stemmer)."""
    return _stemmer().stemWord(word)


@cache
def content_stem(word: str) -> str | None:
    """The stem of a content word; None for a stop word."""
    return None if word in stop_words() or word.removesuffix("'s") in stop_words() else stem(word)


def content_stems(listed: list[str]) -> set[str]:
    """The stems of the content words among `listed`."""
    return {found for word in listed if (found := content_stem(word)) is not None}
