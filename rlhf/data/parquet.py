"""Parquet files of records, row by row: what one damaged row group, column or cell holds is lost alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlhf.data.lines import Damaged, Record, Wrong

_BATCH = 1024  # rows read at a time
_ROWS_A_BYTE = 64  # a footer that promises more rows for the file's bytes is damaged itself
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def row_groups(path: Path, rows: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(number of the first row, row groups), row groups put together up to `rows` rows. Raises Damaged."""
    metadata = _open(path).metadata
    first, length = 1, 0
    groups: list[int] = []
    for group in range(metadata.num_row_groups):
        more = metadata.row_group(group).num_rows
        if groups and length + more > rows:
            yield first, tuple(groups)
            first, length, groups = first + length, 0, []
        groups.append(group)
        length += more
    if groups:
        yield first, tuple(groups)


def rows(path: Path, groups: tuple[int, ...], first: int) -> Iterator[tuple[int, Record | Wrong]]:
    """(number, row without its nulls | what is wrong with it) of some row groups."""
    file = _open(path)
    for group in groups:
        expected = file.metadata.row_group(group).num_rows
        done = 0
        try:
            for batch in file.iter_batches(_BATCH, row_groups=[group], use_threads=False):
                for row in _rows(batch):
                    yield first + done, row
                    done += 1
        except _UNREADABLE:
            missing = expected - done
            if not 0 < missing <= _ROWS_A_BYTE * path.stat().st_size:
                missing = 1
            for number in range(first + done, first + done + missing):
                yield number, Wrong("", "stands in a damaged part of the Parquet file")
        first += expected


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except _UNREADABLE:
        raise Damaged("not a readable Parquet file") from None


def _rows(batch: pa.RecordBatch) -> Iterator[Record | Wrong]:
    names = batch.schema.names
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    for values in zip(*(_values(column) for column in batch.columns), strict=True):
        row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        broken = next((name for name, value in row.items() if value is _BROKEN), None)
        if twice is not None:
            yield Wrong(twice, "the file has two columns of this name")
        elif broken is not None:
            yield Wrong(broken, "not UTF-8, or a value out of range")
        else:
            yield row


_BROKEN = object()


def _values(column: pa.Array) -> list[Any]:
    """The Python values of a column; _BROKEN where one cannot be had."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # Python's times end at microseconds
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    try:
        return column.to_pylist()
    except _UNREADABLE:
        return [_value(item) for item in column]


def _value(item: pa.Scalar) -> Any:
    try:
        return item.as_py()
    except _UNREADABLE:
        return _BROKEN
