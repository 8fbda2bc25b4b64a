"""Words of a text for comparing: folded, without punctuation; each ideograph is a word."""

from __future__ import annotations

import re
from itertools import pairwise

from rlhf.data.fold import fold

_KEPT = b"abcdefghijklmnopqrstuvwxyz0123456789+#"  # C, C++ and C# are three things
_ENDS = b'.,;:!?"()[]{}<>\n\r|*'


def _table(ends: bytes) -> bytes:
    """Translates ASCII: letters to lower case, ends to "|", all that is not kept to a space."""
    lower = bytes(range(256)).lower()
    return bytes(char if char in _KEPT else ord("|" if at in ends else " ") for at, char in enumerate(lower))


def squeezed(text: str) -> str:
    """The letters and digits of a text, folded, and nothing between them."""
    if text.isascii():
        return text.encode().translate(_WORDS, _UNKEPT).decode()
    return "".join(_WORD.findall(fold(text)))


_UNKEPT = bytes(at for at, char in enumerate(bytes(range(256)).lower()) if char not in _KEPT)
_WORDS, _PIECES = _table(b""), _table(_ENDS)
_CASED = bytes(at if kept != ord(" ") else kept for at, kept in enumerate(_WORDS))
IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_WORD = re.compile(r"[^\W_]+(?:[+#]+)?|[+#]+")
_WORD_OR_END = re.compile(r"[^\W_]+(?:[+#]+)?|[+#]+|[^\w\s'’\-/&%$€£°_]|\n")


def words(text: str) -> list[str]:
    """The words of a text, in order. An apostrophe joins what stands around it."""
    if text.isascii():
        return spaced(text).decode().split()
    return _WORD.findall(_spread(fold(text)))


def spaced(text: str) -> bytes:
    """An ASCII text's words with blanks between them."""
    return text.encode().translate(_WORDS, b"'")


def ended_words(text: str) -> tuple[list[str], set[int]]:
    """The words, and the positions of those after which a sentence or a part of one ends."""
    if text.isascii():
        pieces = text.encode().translate(_PIECES, b"'").decode().replace("|", " | ").split()
    else:
        lines = [_spread(fold(line)) for line in text.splitlines()]
        pieces = [
            "|" if not _WORD.fullmatch(found) else found for found in _WORD_OR_END.findall("\n".join(lines))
        ]
    found: list[str] = []
    ends: set[int] = set()
    for piece in pieces:
        if piece == "|":
            ends.add(len(found) - 1)
        else:
            found.append(piece)
    ends.add(len(found) - 1)
    return found, ends


def before_capitals(text: str) -> set[int]:
    """Positions of an ASCII text's words that begin in lower case, before one that does not: a sentence may end there."""
    if not text.isascii():
        return set()
    initials = [word[:1].isupper() for word in text.encode().translate(_CASED, b"'").split()]
    return {at for at, (own, following) in enumerate(pairwise(initials)) if following and not own}


def _spread(folded: str) -> str:
    return IDEOGRAPH.sub(r" \1 ", folded).replace("'", "").replace("’", "")


def is_slip(first: str, second: str) -> bool:
    """Whether one letter more, less or other, or two neighbours swapped, is all that tells two words apart."""
    if len(first) > len(second):
        first, second = second, first
    if len(second) - len(first) > 1 or first == second:
        return False
    at = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    if len(first) < len(second):
        return first[at:] == second[at + 1 :]
    return first[at + 1 :] == second[at + 1 :] or is_swap(first, second)


def is_swap(first: str, second: str) -> bool:
    """Whether two neighbouring letters changed places."""
    if len(first) != len(second):
        return False
    wrong = [at for at, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if len(wrong) != 2 or wrong[1] != wrong[0] + 1:
        return False
    return first[wrong[0]] == second[wrong[1]] and first[wrong[1]] == second[wrong[0]]


def without_a_letter(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at in range(len(word))]


def edits(first: str, second: str) -> int:
    """Letters more, less or other, and neighbours swapped, that tell two words apart, counted up to 3."""
    if abs(len(first) - len(second)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(second) + 1))
    for at, char in enumerate(first, 1):
        last, before, row = before, row, [at]
        for place, other in enumerate(second, 1):
            cost = min(before[place] + 1, row[-1] + 1, before[place - 1] + (char != other))
            if last and place > 1 and char == second[place - 2] and first[at - 2] == other:
                cost = min(cost, last[place - 2] + 1)
            row.append(cost)
    return min(3, row[-1])
