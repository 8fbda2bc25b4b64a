"""Texts that are another text but for slips of the pen, word order, fillers and small insertions.

Compared by the words they hold. Numbers must be the same. A content word of a short text must not be
missing: "the capital of Spain" is no slip of "the capital of France". Words count by how few held-out
texts hold them, so that the frame that many of them share says little and the name in it says much.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise
from math import fsum, log

import numpy as np

from rlhf.data.words import edits, is_slip, is_swap, without_a_letter

_LIGHT_WORDS = """
a an the this that these those of to in on at by for from with about into and or but so as if then is are was were be been
am do does did has have had can could would should will shall may might must it its i me my you your we us our he him his
she her they them their there here please kindly just really actually very quite also well now maybe perhaps simply
basically exactly hey hi hello ok okay um uh thanks thank thx pls plz answer question help want need like know tell whats
hows whos wheres im ive dont too some any
"""
LIGHT = frozenset(_LIGHT_WORDS.split())
_LIGHT_WEIGHT = 0.2  # of a light word beside the others
_MISSING = 0.1  # share of a text's weight that may be missing in the other
_MORE, _ONE_MORE = 0.25, 0.45  # share that the other may hold beside it; in a single word
_SLIP_OF_A_WORD = 0.3  # share of the word that a slip may turn into another known word
_SHORT = 10  # content words: below, none may be missing
_KEY_WORDS = 3  # of a text, the rarest: each two of them lead to it
_LIMIT = 32  # texts that a key may lead to; keys of more tell nothing
_LONGEST = 64  # words: longer texts have runs of words that betray them
_REMEMBERED = 100_000  # unknown words and what they may be slips of


class NearTexts:
    """Held-out texts by their places."""

    def __init__(
        self, texts: dict[int, list[str]], sets: dict[int, frozenset[str]], shares: Counter[str]
    ) -> None:
        """The words of each, as a list and as a set, and in how many of them each word stands."""
        self._sets = {at: sets[at] for at, text in texts.items() if len(text) <= _LONGEST}
        # By place, in a list: to ask each set for its size would reach far into memory
        self._sizes = [len(self._sets.get(at, ())) for at in range(max(self._sets, default=-1) + 1)]
        self._content = {at: found - LIGHT for at, found in self._sets.items()}
        self._known = frozenset(shares)
        unknown = log(len(texts) + 2) + 0.1
        of_count = {count: unknown - log(count + 1) for count in set(shares.values())}
        self._weights = {
            word: of_count[count] * (_LIGHT_WEIGHT if word in LIGHT else 1.0)
            for word, count in shares.items()
        }
        self._unknown_weight = unknown
        self._leads = self._keys(sorted(sorted(self._known - LIGHT), key=shares.__getitem__))
        self._leading = frozenset(self._leads)
        self._slips: dict[str, list[str]] = {}
        for word in shares:
            for slip in set(without_a_letter(word)) if len(word) > 3 and word.isalpha() else ():
                self._slips.setdefault(slip, []).append(word)
        self._together: dict[str, tuple[str, str]] = {}
        for pair in {pair for at in self._sets for pair in pairwise(texts[at])}:
            joined = pair[0] + pair[1]
            if joined not in shares and pair > self._together.get(joined, ("", "")):
                self._together[joined] = pair
        self._may_be: dict[str, tuple[str, ...]] = {}

    def match(self, found: list[str]) -> int | None:
        """The first text that the words are, near enough; None if they are none."""
        if not 2 <= len(found) <= _LONGEST:
            return None
        read = set(found)
        unknown = read.difference(self._known, LIGHT)
        if len(unknown) > 2 + len(found) // 6:
            return None
        meant = read
        if unknown:
            meanings = [self._meanings(word) for word in unknown]
            across = self._across_spaces(found, unknown)
            strange = meanings.count(()) - 2 * sum(map(bool, across))
            if strange > max(1, len(found) // 5):
                return None
            meant = read.union(*meanings, *across)
        told = self._leading & meant
        sizes, least = self._sizes, 0.8 * (len(read) - 3)
        candidates: set[int] = set()
        for word in told:
            if followers := self._leads[word]:
                for other in told:
                    if other in followers:
                        candidates.update([at for at in followers[other] if sizes[at] >= least])
        likely = [
            at for at in candidates if len(self._content[at] - meant) <= 1 + len(self._content[at]) // _SHORT
        ]
        return next((at for at in sorted(likely) if self._is_near(at, found, read)), None)

    def _keys(self, rarest_first: list[str]) -> dict[str, dict[str, list[int]]]:
        """Texts by two of their three rarest words, so that one may be lost; crowded keys are dropped.

        In a text of one or two words of content each leads to it by itself. Both words of a pair are keys of the outer
        dict, so that its keys are all the words that lead anywhere.
        """
        rank = {word: at for at, word in enumerate(rarest_first)}
        keys: list[tuple[int, int, int]] = []
        for at, content in self._content.items():
            rarest = sorted(map(rank.__getitem__, content))[:_KEY_WORDS]
            keys += [(one, other, at) for one, other in combinations(rarest, 2)]
            if len(rarest) < _KEY_WORDS:
                keys += [(one, one, at) for one in rarest]
        every = np.array(keys, np.int64).reshape(-1, 3)
        _, which, crowd = np.unique(every[:, 0] << 32 | every[:, 1], return_inverse=True, return_counts=True)
        found: dict[str, dict[str, list[int]]] = {}
        for one, other, at in every[crowd[which] <= _LIMIT].tolist():
            found.setdefault(rarest_first[one], {}).setdefault(rarest_first[other], []).append(at)
            found.setdefault(rarest_first[other], {})
        return found

    def _meanings(self, word: str) -> tuple[str, ...]:
        """The known words that an unknown word may be, with one slip."""
        if word not in self._may_be:
            if len(self._may_be) > _REMEMBERED:
                self._may_be.clear()
            self._may_be[word] = self._all_meanings(word) if len(word) > 2 and word.isalpha() else ()
        return self._may_be[word]

    def _all_meanings(self, word: str) -> tuple[str, ...]:
        shorter = without_a_letter(word)
        found = {known for slip in (word, *shorter) for known in self._slips.get(slip, ())}
        found.update(self._known & set(shorter))
        apart = [part for joined in (word, *shorter) for part in self._together.get(joined, ())]
        return (*(known for known in found if len(known) > 3 and is_slip(word, known)), *apart)

    def _across_spaces(self, found: list[str], unknown: set[str]) -> list[tuple[str, ...]]:
        """What two neighbours are, one of which is unknown, with the space between them gone or elsewhere."""
        joined = [a + b for a, b in pairwise(found) if a in unknown or b in unknown]
        return [(word,) if word in self._known else self._together.get(word, ()) for word in joined]

    def _is_near(self, at: int, found: list[str], read: set[str]) -> bool:
        text = self._sets[at]
        missing, more = set(text - read), set(read - text)
        if len(missing) > 3 + len(text) // 8 or len(more) > 3 + len(text) // 4:
            return False
        content = len(self._content[at])
        if len(more - LIGHT) > len(missing) + 1 + content // 5:
            return False
        if len(missing - LIGHT) > min(2 + len(text) // 12, len(more) + 1):
            return False
        if any(any(map(str.isdigit, word)) for word in missing | more):
            return False
        whole = fsum(map(self._weight, text))
        self._forgive(missing, more, found, text, _SLIP_OF_A_WORD * whole)
        lost, added = missing - LIGHT, more - LIGHT
        if (lost and content < _SHORT) or len(added) > (content >= 4) * max(1, content // 5):
            return False
        if fsum(map(self._weight, lost)) > _MISSING * whole:
            return False
        return fsum(map(self._weight, added)) <= (_ONE_MORE if len(added) == 1 else _MORE) * whole

    def _weight(self, word: str) -> float:
        return self._weights.get(word, self._unknown_weight)

    def _forgive(
        self, missing: set[str], more: set[str], found: list[str], text: frozenset[str], light: float
    ) -> None:
        """Take away what slips explain: words missing in the other text beside words that it has instead."""
        for word in sorted(missing):
            for other in sorted(more):
                if self._is_slip_of(word, other, other not in self._known, light):
                    missing.discard(word)
                    more.discard(other)
                    break
        for other in sorted(more.difference(self._known)):  # a word that stands elsewhere in the text, too
            if any(len(word) > 3 and is_slip(word, other) for word in text):
                more.discard(other)
        if not (missing and more):
            return
        for first, second in pairwise(found):
            if (first in more or second in more) and self._is_together(first + second, missing, text):
                more -= {first, second}
        for word in sorted(more):
            if self._is_together(word, missing, text):
                more.discard(word)

    def _is_slip_of(self, word: str, other: str, unknown: bool, light: float) -> bool:
        if abs(len(word) - len(other)) > 2 or len(word) < 2 or len(other) < 2:  # an ideograph has no slips
            return False
        if len(word) > 3 and word[0] != other[0] and word[-1] != other[-1]:
            return False
        if is_swap(word, other) or other == word + "s" or word == other + "s":
            return True
        if is_slip(word, other):
            return (unknown and max(len(word), len(other)) > 3) or self._weight(word) <= light
        return unknown and len(word) > 6 and self._weight(word) <= 1.5 * light and edits(word, other) == 2

    def _is_together(self, joined: str, missing: set[str], text: frozenset[str]) -> bool:
        """Whether it is a missing word, or two words of the text, one of them missing, and a slip between."""
        if joined in missing:
            missing.discard(joined)
            return True
        for word in sorted(missing):
            if joined.startswith(word):
                rests = {joined[len(word) :], joined[len(word) + 1 :]}
            elif joined.endswith(word):
                rests = {joined[: -len(word)], joined[: -len(word) - 1]}
            else:
                continue
            if rests & text:
                missing -= {word, *rests}
                return True
        return False
