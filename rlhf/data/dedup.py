"""Copies: exact ones (folded text) and those that share a long prefix. The earliest is kept.

Earliest is by created_at, then id; a prompt without a time comes after those that have one. Later
arrivals therefore never change what stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rlhf.data.fold import fold, fold_messages

Record = dict[str, Any]
Removed = dict[str, Any]


def by_age(record: Record) -> tuple[bool, str, str]:
    """Sorts the earliest first."""
    moment = record.get("created_at")
    return (moment is None, moment or "", record["id"])


def exact(records: Iterable[Record]) -> tuple[list[Record], list[Removed]]:
    """Prompts whose folded conversation is new; the copies with what they duplicate."""
    return _first_of_each(records, lambda record: fold_messages(record["messages"]), "exact")


def long_prefix(records: Iterable[Record], characters: int) -> tuple[list[Record], list[Removed]]:
    """Prompts whose first `characters` folded characters are new.

    "The first n folded characters are equal" is an equivalence, so the rule is exact and depends on
    no order but age. Texts shorter than n are only ever equal to their exact copies. System messages,
    which a product repeats in every call, are left out.
    """
    return _first_of_each(records, lambda record: prefix(record, characters), "prefix")


def prefix(record: Record, characters: int) -> str:
    spoken = [message for message in record["messages"] if message["role"] != "system"]
    return fold_messages(spoken)[:characters] if spoken else ""


def exact_demonstrations(records: Iterable[Record]) -> tuple[list[Record], list[Removed]]:
    """Demonstrations whose prompt and completion together are new."""
    return _first_of_each(
        records,
        lambda record: f"{fold_messages(record['messages'])}\x1f{fold(record['completion'])}",
        "exact",
    )


def exact_documents(records: Iterable[Record]) -> tuple[list[Record], list[Removed]]:
    """Pretraining documents whose folded text is new."""
    return _first_of_each(records, lambda record: fold(record["text"]), "exact")


def _first_of_each(
    records: Iterable[Record], key: Callable[[Record], str], step: str
) -> tuple[list[Record], list[Removed]]:
    kept: dict[str, Record] = {}
    removed: list[Removed] = []
    for record in sorted(records, key=by_age):
        first = kept.setdefault(key(record), record)
        if first is not record:
            removed.append(
                {"id": record["id"], "step": step, "reason": f"{step} copy", "duplicate_of": first["id"]}
            )
    return list(kept.values()), removed
