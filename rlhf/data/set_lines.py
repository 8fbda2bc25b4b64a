"""Records of a curated set as they are written, and what is said of them: a piece of work of a partition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rlhf.data import verdicts
from rlhf.data.contract import USE_CASES
from rlhf.data.funnel import Summary

Record = dict[str, Any]


class Piece(NamedTuple):
    """Records of a set, in their order."""

    lines: bytes  # as JSON
    hidden: np.ndarray  # [rows] bool: whose personal data is replaced by its kinds
    #: [rows] as classified, places in contract.USE_CASES; None where they are no prompts
    use_cases: np.ndarray | None


def of_piece(_: None, piece: Piece) -> tuple[bytes, Summary]:
    """(lines of the contract, what they look like)."""
    summary, encode = Summary(), msgspec.json.Encoder().encode
    return b"".join(encode(external(record)) + b"\n" for record in records(piece, summary)), summary


def records(piece: Piece, summary: Summary) -> Iterator[Record]:
    """The records as they are written; counted in `summary`."""
    decode = msgspec.json.Decoder(Record).decode
    hidden = piece.hidden.tolist()
    cases = [None] * len(hidden) if piece.use_cases is None else piece.use_cases.tolist()
    for line, is_hidden, case in zip(piece.lines.splitlines(), hidden, cases, strict=True):
        record = decode(line)
        if is_hidden:
            record = verdicts.redacted(record)
        summary.add(record, None if case is None else record["use_case"] or USE_CASES[case])
        yield record


def external(record: Record) -> Record:
    """A checked prompt as a line of the contract: a single message as text, unknown fields back in their place."""
    line = {key: value for key, value in record.items() if key != "extra" and value is not None}
    messages = line["messages"]
    if len(messages) == 1 and messages[0]["role"] == "user":
        line = {("text" if key == "messages" else key): value for key, value in line.items()}
        line["text"] = messages[0]["content"]
    return line | (msgspec.json.decode(record["extra"]) if record.get("extra") else {})
