"""Files that hold records, row by row: JSON Lines, JSON arrays, CSV and TSV, Parquet; plain, gzip or zstd; folders.

The first bytes say what a file is; only CSV and TSV go by their names, since nothing in them tells. Rows are numbered
from 1: lines of text, records of an array, rows of Parquet.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from rlhf.data import lines
from rlhf.data.lines import MAX_LINE, Block, Damaged, Record, Wrong

SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst", ".zstd")
_TABLES = (".csv", ".tsv", ".tab")
_BOM = b"\xef\xbb\xbf"
_PARTITION = re.compile(r"([^=]+)=(.*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


Row = tuple[int, bytes | Record | Wrong]


@dataclass(frozen=True)
class Source:
    """One file; fields: those that the names of its folders give (lang=en/part-0.parquet)."""

    path: Path
    fields: Record = field(default_factory=dict)


def is_known(path: Path) -> bool:
    """Whether a file's name ends as those of records do."""
    return _stem(path).endswith(SUFFIXES)


def sources(paths: Iterable[Path | Source]) -> list[Source]:
    """The files, those of folders in the order of their names. ValueError for a folder that holds none."""
    found: list[Source] = []
    for path in paths:
        if isinstance(path, Source):
            found.append(path)
            continue
        if not path.is_dir():
            found.append(Source(path))
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and is_known(file) and not _is_hidden(file.relative_to(path))
        )
        if not inside:
            raise ValueError(
                f"{path} is a directory that holds no file of records; names end in {', '.join(SUFFIXES)} (.gz, .zst)"
            )
        found += [Source(file, _partition(file.relative_to(path).parts[:-1])) for file in inside]
    return found


def rows(source: Source) -> Iterator[Row]:
    """(number, JSON of a record | record | what is wrong with it); a damaged file ends with a wrong row."""
    for batch in batches(source):
        yield from batch


def batches(source: Source) -> Iterator[Iterable[Row]]:
    """The rows of `rows`, in pieces of any size."""
    return (
        (_with_fields(rows, source.fields) for rows in _batches(source.path))
        if source.fields
        else _batches(source.path)
    )


def _with_fields(rows: Iterable[Row], fields: Record) -> Iterator[Row]:
    for number, value in rows:
        if isinstance(value, bytes):
            try:
                value = msgspec.json.decode(value)
            except (ValueError, RecursionError):
                value = Wrong("", "not JSON")
        if isinstance(value, dict):
            value = fields | value
        elif not isinstance(value, Wrong):
            value = Wrong("", "not a JSON object")
        yield number, value


def _batches(path: Path) -> Iterator[Iterable[Row]]:
    with open(path, "rb") as file:
        if file.read(4) == b"PAR1" or path.name.endswith(".parquet"):
            yield from map(Block.lines, lines.blocks(path))
            return
        file.seek(0)
        chunks = _from_first_byte(lines.chunks(file))
        try:
            head = next(chunks, b"")
        except Damaged as damage:
            yield [(1, Wrong("", str(damage)))]
            return
        content = chain([head], chunks)
        if head[:4] == b"PAR1":
            yield from _unpacked_parquet(content)
        elif _stem(path).endswith(_TABLES):
            yield _table(content, "\t" if _stem(path).endswith((".tsv", ".tab")) else "")
        elif _is_document(head):
            yield _document(content)
        else:
            yield from map(Block.lines, lines.text_blocks(path, content))


