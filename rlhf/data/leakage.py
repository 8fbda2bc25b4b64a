"""No held-out text in training: not whole, not inside a longer text, not with small changes.

A training text leaks a held-out one where, compared by words (rlhf.data.words),
- "exact": it is the held-out text, whatever stands between letters and digits;
- "contained": the held-out text stands in it, word for word: anywhere if it has 6 words, up to the end
  of a sentence (or of a part of one) if it has 4 or is a sentence of 2, else as a part by itself;
- "partly": half of the held-out text's runs of 8 words stand in it. A run that k held-out texts share is
  boilerplate and counts 1/k², unless it is few texts' and a long passage recurs. Where each text has a
  number that the other lacks, they are two examples of one template;
- "near": it is the held-out text but for slips of the pen, word order and fillers (rlhf.data.near_words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import fsum
from typing import Any

from rlhf.data.fold import fold
from rlhf.data.near_words import LIGHT, NearTexts
from rlhf.data.words import ended_words, squeezed, words

RUN = 8  # words
PARTLY = 0.5  # share of a held-out text's runs that may not recur in a training text
ANYWHERE, TO_AN_END, SHORTEST = 6, 4, 2  # words of a held-out text that counts as contained
_MEANT = 12  # letters of a held-out text of fewer words than TO_AN_END that counts as contained
_PASSAGE = 24  # runs in a row, or nearly: no frame around a question is as long
_LOST = 0.15  # share of a short held-out text's content words that a training text with half of it may lack
_CROWD = 16  # texts that an anchor may lead to; more share a frame
_OWN_RUNS = 4  # that no other held-out text has, and that must recur
_FEW = 4  # texts that share a passage rather than a frame
_ANCHOR = 4  # words


@dataclass(frozen=True)
class Leak:
    """A held-out text that training repeats: its name, its place in the list, and how it is repeated."""

    name: str
    at: int
    how: str


class HeldOut:
    """Texts that training may not contain.

    names and texts run side by side; a name says where a text comes from ("valid", "test", "eval"...). Their index
    is made where it is first asked, and is not sent between processes: to read it would take as long as to make it.
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str]) -> None:
        self.texts, self.names = list(texts), list(names)

    def __getstate__(self) -> dict[str, Any]:
        return {"texts": self.texts, "names": self.names}

    @cached_property
    def _index(self) -> _Index:
        return _Index(self.texts)

    def match(self, parts: Iterable[str]) -> str | None:
        """The name of a held-out text that a training text, given as its parts, repeats; else None."""
        leak = self.find(parts)
        return leak.name if leak else None

    def find(self, parts: Iterable[str]) -> Leak | None:
        """The surest leak of a training text, given as its parts (messages, lines of a document)."""
        parts = [part for part in parts if part]
        if len(parts) > 1:
            parts.append("\n".join(parts))
        found = self._index.find(parts)
        return Leak(self.names[found[0]], *found) if found else None


