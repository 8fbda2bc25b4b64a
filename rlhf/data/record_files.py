"""Any file of records, whatever it is called: told by its first bytes, read one by one, rewritten in part.

JSON Lines (plain or gzip) and Parquet hold records; everything else is a document.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl

Record = dict[str, Any]
Kind = Literal["parquet", "gzip", "lines", "document"]
ASIDE = ".forgetting"
SLICE = 10_000  # rows of a Parquet file that are Python objects at a time
LARGEST = 256_000_000  # bytes of a document that is read whole
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)


class Unreadable(Exception):
    """A file that cannot be looked into."""


def kind(path: Path) -> Kind:
    """What the bytes at its beginning say; an empty file is one of lines."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "lines" if not start or start.startswith(b"{") else "document"


def entries(path: Path) -> Iterator[Record | bytes]:
    """Records, lines that are no JSON object as bytes, and a document as bytes, whole.

    A gzip file that ends too early gives what can be read. Unreadable for a damaged Parquet file, and
    for a document over LARGEST bytes.
    """
    found = kind(path)
    if found == "parquet":
        for rows in _frame(path).iter_slices(SLICE):
            yield from rows.to_dicts()
    elif found == "document":
        if path.stat().st_size > LARGEST:
            raise Unreadable(path.name)
        yield path.read_bytes()
    else:
        for line in _lines(path, found):
            if line.strip():
                yield decoded(line)


def rewrite(path: Path, drops: Callable[[Record | bytes], bool]) -> tuple[int, int]:
    """Leaves out the entries that `drops` names: (kept, dropped).

    What is kept stays byte for byte (a row of Parquet: value for value). Written aside and renamed, and
    not at all where nothing is dropped. Documents are not rewritten: (1, 0).
    """
    found = kind(path)
    if found == "document":
        return 1, 0
    if found == "parquet":
        return _rewrite_parquet(path, drops)
    verdicts = [drops(decoded(line)) if line.strip() else None for line in _lines(path, found)]
    if any(verdicts):
        aside = path.with_name(f".{path.name}{ASIDE}")
        with _writer(aside, found) as target:
            for line, verdict in zip(_lines(path, found), verdicts, strict=True):
                if not verdict:
                    target.write(line)
        os.replace(aside, path)
    return verdicts.count(False), verdicts.count(True)


def decoded(line: bytes) -> Record | bytes:
    """The object of a line of JSON; the line itself where it is none."""
    try:
        value = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    return value if isinstance(value, dict) else line


def _rewrite_parquet(path: Path, drops: Callable[[Record | bytes], bool]) -> tuple[int, int]:
    frame = _frame(path)
    keeps = [not drops(row) for rows in frame.iter_slices(SLICE) for row in rows.to_dicts()]
    dropped = len(keeps) - sum(keeps)
    if dropped:
        aside = path.with_name(f".{path.name}{ASIDE}")
        kept = frame.filter(pl.Series(keeps, dtype=pl.Boolean))
        kept.write_parquet(aside, compression="zstd", statistics=False)
        os.replace(aside, path)
    return sum(keeps), dropped


def _frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        raise Unreadable(path.name) from None


def _lines(path: Path, found: Kind) -> Iterator[bytes]:
    with gzip.open(path) if found == "gzip" else path.open("rb") as file:
        try:
            yield from file
        except BROKEN:
            return


def _writer(path: Path, found: Kind) -> Any:
    return gzip.GzipFile(path, "wb", mtime=0) if found == "gzip" else path.open("wb")
