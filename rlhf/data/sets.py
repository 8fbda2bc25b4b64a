"""Curated sets as files, and what is said of them: rows in order of id, so that the same records are the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from rlhf.data import verdicts
from rlhf.data.contract import USE_CASES
from rlhf.data.curation import Curation
from rlhf.data.funnel import Summary

Record = dict[str, Any]
_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_CHUNK = 20_000  # rows that are Python objects at a time


def write_jsonl(path: Path, work: Curation, side: str) -> Summary:
    """A side of the split as the contract's JSON Lines: text or messages, unknown fields in their place."""
    summary, encode = _summary(work, work.sides[side]), msgspec.json.Encoder().encode
    with path.open("wb", buffering=1 << 20) as file:
        for record, case in _records(work, work.sides[side], redact=side == "train"):
            summary.add(record, case)
            file.write(encode(external(record)) + b"\n")
    return summary


def write_parquet(path: Path, work: Curation, rows: np.ndarray, *, training: bool) -> Summary:
    """Rows as Parquet. training: personal data is redacted where data.pii says so."""
    summary, frames, chunk = _summary(work, rows), [], list[Record]()
    for record, case in _records(work, rows, redact=training):
        summary.add(record, case)
        chunk.append(record)
        if len(chunk) == _CHUNK:
            frames.append(_frame(chunk))
            chunk.clear()
    if chunk:
        frames.append(_frame(chunk))
    aside = path.with_name(f".{path.name}.tmp")
    pl.concat(frames, rechunk=True).write_parquet(aside, compression="zstd", statistics=False)
    os.replace(aside, path)
    return summary


def external(record: Record) -> Record:
    """A checked prompt as a line of the contract: a single message as text, unknown fields back in their place."""
    line = {key: value for key, value in record.items() if key != "extra" and value is not None}
    messages = line["messages"]
    if len(messages) == 1 and messages[0]["role"] == "user":
        line = {("text" if key == "messages" else key): value for key, value in line.items()}
        line["text"] = messages[0]["content"]
    return line | (msgspec.json.decode(record["extra"]) if record.get("extra") else {})


def _records(work: Curation, rows: np.ndarray, *, redact: bool) -> Iterator[tuple[Record, str | None]]:
    """(record, use case: given or classified; None where it is no prompt), in order of id."""
    ordered = work.table.by_id(rows)
    redact = redact and work.params.pii == "redact"
    for row, record in zip(ordered.tolist(), work.table.records(ordered), strict=True):
        case = None
        if work.kind == "prompts":
            case = record["use_case"] or USE_CASES[work.use_cases[row]]
        yield (verdicts.redacted(record) if redact and row in work.spans else record), case


def _summary(work: Curation, rows: np.ndarray) -> Summary:
    users = len(np.unique(work.table.user_numbers(rows))) if work.kind == "prompts" and len(rows) else 0
    return Summary(users=users)


def _frame(records: list[Record]) -> pl.DataFrame:
    schema = {key: _MESSAGES if key == "messages" else pl.String for key in records[0]}
    return pl.DataFrame(records, schema=schema)
