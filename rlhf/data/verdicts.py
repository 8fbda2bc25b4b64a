"""What is said of a record by itself: its language, its length, its use case, the personal data in it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rlhf.data import language, pii, use_case
from rlhf.data.contract import USE_CASES
from rlhf.data.fold import fingerprint, fold
from rlhf.data.leakage import HeldOut

Record = dict[str, Any]
TOKENS_A_WORD = 1.5  # where no tokenizer is at hand
SHOWN = 160  # characters
LONG_ENOUGH = 8  # words, for an earlier turn of a held-out conversation to be looked for in training
ANSWERED = "demonstrations_train"
VERDICT = np.dtype([("foreign", "S8"), ("tokens", np.uint32), ("personal", np.bool_), ("use_case", np.uint8)])


class Asked(NamedTuple):
    """What verdicts depend on besides the record."""

    languages: tuple[str, ...]
    tokenizer: str | None  # a folder with tokenizer.json
    digest: str | None = None  # of that file: another one may take its place


def of_lines(asked: Asked, piece: tuple[bytes, np.ndarray]) -> tuple[np.ndarray, dict[int, list[Record]]]:
    """([rows] VERDICT, {row: spans of personal data}). piece: (JSON lines, [rows] bool: is personal data asked for)."""
    lines, private = piece
    decode = msgspec.json.Decoder(Record).decode
    records = [decode(line) for line in lines.splitlines()]
    spans = {row: here for row in np.flatnonzero(private).tolist() if (here := personal(records[row]))}
    found = np.zeros(len(records), VERDICT)
    found["foreign"] = [language.foreign(question(record), asked.languages) or "" for record in records]
    found["tokens"] = lengths(records, asked)
    found["personal"][list(spans)] = True
    found["use_case"] = [
        USE_CASES.index(use_case.classify(record["messages"])) if "user_id" in record else 0
        for record in records
    ]
    return found, spans


def leaks_of_lines(held_out: tuple[HeldOut, frozenset[str]], lines: bytes) -> list[str | None]:
    """Of records given as JSON lines: where the held-out text stands that a record contains, or None.

    held_out: texts, and hashes of folded questions that demonstrations answer ("demonstrations_train").
    """
    kept_out, answered = held_out
    found: list[str | None] = []
    for line in lines.splitlines():
        record = msgspec.json.decode(line)
        against = kept_out.match(texts(record))
        if against is None and answered and asked_hash(record) in answered:
            against = ANSWERED
        found.append(against)
    return found


def leak_entry(against: str) -> Record:
    """What is told of a record that was dropped as a leak."""
    said = "a demonstration answers it" if against == ANSWERED else f"repeats a text of {against}"
    return {"reason": said, "against": against}


def asked_hash(record: Record) -> str:
    """A hash of the folded question: equal for equal questions."""
    return fingerprint(fold(question(record)))


def held_out_texts(record: Record) -> list[str]:
    """What training may not contain of a held-out record: its question, and earlier ones that are long enough."""
    if "text" in record:
        return [record["text"]]
    *earlier, last = [message["content"] for message in record["messages"] if message["role"] == "user"]
    return [last, *(text for text in earlier if len(text.split()) >= LONG_ENOUGH)]


def question(record: Record) -> str:
    """What a prompt asks last, or a document."""
    return record["text"] if "text" in record else record["messages"][-1]["content"]


def shown(record: Record) -> str:
    """The beginning of a record's text, redacted: as it may be shown."""
    return " ".join(pii.redact(question(record)).split())[:SHOWN]


def texts(record: Record) -> list[str]:
    """All texts of a record: messages and completion, or the lines of a document."""
    if "text" in record:
        return list(record["text"].splitlines())
    said = [message["content"] for message in record["messages"]]
    return [*said, record["completion"]] if "completion" in record else said


def personal(record: Record) -> list[Record]:
    """{kind, start, end} of each span; `part` says in which text where a record has several (see `texts`)."""
    parts = texts(record)
    return [
        {"kind": span.kind, "start": span.start, "end": span.end} | ({"part": at} if len(parts) > 1 else {})
        for at, text in enumerate(parts)
        for span in pii.find(text)
    ]


def redacted(record: Record) -> Record:
    """The record with each piece of personal data replaced by its kind."""
    messages = [{**message, "content": pii.redact(message["content"])} for message in record["messages"]]
    changed = {**record, "messages": messages}
    if "completion" in record:
        changed["completion"] = pii.redact(record["completion"])
    return changed


def lengths(records: list[Record], asked: Asked) -> list[int]:
    """Tokens of each record's messages or text; words x 1.5 where there is no tokenizer."""
    spoken = [
        [record["text"]] if "text" in record else [message["content"] for message in record["messages"]]
        for record in records
    ]
    if asked.tokenizer is None:
        return [int(sum(len(text.split()) for text in parts) * TOKENS_A_WORD) for parts in spoken]
    flat = [text for parts in spoken for text in parts]
    counts = iter(
        len(found)
        for found in _tokenizer(asked.tokenizer, asked.digest).encode_batch(flat, add_special_tokens=False)
    )
    return [sum(next(counts) for _ in parts) for parts in spoken]


@lru_cache(maxsize=1)
def _tokenizer(folder: str, digest: str | None) -> Any:
    """digest: of the file, so that another at its place is read anew."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def asked_of(languages: Iterable[str], folder: Path | str | None) -> Asked:
    """folder: holds a tokenizer, or None. ValueError where it cannot be read."""
    if folder is None:
        return Asked(tuple(languages), None)
    name = _checked(folder)
    return Asked(tuple(languages), name, sha256((Path(name) / "tokenizer.json").read_bytes()).hexdigest())


def _checked(folder: Path | str) -> str:
    if not (Path(folder) / "tokenizer.json").is_file():
        raise ValueError(
            f"{folder} holds no tokenizer.json: name the directory of a Hugging Face fast tokenizer"
        )
    try:
        _tokenizer(str(folder), None)
    except Exception:  # tokenizers raises plain Exception
        raise ValueError(f"{folder}/tokenizer.json is not a tokenizer that can be read") from None
    return str(folder)
