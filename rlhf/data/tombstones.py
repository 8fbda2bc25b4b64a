"""Who was forgotten: keyed hashes of user and prompt ids in data/forgotten.json, versioned with the data.

The key lies beside the hashes, so that whoever holds the data can tell a forgotten user's records when
they come again; who sees a hash alone (a tag in MLflow) learns nothing from it. Nobody is listed by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]
FILE = "forgotten.json"
REASON = "forgotten"


@dataclass(frozen=True)
class Tombstones:
    """{key: keyed hashes}. Lists that two clones began apart keep their keys side by side."""

    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.lists.values())

    def has_user(self, user_id: str) -> bool:
        return self._has("user", user_id)

    def has_prompt(self, prompt_id: str) -> bool:
        return self._has("prompt", prompt_id)

    def bury(self, key: str, users: Iterable[str], prompts: Iterable[str]) -> Tombstones:
        """These and the ids, under a key of 64 hexadecimal digits (the first list's, where there is one)."""
        key = next(iter(sorted(self.lists)), key)
        new = {keyed(key, "user", name) for name in users} | {keyed(key, "prompt", name) for name in prompts}
        return self.union(Tombstones({key: frozenset(new)}))

    def union(self, other: Tombstones) -> Tombstones:
        keys = sorted({*self.lists, *other.lists})
        empty: frozenset[str] = frozenset()
        return Tombstones({key: self.lists.get(key, empty) | other.lists.get(key, empty) for key in keys})

    def hashes(self, users: Iterable[str]) -> list[str]:
        """The keyed hashes of users, sorted: what may stand outside data/."""
        key = next(iter(sorted(self.lists)))
        return sorted(keyed(key, "user", name) for name in users)

    def _has(self, purpose: str, name: str) -> bool:
        return any(keyed(key, purpose, name) in hashes for key, hashes in self.lists.items())


NOBODY = Tombstones()


def keyed(key: str, purpose: str, name: str) -> str:
    """32 hexadecimal digits of an id: BLAKE2b under a 32-byte key."""
    text = f"{purpose}:{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=bytes.fromhex(key), digest_size=16).hexdigest()


def read(data: Path) -> Tombstones:
    """The list in a data folder (data/ itself, above raw/); none where there is no file.

    ValueError where the file is damaged: taking it for empty would bring people back.
    """
    path = data / FILE
    if not path.is_file():
        return Tombstones()
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        return Tombstones({str(bytes.fromhex(key).hex()): frozenset(lists[key]) for key in lists})
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged: bring it back from an earlier data version") from None


def write(data: Path, tombstones: Tombstones) -> None:
    """Whole or not at all; the same list gives the same bytes."""
    aside = data / f".{FILE}.part"
    lists = {key: sorted(hashes) for key, hashes in sorted(tombstones.lists.items())}
    aside.write_text(json.dumps(lists) + "\n", encoding="utf-8")
    os.replace(aside, data / FILE)


def not_forgotten(records: Iterable[Record], gone: Tombstones) -> Iterator[Record]:
    """The records that are no forgotten user's, and hang on no forgotten prompt."""
    for record in records:
        user, prompt = user_of(record), record.get("prompt_id")
        if not (user is not None and gone.has_user(user)) and not (prompt and gone.has_prompt(str(prompt))):
            yield record


def user_of(record: Record) -> str | None:
    """The user that a record names; a curated demonstration keeps the name in `extra`."""
    user = record.get("user_id")
    extra = record.get("extra")
    if user is None and isinstance(extra, str) and '"user_id"' in extra:
        with suppress(ValueError, AttributeError):  # a field of that name that is not ours
            user = json.loads(extra).get("user_id")
    return None if user is None else str(user)
