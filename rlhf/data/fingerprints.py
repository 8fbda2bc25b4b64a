"""What dedup compares of a record, as keys of a fixed size that the record alone decides.

The text as a whole, its first characters, and the MinHash values of its runs of 5 characters (rlhf/data/near.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from rlhf.data.fold import fold, fold_messages

Record = dict[str, Any]
SHINGLE = 5  # characters
HASHES = 128
_PLACE_BITS = np.uint32(HASHES.bit_length() - 1)  # of a value, those that chose its place
_DRAWS = 3  # places that a run of characters has among the HASHES
_AT_ONCE = 512  # texts: what is computed of their runs stays in a core's cache
_EMPTY = np.uint32(2**32 - 1)
FINGERPRINT = np.dtype(
    [
        ("whole", np.uint64, 2),
        ("start", np.uint64, 2),
        ("fixed", np.uint64),
        ("minima", np.uint16, HASHES),  # low bits: equal by accident once in 65,536
    ]
)
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    np.uint64,
)
_NUMBER = re.compile(r"\d+")
_DIGITS = bytes(code if chr(code).isdigit() else ord(" ") for code in range(256))  # for ASCII


class Compared(NamedTuple):
    """The folded texts of a record that are compared."""

    whole: str
    start: str  # two records of the same start are copies
    spoken: str  # of which near copies share most
    answer: str  # likewise; a demonstration's completion
    told: str  # in whose numbers, names and negations near copies may not differ


def compared(record: Record, prefix_chars: int) -> Compared:
    """The texts of a prompt, a demonstration or a document.

    System messages, which a product repeats in every call, count in `whole` alone. Documents are
    too long for every number to be the same.
    """
    if "text" in record:
        text = fold(record["text"])
        return Compared(text, text, text, "", "")
    messages = record["messages"]
    whole = fold_messages(messages)
    if len(messages) == 1 and messages[0]["role"] == "user":
        spoken = start = whole
    else:
        said = [message for message in messages if message["role"] != "system"]
        start = fold_messages(said)
        spoken = "\n".join(fold(message["content"]) for message in said)
    if "completion" in record:
        answer = fold(record["completion"])
        whole = f"{whole}\x1f{answer}"
        return Compared(whole, whole, spoken, answer, f"{spoken}\n{answer}")
    if len(spoken) >= prefix_chars:
        start = f"{spoken[:prefix_chars]}\x1f"
    return Compared(whole, start, spoken, "", spoken)


def fixed(folded: str) -> bytes:
    """The numbers of a folded text, sorted."""
    if not folded.isascii():
        return " ".join(sorted(_NUMBER.findall(folded))).encode()
    return b" ".join(sorted(folded.encode().translate(_DIGITS).split()))


def of_lines(prefix_chars: int, lines: bytes) -> np.ndarray:
    """[rows] FINGERPRINT of records given as JSON lines: the piece of work that partitions are given to."""
    decode = msgspec.json.Decoder(Record).decode
    return of_texts([compared(decode(line), prefix_chars) for line in lines.splitlines()])


def of_texts(texts: Sequence[Compared]) -> np.ndarray:
    """[rows] FINGERPRINT of what is compared of the records."""
    found = np.zeros(len(texts), FINGERPRINT)
    if not texts:
        return found
    found["whole"] = _hashes([text.whole for text in texts])
    found["start"] = found["whole"]
    if others := [at for at, text in enumerate(texts) if text.start is not text.whole]:
        found["start"][others] = _hashes([texts[at].start for at in others])
    found["fixed"] = [xxhash.xxh3_64_intdigest(fixed(text.told)) for text in texts]
    for start in range(0, len(texts), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        found["minima"][some] = minhash(*shingles([text.spoken for text in texts[some]]))
    return found


def minhash(runs: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """[texts, HASHES] uint32: two texts agree in about as many places as their Jaccard index says.

    One permutation hashing (Li, Owen and Zhang, 2012): a run goes to a place that its hash draws, and the least
    value of a place stands; here each draws _DRAWS places, for short texts. What stays empty takes the value of the
    next place on its left (densification by rotation: Shrivastava and Li, 2014).
    """
    texts = len(offsets) - 1
    first = np.repeat(np.arange(0, texts * HASHES, HASHES), np.diff(offsets))
    places = np.full(texts * HASHES, _EMPTY)
    for factor in _MULTIPLIERS[:_DRAWS]:
        with np.errstate(over="ignore"):
            values = (runs * factor >> np.uint64(32)).astype(np.uint32)
        np.minimum.at(places, first + (values & (HASHES - 1)), values)
    least = places.reshape(texts, HASHES)
    open_ = np.flatnonzero(least[:, 0] == _EMPTY)  # rows whose first place goes round to their last one
    last = HASHES - 1 - (least[open_, ::-1] != _EMPTY).argmax(1)
    least[open_, 0] = least[open_, last]
    drawn = np.flatnonzero(places != _EMPTY)
    return np.repeat(places[drawn] >> _PLACE_BITS, np.diff(drawn, append=len(places))).reshape(texts, HASHES)


def shingles(folded: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """64-bit hashes of every run of 5 characters, and [texts + 1] where each text's begin.

    A shorter text is one run, filled up with NUL.
    """
    filled = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, "\0") for text in folded]
    codes = np.frombuffer("".join(filled).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, filled), np.int64, len(filled))
    last = len(codes) - SHINGLE + 1
    with np.errstate(over="ignore"):
        runs = codes[:last] * _MULTIPLIERS[0]
        for at in range(1, SHINGLE):
            runs += codes[at : at + last] * _MULTIPLIERS[at]
        runs = scatter(runs)
    inside = np.ones(len(codes), bool)
    for at in range(1, SHINGLE):  # a run that begins there would reach into the next text
        inside[np.cumsum(lengths) - at] = False
    offsets = np.zeros(len(filled) + 1, np.int64)
    offsets[1:] = np.cumsum(lengths - SHINGLE + 1)
    return runs[inside[:last]], offsets


def scatter(values: np.ndarray) -> np.ndarray:
    """64-bit values mixed so that each bit depends on all (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * _MULTIPLIERS[1]
    values = (values ^ (values >> np.uint64(27))) * _MULTIPLIERS[2]
    return values ^ (values >> np.uint64(31))


def _hashes(texts: Sequence[str]) -> np.ndarray:
    """[texts, 2] halves of 128-bit hashes."""
    joined = b"".join([xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts])
    return np.frombuffer(joined, ">u8").reshape(-1, 2).astype(np.uint64)
