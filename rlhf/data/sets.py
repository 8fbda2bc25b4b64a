"""Curated sets as files, and what is said of them: rows in order of id, so that the same records are the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rlhf.data import set_lines
from rlhf.data.curation import Curation
from rlhf.data.funnel import Summary
from rlhf.data.set_lines import Piece

Record = dict[str, Any]
_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_CHUNK = 20_000  # rows of a Parquet file that are Python objects at a time


def write_jsonl(path: Path, work: Curation, side: str) -> Summary:
    """A side of the split as the contract's JSON Lines: text or messages, unknown fields in their place."""
    rows = work.sides[side]
    summary = _summary(work, rows)
    pieces = _pieces(work, rows, work.params.partition_rows, redact=side == "train")
    with path.open("wb") as file:
        for lines, part in work.engine.map(set_lines.of_piece, None, pieces):
            file.write(lines)
            summary.extend(part)
    return summary


def write_parquet(path: Path, work: Curation, rows: np.ndarray, *, training: bool) -> Summary:
    """Rows as Parquet. training: personal data is redacted where data.pii says so."""
    summary = _summary(work, rows)
    frames = [
        _frame(list(set_lines.records(piece, summary)))
        for piece in _pieces(work, rows, _CHUNK, redact=training)
    ]
    aside = path.with_name(f".{path.name}.tmp")
    pl.concat(frames, rechunk=True).write_parquet(aside, compression="zstd", statistics=False)
    os.replace(aside, path)
    return summary


def _pieces(work: Curation, rows: np.ndarray, size: int, *, redact: bool) -> Iterator[Piece]:
    """The rows in order of id, so many at a time. redact: those that hold personal data, where data.pii says so."""
    ordered = work.table.by_id(rows)
    hidden = np.zeros(len(work.table), bool)
    if redact and work.params.pii == "redact":
        hidden[list(work.spans)] = True
    for start in range(0, len(ordered), size):
        these = ordered[start : start + size]
        lines = b"".join(work.table.store.lines(these.tolist()))
        yield Piece(lines, hidden[these], work.use_cases[these] if work.kind == "prompts" else None)


def _summary(work: Curation, rows: np.ndarray) -> Summary:
    users = len(np.unique(work.table.user_numbers(rows))) if work.kind == "prompts" and len(rows) else 0
    return Summary(users=users)


def _frame(records: list[Record]) -> pl.DataFrame:
    schema = {key: _MESSAGES if key == "messages" else pl.String for key in records[0]}
    return pl.DataFrame(records, schema=schema)
