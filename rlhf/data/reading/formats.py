"""What a format is: how its records are told from others by their fields, and what they give.

A new format is a `Format` in the module of its family, and a line in rlhf/data/reading/recognition.py. Its `read`
moves values to the contract's names (id, user_id, labeler_id, messages or text, completion, created_at, and for
comparisons completions and ranks); everything that is the same for all formats is done by the reader after it:
conversations are cleaned and cut, whole-number ids become text, times become ISO 8601, missing ids are made, and
the contract checks what comes out. Fields that `read` leaves in place are kept as extras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlhf.data.lines import Wrong

Record = dict[str, Any]
Kind = Literal["prompts", "demonstrations", "comparisons", "pretraining"]
Notes = Counter[str]  # {what was done, in words that follow a number: how often}


class LeftOut(Exception):
    """A record that is not broken and gives nothing of the kind that was asked for; the reason is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Format:
    """One shape of records.

    recognises: whether a record has this shape, by its own fields and never by the name of its file; it is
    cheap, and raises nothing whatever the values are.
    read: (record, kind, notes) -> rows in the contract's names, not checked; one record may give several, or none.
    It raises Wrong (field, reason) where the record is broken and LeftOut (reason) where it gives none; what it
    leaves out of a record that it keeps is counted in notes. The record is its own to change.
    needs: a record must have one of these fields for `recognises` to be asked at all.
    gather: for formats whose records span lines: the records of one file -> records that `read` takes.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...]
    needs: frozenset[str]
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Record, str, Notes], Iterable[Record]]
    example: Mapping[str, Any]
    gather: Callable[[Iterable[Record]], Iterator[Record]] | None = None


def taken(row: Record, *names: str) -> Any:
    """The first of these fields that is not null, all of them removed from the row."""
    found = None
    for name in names:
        value = row.pop(name, None)
        found = value if found is None else found
    return found


def are_turns(value: Any, role: str = "role") -> bool:
    """Whether it is a list of objects, the first of which names who speaks."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and role in value[0]


ANSWERS = "answers left out"


def answered(row: Record, completion: Any, kind: str, field: str, notes: Notes) -> Iterator[Record]:
    """The row with its completion, which is no part of a prompt. Raises Wrong and LeftOut where it has to have one."""
    if kind == "prompts":
        if completion:
            notes[ANSWERS] += 1
    elif completion is None:
        raise Wrong(field, "missing")
    elif isinstance(completion, str) and not completion.strip():
        raise LeftOut("the answer is empty")
    else:
        row["completion"] = completion
    yield row
