"""The valid records of one kind: lines on disk, and in memory what orders and groups them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import xxhash

from rlhf.data.store import Store

Record = dict[str, Any]
CHUNK = 65_536  # rows whose ids are held as Python strings, before they are packed
_IDENTITY = ("id", "user_id", "created_at", "source", "use_case", "labeler_id", "extra")


class Table:
    """Rows are numbered as they were read; `age` lists them from the earliest on.

    Held a row: id, user and time as packed strings, 8 bytes of offset, 16 of the content's hash.
    """

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self._content = bytearray()
        self.columns = pl.DataFrame()
        self.age = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        self.store.close()

    def fill(self, records: Iterable[Record], partition_rows: int) -> Iterator[tuple[int, int]]:
        """Take in the records; (first row, last row + 1) of each partition once it is there."""
        encode = msgspec.json.Encoder().encode
        spoken: list[str] = []  # fields of the kind
        names: list[tuple[str, str | None, str | None]] = []
        frames: list[pl.DataFrame] = []
        start = 0
        for record in records:
            self.store.append(encode(record))
            spoken = spoken or [key for key in record if key not in _IDENTITY]
            self._content += xxhash.xxh3_128_digest(encode({key: record[key] for key in spoken}))
            time = record.get("created_at")
            names.append((record["id"], record.get("user_id"), time.removesuffix("Z") if time else None))
            if len(names) == CHUNK:
                frames.append(pl.DataFrame(names, schema=_COLUMNS, orient="row"))
                names.clear()
            if len(self) - start == partition_rows:
                yield start, len(self)
                start = len(self)
        if len(self) > start:
            yield start, len(self)
        self.columns = pl.concat([*frames, pl.DataFrame(names, schema=_COLUMNS, orient="row")], rechunk=True)
        oldest_first = self.columns.with_row_index("row").sort("created_at", "id", nulls_last=True)
        self.age = oldest_first["row"].to_numpy().astype(np.int64)

    def content(self, rows: np.ndarray) -> np.ndarray:
        """[rows, 2] halves of a hash of what each record says, whoever said it. rows: ascending."""
        first = int(rows[0])
        near = bytes(self._content[16 * first : 16 * (int(rows[-1]) + 1)])
        return np.frombuffer(near, np.uint64).reshape(-1, 2)[rows - first].copy()

    def ids(self, rows: np.ndarray) -> list[str]:
        return self.columns["id"].gather(rows).to_list()

    def users(self, rows: np.ndarray) -> list[str]:
        return self.columns["user_id"].gather(rows).to_list()

    def user_numbers(self, rows: np.ndarray) -> np.ndarray:
        """[rows] a number for each user."""
        return self.columns["user_id"].gather(rows).rank("dense").to_numpy()

    def by_id(self, rows: np.ndarray) -> np.ndarray:
        """The rows in order of their ids."""
        return rows[self.columns["id"].gather(rows).arg_sort().to_numpy()]

    def records(self, rows: Sequence[int] | np.ndarray) -> Iterator[Record]:
        """The records of these rows, in this order."""
        decode = msgspec.json.Decoder(Record).decode
        return map(decode, self.store.lines(int(row) for row in rows))


_COLUMNS = {"id": pl.String, "user_id": pl.String, "created_at": pl.String}
