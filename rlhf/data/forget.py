"""What there is of a user in any file of the data set, and the data set without it.

A record is a user's where it names the user (user_id); where it names one of the user's prompts
(prompt_id of a sample or comparison, id and duplicate_of of a line about a prompt); or where it names
nobody and one of its texts is one of the user's (an imported comparison, a demonstration). Texts are
compared folded. A text that another user sent too is that user's as well, and stays.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlhf.data import tombstones
from rlhf.data.fold import fold, fold_messages
from rlhf.data.pii import redact
from rlhf.data.record_files import ASIDE, Record, Unreadable, decoded, entries, kind, rewrite
from rlhf.data.tombstones import user_of

SHORT = 20  # characters: a shorter text alone ("Why?") is nobody's
BEGINNING = 120  # folded characters by which a text is known in a page or a table, which may cut it
_USER = re.compile(rb'\\*"user_id\\*"\s*:\s*(\\*"(?:[^"\\]|\\u[0-9a-fA-F]{4})*\\*"|[^,}\s\\"]+)')
_PROMPT = re.compile(rb'\\*"prompt_id\\*"\s*:\s*\\*"([^"\\]*)\\*"')
_DERIVED = re.compile(r"r\d+-(.+?)(?:-\d\d)?")  # a sample's id, a comparison's


@dataclass
class Traces:
    """Ids and texts of some users. texts: {folded: as it was sent}, whole prompts and single messages.

    shared: texts that another user sent too; short: those under SHORT characters, which count as whole
    prompts alone. Both were left out of what is searched for.
    """

    users: set[str] = field(default_factory=set)
    prompts: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    shared: int = 0

    def __bool__(self) -> bool:
        return bool(self.users or self.prompts)

    @property
    def searched(self) -> list[str]:
        """The texts that are somebody's wherever they stand, folded."""
        return [text for text in self.texts if len(text) >= SHORT]

    @property
    def short(self) -> int:
        return len(self.texts) - len(self.searched)

    @cached_property
    def beginnings(self) -> list[str]:
        """How the texts begin, also where personal data in them was redacted."""
        long = [self.texts[text] for text in self.searched]
        return sorted({fold(form)[:BEGINNING] for text in long for form in (text, redact(text))})

    def owns(self, entry: Record | bytes) -> bool:
        """Whether a record, or a line that is none, is one of the users'."""
        if isinstance(entry, bytes):
            return names_user(entry, self.users.__contains__) or self._names_prompt(entry)
        user = user_of(entry)
        if user is not None:
            return user in self.users
        if _named(entry, "prompt_id") in self.prompts or self._is_about(entry):
            return True
        has_prompt = {"messages", "completion", "completions"} & entry.keys()
        if has_prompt and fold_messages(_messages(entry)) in self.whole:
            return True
        return any(self._is_theirs(text) for text in strings(entry))

    def shows(self, text: str) -> bool:
        """Whether a page, or a cell of a table, shows one of the texts, or its beginning."""
        folded = fold(html.unescape(text))
        return any(beginning in folded for beginning in self.beginnings)

    def _is_about(self, entry: Record) -> bool:
        """A line about a prompt (removed.jsonl), which has none of its text."""
        if (
            entry.get("kind", "prompts") != "prompts"
            or {"messages", "text", "completion", "completions"} & entry.keys()
        ):
            return False
        return any(map(self._is_prompt, [_named(entry, "id"), *strings(entry)]))

    def _is_prompt(self, name: str) -> bool:
        found = _DERIVED.fullmatch(name)
        return name in self.prompts or bool(found and found[1] in self.prompts)

    def _is_theirs(self, text: str) -> bool:
        if len(text) >= SHORT and fold(text) in self.texts:
            return True
        return '"user_id' in text.replace("\\", "") and self.owns(decoded(text.encode("utf-8", "replace")))

    def _names_prompt(self, line: bytes) -> bool:
        return any(found.decode("utf-8", "replace") in self.prompts for found in _PROMPT.findall(line))


def gather(files: Iterable[Path], is_gone: Callable[[str], bool]) -> Traces:
    """Ids and texts of the users that `is_gone` names, out of files of any kind; nothing shared is left out yet."""
    found = Traces()
    for entry in _all(files):
        if isinstance(entry, bytes):
            continue
        user = user_of(entry)
        if user is None or not is_gone(user):
            continue
        found.users.add(user)
        if "completion" not in entry and _named(entry, "id"):
            found.prompts.add(_named(entry, "id"))
        messages = _messages(entry)
        texts = [message["content"] for message in messages if message["role"] == "user"]
        found.texts |= {fold(text): text for text in texts}
        found.whole.add(fold_messages(messages))
    found.texts.pop("", None)
    found.whole.discard("")
    return found


