"""Near copies: texts that share most of their runs of 5 characters, and name the same numbers and names.

MinHash bands propose pairs; the exact Jaccard index, counted on the texts, decides. A text is a near copy if it
is one of an EARLIER text that is KEPT. So chains do not grow (a copy of a copy stays where it is no copy of
the first), and what comes later never changes what stands. Rows are numbered by age here, the earliest 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_array

from rlhf.data import fingerprints
from rlhf.data.fold import fold

Record = dict[str, Any]
Verify = Callable[[np.ndarray], np.ndarray]  # [pairs, 2] rows -> [pairs] bool, True for near copies
ESTIMATE = 0.22  # the index as estimated may lie so far under the limit: 4 standard errors of 160 bits
PAIRS = 2_000_000  # candidates that are held at a time


def candidates(bands: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """[pairs, 2] (earlier, later) rows that share a band, band by band; a pair may come again.

    bands: [all rows, BANDS]; rows: the ones that are compared, ascending.
    """
    for band in range(bands.shape[1]):
        keys, sorted_rows = _by_key(bands[rows, band], rows)
        at = np.flatnonzero(keys[1:] == keys[:-1])
        distance = 1
        while len(at):  # at: rows that share their key with the one so many places on
            yield np.stack([sorted_rows[at], sorted_rows[at + distance]], 1)
            distance += 1
            at = at[at + distance < len(keys)]
            at = at[keys[at] == keys[at + distance]]


def leaders(bands: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[rows] bool: which share no band with an earlier one of the rows. Nothing can remove them."""
    leads = np.ones(len(rows), bool)
    for band in range(bands.shape[1]):
        keys, places = _by_key(bands[rows, band], np.arange(len(rows)))
        leads[places[1:][keys[1:] == keys[:-1]]] = False
    return leads


def followers(bands: np.ndarray, rows: np.ndarray, leads: np.ndarray) -> Iterator[np.ndarray]:
    """[pairs, 2] (leader, other row) that share a band, band by band. leads: [rows], from `leaders`."""
    for band in range(bands.shape[1]):
        keys, places = _by_key(bands[rows, band], np.arange(len(rows)))
        fresh = np.ones(len(keys), bool)
        fresh[1:] = keys[1:] != keys[:-1]
        first = places[np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))]
        chosen = ~fresh & leads[first]
        yield np.stack([rows[first[chosen]], rows[places[chosen]]], 1)


def likely(pairs: Iterator[np.ndarray], bits: np.ndarray, limit: float) -> Iterator[np.ndarray]:
    """The distinct pairs whose estimated Jaccard index is not far under the limit, in pieces."""
    width = fingerprints.BANDS * fingerprints.ROWS
    most = int((1 - (1 + limit - ESTIMATE) / 2) * width)
    found: list[np.ndarray] = []
    held = 0
    for piece in pairs:
        for part in np.array_split(piece, len(piece) // PAIRS + 1):
            apart = np.bitwise_count(bits[part[:, 0]] ^ bits[part[:, 1]]).sum(1, dtype=np.int64)
            close = part[apart <= most]
            found.append(close)
            held += len(close)
        if held > PAIRS:
            yield _distinct(found)
            found, held = [], 0
    if held:
        yield _distinct(found)


def greedy(
    bands: np.ndarray, bits: np.ndarray, starts: np.ndarray, limit: float, verify: Verify
) -> tuple[np.ndarray, np.ndarray]:
    """What each row is a copy of: (of [rows] int64, -1 where it is kept; near [rows] bool, False: by its start).

    starts: [rows] the earliest row of the same start. A row goes if an earlier KEPT row has its start,
    or else if it is a near copy of an earlier kept row.
    """
    rows = np.arange(len(bands))
    leads = leaders(bands, rows) & (starts == rows)
    edges = [_verified(followers(bands, rows, leads), bits, limit, verify)]
    gone = ~leads & leads[starts]
    gone[edges[0][:, 1]] = True
    open_rows = np.flatnonzero(~leads & ~gone)
    edges.append(_verified(candidates(bands, open_rows), bits, limit, verify))
    return _in_order(starts, np.concatenate(edges))


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
    records = [decode(line) for line in lines.splitlines()]
    texts = [fingerprints.compared(record, 1) for record in records]
    alike = jaccard([text.spoken for text in texts], pairs) >= limit
    for at in np.flatnonzero(alike).tolist():
        a, b = pairs[at].tolist()
        alike[at] = texts[a].fixed == texts[b].fixed and (
            "text" in records[a] or not other_name(_original(records[a]), _original(records[b]))
        )
    return alike


def jaccard(folded: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """[pairs] exact Jaccard indices of the texts' sets of runs of 5 characters."""
    flat, offsets = fingerprints.shingles(folded)
    columns = (flat >> np.uint64(1)).astype(np.int64)
    counts = np.ones(len(columns), np.int32)
    sets = csr_array((counts, columns, offsets.astype(np.int64)), shape=(len(folded), 2**63 - 1))
    sets.sum_duplicates()
    sets.data[:] = 1
    sizes = np.diff(sets.indptr)
    both = sets[pairs[:, 0]].multiply(sets[pairs[:, 1]]).sum(1)
    return both / (sizes[pairs[:, 0]] + sizes[pairs[:, 1]] - both)


_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?:^|[.!?:\n\"“])\W*(\w+)")


def other_name(a: str, b: str) -> bool:
    """Whether each text has a name (a capital inside a sentence) that the other lacks: Paris here, Berlin there.

    A name that is a misspelling of a word of the other is no other name.
    """
    words_a, words_b = ({fold(word) for word in _WORD.findall(text)} for text in (a, b))
    return _names_besides(a, words_a, words_b) and _names_besides(b, words_b, words_a)


def _names_besides(text: str, words: set[str], others: set[str]) -> bool:
    openings = {match.start(1) for match in _SENTENCE.finditer(text)}
    names = {
        fold(match[0])
        for match in _WORD.finditer(text)
        if match[0][0].isupper() and match.start() not in openings
    }
    return any(not any(_misspelt(name, other) for other in others - words) for name in names - others)


def _misspelt(a: str, b: str) -> bool:
    """Whether one word becomes the other by one edit: a letter more, less, another, or two swapped."""
    if abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    return (
        rest_a[1:] == rest_b[1:]
        or rest_a[1:] == rest_b
        or rest_a == rest_b[1:]
        or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
    )


def _original(record: Record) -> str:
    said = [message["content"] for message in record["messages"] if message["role"] != "system"]
    return "\n".join([*said, record.get("completion", "")])


def _verified(pairs: Iterator[np.ndarray], bits: np.ndarray, limit: float, verify: Verify) -> np.ndarray:
    found = [piece[verify(piece)] for piece in likely(pairs, bits, limit)]
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def _by_key(keys: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys in order, and the ascending numbers (below 2**32) of each key."""
    packed = keys.astype(np.uint64) << np.uint64(32) | numbers.astype(np.uint64)
    packed.sort()
    return packed >> np.uint64(32), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _distinct(pairs: Sequence[np.ndarray]) -> np.ndarray:
    every = np.concatenate(pairs).astype(np.uint64)
    packed = np.unique(every[:, 0] << np.uint64(32) | every[:, 1])
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], 1).astype(np.int64)