class _Index:
    """Where the words of held-out texts stand. A text is its place in the list."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._whole: dict[str, int] = {}
        self._words = [words(text) for text in texts]
        self._is_sentence = [text.rstrip()[-1:] in ".?!" for text in texts]
        shares = Counter(word for found in self._words for word in set(found))
        self._anchors: dict[tuple[str, ...], list[int]] = {}
        self._short: dict[tuple[str, ...], int] = {}
        for at, (text, found) in enumerate(zip(texts, self._words, strict=True)):
            if self._whole.setdefault(squeezed(text) or fold(text), at) != at:
                continue
            if len(found) >= _ANCHOR:
                for anchor in _anchors(found, shares):
                    self._anchors.setdefault(anchor, []).append(at)
            elif len(found) >= SHORTEST and len("".join(found)) >= _MEANT:
                self._short.setdefault(tuple(found), at)
        self._hits = self._needed_hits()
        self._short_words = {min(run, key=lambda word: (shares[word], word)) for run in self._short}
        self._runs = {at: _runs(found) for at, found in enumerate(self._words) if len(found) >= RUN}
        held = Counter(run for own in self._runs.values() for run in own)
        self._sharers = {run: count for run, count in held.items() if count > 1}
        self._near = NearTexts(self._words, shares)

    def find(self, parts: Sequence[str]) -> tuple[int, str] | None:
        """(the text, how it is repeated) of a training text given as its parts and, if these are several, all of them."""
        for part in parts:
            at = self._whole.get(squeezed(part) or fold(part), -1)
            if at >= 0:
                return at, "exact"
        if not parts:
            return None
        every = words(parts[-1])
        found = self._inside(every, parts[-1])
        if found is not None:
            return found
        for piece in (every,) if len(parts) == 1 else map(words, parts):
            near = self._near.match(piece)
            if near is not None:
                return near, "near"
        return None

    def _needed_hits(self) -> list[int]:
        """How many anchors of each text have to recur; crowded ones are dropped but for a text's least crowded."""
        places: dict[int, list[tuple[str, ...]]] = {}
        for anchor, texts in self._anchors.items():
            for at in texts:
                places.setdefault(at, []).append(anchor)
        least = {
            at: min(own, key=lambda anchor: (len(self._anchors[anchor]), anchor))
            for at, own in places.items()
        }
        needed = [1] * len(self._words)
        for at, own in places.items():
            kept = sum(len(self._anchors[anchor]) <= _CROWD for anchor in own)
            needed[at] = max(1, kept // 3)
        for anchor, texts in self._anchors.items():
            if len(texts) > _CROWD:
                texts[:] = [at for at in texts if least[at] == anchor]
        return needed

    def _inside(self, every: list[str], text: str) -> tuple[int, str] | None:
        fours = set(zip(every, every[1:], every[2:], every[3:], strict=False))
        hits = Counter([at for four in fours if four in self._anchors for at in self._anchors[four]])
        candidates = sorted(at for at, count in hits.items() if count >= self._hits[at])
        short = not self._short_words.isdisjoint(every)
        if not (candidates or short):
            return None
        found, ends = ended_words(text)
        for run in (*pairwise(found), *zip(found, found[1:], found[2:], strict=False)) if short else ():
            at = self._short.get(run, -1)
            if at >= 0 and _stands_in(found, ends, list(run), left=not self._is_sentence[at], right=True):
                return at, "contained"
        for at in candidates:
            held_out = self._words[at]
            if _stands_in(found, ends, held_out, left=False, right=len(held_out) < ANYWHERE):
                return at, "contained"
        long = [at for at in candidates if at in self._runs]
        if not long:
            return None
        runs = _runs(every)
        return next(((at, "partly") for at in long if self._is_partly_in(at, runs, every)), None)

    def _is_partly_in(self, at: int, runs: set[int], every: list[str]) -> bool:
        own = self._runs[at]
        recurs = own & runs
        among = [self._sharers.get(run, 1) for run in recurs]
        has_passage = 2 * len(recurs) >= len(own) and sum(count <= _FEW for count in among) >= _PASSAGE
        if not has_passage:
            if among.count(1) < _OWN_RUNS:
                return False
            rest = [self._sharers.get(run, 1) for run in own - recurs]
            if (1 - PARTLY) * _weight(among) < PARTLY * _weight(rest):
                return False
        if len(self._words[at]) < RUN + _PASSAGE:  # the frame is the same, and what is asked in it?
            content = set(self._words[at]) - LIGHT
            if len(content.difference(every)) > _LOST * len(content):
                return False
        return not _are_two_examples(self._words[at], every)


def _weight(sharers: Iterable[int]) -> float:
    """Of runs, by how many texts share each; fsum, because a set's order is another in each process."""
    return fsum(count**-2 for count in sharers)


def _runs(found: list[str]) -> set[int]:
    """Hashes of the runs of 8 words, which only this process can compare."""
    return set(map(hash, zip(*(found[at:] for at in range(RUN)), strict=False)))


def _anchors(found: list[str], shares: Counter[str]) -> set[tuple[str, ...]]:
    """Runs of 4 words, the rarest ones, of which one stands in each run of 8 words (one for a short text)."""
    fours = list(zip(found, found[1:], found[2:], found[3:], strict=False))
    each = [shares[word] for word in found]
    least = list(map(min, each, each[1:], each[2:], each[3:]))
    if len(found) < RUN:
        return {min(zip(least, fours, strict=True))[1]}
    chosen: set[tuple[str, ...]] = set()
    at = -1
    while at + RUN - _ANCHOR + 1 < len(fours):
        window = range(at + 1, at + RUN - _ANCHOR + 2)
        at = min(window, key=lambda place: (least[place], -place))
        chosen.add(fours[at])
    return chosen


def _stands_in(found: list[str], ends: set[int], text: list[str], *, left: bool, right: bool) -> bool:
    """Whether `text` stands in `found`, between ends of sentences where left and right ask for them."""
    last = len(found) - len(text)
    first, at = text[0], -1
    while True:
        try:
            at = found.index(first, at + 1, last + 1)
        except ValueError:
            return False
        if found[at : at + len(text)] == text:
            starts = not left or at == 0 or at - 1 in ends
            if starts and (not right or at + len(text) - 1 in ends):
                return True


def _are_two_examples(text: list[str], other: list[str]) -> bool:
    """Whether two texts of about the same length each hold a number that the other lacks."""
    if not 0.7 <= len(other) / len(text) <= 1.4:
        return False
    numbers, others = ({word for word in found if any(map(str.isdigit, word))} for found in (text, other))
    return bool(numbers - others) and bool(others - numbers)
