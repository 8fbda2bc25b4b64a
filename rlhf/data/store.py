"""Records on disk by row number, so that no step holds more texts than a partition."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


class Store:
    """Lines in one file; 8 bytes a line are held in memory.

    Append first, then read: a range of lines by one read, single lines by their offsets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b", buffering=1 << 20)
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def close(self) -> None:
        self._file.close()

    def append(self, line: bytes) -> None:
        """A line without its newline."""
        self._file.write(line + b"\n")
        self._ends.append(self._ends[-1] + len(line) + 1)

    def lines(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The lines of these rows, in this order, each with its newline."""
        self._file.flush()
        number, ends = self._file.fileno(), self._ends
        for row in rows:
            yield os.pread(number, ends[row + 1] - ends[row], ends[row])

    def gather(self, rows: np.ndarray) -> bytes:
        """The lines of ascending rows that lie close together, by one read, in one piece."""
        self._file.flush()
        ends = self._ends
        start, stop = int(rows[0]), int(rows[-1]) + 1
        first = ends[start]
        whole = os.pread(self._file.fileno(), ends[stop] - first, first)
        assert len(whole) == ends[stop] - first
        if len(rows) == stop - start:
            return whole
        return b"".join(whole[ends[row] - first : ends[row + 1] - first] for row in rows.tolist())