def _from_first_byte(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without empty ones."""
    return (chunk for chunk in chunks if chunk)


# ------------------------------------------------------------ JSON that is no lines


def _is_document(head: bytes) -> bool:
    """Whether a text is one JSON value, or several, that go over lines: an array, or objects that are spread out."""
    text = head.removeprefix(_BOM).lstrip()
    if text[:1] not in (b"[", b"{"):
        return False
    end = text.find(b"\n")
    first = text[: end if end >= 0 else len(text)]
    if text[:1] == b"[":
        return end < 0 or not _is_json(first) or _is_array_of_objects(first)
    # an object whose first line is no beginning of one, or ends in the middle of it
    return end >= 0 and re.fullmatch(rb'\{\s*|\{\s*"[^"]*"\s*:\s*[\[{]\s*', first) is not None


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_array_of_objects(text: bytes) -> bool:
    return text[1:].lstrip()[:1] == b"{"


def _document(chunks: Iterator[bytes]) -> Iterator[Row]:
    """Records of an array, of an object's only list of objects, or of objects one after the other."""
    parts, damage = [], ""
    try:
        for chunk in chunks:
            parts.append(chunk)
    except Damaged as stop:
        damage = str(stop)
    whole = b"".join(parts).removeprefix(_BOM)
    del parts
    number = 0
    try:
        for item in _items(whole):
            number += 1
            yield number, item if len(item) < MAX_LINE else Wrong("", f"{MAX_LINE:,} bytes or longer")
    except (ValueError, RecursionError):
        number = 0
        for value in _salvaged(whole):
            number += 1
            if isinstance(value, Wrong) and damage:
                value, damage = Wrong("", damage), ""
            yield number, value
    if damage:
        yield number + 1, Wrong("", damage)


def _items(whole: bytes) -> list[Any]:
    """The JSON of each record. Raises ValueError where the text is not one JSON value."""
    text = whole.lstrip()
    if text[:1] == b"[":
        return [bytes(item) for item in msgspec.json.decode(whole, type=list[msgspec.Raw])]
    value = msgspec.json.decode(whole, type=dict[str, msgspec.Raw])
    lists = [bytes(item) for item in value.values() if _is_array_of_objects(bytes(item).lstrip() or b" ")]
    holders = [item for item in lists if item.lstrip()[:1] == b"["]
    if len(holders) == 1 and not value.keys() & _OWN:
        return [bytes(item) for item in msgspec.json.decode(holders[0], type=list[msgspec.Raw])]
    return [whole]


_OWN = frozenset((
    "messages", "conversation", "conversations", "prompt", "completion", "input", "text", "chosen", "completions",
    "resourceSpans", "attributes", "instruction",
))  # fmt: skip


def _salvaged(whole: bytes) -> Iterator[bytes | Wrong]:
    """The records before the place where a text stops being JSON, and what is wrong there.

    Objects that follow each other without commas are records too.
    """
    text = whole.decode("utf-8", "surrogateescape")
    decode = json.JSONDecoder().raw_decode
    at = _SPACE.match(text, 0).end()  # type: ignore[union-attr]
    is_array = text[at : at + 1] == "["
    at += is_array
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        if at >= len(text):
            if is_array:
                yield Wrong("", "the array ends too early")
            return
        if text[at] in ",]" and is_array:
            at += 1
            continue
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            again = _NEXT.search(text, at + 1)
            yield Wrong("", f"not JSON from line {line} of the file on")
            if again is None:
                return
            at = again.start() + 1
            continue
        yield text[at:end].encode("utf-8", "surrogateescape")
        at = end


_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"\n(?= {0,4}\{|\t?\{)")  # where the next record of a spread-out text may begin


# ------------------------------------------------------------ CSV


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _table(chunks: Iterator[bytes], delimiter: str) -> Iterator[Row]:
    """Rows of CSV by the names in its first row; an empty cell is an absent field."""
    head = next(chunks, b"")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    stream = io.TextIOWrapper(
        io.BufferedReader(_Stream(chain([head], chunks)), 1 << 16),
        encoding="utf-16" if wide else "utf-8-sig",
        errors="replace" if wide else "surrogateescape",
        newline="",
    )
    csv.field_size_limit(MAX_LINE)
    number = 1
    try:
        first = head.decode("utf-16" if wide else "utf-8-sig", "replace")
        reader = csv.reader(stream, delimiter=delimiter or _delimiter(first), strict=False)
        names = next(reader, [])
        names = [name.strip() for name in names]
        twice = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error:
                yield number, Wrong("", f"no row of CSV, or a cell of {MAX_LINE:,} characters or longer")
                continue
            if cells is None:
                return
            if cells:
                yield number, _row(names, cells, twice)
    except Damaged as damage:
        yield number, Wrong("", str(damage))


def _row(names: Sequence[str], cells: Sequence[str], twice: str | None) -> Record | Wrong:
    if twice is not None:
        return Wrong(twice, "the file has two columns of this name")
    if len(cells) > len(names):
        return Wrong("", f"has {len(cells)} cells, and the first row names {len(names)}")
    row = {name: cell for name, cell in zip(names, cells, strict=False) if cell and name}
    for name, cell in row.items():
        if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
            return Wrong(name, "not UTF-8")
    return row


def _delimiter(text: str) -> str:
    """What parts the names in the first row: the most frequent of the usual ones outside quotes."""
    counts = dict.fromkeys(",;\t|", 0)
    is_quoted = False
    for char in text:
        if char == '"':
            is_quoted = not is_quoted
        elif char in "\r\n" and not is_quoted:
            break
        elif char in counts and not is_quoted:
            counts[char] += 1
    return max(counts, key=lambda char: counts[char])


# ------------------------------------------------------------ Parquet in a wrapper, folders


def _unpacked_parquet(chunks: Iterator[bytes]) -> Iterator[Iterable[Row]]:
    """Parquet needs its end first, so what a wrapper holds goes to a file."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        try:
            for chunk in chunks:
                file.write(chunk)
        except Damaged as damage:
            yield [(1, Wrong("", str(damage)))]
            return
        file.flush()
        yield from map(Block.lines, lines.blocks(Path(file.name)))


def _stem(path: Path) -> str:
    """The name in small letters without the ending of a wrapper."""
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name


def _is_hidden(path: Path) -> bool:
    """What writers leave beside their data: _SUCCESS, _metadata, .crc files, files that are not finished."""
    return any(part.startswith((".", "_")) and "=" not in part for part in path.parts)


def _partition(folders: Sequence[str]) -> Record:
    found = {}
    for folder in folders:
        match = _PARTITION.fullmatch(folder)
        if match and match[2] != _NO_VALUE:
            found[match[1]] = unquote(match[2])
    return found
