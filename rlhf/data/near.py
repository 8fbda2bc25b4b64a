"""Near copies: texts that share most of their runs of 5 characters, and name the same numbers and names.

MinHash bands propose pairs; the exact Jaccard index, counted on the texts, decides. A text is a near copy if it
is one of an EARLIER text that is KEPT. So chains do not grow (a copy of a copy stays where it is no copy of
the first), and what comes later never changes what stands. Rows are numbered by age here, the earliest 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, pairwise
from typing import Any

import msgspec
import numpy as np

from rlhf.data import fingerprints
from rlhf.data.fingerprints import HASHES, Compared
from rlhf.data.fold import fingerprint
from rlhf.data.words import IDEOGRAPH, words

Record = dict[str, Any]
Verify = Callable[[np.ndarray], np.ndarray]  # [pairs, 2] rows -> [pairs] bool, True for near copies
BANDS, A_BAND = 96, 4  # pairs of neighbouring values, drawn from all
BEFORE = 8  # rows just before it in a bucket that a row is compared with, besides the first
ASTRAY_BY_BITS, ASTRAY = (
    0.3,
    0.15,
)  # under the limit an estimate may lie: 4 standard errors, 2 in texts of 12 runs
PAIRS = 2_000_000  # candidates that are held at a time
_SEEN = 4 * PAIRS  # about so many are remembered, 8 bytes each; what is compared twice costs time alone
_AT_ONCE = 4_000  # pairs whose values a core's cache holds
_32, _64, _LOW = np.uint64(32), np.uint64(64), np.uint64(2**32 - 1)
_FACTORS = [np.uint32(int(fingerprint(f"{at}")[:8], 16) | 1) for at in range(A_BAND)]


class Sketches:
    """The MinHash values of rows, and what is quick to compare of them.

    minima: [rows, HASHES] uint16; fixed: [rows] a hash of what near copies may not differ in.
    """

    def __init__(self, minima: np.ndarray, fixed: np.ndarray) -> None:
        self.fixed, self.minima = fixed, minima
        lowest = np.packbits((minima & 1).astype(np.uint8), axis=1, bitorder="little").view(np.uint64)
        self.bits = [np.ascontiguousarray(word) for word in lowest.T]

    def __len__(self) -> int:
        return len(self.fixed)

    def buckets(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(keys in order, places in `rows`, ascending in each key) of every band."""
        pairs = np.ascontiguousarray(self.minima[rows].view(np.uint32).T)
        fixed = self.fixed[rows].astype(np.uint32)
        places = np.arange(len(rows), dtype=np.uint64)
        for chosen in _bands():
            key = fixed.copy()
            with np.errstate(over="ignore"):
                for factor, pair in zip(_FACTORS, chosen, strict=True):
                    key += pairs[pair] * factor  # what meets by accident is told apart by the estimate
            packed = key.astype(np.uint64) << _32 | places
            packed.sort()
            yield packed >> _32, (packed & _LOW).astype(np.int64)

    def likely(self, pairs: Iterable[np.ndarray], limit: float) -> Iterator[np.ndarray]:
        """The pairs whose estimated Jaccard index is not far under the limit, once each, in pieces."""
        most = int(HASHES * (1 - limit + ASTRAY_BY_BITS) / 2)  # bits agree by accident half of the time
        seen = np.empty(0, np.uint64)  # in earlier pieces: a pair stands in many bands
        found: list[np.ndarray] = []
        for pair in chain(pairs, [None]):
            if pair is not None:
                earlier, later = pair[:, 0], pair[:, 1]
                apart = np.zeros(len(pair), np.uint16)
                for word in self.bits:
                    apart += np.bitwise_count(word[earlier] ^ word[later])
                close = pair[apart <= most].astype(np.uint64)
                found.append(close[:, 0] << _32 | close[:, 1])
            if found and (pair is None or sum(map(len, found)) > PAIRS):
                fresh = _fresh(np.concatenate(found), seen)
                found.clear()
                if len(seen) < _SEEN:
                    seen = np.sort(np.concatenate([seen, fresh]))
                yield self._close(np.stack([fresh >> _32, fresh & _LOW], 1).astype(np.int64), limit)

    def _close(self, pairs: np.ndarray, limit: float) -> np.ndarray:
        """The pairs of which enough values are equal, and what may not differ."""
        pairs = pairs[self.fixed[pairs[:, 0]] == self.fixed[pairs[:, 1]]]
        parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
        equal = [(self.minima[part[:, 0]] == self.minima[part[:, 1]]).mean(1) for part in parts]
        return pairs[np.concatenate(equal) >= limit - ASTRAY]


