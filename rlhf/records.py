"""The records that travel between the rooms, and their JSON Lines files.

In memory a record is a plain dict of the shape below: it is what JSON Lines and Parquet hold.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

Role = Literal["system", "user", "assistant"]
Source = Literal["api", "labeler-plain", "labeler-few-shot", "labeler-user-based"]


class Message(TypedDict):
    role: Role
    content: str


class Prompt(TypedDict):
    """A conversation that ends with a user's message."""

    id: str
    user_id: str
    messages: list[Message]
    source: Source
    use_case: NotRequired[str | None]
    created_at: NotRequired[str | None]


class Demonstration(TypedDict):
    """A prompt and the completion that a labeler wrote for it; `messages` is the prompt alone."""

    id: str
    messages: list[Message]
    completion: str
    labeler_id: str
    source: Source
    use_case: NotRequired[str | None]


class Completion(TypedDict):
    text: str
    model_version: str
    ended: bool  # True: the writer ended it by EOS; False: it was cut at the length limit


class Comparison(TypedDict):
    """One labeler's ranking of a prompt's completions; 1 is best, equal ranks are ties."""

    id: str
    prompt_id: str
    messages: list[Message]
    round: int
    split: Literal["train", "valid"]
    labeler_id: str
    completions: list[Completion]
    ranks: list[int]


def read_jsonl(path: Path | str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file written by this project, blank lines skipped.

    Raises ValueError that names file and line (never the content) where a line is not a JSON object.
    """
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise ValueError(f"{path}, line {number}: not a JSON object") from None


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> int:
    """Write rows as JSON Lines; the file appears whole or not at all. Returns the number of rows."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    count = 0
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for row in rows:
                file.write(encode(row) + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.umask(mask := os.umask(0o077))  # which mkstemp goes under
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return count
