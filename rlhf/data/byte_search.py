"""The proof: every file of a data folder, unpacked, searched for what there was of some users.

Independent of how records were taken out: ids and texts are looked for in the bytes of every line, of
every row (as JSON) and of every document, whatever field they stand in.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from rlhf.data.forget import Traces, files_of, holds
from rlhf.data.record_files import Unreadable, entries, kind

ID = 4  # characters: a shorter id is searched for in the fields of ids alone
LINES = 20_000  # searched at a time
_NAMES = re.compile(
    r'"(?:role|source|use_case|split|kind|step|field|labeler_id|model_version)":"(?:[^"\\]|\\.)*"'
)
_OWN_ID = re.compile(r'"id":"(?:[^"\\]|\\.)*"')
_TEXT = re.compile(r'"(?:messages|text|completions?)":')
_OTHER_KIND = re.compile(r'"kind":"(?!prompts")')
_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ID_FIELD = re.compile(r'"(?:user_id|prompt_id|duplicate_of|id)":"?((?:[^",}\\]|\\.)*)')


@dataclass
class Found:
    """What a search saw. files, bytes: as they lie; unpacked: bytes that were searched.

    left: {file: {"user ids" | "prompt ids" | "texts" | "records": times}}, records: 1 where the file still has
    one of theirs by the rule of rlhf.data.forget; inside: lines of other people in which one of
    the texts stands as part of a longer one; unreadable: files that could not be looked into.
    """

    files: int = 0
    bytes: int = 0
    unpacked: int = 0
    left: dict[str, Counter[str]] = field(default_factory=dict)
    inside: int = 0
    unreadable: list[str] = field(default_factory=list)


def search(data: Path, traces: Traces) -> Found:
    """Searches the files of a data folder, their names too."""
    found = Found()
    pattern = Patterns(traces)
    for path in files_of(data):
        name = path.relative_to(data).as_posix()
        found.files += 1
        found.bytes += path.stat().st_size
        hits: Counter[str] = Counter()
        if any(part in traces.users for part in re.split(r"[/.]", name)):
            hits["user ids"] += 1
        try:
            hits["records"] += holds(path, traces)
            for lines in _batches(_lines(path)):
                found.unpacked += sum(map(len, lines))
                found.inside += pattern.count(lines, hits, document=kind(path) == "document")
        except Unreadable:
            found.unreadable.append(name)
        if +hits:
            found.left[name] = +hits
    return found


class Patterns:
    """Ids and texts in the forms that files write them: plain, and as JSON escapes them."""

    def __init__(self, traces: Traces) -> None:
        texts = [traces.texts[text] for text in traces.searched]
        self.texts = sorted({form for text in texts for form in _forms(text)})
        self.ids = {"user ids": traces.users, "prompt ids": traces.prompts}
        names = [form for listed in self.ids.values() for name in listed for form in _forms(name)]
        self.quoted = [f'"{name}"' for name in names]
        self.long = [name for name in names if len(name) >= ID]

    def count(self, lines: list[str], hits: Counter[str], *, document: bool) -> int:
        """Adds what stands in the lines to hits; returns the lines that have a text inside a longer one."""
        series = pl.Series(lines, dtype=pl.String)
        inside = 0
        for line in _with(series, self.texts):
            whole = sum(f'"{text}"' in line for text in self.texts)
            if whole or document:
                hits["texts"] += max(whole, 1)
            else:
                inside += 1
        for line in _with(series, self.long if document else self.quoted):
            named = set(re.findall(r"[\w.@-]+", line)) if document else _names_in(line)
            for what, names in self.ids.items():
                if there := names & named:
                    hits[what] += len(there)
        return inside


def _with(lines: pl.Series, patterns: list[str]) -> Iterator[str]:
    if patterns:
        yield from lines.filter(lines.str.contains_any(patterns))


def _forms(text: str) -> Iterator[str]:
    yield text
    yield msgspec.json.encode(text).decode()[1:-1]
    yield json.dumps(text)[1:-1]


def _names_in(line: str) -> set[str]:
    """The ids that a record may name: its values, less those of fields that hold names of another kind."""
    of_text = '"user_id":' not in line and '"prompt_id":' not in line and _TEXT.search(line)
    if of_text or _OTHER_KIND.search(line):
        line = _OWN_ID.sub("", line)  # of a document, a demonstration: no prompt's
    line = _NAMES.sub("", line)
    found = {value for value in _VALUE.findall(line) if len(value) >= ID}
    return found | set(_ID_FIELD.findall(line))


def _lines(path: Path) -> Iterator[str]:
    """Each record as JSON in one form, each other line or document as it is."""
    for entry in entries(path):
        if isinstance(entry, bytes):
            yield entry.decode("utf-8", "replace")
        else:
            yield msgspec.json.encode(entry, enc_hook=str).decode("utf-8", "replace")


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == LINES:
            yield batch
            batch = []
    if batch:
        yield batch
