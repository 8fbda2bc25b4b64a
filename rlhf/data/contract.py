"""The shape of incoming records: every line is checked, and a wrong one is set aside with its reason.

JSON Lines (plain or gzip) and Parquet files are read. A reject names file, line, field and reason and
never repeats what the line holds. Fields that the contract does not know are kept, as JSON, in `extra`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rlhf.data.fold import fingerprint

MAX_LINE = 10_000_000  # bytes
ROLES = ("system", "user", "assistant")
SOURCES = ("api", "labeler-plain", "labeler-few-shot", "labeler-user-based")
USE_CASES = (
    "generation", "open_qa", "brainstorming", "chat", "rewrite",
    "summarization", "classification", "other", "closed_qa", "extraction",
)  # fmt: skip
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
Record = dict[str, Any]


@dataclass(frozen=True)
class Reject:
    """One line that was set aside; `line` counts from 1 (rows, in Parquet; 0 is the file as a whole)."""

    file: str
    line: int
    field: str
    reason: str

    def as_dict(self) -> Record:
        return asdict(self)

    def sentence(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{where}, field {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


class Wrong(Exception):
    """What is wrong with one line: the field ("" for the whole line) and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def read(kind: str, files: list[Path], rejects: list[Reject]) -> Iterator[Record]:
    """The valid records of prompts, demonstrations, comparisons or pretraining files, in file order.

    Rejects are appended to `rejects`; an id that was used before, in any of the files, is one.
    """
    check = CHECKS[kind]
    seen: dict[str, tuple[str, int]] = {}
    for path in files:
        for line, value in _lines(path):
            try:
                record = check(_decoded(value))
                if record["id"] in seen:
                    file, first = seen[record["id"]]
                    raise Wrong("id", f"already used in {file}, line {first}")
            except Wrong as wrong:
                rejects.append(Reject(path.name, line, wrong.field, wrong.reason))
                continue
            seen[record["id"]] = (path.name, line)
            yield record


def _lines(path: Path) -> Iterator[tuple[int, bytes | Record | Wrong]]:
    """(number, line as bytes | Parquet row | what is wrong with it) of a file."""
    if path.name.endswith(".parquet"):
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError):
            yield 0, Wrong("", "not a readable Parquet file")
            return
        yield from enumerate(frame.iter_rows(named=True), 1)
        return
    with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
        number = 0
        try:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE)
                    yield number, Wrong("", f"longer than {MAX_LINE:,} bytes")
                    continue
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield number + 1, Wrong("", "the compressed file is damaged or ends too early")


def _decoded(value: bytes | Record | Wrong) -> Record:
    if isinstance(value, Wrong):
        raise value
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong("", "not UTF-8") from None
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise Wrong("", "not JSON") from None
    if not isinstance(decoded, dict):
        raise Wrong("", "not a JSON object")
    return decoded


def _string(value: Any, field: str, *, required: bool = True) -> str | None:
    if value is None and not required:
        return None
    if value is None:
        raise Wrong(field, "missing")
    if not isinstance(value, str):
        raise Wrong(field, f"must be a string, found {type(value).__name__}")
    if not value.strip():
        raise Wrong(field, "empty or white space")
    if _BAD_CHARACTER.search(value):
        raise Wrong(field, "holds a NUL or a lone surrogate")
    return value


def _identity(value: Any, field: str) -> str:
    found = _string(value, field)
    assert found is not None
    if len(found) > 256:
        raise Wrong(field, "longer than 256 characters")
    return found


def _messages(row: Record) -> list[dict[str, str]]:
    if "text" in row and "messages" in row:
        raise Wrong("text", "given beside messages; one of them is allowed")
    if "messages" not in row:
        text = _string(row.get("text"), "text")
        assert text is not None
        return [{"role": "user", "content": text}]
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise Wrong("messages", "must be a list of {role, content}, not empty")
    checked = []
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Wrong(f"messages[{at}]", "must be an object {role, content}")
        if message.get("role") not in ROLES:
            raise Wrong(f"messages[{at}].role", f"must be one of {', '.join(ROLES)}")
        content = _string(message.get("content"), f"messages[{at}].content")
        checked.append({"role": message["role"], "content": str(content)})
    if checked[-1]["role"] != "user":
        raise Wrong("messages", "must end with a user's message")
    return checked


def _one_of(row: Record, field: str, allowed: tuple[str, ...], default: str | None) -> str | None:
    value = row.get(field, default)
    if value is not None and value not in allowed:
        raise Wrong(field, f"must be one of {', '.join(allowed)}")
    return value


