"""`rlhf data add`: a user's own files, checked whole and then put beside the embedded data.

JSON Lines (plain or gzip) or Parquet. Nothing is written before every line of every file is valid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rlhf.data import contract, tombstones
from rlhf.records import write_jsonl

KINDS = tuple(contract.CHECKS)
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet", ".jsonl.gz")


def add(kind: str, files: Sequence[Path | str], raw_dir: Path | str) -> dict[str, int]:
    """Put files of prompts, demonstrations, comparisons or pretraining text into raw_dir/kind.

    Each lands as STEM-DIGEST.jsonl (8 hexadecimal digits of its content), so adding a file twice
    changes nothing. Returns the rows of each file written, and under "forgotten" how many records were
    left out because their user was forgotten, where there are any. Raises ValueError that names file, line
    and field where a file is missing, a line is malformed, an id is used twice, or a record breaks the
    contract.
    """
    if kind not in KINDS:
        raise ValueError(f"cannot add {kind}; allowed: {', '.join(KINDS)}")
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path} does not exist or is no file")
        if not path.name.endswith(_SUFFIXES):
            raise ValueError(
                f"{path} is neither JSON Lines nor Parquet; allowed names end in {', '.join(_SUFFIXES)}"
            )
    folder = Path(raw_dir) / kind
    targets = [folder / f"{path.name.split('.')[0]}-{_digest(path)}.jsonl" for path in paths]
    known = _ids_of_others(kind, folder, targets)
    checked: dict[Path, list[dict[str, Any]]] = {}
    gone, left_out = tombstones.read(Path(raw_dir).parent), 0
    for path, target in zip(paths, targets, strict=True):
        rejects: list[contract.Reject] = []
        records = list(contract.read(kind, [path], rejects))
        if rejects:
            more = f" ({len(rejects) - 1} more lines are wrong)" if len(rejects) > 1 else ""
            raise ValueError(f"{rejects[0].sentence()}{more}; nothing was added")
        if not records:
            raise ValueError(f"{path.name} holds no records; nothing was added")
        for record in records:
            other = known.setdefault(record["id"], target.name)
            if other != target.name:
                raise ValueError(
                    f"{path.name}, field id: one of its ids is already used in {other}; nothing was added"
                )
        lines = records if kind == "comparisons" else map(_external, records)
        checked[target] = list(tombstones.not_forgotten(lines, gone))
        left_out += len(records) - len(checked[target])
    written = {target.name: write_jsonl(target, records) for target, records in checked.items() if records}
    return written | ({tombstones.REASON: left_out} if left_out else {})


def _ids_of_others(kind: str, folder: Path, targets: list[Path]) -> dict[str, str]:
    """id -> file of what is there already."""
    known: dict[str, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path not in targets:
            known.update((record["id"], path.name) for record in contract.read(kind, [path], []))
    return known


def _external(record: dict[str, Any]) -> dict[str, Any]:
    """A checked record as a line of the contract: unknown fields back in their place."""
    line = {key: value for key, value in record.items() if key != "extra" and value is not None}
    return line | (msgspec.json.decode(record["extra"]) if record.get("extra") else {})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
