"""Files of records as numbered lines, in blocks that can be read apart: JSON Lines, gzip, zstd, Parquet.

The first bytes say what a file is, not its name: gzip, zstd, Parquet, or text. Text is UTF-8, one line a
"\\n" (or a "\\r", in a file that has no other ends); a file in UTF-16 or UTF-32 is told by its NULs and
every line of it is wrong. Memory stays bounded whatever the file holds.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

MAX_LINE = 10_000_000  # bytes, its end included: a line of this length is too long
_CHUNK = 1 << 20  # bytes read, or inflated, at a time
_BOM = b"\xef\xbb\xbf"
_GROUPED_ROWS = 20_000  # Parquet row groups are put together up to this many rows a block
_TOO_LONG = f"{MAX_LINE:,} bytes or longer"
Record = dict[str, Any]


class Wrong(Exception):
    """What is wrong with one line: the field ("" for the whole line) and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class Block:
    """Lines of one file, in order, that can be read without the others (in another process, too).

    first: the number of the first line, from 1. content: whole lines of text; groups: Parquet row
    groups instead. wrong: why every line of the content is wrong.
    """

    path: Path
    first: int
    content: bytes = b""
    groups: tuple[int, ...] = ()
    wrong: str = ""

    def lines(self) -> Iterator[tuple[int, bytes | Record | Wrong]]:
        """(number, line | Parquet row without its nulls | what is wrong with it); blank lines are skipped."""
        if self.groups:
            from rlhf.data.parquet import rows

            yield from rows(self.path, self.groups, self.first)
            return
        for number, line in enumerate(self.content.split(b"\n"), self.first):
            if line.startswith(_BOM):  # files with one, put together by `cat`
                line = line[len(_BOM) :]
            if not line or line.isspace():
                continue
            if self.wrong:
                yield number, Wrong("", self.wrong)
            elif len(line) >= MAX_LINE:
                yield number, Wrong("", _TOO_LONG)
            else:
                yield number, line


class Damaged(Exception):
    """A file that cannot be read any further."""


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a file; where it is damaged, the last one is the wrong line at which reading stopped."""
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0)
        if head != b"PAR1" and not path.name.endswith(".parquet"):
            yield from text_blocks(path, chunks(file))
            return
    from rlhf.data.parquet import row_groups

    try:
        for first, groups in row_groups(path, _GROUPED_ROWS):
            yield Block(path, first, groups=groups)
    except Damaged as damage:
        yield _wrong_line(path, 1, str(damage))


def _wrong_line(path: Path, number: int, reason: str) -> Block:
    return Block(path, number, b"-", wrong=reason)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file from its first byte on, inflated where it is gzip or zstd; raises Damaged where it stops."""
    head = file.read(4)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        return _inflated(file)
    return _decompressed(file) if head == b"\x28\xb5\x2f\xfd" else _plain(file)


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    """What a file's zstd frames hold. pyarrow has the codec; Python has it from 3.14 on."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
        while True:
            try:
                chunk = stream.read(
                    _CHUNK >> 6
                )  # what one call inflates is lost with the damage that it meets
            except (OSError, pa.ArrowException):
                raise Damaged("the compressed file is damaged from here on, or ends too early") from None
            if not chunk:
                return
            yield chunk


def text_blocks(path: Path, chunks: Iterator[bytes]) -> Iterator[Block]:
    """Blocks of a text's lines. chunks: its bytes, as `chunks` gives them; path: what the blocks name as theirs."""
    chunks, wrong = _as_utf8(chunks)
    number, rest, skipping, damage = 1, b"", False, ""
    while True:
        try:
            chunk = next(chunks)
        except StopIteration:
            break
        except Damaged as found:
            damage = str(found)
            break
        if skipping:
            at = chunk.find(b"\n")
            chunk, skipping = chunk[at + 1 :], at < 0
            if skipping:
                continue
        content = rest + chunk
        cut = content.rfind(b"\n") + 1
        content, rest = content[:cut], content[cut:]
        if content:
            yield Block(path, number, content, wrong=wrong)
            number += content.count(b"\n")
        if len(rest) >= MAX_LINE:
            yield _wrong_line(path, number, _TOO_LONG)
            number, rest, skipping = number + 1, b"", True
    if rest and not (damage and _is_cut(rest)):
        yield Block(path, number, rest, wrong=wrong)
        number += 1
    if damage:
        yield _wrong_line(path, number, damage)


def _is_cut(line: bytes) -> bool:
    """Whether the last line of a damaged file misses its end."""
    try:
        msgspec.json.decode(line.removeprefix(_BOM))
    except (ValueError, RecursionError):
        return True
    return False


def _as_utf8(chunks: Iterator[bytes]) -> tuple[Iterator[bytes], str]:
    """The chunks with "\\n" as line ends, and why all of their lines are wrong ("" if they are not)."""
    try:
        head = next(chunks, b"")
    except Damaged as damage:
        return _raising(damage), ""
    whole = chain([head], chunks)
    encoding = _wide_encoding(head[:4096])
    if encoding:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        decoded = (decoder.decode(chunk).encode("utf-8", "replace") for chunk in whole)
        return decoded, f"not UTF-8 but {encoding[:6].upper()}"
    if b"\r" in head and b"\n" not in head:
        return (chunk.replace(b"\r", b"\n") for chunk in whole), ""
    return whole, ""


def _raising(error: Exception) -> Iterator[bytes]:
    raise error
    yield b""


def _wide_encoding(head: bytes) -> str:
    """The name of UTF-16 or UTF-32 if each line of the head has the NULs of its ASCII characters; else "".

    A byte order mark alone says nothing: it may be the damage of one line.
    """
    lines = [line for line in head.split(b"\n") if len(line) > 3]
    if not lines or any(line.count(0) < 0.1 * len(line) for line in lines):
        return ""
    head = head[: len(head) // 4 * 4]
    share = [head[at::4].count(0) * 4 / max(4, len(head)) for at in range(4)]
    if share[0] < 0.5 and min(share[2:]) > 0.8:
        return "utf-32-le"
    if share[3] < 0.5 and min(share[:2]) > 0.8:
        return "utf-32-be"
    even, odd = (share[0] + share[2]) / 2, (share[1] + share[3]) / 2
    if min(even, odd) > 0.05 or max(even, odd) < 0.1:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """What a file's gzip members hold, all that can be had of it; raises Damaged where it stops.

    Python's gzip gives up what it inflated in the call that meets the damage; lines are lost with it.
    """
    member, data, inside = zlib.decompressobj(31), b"", False
    while True:
        data = data or file.read(_CHUNK >> 4)
        if not data:
            if inside:
                raise Damaged("the compressed file ends too early")
            return
        if not inside:
            data = data.lstrip(b"\0")  # what pads a member
            if not data:
                continue
        inside = True
        before = member.copy()
        try:
            yield member.decompress(data, _CHUNK)
        except zlib.error:
            yield from _last_of(before, data)
            raise Damaged("the compressed file is damaged from here on, or its checksum is wrong") from None
        data = member.unused_data if member.eof else member.unconsumed_tail
        if member.eof:
            member, inside = zlib.decompressobj(31), False


def _last_of(member: Any, data: bytes) -> Iterator[bytes]:
    """What can be inflated before the byte at which `data` goes wrong."""
    for at in range(len(data)):
        try:
            yield member.decompress(data[at : at + 1])
        except zlib.error:
            return