def without_shared(traces: Traces, files: Iterable[Path]) -> Traces:
    """The traces less the texts and ids that prompts of other users in `files` have too."""
    texts, whole, ids = set(), set(), set()
    for entry in _all(files):
        if isinstance(entry, bytes) or "completion" in entry:
            continue
        user = user_of(entry)
        if user is None or user in traces.users:
            continue
        messages = _messages(entry)
        ids.add(_named(entry, "id"))
        whole.add(fold_messages(messages))
        texts |= {fold(message["content"]) for message in messages} & traces.texts.keys()
    return Traces(
        users=traces.users,
        prompts=traces.prompts - ids,
        texts={text: sent for text, sent in traces.texts.items() if text not in texts},
        whole=traces.whole - whole - texts,
        shared=traces.shared + len(texts),
    )


def clean(data: Path, traces: Traces) -> dict[str, int]:
    """Takes the users' records out of every file of a data folder: {file: records dropped}, of those changed.

    Curation's documents (card, funnel) show texts of whom they like: they go first, and the next curation
    writes them. A file that is left empty goes too, but in rounds/ and curated/, where it is looked for.
    """
    files = files_of(data)
    theirs = [path for path in files if _readable(path) and holds(path, traces)]
    changed: dict[str, int] = {}
    for path in files if theirs else ():
        name, document = path.relative_to(data), kind(path) == "document"
        derived = "curated" in name.parts and (document or path.suffix == ".json")
        if derived or (document and path in theirs):
            path.unlink()
            changed[name.as_posix()] = 0
    for path in theirs:
        name = path.relative_to(data)
        if name.as_posix() in changed:
            continue
        kept, changed[name.as_posix()] = rewrite(path, traces.owns)
        if not kept and not {"rounds", "curated"} & set(name.parts):
            path.unlink()
    return changed


def _readable(path: Path) -> bool:
    try:
        return next(entries(path), None) is not None
    except Unreadable:
        return False


def holds(path: Path, traces: Traces) -> bool:
    """Whether a file has a record of the users, or shows one of their texts. Unreadable rises."""
    document = kind(path) == "document"
    for entry in entries(path):
        if document and isinstance(entry, bytes):
            if traces.shows(entry.decode("utf-8", "replace")):
                return True
        elif traces.owns(entry):
            return True
    return False


def again(data: Path) -> dict[str, int]:
    """`clean` by the tombstones in a data folder: for one that an earlier version was brought back into."""
    gone = tombstones.read(data)
    if not gone:
        return {}
    found = gather(files_of(data), gone.has_user)
    found.prompts |= {name for name in _prompt_ids(files_of(data)) if gone.has_prompt(name)}
    found = without_shared(found, files_of(data / "raw"))
    return clean(data, found) if found else {}


def files_of(data: Path) -> list[Path]:
    """The files of a data folder, but the list of the forgotten; what a killed rewrite left is deleted."""
    if not data.is_dir():
        return []
    for left in data.rglob(f".*{ASIDE}"):
        left.unlink()
    return sorted(path for path in data.rglob("*") if path.is_file() and path != data / tombstones.FILE)


def names_user(line: bytes, is_gone: Callable[[str], bool]) -> bool:
    """Whether a line that is not JSON, or JSON inside a string, still names a user."""
    for found in _USER.findall(line):
        text = found.replace(b'\\"', b'"').decode("utf-8", "replace")
        value: Any = decoded(b'{"user_id":' + text.encode() + b"}")
        if isinstance(value, dict) and is_gone(str(value["user_id"])):
            return True
    return False


def text_of(path: Path) -> Iterator[str]:
    """Everything in a file that can be read as text: documents, the lines and strings of records."""
    for entry in entries(path):
        if isinstance(entry, bytes):
            yield entry.decode("utf-8", "replace")
        else:
            yield from strings(entry)


def strings(value: Any) -> Iterator[str]:
    """Every string in a record, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def _named(record: Record, field: str) -> str:
    """The id in a field, "" where there is none."""
    value = record.get(field)
    return "" if value is None else str(value)


def _messages(record: Record) -> list[dict[str, str]]:
    """The conversation of a record; what is malformed in it is left out."""
    text, listed = record.get("text"), record.get("messages")
    if isinstance(text, str):
        return [{"role": "user", "content": text}]
    if not isinstance(listed, list):
        return []
    return [
        {"role": str(item.get("role")), "content": item["content"]}
        for item in listed
        if isinstance(item, dict) and isinstance(item.get("content"), str)
    ]


def _prompt_ids(files: Iterable[Path]) -> set[str]:
    return {str(e["prompt_id"]) for e in _all(files) if isinstance(e, dict) and e.get("prompt_id")}


def _all(files: Iterable[Path]) -> Iterator[Record | bytes]:
    for path in files:
        if kind(path) == "document":
            continue
        try:
            yield from entries(path)
        except Unreadable:
            continue
