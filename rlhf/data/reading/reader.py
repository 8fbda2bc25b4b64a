"""Files of any known format to the contract's records, with a line for each format that says what was done.

Each record's format is recognised by its own fields, so a file may mix formats. Our own prompts are read in one go
(rlhf.data.prompt_line); everything else is unpacked, read by its format, and finished (rlhf.data.reading.drafts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import xxhash

from rlhf.data import contract, json_line
from rlhf.data.contract import Reject
from rlhf.data.lines import Record, Wrong
from rlhf.data.prompt_line import plain_prompt
from rlhf.data.reading import containers, conversation, drafts, recognition, values
from rlhf.data.reading.containers import Source
from rlhf.data.reading.drafts import Options
from rlhf.data.reading.formats import Format, LeftOut, Notes
from rlhf.data.reading.plain_lines import plain_line, plain_row

_TOOLS = ("tool_calls", "functions", "function_call", "tools")
_TRANSCRIPTS = ("Human:", "### Human:", "###Human:")
_MISSES = 16
AS_THEY_ARE = Options()
_encode = msgspec.json.Encoder(enc_hook=str, order="sorted").encode


@dataclass
class Told:
    """What was read of one format: records, what they gave, and what was done to them."""

    records: int = 0
    given: int = 0
    notes: Notes = field(default_factory=Counter)
    left_out: Notes = field(default_factory=Counter)
    unused: Notes = field(default_factory=Counter)  # fields that look like content and stay extras


class Reader:
    """Reads files of one kind. Iterate `records()` to its end; then rejects and formats say what happened."""

    def __init__(
        self,
        kind: str,
        files: Sequence[Path | Source],
        options: Options = AS_THEY_ARE,
        rejects: list[Reject] | None = None,
    ) -> None:
        self.kind, self.options = kind, options
        self.rejects: list[Reject] = [] if rejects is None else rejects
        self.formats: dict[str, Told] = {}
        self.copies = 0  # rows that were there before, word for word
        self._sources = containers.sources(files)
        self._names = contract.file_names([source.path for source in self._sources])
        self._forced = recognition.named(options.format, kind) if options.format else None
        self._uses = contract.FirstUses()
        self._seen_again: dict[tuple[int, int], list[tuple[bytes, Reject]]] = {}
        self._assembled: dict[str, bytes] = {}  # digests by id of records that no line holds alone
        self._notes, self._unused = Notes(), Notes()  # of the row at hand
        self._is_quick = kind == "prompts" and not (options.map or options.format or options.user_field)

    def records(self) -> Iterator[Record]:
        """The valid records in the order of the files; each id once."""
        is_fast = self._is_quick
        own, own_rows = self._told("contract"), 0
        for source, name in zip(self._sources, self._names, strict=True):
            gathered: dict[str, list[tuple[int, Record]]] = {}
            use = self._uses.of_file(name)
            for batch in containers.batches(source):
                misses = 0  # of the quick way, one after the other
                for line, value in batch:
                    if is_fast and misses < _MISSES and type(value) is bytes:
                        record = plain_prompt(value)
                        if record is not None and _is_simple(record["messages"]):
                            own_rows += 1
                            misses = 0
                            reject = use(line, record["id"])
                            if reject is None:
                                yield record
                            else:
                                self._again(reject, record)
                            continue
                        misses += 1
                    for record in self._read(name, line, value, gathered):
                        reject = use(line, record["id"])
                        if reject is None:
                            yield record
                        else:
                            self._again(reject, record)
            own.records += own_rows
            own.given += own_rows
            own_rows = 0
            for format_name, rows in gathered.items():
                yield from self._gathered(name, recognition.named(format_name, self.kind), rows, use)
        self._settle()

    # ------------------------------------------------------------ one row

    def _read(
        self,
        name: str,
        line: int,
        value: bytes | Record | Wrong,
        gathered: dict[str, list[tuple[int, Record]]],
    ) -> Iterable[Record]:
        """The records of a row; what is wrong with it is a reject."""
        try:
            if self._is_quick:
                if type(value) is bytes:
                    if (plain := plain_line(value)) is not None:
                        return [self._quick(*plain)]
                elif type(value) is dict and (record := plain_row(value)) is not None:
                    told = self._told("contract")
                    told.records += 1
                    told.given += 1
                    return [record]
            row, flaw = self._row(value)
            format = self._forced or recognition.recognised(row, self.kind)
            if self._forced and not format.recognises(row):
                raise Wrong("", f"no record of format {format.name}: `rlhf data formats` shows one")
            if format.gather is not None:
                gathered.setdefault(format.name, []).append((line, row))
                self._told(format.name).records += 1
                return ()
            found = self._converted(format, row)
            if flaw:
                self._told(format.name).given -= len(found)
                raise Wrong("", flaw)
            return found
        except Wrong as wrong:
            self._notes.clear()
            self._unused.clear()
            self.rejects.append(Reject(name, line, wrong.field, wrong.reason))
            return ()

    def _quick(self, format: str, record: Record, name: str, notes: dict[str, int]) -> Record:
        """The record of a line that was read in one go; raises Wrong."""
        record = drafts.identified(record, name, self.options, self._notes)
        told = self._told(format)
        told.records += 1
        told.given += 1
        for note, count in notes.items():
            told.notes[note] += count
        if self._notes:
            told.notes[drafts.USERLESS] += 1
            self._notes.clear()
        return record

    def _row(self, value: bytes | Record | Wrong) -> tuple[Record, str]:
        """The row with its lists unpacked and its fields mapped, and json_line's flaw."""
        flaw = ""
        if type(value) is bytes:
            row, flaw = json_line.decode_any(value, contract.KNOWN)
        elif isinstance(value, Wrong):
            raise value
        else:
            assert isinstance(value, dict)
            row = value
        if not row.keys().isdisjoint(values.STRUCTURED):
            row = values.unpacked(row)
        for ours, theirs in self.options.map.items():
            given = values.at_path(row, theirs)
            row.pop(theirs, None)
            if given is not None:
                row[ours] = given
        return row, flaw

    def _converted(self, format: Format, row: Record) -> list[Record]:
        """The records of a row; raises Wrong, and counts what a row leaves out."""
        options, notes, unused = self.options, self._notes, self._unused
        user = values.at_path(row, options.user_field) if options.user_field else None
        found: list[Record] = []
        counts = self._told(format.name)
        try:
            for draft in format.read(row, self.kind, notes):
                if user is not None:
                    draft["user_id"] = user
                try:
                    found.append(drafts.finished(draft, self.kind, options, notes, unused))
                except LeftOut as reason:
                    counts.left_out[reason.reason] += 1
        except LeftOut as reason:
            counts.left_out[reason.reason] += 1
        counts.records += format.gather is None
        counts.given += len(found)
        if notes:
            for note, count in notes.items():
                counts.notes[note] += count
            notes.clear()
        if unused:
            for name, count in unused.items():
                counts.unused[name] += count
            unused.clear()
        return found

    # ------------------------------------------------------------ rows of one file together, and rows seen again

    def _gathered(
        self,
        name: str,
        format: Format,
        rows: list[tuple[int, Record]],
        use: Callable[[int, str], Reject | None],
    ) -> Iterator[Record]:
        """The records of a file whose rows belong together; what is wrong is told at the line of the first of them."""
        assert format.gather is not None
        lines = {id(row): line for line, row in rows}
        for row in format.gather(row for _, row in rows):
            line = next((lines[id(part)] for part in row.values() if id(part) in lines), rows[0][0])
            try:
                found = self._converted(format, row)
            except Wrong as wrong:
                self.rejects.append(Reject(name, line, wrong.field, wrong.reason))
                continue
            for record in found:
                reject = use(line, record["id"])
                if reject is None:
                    self._assembled[record["id"]] = digest(record)
                    yield record
                else:
                    self._again(reject, record)

    def _again(self, reject: Reject, record: Record) -> None:
        """An id that was used before: a reject, unless the record turns out to be the same."""
        if record["id"] in self._assembled:
            if self._assembled[record["id"]] == digest(record):
                self.copies += 1
            else:
                self.rejects.append(reject)
            return
        self.rejects.append(reject)
        self._seen_again.setdefault(self._uses.place(record["id"]), []).append((digest(record), reject))

    def _settle(self) -> None:
        """Take back the rejects of records that say, word for word, what the first of their id says."""
        if not self._seen_again:
            return
        same: set[int] = set()
        again = Reader(self.kind, [], self.options)
        for at, (source, name) in enumerate(zip(self._sources, self._names, strict=True)):
            wanted = {line for file, line in self._seen_again if file == at}
            if not wanted:
                continue
            for line, value in containers.rows(source):
                if line not in wanted:
                    continue
                said = {digest(first) for first in again._read(name, line, value, {})}
                same |= {id(reject) for told, reject in self._seen_again[at, line] if told in said}
        self.rejects[:] = [reject for reject in self.rejects if id(reject) not in same]
        self.copies += len(same)

    # ------------------------------------------------------------ what is told

    def _told(self, name: str) -> Told:
        told = self.formats.get(name)
        if told is None:
            told = self.formats[name] = Told()
        return told

    def lines(self) -> list[str]:
        """What was recognised and done, a line a format, and a sentence for each field that no model will see."""
        lines = []
        for name, told in self.formats.items():
            if not told.records:
                continue
            said = [f"{name}: {told.given:,} {self.kind} of {told.records:,} records"]
            said += [f"{count:,} left out: {reason}" for reason, count in sorted(told.left_out.items())]
            said += [f"{count:,} {note}" for note, count in sorted(told.notes.items())]
            lines.append("; ".join(said))
        if self.copies:
            lines.append(f"{self.copies:,} rows are there twice, word for word: one of each is taken")
        for name, told in self.formats.items():
            for unused, count in sorted(told.unused.items()):
                hint = "" if unused in _TOOLS else f" (--map text={unused} makes it the prompt)"
                lines.append(
                    f"the field `{unused}` of {count:,} {name} records looks like content, and no model will see it: "
                    f"it is kept as an extra{hint}"
                )
        return lines

    def left_out(self) -> Notes:
        """Reasons of records that are not broken and give nothing, counted."""
        copies = Counter({"the row is there already, word for word": self.copies} if self.copies else {})
        return sum((told.left_out for told in self.formats.values()), copies)

    def done(self) -> Notes:
        """What was done inside records that were taken, counted."""
        return sum((told.notes for told in self.formats.values()), Counter())


def _is_simple(messages: list[dict[str, str]]) -> bool:
    """Whether a plain prompt is what it seems: speakers take turns, and its text is no transcript of them."""
    if len(messages) == 1:
        text = messages[0]["content"]
        return not (text[0] in "H#" and text.startswith(_TRANSCRIPTS))
    return conversation.is_plain(messages)


def digest(record: Record) -> bytes:
    """16 bytes that are equal for equal records."""
    return xxhash.xxh3_128_digest(_encode(record))
