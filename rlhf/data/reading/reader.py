"""Files of any known format to the contract's records, with a line for each format that says what was done.

Each record's format is recognised by its own fields, so a file may mix formats. Our own prompts are read in one go
(rlhf.data.prompt_line); everything else is unpacked, read by its format, cleaned and checked by the contract.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from rlhf.data import contract, json_line, thoughts
from rlhf.data.contract import Reject
from rlhf.data.fields import SOURCES, USE_CASES
from rlhf.data.lines import Record, Wrong
from rlhf.data.prompt_line import plain_prompt
from rlhf.data.reading import containers, conversation, recognition, values
from rlhf.data.reading.containers import Source
from rlhf.data.reading.formats import Format, LeftOut, Notes

#: fields that look like what a model should have read
CONTENT = (
    "system", "instructions", "instruction", "system_prompt", "system_message", "input", "context", "passage",
    "question", "query", "document", "article", "tool_calls", "functions", "function_call", "tools", "documents",
)  # fmt: skip
_TOOLS = ("tool_calls", "functions", "function_call", "tools")
_SYSTEM = ("system", "instructions", "system_prompt", "system_message")
_OTHER_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_TRANSCRIPTS = ("Human:", "### Human:", "###Human:")
UNNAMED = "unknown"
_IDENTITY = ("id", "user_id", "labeler_id", "prompt_id")
_NO_USER = "missing: name its field by --user-field, or say --one-user-each or --anonymous"
_encode = msgspec.json.Encoder(enc_hook=str, order="sorted").encode


@dataclass(frozen=True)
class Options:
    """How files are to be read where they do not say it themselves.

    format: a name from recognition.NAMES; None recognises. user_field: where the user's id stands (a.b for a field
    in a field). map: {our field: theirs}. users: what a prompt without a user gets: nothing (it is rejected), a user
    of its own, or one that all share.
    """

    format: str | None = None
    user_field: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    users: Literal["named", "one-each", "anonymous"] = "named"


AS_THEY_ARE = Options()


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
        self._forced = recognition.named(options.format) if options.format else None
        self._uses = contract.FirstUses()
        self._seen_again: dict[tuple[int, int], list[tuple[bytes, Reject]]] = {}
        self._assembled: dict[str, bytes] = {}  # digests by id of records that no line holds alone

    def records(self) -> Iterator[Record]:
        """The valid records in the order of the files; each id once."""
        is_prompts = self.kind == "prompts"
        options = self.options
        is_fast = is_prompts and not (options.map or options.format or options.user_field)
        own = self._told("contract")
        for source, name in zip(self._sources, self._names, strict=True):
            gathered: dict[str, list[Record]] = {}
            use = self._uses.of_file(name)
            for line, value in containers.rows(source):
                if is_fast and isinstance(value, bytes):
                    record = plain_prompt(value)
                    if record is not None and _is_simple(record["messages"]):
                        own.records += 1
                        own.given += 1
                        reject = use(line, record["id"])
                        if reject is None:
                            yield record
                        else:
                            self._again(reject, record)
                        continue
                for record in self._read(name, line, value, gathered):
                    reject = use(line, record["id"])
                    if reject is None:
                        yield record
                    else:
                        self._again(reject, record)
            for format_name, rows in gathered.items():
                yield from self._gathered(name, recognition.named(format_name), rows, use)
        self._settle()

    # ------------------------------------------------------------ one row

    def _read(
        self, name: str, line: int, value: bytes | Record | Wrong, gathered: dict[str, list[Record]]
    ) -> Iterable[Record]:
        try:
            row, flaw = self._row(value)
            format = self._forced or recognition.recognised(row, self.kind)
            if format.gather is not None:
                gathered.setdefault(format.name, []).append(row)
                self._told(format.name).records += 1
                return ()
            found = self._converted(format, row)
            if flaw:
                raise Wrong("", flaw)
            return found
        except Wrong as wrong:
            self.rejects.append(Reject(name, line, wrong.field, wrong.reason))
            return ()

    def _row(self, value: bytes | Record | Wrong) -> tuple[Record, str]:
        """The row with its lists unpacked and its fields mapped, and json_line's flaw."""
        if isinstance(value, Wrong):
            raise value
        flaw = ""
        if isinstance(value, bytes):
            row, flaw = json_line.decode(value, contract.KNOWN)
        else:
            row = value
        row = values.unpacked(row)
        for ours, theirs in self.options.map.items():
            given = values.at_path(row, theirs)
            row.pop(theirs, None)
            if given is not None:
                row[ours] = given
        return row, flaw

    def _converted(self, format: Format, row: Record) -> list[Record]:
        """The records of a row; raises Wrong, and counts what a row leaves out."""
        told = self._told(format.name)
        user = values.at_path(row, self.options.user_field) if self.options.user_field else None
        notes: Notes = Counter()
        found: list[Record] = []
        left: Notes = Counter()
        try:
            for place, draft in enumerate(format.read(row, self.kind, notes)):
                if user is not None:
                    draft["user_id"] = user
                try:
                    found.append(self._finished(draft, place, notes, told))
                except LeftOut as reason:
                    left[reason.reason] += 1
        except LeftOut as reason:
            left[reason.reason] += 1
        told.records += format.gather is None
        told.given += len(found)
        told.notes.update(notes)
        told.left_out.update(left)
        return found

    def _finished(self, draft: Record, place: int, notes: Notes, told: Told) -> Record:
        kind = self.kind
        if kind != "pretraining":
            self._said(draft, notes)
        if (
            kind == "demonstrations"
            and isinstance(draft.get("completion"), str)
            and thoughts.begins(draft["completion"])
        ):
            notes["completions with thoughts, which data.thinking cuts off or keeps at curation"] += 1
        for name in _IDENTITY:
            if name in draft:
                draft[name] = values.identity(draft[name], notes)
        if draft.get("created_at") is not None:
            draft["created_at"] = values.moment(draft["created_at"], notes)
        _keep_vocabulary(draft, kind, notes)
        for name in CONTENT:
            if draft.get(name):
                told.unused[name] += 1
        if kind in ("demonstrations", "comparisons") and _is_absent(draft, "labeler_id"):
            draft["labeler_id"] = UNNAMED
            notes[f"records name no labeler: labeler_id is {UNNAMED}"] += 1
        is_userless = kind == "prompts" and _is_absent(draft, "user_id")
        if is_userless:
            if self.options.users == "named":
                raise Wrong("user_id", _NO_USER)
            notes["records without a user"] += 1
            draft["user_id"] = "anonymous"
        if kind != "pretraining" and _is_absent(draft, "id"):
            draft.pop("id", None)
            made = hashlib.blake2b(_encode([place, draft]), digest_size=12).hexdigest()
            draft["id"] = f"row-{made}"
        if is_userless and self.options.users == "one-each":
            draft["user_id"] = draft["id"]
        return contract.CHECKS[kind](draft)

    def _said(self, draft: Record, notes: Notes) -> None:
        """Clean what is said in a draft, and cut it as its kind needs it."""
        kind = self.kind
        for name in _OTHER_MEDIA:
            if draft.get(name):
                raise LeftOut(f"the record holds `{name}`")
        given = draft.get("messages")
        completion = draft.get("completion")
        if given is None:
            text = draft.get("text")
            if not isinstance(text, str):
                return  # the contract says what is missing
            if isinstance(completion, str | None) and not any(draft.get(name) for name in _SYSTEM):
                return
            given = [{"role": "user", "content": text}]
            del draft["text"]
        if kind == "demonstrations" and isinstance(completion, list | dict):
            given = [*given, *(completion if isinstance(completion, list) else [completion])]
            completion = None
        done = conversation.cleaned(given, notes)
        for name in _SYSTEM:
            text = _system_text(draft, name, notes)
            if text:
                conversation.with_system(done, text)
        if kind == "demonstrations" and completion is None:
            draft["completion"] = conversation.demonstration(done, notes)
        else:
            if kind != "prompts" and done.turns and done.turns[-1]["role"] != "user":
                raise Wrong("messages", "must end with a user's message")
            conversation.prompt(done, notes)
        draft["messages"] = done.turns
        if done.has_fields and any(done.fields):
            draft.setdefault("message_fields", done.fields)

    # ------------------------------------------------------------ rows of one file together, and rows seen again

    def _gathered(self, name: str, format: Format, rows: list[Record], use: Any) -> Iterator[Record]:
        assert format.gather is not None
        for row in format.gather(rows):
            try:
                found = self._converted(format, row)
            except Wrong as wrong:
                self.rejects.append(Reject(name, 0, wrong.field, wrong.reason))
                continue
            for record in found:
                reject = use(0, record["id"])
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
                for first in again._read(name, line, value, {}):
                    for told, reject in self._seen_again[at, line]:
                        if told == digest(first):
                            same.add(id(reject))
        self.rejects[:] = [reject for reject in self.rejects if id(reject) not in same]
        self.copies += len(same)

    # ------------------------------------------------------------ what is told

    def _told(self, name: str) -> Told:
        return self.formats.setdefault(name, Told())

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


def _is_absent(draft: Record, name: str) -> bool:
    value = draft.get(name)
    return value is None or value == ""


def _system_text(draft: Record, name: str, notes: Notes) -> str:
    """The text of a system prompt beside the messages, taken out of the draft."""
    value = draft.get(name)
    if not isinstance(value, str | list):
        return ""
    del draft[name]
    if isinstance(value, list) and not value:
        return ""
    told: Notes = Counter()
    turns = conversation.cleaned([{"role": "system", "content": value}], told, name).turns
    return turns[0]["content"] if turns else ""


def _keep_vocabulary(draft: Record, kind: str, notes: Notes) -> None:
    """A source or use case of another vocabulary is an extra."""
    if kind not in ("prompts", "demonstrations"):
        return
    for name, allowed in (("source", SOURCES), ("use_case", USE_CASES)):
        value = draft.get(name)
        if value is not None and value not in allowed:
            draft[f"{name}_given"] = draft.pop(name)
            notes[f"records with a {name} that is none of ours, kept as {name}_given"] += 1


def digest(record: Record) -> bytes:
    """16 bytes that are equal for equal records."""
    return hashlib.blake2b(_encode(record), digest_size=16).digest()


__all__ = ["Options", "Reader", "Source", "Told"]
