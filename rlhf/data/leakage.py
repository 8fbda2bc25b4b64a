"""No held-out text in training: whole texts (folded), and those of which half the 8-word runs recur."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xxhash

from rlhf.data.fold import fold

RUN = 8  # words
CONTAINED = 0.5  # share of a held-out text's runs that may not recur in a training text
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15 * (2 * at + 3) % 2**64 | 1 for at in range(RUN)], dtype=np.uint64)


class HeldOut:
    """Texts that training may not contain.

    names and texts run side by side; a name says where a text comes from ("valid", "test", "eval"...).
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str]) -> None:
        self.names = list(names)
        self.whole: dict[str, int] = {}
        hashes, owners, runs = [], [], []
        self._word: dict[str, int] = {}
        for at, text in enumerate(texts):
            folded = fold(text)
            self.whole.setdefault(folded, at)
            found = np.unique(self._runs(folded))
            runs.append(len(found))
            hashes.append(found)
            owners.append(np.full(len(found), at, dtype=np.int64))
        self.runs = np.array(runs, dtype=np.int64)
        every = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        order = np.argsort(every, kind="stable")
        self._hashes = every[order]
        self._owners = np.concatenate(owners)[order] if owners else np.empty(0, np.int64)

    def _runs(self, folded: str) -> np.ndarray:
        """[words - 7] uint64 hashes of the runs of 8 words of a folded text."""
        words = _bare(folded)
        if len(words) < RUN:
            return np.empty(0, np.uint64)
        known = self._word
        values = np.array(
            [known.get(word) or known.setdefault(word, _hash(word)) for word in words], np.uint64
        )
        with np.errstate(over="ignore"):
            last = len(values) - RUN + 1
            mixed = values[:last] * _MULTIPLIERS[0]
            for at in range(1, RUN):
                mixed += values[at : at + last] * _MULTIPLIERS[at]
            return mixed

    def match(self, parts: Iterable[str]) -> str | None:
        """The name of a held-out text that a training text, given as its parts, contains; else None."""
        folded = [fold(part) for part in parts]
        for part in folded:
            at = self.whole.get(part)
            if at is not None:
                return self.names[at]
        runs = [found for part in folded if len(found := self._runs(part))]
        if not runs:
            return None
        found = np.unique(np.concatenate(runs))
        left = np.searchsorted(self._hashes, found, "left")
        right = np.searchsorted(self._hashes, found, "right")
        hit = right > left
        if not hit.any():
            return None
        owners = np.concatenate([self._owners[a:b] for a, b in zip(left[hit], right[hit], strict=True)])
        counts = np.bincount(owners, minlength=len(self.runs))
        leaked = np.flatnonzero((counts > 0) & (counts >= CONTAINED * self.runs))
        return self.names[int(leaked[0])] if len(leaked) else None


def _bare(folded: str) -> list[str]:
    """Words without the punctuation around them."""
    return [bare for word in folded.split() if (bare := word.strip(".,;:!?\"'()[]"))]


def _hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode()) or 1
