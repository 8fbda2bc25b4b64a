"""`rlhf data add`: a user's own files, checked whole and then put beside the embedded data.

Of any format that rlhf.data.reading knows. Nothing is written before every line of every file is valid.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rlhf.data import contract, tombstones
from rlhf.data.reading import containers
from rlhf.data.reading.reader import AS_THEY_ARE, Options, Reader
from rlhf.data.reading.reader import digest as reading_digest
from rlhf.records import read_jsonl, write_jsonl

KINDS = tuple(contract.CHECKS)
_ADDED = re.compile(r"-[0-9a-f]{8}\.jsonl$")  # what _target ends in


def add(
    kind: str,
    files: Sequence[Path | str],
    raw_dir: Path | str,
    options: Options = AS_THEY_ARE,
    told: list[str] | None = None,
) -> dict[str, int]:
    """Put files of prompts, demonstrations, comparisons or pretraining text into raw_dir/kind.

    Each lands as STEM-DIGEST.jsonl (8 hexadecimal digits of its content), so adding a file twice
    changes nothing. options: how to read them; told: gets a line for each format that was recognised.
    Returns the rows of each file written, and under "forgotten" how many records were left out because their
    user was forgotten, where there are any. Raises ValueError that names file, line and field where a file is
    missing, a line is malformed, an id is used twice, or a record breaks the contract.
    """
    if kind not in KINDS:
        raise ValueError(f"cannot add {kind}; allowed: {', '.join(KINDS)}")
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{path} does not exist or is no file")
        if path.is_file() and not containers.is_known(path):
            raise ValueError(
                f"{path} is no file of records; allowed names end in {', '.join(containers.SUFFIXES)}, "
                "and .gz or .zst after these"
            )
    folder = Path(raw_dir) / kind
    sources = containers.sources(paths)
    targets = [_target(folder, source) for source in sources]
    known = _ids_of_others(kind, folder, targets)
    checked: dict[Path, list[dict[str, Any]]] = {}
    gone, left_out = tombstones.read(Path(raw_dir).parent), 0
    for source, target in zip(sources, targets, strict=True):
        path = source.path
        reader = Reader(kind, [source], options)
        records = list(reader.records())
        if reader.rejects:
            rejects = reader.rejects
            more = f" ({len(rejects) - 1} more lines are wrong)" if len(rejects) > 1 else ""
            raise ValueError(f"{rejects[0].sentence()}{more}; nothing was added")
        said = [f"{target.name}: {line}" for line in reader.lines()]
        if not records:
            why = f" of {kind} ({said[0]})" if said else ""
            raise ValueError(f"{path.name} holds no records{why}; nothing was added")
        new = []
        for record in records:
            other, digest = known.setdefault(record["id"], (target.name, reading_digest(record)))
            if other == target.name:
                new.append(record)
            elif digest != reading_digest(record):
                raise ValueError(
                    f"{path.name}, field id: one of its ids is already used in {other}, for another record; "
                    "nothing was added"
                )
        if len(new) < len(records):
            said.append(f"{target.name}: {len(records) - len(new):,} rows are there already, word for word")
        records = new
        if kind == "prompts" and len(records) > 1 and len({record["user_id"] for record in records}) == 1:
            said.append(
                f"{target.name}: all {len(records):,} prompts are of one user, who is in training or held out as a whole; "
                "where each row is another's, leave user_id out and say --one-user-each"
            )
        if told is not None:
            told += said
        lines = records if kind == "comparisons" else map(_external, records)
        checked[target] = list(tombstones.not_forgotten(lines, gone))
        left_out += len(records) - len(checked[target])
        if kind == "comparisons":  # those of a forgotten prompt are gone already: nobody can know it
            _require_known_prompts(path.name, checked[target], Path(raw_dir))
    written = {target.name: write_jsonl(target, records) for target, records in checked.items() if records}
    return written | ({tombstones.REASON: left_out} if left_out else {})


def remove(name: str, raw_dir: Path | str) -> Path:
    """The file of raw_dir/KIND that `add` wrote under this name (or path), once it is taken out.

    Raises ValueError where there is none, or where it did not come by `add`.
    """
    found = [path for path in added(raw_dir) if path.name == Path(name).name and path.match(name)]
    if len(found) != 1:
        there = ", ".join("/".join(path.parts[-2:]) for path in added(raw_dir)) or "none"
        which = "no file that was added" if not found else "more than one file"
        raise ValueError(f"{name} is {which}; allowed: {there}")
    found[0].unlink()
    return found[0]


def added(raw_dir: Path | str) -> list[Path]:
    """The files that `add` wrote, by kind."""
    return [
        path
        for kind in KINDS
        for path in sorted((Path(raw_dir) / kind).glob("*.jsonl"))
        if _ADDED.search(path.name)
    ]


def _require_known_prompts(name: str, comparisons: list[dict[str, Any]], raw: Path) -> None:
    """ValueError where a comparison gives no text of its prompt, and the prompt it names is nowhere in data/."""
    nameless = [record for record in comparisons if "messages" not in record]
    if not nameless:
        return
    sampled = (
        *raw.parent.glob("rounds/*/samples.jsonl"),
        *raw.parent.glob("profiles/*/rounds/*/samples.jsonl"),
    )
    known = {row["prompt_id"] for path in sampled for row in read_jsonl(path)}
    if any(record["prompt_id"] not in known for record in nameless):
        files = sorted((raw / "prompts").glob("*.jsonl"))
        known.update(record["id"] for record in contract.read("prompts", files, []))
    unknown = [record for record in nameless if record["prompt_id"] not in known]
    if unknown:
        raise ValueError(
            f"{name}, field prompt_id: {len(unknown):,} comparisons (the first: {unknown[0]['id']}) name a prompt that no "
            "round sampled and data/raw/prompts does not hold; allowed: one that is there, or text or messages beside it; "
            "nothing was added"
        )


def _ids_of_others(kind: str, folder: Path, targets: list[Path]) -> dict[str, tuple[str, bytes]]:
    """id -> (file, digest of the record) of what is there already."""
    known: dict[str, tuple[str, bytes]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path not in targets:
            for record in contract.read(kind, [path], []):
                known[record["id"]] = path.name, reading_digest(record)
    return known


def _target(folder: Path, source: containers.Source) -> Path:
    stem = source.path.name.split(".")[0]
    return folder / f"{stem}-{_digest(source.path, source.fields)}.jsonl"


def _external(record: dict[str, Any]) -> dict[str, Any]:
    """A checked record as a line of the contract: unknown fields back in their place."""
    line = {key: value for key, value in record.items() if key != "extra" and value is not None}
    return line | (msgspec.json.decode(record["extra"]) if record.get("extra") else {})


def _digest(path: Path, fields: dict[str, Any]) -> str:
    """Of the file's bytes and of what the names of its folders give."""
    told = msgspec.json.encode(fields, order="sorted") if fields else b""
    return hashlib.sha256(path.read_bytes() + told).hexdigest()[:8]
