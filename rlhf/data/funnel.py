"""What happened to one kind of record: a line a step, and a line for each record that was removed."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rlhf.data import verdicts

Record = dict[str, Any]
EXAMPLES = 3  # of a step, and of a set


@dataclass
class Summary:
    """Sizes of one set, counted while it is written."""

    rows: int = 0
    words: array[int] = field(default_factory=lambda: array("I"))  # of each row
    use_cases: Counter[str] = field(default_factory=Counter)
    users: int = 0
    examples: list[str] = field(default_factory=list)  # redacted

    def add(self, record: Record, use_case: str | None) -> None:
        self.rows += 1
        parts = [record["text"]] if "text" in record else [m["content"] for m in record["messages"]]
        self.words.append(sum(len(text.split()) for text in parts))
        if len(self.examples) < EXAMPLES:
            self.examples.append(verdicts.shown(record))
        if use_case is not None:
            self.use_cases[use_case] += 1

    def extend(self, other: Summary) -> None:
        """Count the rows that follow in the same set, but for its users."""
        self.rows += other.rows
        self.words.extend(other.words)
        self.use_cases.update(other.use_cases)
        self.examples += other.examples[: EXAMPLES - len(self.examples)]

    def as_dict(self) -> Record:
        words = np.sort(np.frombuffer(self.words, np.uint32)) if self.words else np.zeros(1, np.uint32)
        lengths = {
            "median": int(words[len(words) // 2]),
            "p95": int(words[int(0.95 * (len(words) - 1))]),
            "longest": int(words[-1]),
        }
        told: Record = {"rows": self.rows, "words": lengths, "examples": self.examples}
        if self.users:
            told["users"] = self.users
        if self.use_cases:
            told["use_cases"] = dict(sorted(self.use_cases.items(), key=lambda case: (-case[1], case[0])))
        return told


class Funnel:
    """Steps are counted here; what is removed goes to a file as it happens. Texts are shown redacted."""

    def __init__(self, removed: Path, show: Callable[[int], str], told_of_all: Record) -> None:
        """removed: the file of removals; show: a redacted text of a row; told_of_all: fields of every removal."""
        self.removed, self._show, self._told = removed, show, told_of_all
        self._file = removed.open("wb")
        self._encode = msgspec.json.Encoder().encode
        self.steps: list[Record] = []
        self.pii: Counter[str] = Counter()

    def close(self) -> None:
        self._file.close()

    def step(
        self,
        name: str,
        before: int,
        after: int,
        reasons: Mapping[str, int],
        examples: Iterable[Record] = (),
        of: str | None = None,
    ) -> None:
        """A step that removed nothing, or whose removals are told elsewhere. of: the held-out side it worked on."""
        entry = {"step": name, "in": before, "out": after, "reasons": dict(sorted(reasons.items()))}
        self.steps.append(entry | {"examples": list(examples)} | ({"of": of} if of else {}))

    def drop(
        self, name: str, before: int, removed: Iterable[tuple[int | None, Record]], of: str | None = None
    ) -> None:
        """A step and what it removed: (row, {id, reason, ...}) in the order of the file; row None shows nothing."""
        reasons: Counter[str] = Counter()
        examples: list[Record] = []
        for row, entry in removed:
            reasons[entry["reason"]] += 1
            if row is not None and len(examples) < EXAMPLES:
                examples.append({"id": entry["id"], "reason": entry["reason"], "text": self._show(row)})
            told = {**self._told, "id": entry["id"], "step": name, **entry}
            self._file.write(self._encode(told) + b"\n")
        self.step(name, before, before - reasons.total(), reasons, examples, of)

    @property
    def left(self) -> int:
        """Rows after the last step."""
        return int(self.steps[-1]["out"])

    @property
    def emptied_by(self) -> str:
        """The step that left nothing, or else the split that follows the steps."""
        return next((step["step"] for step in self.steps if step["out"] == 0), "split")

    def as_dict(self, sets: Mapping[str, Summary]) -> Record:
        """steps, rows of each set, personal data found in training, and what the sets look like."""
        return {
            "steps": self.steps,
            "sets": {name: found.rows for name, found in sets.items()},
            "pii": dict(sorted(self.pii.items())),
            "shapes": {name: found.as_dict() for name, found in sets.items()},
        }
