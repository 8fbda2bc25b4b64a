"""The shape of incoming records: every line is checked, and a wrong one is set aside with its reason.

JSON Lines (plain or gzip) and Parquet files are read (rlhf.data.lines). A reject names file, line, field
and reason and never repeats what the line holds. A null is an absent field. Fields that the contract does
not know are kept, as JSON, in `extra`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlhf.data import json_line, lines
from rlhf.data.fields import (
    MAX_ID,
    ROLES,
    SOURCES,
    USE_CASES,
    extra,
    identity,
    messages,
    one_of,
    refuse_bad_characters,
    string,
)  # fmt: skip
from rlhf.data.fold import fingerprint
from rlhf.data.lines import MAX_LINE, Block, Record, Wrong
from rlhf.data.moment import created_at
from rlhf.data.prompt_line import plain_prompt

__all__ = [
    "CHECKS",
    "KNOWN",
    "MAX_ID",
    "MAX_LINE",
    "ROLES",
    "SOURCES",
    "USE_CASES",
    "Reject",
    "Wrong",
    "created_at",
    "read",
]


@dataclass(frozen=True)
class Reject:
    """One line that was set aside; `line` counts from 1 (rows, in Parquet).

    Where a file is damaged it is the line from which on the file could not be read.
    """

    file: str
    line: int
    field: str
    reason: str

    def as_dict(self) -> Record:
        return asdict(self)

    def sentence(self) -> str:
        where = f"{self.file}, line {self.line}"
        return f"{where}, field {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


def read(kind: str, files: Sequence[Path], rejects: list[Reject]) -> Iterator[Record]:
    """The valid records of prompts, demonstrations, comparisons or pretraining files, in file order.

    Rejects are appended to `rejects`; an id that was used before, in any of the files, is one.
    """
    first_uses = FirstUses()
    for path, name in zip(files, file_names(files), strict=True):
        for block in lines.blocks(path):
            for line, found in check_block(kind, name, block):
                reject = found if isinstance(found, Reject) else first_uses.reject(name, line, found["id"])
                if reject is not None:
                    rejects.append(reject)
                else:
                    assert isinstance(found, dict)
                    yield found


def file_names(files: Sequence[Path]) -> list[str]:
    """What rejects call the files: their names, or as they were given where two have the same name."""
    known = Counter(path.name for path in files)
    return [path.name if known[path.name] == 1 else str(path) for path in files]


def check_block(kind: str, file: str, block: Block) -> Iterator[tuple[int, Record | Reject]]:
    """(line, record or what is wrong) of a block's lines, whose ids are not compared with any others'."""
    check = CHECKS[kind]
    prompts = kind == "prompts"
    for line, value in block.lines():
        record = plain_prompt(value) if prompts and isinstance(value, bytes) else None
        try:
            yield line, record or _checked(check, value)
        except Wrong as wrong:
            yield line, Reject(file, line, wrong.field, wrong.reason)


class FirstUses:
    """Which file and line used an id first."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._files: list[str] = []

    def reject(self, file: str, line: int, identity: str) -> Reject | None:
        """None for an id that is new, which is then taken; else why its line is set aside."""
        if not self._files or self._files[-1] != file:
            self._files.append(file)
        place = len(self._files) - 1 << 40 | line  # one int an id: there may be millions
        first = self._places.setdefault(identity, place)
        return None if first == place else self._used(file, line, first)

    def of_file(self, file: str) -> Callable[[int, str], Reject | None]:
        """`reject` for the lines of the next file, each of which may use several ids."""
        self._files.append(file)
        begin = len(self._files) - 1 << 40
        places = self._places

        def use(line: int, identity: str) -> Reject | None:
            first = places.setdefault(identity, place := begin | line)
            return None if first == place else self._used(file, line, first)

        return use

    def place(self, identity: str) -> tuple[int, int]:
        """(number of the file from 0, line) of the first use of an id."""
        first = self._places[identity]
        return first >> 40, first & (1 << 40) - 1

    def _used(self, file: str, line: int, first: int) -> Reject:
        where = f"{self._files[first >> 40]}, line {first & (1 << 40) - 1}"
        return Reject(file, line, "id", f"already used in {where}")


