"""No held-out text in training: not whole, not inside a longer text, not with small changes.

A training text leaks a held-out one where, compared by words (rlhf.data.words),
- "exact": it is the held-out text, whatever stands between letters and digits;
- "contained": the held-out text stands in it, word for word: anywhere if it has 6 words, up to the end
  of a sentence (or of a part of one, or a word with a capital) if it has 4 or is a sentence of 2, else as
  a part by itself;
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

import numpy as np

from rlhf.data.fold import fold
from rlhf.data.near_words import LIGHT, NearTexts
from rlhf.data.words import before_capitals, ended_words, squeezed, words

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
    """Where the words of held-out texts stand. A text is its place in the list; of several of the same words, the first's."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._whole: dict[str, int] = {}
        self._words = [words(text) for text in texts]
        self._is_sentence = [text.rstrip()[-1:] in ".?!" for text in texts]
        by_words: dict[tuple[str, ...], int] = {}
        for at, (text, found) in enumerate(zip(texts, self._words, strict=True)):
            self._whole.setdefault(squeezed(text) or fold(text), at)
            first = by_words.setdefault(tuple(found), at)
            if self._is_sentence[at]:
                self._is_sentence[first] = True
        distinct = list(by_words.values())
        self._word_sets = {at: frozenset(self._words[at]) for at in distinct}
        shares = Counter([word for found in self._word_sets.values() for word in found])
        self._anchors, self._hits = _anchored(self._words, distinct, shares)
        self._short: dict[tuple[str, ...], int] = {
            found: at
            for found, at in by_words.items()
            if SHORTEST <= len(found) < _ANCHOR and len("".join(found)) >= _MEANT
        }
        self._short_words = {min(run, key=lambda word: (shares[word], word)) for run in self._short}
        self._runs = {at: _runs(self._words[at]) for at in distinct if len(self._words[at]) >= RUN}
        held = Counter(run for own in self._runs.values() for run in own)
        self._sharers = {run: count for run, count in held.items() if count > 1}
        self._near = NearTexts({at: self._words[at] for at in distinct}, self._word_sets, shares)

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

    def _inside(self, every: list[str], text: str) -> tuple[int, str] | None:
        anchors = self._anchors
        met = {run for run in zip(every, every[1:], every[2:], every[3:], strict=False) if run in anchors}
        hits = Counter([at for anchor in met for at in anchors[anchor]]) if met else {}
        candidates = sorted([at for at, count in hits.items() if count >= self._hits[at]])
        short = not self._short_words.isdisjoint(every)
        if not (candidates or short):
            return None
        read = set(every)
        whole = [at for at in candidates if self._word_sets[at] <= read]
        found, ends = ended_words(text) if short or whole else ([], set())
        for run in (*pairwise(found), *zip(found, found[1:], found[2:], strict=False)) if short else ():
            at = self._short.get(run, -1)
            if at >= 0 and _stands_in(found, ends, list(run), left=not self._is_sentence[at], right=True):
                return at, "contained"
        for at in whole:
            to_an_end = len(self._words[at]) < ANYWHERE
            stops = ends | before_capitals(text) if to_an_end else ends
            if _stands_in(found, stops, self._words[at], left=False, right=to_an_end):
                return at, "contained"
        long = [at for at in candidates if at in self._runs]
        if not long:
            return None
        runs = _runs(every)
        return next(((at, "partly") for at in long if self._is_partly_in(at, runs, every)), None)

    def _is_partly_in(self, at: int, runs: set[int], every: list[str]) -> bool:
        own, text = self._runs[at], self._words[at]
        recurs = own & runs
        among = [self._sharers.get(run, 1) for run in recurs]
        has_passage = 2 * len(recurs) >= len(own) and sum(count <= _FEW for count in among) >= _PASSAGE
        if not has_passage:
            if among.count(1) < _OWN_RUNS:
                return False
            rest = [self._sharers.get(run, 1) for run in own - recurs]
            if (1 - PARTLY) * _weight(among) < PARTLY * _weight(rest):
                return False
        if len(text) < RUN + _PASSAGE:  # the frame is the same, and what is asked in it?
            content = set(text) - LIGHT
            if len(content.difference(every)) > _LOST * len(content):
                return False
        return not _are_two_examples(text, every)


def _weight(sharers: Iterable[int]) -> float:
    """Of runs, by how many texts share each; fsum, because a set's order is another in each process."""
    return fsum(count**-2 for count in sharers)


def _runs(found: list[str]) -> set[int]:
    """Hashes of the runs of 8 words, which only this process can compare."""
    return set(map(hash, zip(*(found[at:] for at in range(RUN)), strict=False)))


def _anchored(
    texts: list[list[str]], chosen: Sequence[int], shares: Counter[str]
) -> tuple[dict[tuple[str, ...], list[int]], list[int]]:
    """(texts by anchor, how many of its anchors have to recur by text).

    Anchors are runs of 4 words, the rarest, of which one stands in each run of 8 words (one in a text of 4 to 7). Of
    crowded ones, which many texts share, only a text's least crowded is kept.
    """
    anchors: dict[tuple[str, ...], int] = {}
    pairs = [
        (anchors.setdefault(anchor, len(anchors)), at)
        for at in chosen
        if len(texts[at]) >= _ANCHOR
        for anchor in _anchors_of(texts[at], shares)
    ]
    anchor, text = np.array(pairs, np.int64).reshape(-1, 2).T
    crowd = np.bincount(anchor, minlength=len(anchors))[anchor]
    kept = crowd <= _CROWD
    needed = np.maximum(1, np.bincount(text[kept], minlength=len(texts)) // 3)
    least = np.lexsort((anchor, crowd, text))
    opens = np.ones(len(least), bool)
    opens[1:] = np.diff(text[least]) != 0
    kept[least[opens]] = True
    names = list(anchors)
    found: dict[tuple[str, ...], list[int]] = {}
    for number, at in zip(anchor[kept].tolist(), text[kept].tolist(), strict=True):
        found.setdefault(names[number], []).append(at)
    return found, needed.tolist()


def _anchors_of(found: list[str], shares: Counter[str]) -> list[tuple[str, ...]]:
    each = list(map(shares.__getitem__, found))
    two = list(map(min, each, each[1:]))
    least = list(map(min, two, two[2:]))  # of each run of 4
    if len(found) < RUN:
        places = [least.index(min(least))]
    else:
        reach = RUN - _ANCHOR + 1
        places, at = [], -1
        while at + reach < len(least):
            window = least[at + 1 : at + 1 + reach]
            at += reach - window[::-1].index(min(window))  # the last of the rarest: fewer are needed
            places.append(at)
    return list(dict.fromkeys(tuple(found[at : at + _ANCHOR]) for at in places))


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