def _fresh(numbers: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The numbers, in order and once each, that are not in `seen`, which is in order."""
    numbers.sort()  # np.unique hashes first: ten times as slow here
    numbers = numbers[np.diff(numbers, prepend=~numbers[:1]) != 0]
    if not len(seen):
        return numbers
    at = np.minimum(np.searchsorted(seen, numbers), len(seen) - 1)
    return numbers[seen[at] != numbers]


def greedy(
    sketches: Sketches, starts: np.ndarray, limit: float, verify: Verify
) -> tuple[np.ndarray, np.ndarray]:
    """What each row is a copy of: (of [rows] int64, -1 where it is kept; near [rows] bool, False: by its start).

    starts: [rows] the earliest row of the same start. A row goes if an earlier KEPT row has its start,
    or else if it is a near copy of an earlier kept row.
    """
    leads = starts == np.arange(len(sketches))
    firsts = [np.empty((0, 2), np.int64), *sketches.likely(_with_first(sketches, leads), limit)]
    pairs = np.concatenate(firsts)
    edges = [_that_are(verify, pairs[leads[pairs[:, 0]]])]
    gone = ~leads & leads[starts]
    gone[edges[0][:, 1]] = True
    undecided = ~leads & ~gone
    edges.append(_that_are(verify, pairs[undecided[pairs].all(1)]))
    rest = sketches.likely(_with_neighbours(sketches, np.flatnonzero(undecided)), limit)
    edges += [_that_are(verify, pairs) for pairs in rest]
    return _in_order(starts, np.concatenate(edges))


def _that_are(verify: Verify, pairs: np.ndarray) -> np.ndarray:
    return pairs[verify(pairs)]


def _with_first(sketches: Sketches, leads: np.ndarray) -> Iterator[np.ndarray]:
    """[pairs, 2]: the first of each bucket with each of the others.

    leads: [rows] bool, where it is made False of those that share a band with an earlier one: nothing can
    remove the rest.
    """
    for keys, places in sketches.buckets(np.arange(len(sketches))):
        others = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        opens = np.ones(len(others), bool)
        opens[1:] = np.diff(others) != 1
        first = (others - 1)[np.maximum.accumulate(np.where(opens, np.arange(len(others)), 0))]
        leads[places[others]] = False
        yield np.stack([places[first], places[others]], 1)


def _with_neighbours(sketches: Sketches, rows: np.ndarray) -> Iterator[np.ndarray]:
    """[pairs, 2]: each row with those just before it in its buckets.

    What a row is compared with depends on earlier rows alone, and their number is bounded: buckets are large
    where texts share a template, and of two that are near copies some bucket holds little else.
    """
    for keys, places in sketches.buckets(rows):
        at = np.flatnonzero(keys[1:] == keys[:-1])
        for distance in range(1, BEFORE + 1):  # at: those that share their key with the one so many places on
            yield np.stack([rows[places[at]], rows[places[at + distance]]], 1)
            at = at[at + distance + 1 < len(keys)]
            at = at[keys[at] == keys[at + distance + 1]]


def _in_order(starts: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The greedy choice over rows in order of age. edges: [pairs, 2] (earlier, later) near copies."""
    of = np.full(len(starts), -1, np.int64)
    near = np.zeros(len(starts), bool)
    edges = edges[np.lexsort((edges[:, 0], edges[:, 1]))]
    later, begin = np.unique(edges[:, 1], return_index=True)
    of_row = {
        row: edges[a:b, 0].tolist()
        for row, (a, b) in zip(later.tolist(), pairwise([*begin.tolist(), len(edges)]), strict=True)
    }
    several = np.unique(starts[starts != np.arange(len(starts))])
    kept_start: dict[int, int] = {}
    share = np.flatnonzero(np.isin(starts, several))
    for row in sorted({*of_row, *share.tolist()}):
        start = int(starts[row])
        if start in kept_start:
            of[row] = kept_start[start]
            continue
        first = next((earlier for earlier in of_row.get(row, ()) if of[earlier] < 0), None)
        if first is not None:
            of[row], near[row] = first, True
        else:
            kept_start[start] = row
    return of, near


def verify_lines(limit: float, piece: tuple[bytes, np.ndarray]) -> np.ndarray:
    """[pairs] bool. piece: (records as JSON lines, [pairs, 2] which of them): a piece of work of a partition."""
    lines, pairs = piece
    decode = msgspec.json.Decoder(Record).decode
    return are_copies([decode(line) for line in lines.splitlines()], pairs, limit)


def are_copies(records: Sequence[Record], pairs: np.ndarray, limit: float) -> np.ndarray:
    """[pairs] bool: which are near copies, of pairs [pairs, 2] of records whose `fingerprints.fixed` are equal.

    Demonstrations are if both the prompts and the completions are: many questions have one answer.
    """
    if not len(pairs):
        return np.zeros(0, bool)
    texts = [fingerprints.compared(record, 1) for record in records]
    alike = jaccard([text.spoken for text in texts], pairs) >= limit
    if any(text.answer for text in texts):
        alike &= jaccard([text.answer for text in texts], pairs) >= limit
    for at in np.flatnonzero(alike).tolist():
        a, b = pairs[at].tolist()
        alike[at] = "text" in records[a] or not _are_about_others(records[a], records[b], texts[a], texts[b])
    return alike


def jaccard(folded: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """[pairs] exact Jaccard indices of the texts' sets of runs of 5 characters."""
    flat, offsets = fingerprints.shingles(folded)
    # of 64 bits, those that say whose a run is: as many for small pieces as for large ones
    taken = np.uint64(max(16, max(len(folded), len(pairs)).bit_length()))
    runs = _keyed(np.diff(offsets), flat >> taken, taken)
    runs = runs[np.diff(runs, prepend=~runs[:1]) != 0]
    sizes = np.bincount((runs >> (_64 - taken)).astype(np.int64), minlength=len(folded))
    first = np.cumsum(sizes) - sizes
    lengths = sizes[pairs].ravel()
    ends = np.cumsum(lengths)
    places = np.repeat(first[pairs].ravel() - ends + lengths, lengths) + np.arange(lengths.sum())
    both = _keyed(sizes[pairs].sum(1), runs[places] << taken >> taken, taken)
    twice = both[1:][both[1:] == both[:-1]] >> (_64 - taken)
    shared = np.bincount(twice.astype(np.int64), minlength=len(pairs))
    return shared / (sizes[pairs].sum(1) - shared)


def _keyed(lengths: np.ndarray, runs: np.ndarray, taken: np.uint64) -> np.ndarray:
    """Sorted: each run with the number of its owner in its upper bits, which are `taken`; owners have `lengths` runs."""
    owners = np.arange(len(lengths), dtype=np.uint64) << (_64 - taken)
    keyed = np.repeat(owners, lengths) | runs
    keyed.sort()
    return keyed


_CAPITAL = re.compile(r"\b(?:\w+['’])?[^\W\d_a-z][\w'’]*[+#]*")  # Paris, d'Orsay, C++
_SENTENCE = re.compile(r"(?:^|[.!?:\n\"“])\W*(\w+)")
SHORT = 12  # words
_LITTLE_WORDS = (
    "a an the this that these those is are was were be been am do does did has have had can could will would shall "
    "should may might must of in on at to for from by with about into and or but if as than then so too also very "
    "really just only quite maybe there here what which who whom whose when where why how i me my you your he him his "
    "she her it its we us our they them their please kindly hi hello hey thanks thank some any all"
)
_LITTLE = frozenset(_LITTLE_WORDS.split())
_NEGATING_WORDS = """
no not nor none never neither without cannot dont doesnt didnt isnt arent wasnt werent cant wont wouldnt shouldnt couldnt hasnt
havent hadnt mustnt neednt
"""
_NEGATIONS = frozenset(_NEGATING_WORDS.split())


def _are_about_others(a: Record, b: Record, folded_a: Compared, folded_b: Compared) -> bool:
    """Whether two records that share most characters are about different things.

    They are if one negates more often than the other, or if each has a name (a capital inside a sentence) that the other
    lacks: Paris here, Berlin there. In a text of few words, or of ideographs, any word but the little ones is as good as
    a name. A name misspelt, or with a blank more or less, is no other.
    """
    words_a, words_b = words(folded_a.told), words(folded_b.told)
    only_a, only_b = set(words_a).difference(words_b), set(words_b).difference(words_a)
    if _negates_more(words_a, words_b, only_b) or _negates_more(words_b, words_a, only_a):
        return True
    if not (_has_other(only_a, only_b) and _has_other(only_b, only_a)):
        return False
    _join(words_a, only_a, only_b)
    _join(words_b, only_b, only_a)
    if min(len(words_a), len(words_b)) < SHORT or IDEOGRAPH.search(folded_a.told):
        return _has_other(only_a - _LITTLE, only_b) and _has_other(only_b - _LITTLE, only_a)
    return _has_other(_names_among(only_a, _said(a)), only_b) and _has_other(
        _names_among(only_b, _said(b)), only_a
    )


def _negates_more(some: list[str], others: list[str], only: set[str]) -> bool:
    """Whether `some` words negate more often than the others, of which `only` are not among them.

    "wihtout" negates, too; a slip in the rest may be another word, as "ever" is of "never".
    """
    if _NEGATIONS.isdisjoint(some):
        return False
    slips = sum(_misspelt("without", other) for other in only) if "without" in some else 0
    return _negations(some) > _negations(others) + slips


def _negations(found: list[str]) -> int:
    return sum(map(_NEGATIONS.__contains__, found))


def _join(found: list[str], own: set[str], others: set[str]) -> None:
    """Take two neighbouring words out of what is their text's own where the other text has them as one word."""
    for pair in pairwise(found):
        if not own.isdisjoint(pair) and (joined := "".join(pair)) in others:
            own.difference_update(pair)
            others.discard(joined)


def _names_among(these: set[str], text: str) -> set[str]:
    capitals = [match for match in _CAPITAL.finditer(text) if not these.isdisjoint(words(match[0]))]
    if not capitals:
        return set()
    openings = {match.start(1) for match in _SENTENCE.finditer(text)}
    inside = (match[0] for match in capitals if match.start() not in openings)
    return these.intersection(
        [word for name in inside if any(map(str.isupper, name)) for word in words(name)]
    )


def _has_other(these: set[str], those: set[str]) -> bool:
    for word in these:  # loops: generators would take a third longer
        for other in those:
            if _misspelt(word, other):
                break
        else:
            return True
    return False


def _misspelt(a: str, b: str) -> bool:
    """Whether one word becomes the other by one slip: two letters swapped, one more or less, or another.

    In short words a letter less or another is mostly another word: us and usa, sir and six.
    """
    if abs(len(a) - len(b)) > 1 or max(len(a), len(b)) < 4:
        return False
    start = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    if len(a) != len(b):
        return rest_a[1:] == rest_b or rest_a == rest_b[1:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return swapped or (len(a) > 4 and rest_a[1:] == rest_b[1:])


def _said(record: Record) -> str:
    said = [message["content"] for message in record["messages"] if message["role"] != "system"]
    return "\n".join([*said, record.get("completion", "")])


@cache
def _bands() -> tuple[tuple[int, ...], ...]:
    """The pairs of values of each band, drawn once for all by a hash."""
    return tuple(
        tuple(sorted(range(HASHES // 2), key=lambda pair: fingerprint(f"{band} {pair}"))[:A_BAND])
        for band in range(BANDS)
    )