def _checked(check: Callable[[Record], Record], value: bytes | Record | Wrong) -> Record:
    if isinstance(value, bytes):
        row, flaw = json_line.decode(value, KNOWN)
        record = check(row)
        if flaw:
            raise Wrong("", flaw)
        return record
    if isinstance(value, Wrong):
        raise value
    return check(value)


_PROMPT = frozenset(("id", "user_id", "messages", "text", "source", "use_case", "created_at"))
_DEMONSTRATION = frozenset(("id", "messages", "text", "completion", "labeler_id", "source", "use_case"))
_PRETRAINING = frozenset(("id", "text", "source"))
_COMPARISON = frozenset((
    "id", "labeler_id", "prompt_id", "messages", "text", "round", "split", "completions", "ranks", "ratings", "flags",
))  # fmt: skip
KNOWN = _PROMPT | _DEMONSTRATION | _PRETRAINING | _COMPARISON


def check_prompt(row: Record) -> Record:
    """The prompt record of a line; raises Wrong."""
    return {
        "id": identity(row.get("id"), "id"),
        "user_id": identity(row.get("user_id"), "user_id"),
        "messages": messages(row),
        "source": one_of(row, "source", SOURCES, "api"),
        "use_case": one_of(row, "use_case", USE_CASES, None),
        "created_at": created_at(row.get("created_at")),
        "extra": extra(row, _PROMPT),
    }


def check_demonstration(row: Record) -> Record:
    """The demonstration record of a line; raises Wrong."""
    return {
        "id": identity(row.get("id"), "id"),
        "messages": messages(row),
        "completion": string(row.get("completion"), "completion"),
        "labeler_id": identity(row.get("labeler_id"), "labeler_id"),
        "source": one_of(row, "source", SOURCES, "labeler-plain"),
        "use_case": one_of(row, "use_case", USE_CASES, None),
        "extra": extra(row, _DEMONSTRATION),
    }


def check_pretraining(row: Record) -> Record:
    """The document of a line; without an id it gets one from its text. Raises Wrong."""
    text = string(row.get("text"), "text")
    return {
        "id": f"text-{fingerprint(text)}" if row.get("id") is None else identity(row["id"], "id"),
        "text": text,
        "source": None if row.get("source") is None else string(row["source"], "source"),
        "extra": extra(row, _PRETRAINING),
    }


def check_comparison(row: Record) -> Record:
    """The comparison of a line, unknown fields in place; raises Wrong."""
    record = dict(row)
    record["id"] = identity(row.get("id"), "id")
    record["labeler_id"] = identity(row.get("labeler_id"), "labeler_id")
    if "messages" in row or "text" in row:
        record["messages"] = messages(row)
        record.pop("text", None)
    else:
        record["prompt_id"] = identity(row.get("prompt_id"), "prompt_id")
    if "round" in row and (not _is_int(row["round"]) or row["round"] < 0):
        raise Wrong("round", "must be a whole number from 0")
    if record.get("split", "train") not in ("train", "valid"):
        raise Wrong("split", "must be train or valid, or left out")
    completions, ranks = row.get("completions"), row.get("ranks")
    if not isinstance(completions, list) or len(completions) < 2:
        raise Wrong("completions", "must be a list of 2 or more {text, model_version}")
    for at, completion in enumerate(completions):
        if not isinstance(completion, dict) or not isinstance(completion.get("text"), str):
            raise Wrong(f"completions[{at}].text", "missing or no string")
        refuse_bad_characters(completion["text"], f"completions[{at}].text")
        if completion.get("ended", True) is None:
            del completion["ended"]
        if not isinstance(completion.get("ended", True), bool):
            raise Wrong(f"completions[{at}].ended", "must be true or false, or left out")
        if completion.get("model_version") is not None:
            string(completion["model_version"], f"completions[{at}].model_version")
    if isinstance(ranks, list):  # 2.0 is 2: tables with gaps write whole numbers so
        whole = [isinstance(rank, float) and rank.is_integer() for rank in ranks]
        record["ranks"] = ranks = [
            int(rank) if fits else rank for rank, fits in zip(ranks, whole, strict=True)
        ]
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
