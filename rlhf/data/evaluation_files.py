"""Texts that training may not contain, from files of benchmarks and evaluation prompts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rlhf.data import verdicts

Record = dict[str, Any]


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """`text`, or the user's turns of `messages`, of every line of JSON Lines (or gzip, or Parquet) files.

    A held-out text that is overlooked would leak, so nothing is set aside here: a line that is wrong is a
    ValueError that names file and line, and never repeats what stands there.
    """
    for path in paths:
        for number, row in _rows(path):
            found = _texts(row) if isinstance(row, dict) else []
            if not found:
                raise ValueError(
                    f"{path}, line {number}: must be an object with `text` (a string) or `messages` "
                    "(a list of {role, content} with a user's turn)"
                )
            yield from found


def _texts(row: Record) -> list[str]:
    text, messages = row.get("text"), row.get("messages")
    if isinstance(text, str) and text.strip():
        return verdicts.held_out_texts({"text": text})
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return []
    said = [
        message
        for message in messages
        if message.get("role") == "user" and isinstance(message.get("content"), str)
    ]
    return verdicts.held_out_texts({"messages": said}) if said else []


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, row) of a file; None for a line that is not JSON."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1" or path.name.endswith(".parquet"):
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError):
            raise ValueError(f"{path} is not a readable Parquet file") from None
        yield from enumerate(frame.iter_rows(named=True), 1)
        return
    with gzip.open(path) if head[:2] == b"\x1f\x8b" else path.open("rb") as file:
        try:
            for number, line in enumerate(file, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, _decoded(line)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise ValueError(f"{path}: the compressed file is damaged or ends too early") from None


def _decoded(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