def created_at(value: Any) -> str | None:
    """ISO 8601 in UTC of an ISO 8601 string or Unix seconds, from 2000 to tomorrow."""
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            raise TypeError
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        raise Wrong("created_at", "must be ISO 8601 or Unix seconds") from None
    if not datetime(2000, 1, 1, tzinfo=UTC) <= moment <= datetime.now(UTC) + timedelta(days=1):
        raise Wrong("created_at", "must lie between the year 2000 and tomorrow")
    return moment.isoformat().replace("+00:00", "Z")


def _extra(row: Record, known: frozenset[str]) -> str | None:
    rest = {key: row[key] for key in row if key not in known}
    try:
        return msgspec.json.encode(rest, order="sorted").decode() if rest else None
    except (TypeError, ValueError):
        raise Wrong("", "holds a field that JSON cannot carry") from None


_PROMPT = frozenset(("id", "user_id", "messages", "text", "source", "use_case", "created_at"))
_DEMONSTRATION = frozenset(("id", "messages", "text", "completion", "labeler_id", "source", "use_case"))
_PRETRAINING = frozenset(("id", "text", "source"))


def check_prompt(row: Record) -> Record:
    """The prompt record of a line; raises Wrong."""
    return {
        "id": _identity(row.get("id"), "id"),
        "user_id": _identity(row.get("user_id"), "user_id"),
        "messages": _messages(row),
        "source": _one_of(row, "source", SOURCES, "api"),
        "use_case": _one_of(row, "use_case", USE_CASES, None),
        "created_at": created_at(row.get("created_at")),
        "extra": _extra(row, _PROMPT),
    }


def check_demonstration(row: Record) -> Record:
    """The demonstration record of a line; raises Wrong."""
    return {
        "id": _identity(row.get("id"), "id"),
        "messages": _messages(row),
        "completion": _string(row.get("completion"), "completion"),
        "labeler_id": _identity(row.get("labeler_id"), "labeler_id"),
        "source": _one_of(row, "source", SOURCES, "labeler-plain"),
        "use_case": _one_of(row, "use_case", USE_CASES, None),
        "extra": _extra(row, _DEMONSTRATION),
    }


def check_pretraining(row: Record) -> Record:
    """The document of a line; without an id it gets one from its text. Raises Wrong."""
    text = _string(row.get("text"), "text")
    assert text is not None
    identity = _identity(row["id"], "id") if "id" in row else f"text-{fingerprint(text)}"
    source = _string(row.get("source"), "source", required=False)
    return {"id": identity, "text": text, "source": source, "extra": _extra(row, _PRETRAINING)}


def check_comparison(row: Record) -> Record:
    """The comparison of a line, unknown fields in place; raises Wrong."""
    record = dict(row)
    record["id"] = _identity(row.get("id"), "id")
    record["labeler_id"] = _identity(row.get("labeler_id"), "labeler_id")
    if "messages" in row or "text" in row:
        record["messages"] = _messages(row)
        record.pop("text", None)
    else:
        record["prompt_id"] = _identity(row.get("prompt_id"), "prompt_id")
    if "round" in row and (not _is_int(row["round"]) or row["round"] < 0):
        raise Wrong("round", "must be a whole number from 0")
    completions, ranks = row.get("completions"), row.get("ranks")
    if not isinstance(completions, list) or len(completions) < 2:
        raise Wrong("completions", "must be a list of 2 or more {text, model_version}")
    for at, completion in enumerate(completions):
        if not isinstance(completion, dict) or not isinstance(completion.get("text"), str):
            raise Wrong(f"completions[{at}].text", "missing or no string")
        if _BAD_CHARACTER.search(completion["text"]):
            raise Wrong(f"completions[{at}].text", "holds a NUL or a lone surrogate")
        _string(completion.get("model_version"), f"completions[{at}].model_version", required=False)
    if not isinstance(ranks, list) or not all(
        _is_int(rank) and 1 <= rank <= len(completions) for rank in ranks
    ):
        raise Wrong("ranks", f"must be whole numbers from 1 to {len(completions)}, one a completion")
    if len(ranks) != len(completions):
        raise Wrong("ranks", f"{len(ranks)} ranks for {len(completions)} completions")
    if 1 not in ranks:
        raise Wrong("ranks", "no completion has rank 1")
    ratings = row.get("ratings")
    if ratings is not None:
        fits = isinstance(ratings, list) and len(ratings) == len(completions)
        if not fits or not all(_is_int(rating) and 1 <= rating <= 7 for rating in ratings):
            raise Wrong("ratings", f"must be {len(completions)} whole numbers from 1 to 7")
    return record


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


CHECKS: dict[str, Callable[[Record], Record]] = {
    "prompts": check_prompt,
    "demonstrations": check_demonstration,
    "comparisons": check_comparison,
    "pretraining": check_pretraining,
}
