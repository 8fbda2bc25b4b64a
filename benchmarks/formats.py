"""How fast files of other formats are read, beside our own contract on the same rows.

    python -m benchmarks.formats [--rows 50000] [--turns 5] --json

The rows are a seeded log of prompts (rlhf/data/planted/copies.py), written in each format as JSON Lines; beside each file
lies our own contract's of the same rows: the records that come out of it, with all that is kept of them. Our own rows lie
in every container, too. Every file is read to its end, checked records out; the two take turns in one process and CPU
seconds count. A ratio is the median of our contract's seconds over the other's, turn by turn: 1 is as fast. `worst_ratio`
is the least of them, `against_plain` the least where our side holds id, user and text alone, and `own_vs_strict` compares
the reader on our own contract with the contract's strict reader, which recognises nothing.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from rlhf.data import contract
from rlhf.data.planted import copies
from rlhf.data.reading.reader import Options, Reader

Record = dict[str, Any]
ANSWER = (
    "It depends on the season, the place and how much time there is, so begin with the simplest part of it."
)
ANONYMOUS = Options(users="anonymous")


def asked(row: Record) -> list[Record]:
    return [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": ANSWER}]


SHAPES: dict[str, Callable[[Record], Record]] = {
    "openai-chat": lambda row: {"model": "m", "user": row["user_id"], "messages": asked(row)[:1], "temperature": 1},
    "openai-chat-parts": lambda row: {
        "user": row["user_id"], "messages": [{"role": "user", "content": [{"type": "text", "text": row["text"]}]}]
    },
    "openai-fine-tuning": lambda row: {"messages": [{"role": "developer", "content": "Be brief."}, *asked(row)]},
    "anthropic": lambda row: {"system": "Be brief.", "messages": asked(row)[:1], "max_tokens": 100},
    "sharegpt": lambda row: {
        "id": row["id"], "conversations": [{"from": "human", "value": row["text"]}, {"from": "gpt", "value": ANSWER}]
    },
    "lmsys-chat": lambda row: {
        "conversation_id": row["id"], "model": "m", "conversation": asked(row), "turn": 1, "language": "English",
        "openai_moderation": [{"flagged": False}], "redacted": False,
    },
    "wildchat": lambda row: {
        "conversation_hash": row["id"], "model": "m", "timestamp": "2024-01-05T10:00:00Z", "turn": 1, "language": "English",
        "conversation": [turn | {"hashed_ip": row["user_id"], "country": "Peru", "toxic": False} for turn in asked(row)],
    },
    "hh-transcript": lambda row: {"text": f"\n\nHuman: {row['text']}\n\nAssistant: {ANSWER}"},
    "alpaca": lambda row: {"instruction": row["text"], "input": "", "output": ANSWER},
    "dolly": lambda row: {"instruction": row["text"], "context": "", "response": ANSWER, "category": "open_qa"},
    "trl": lambda row: {"prompt": row["text"], "completion": ANSWER},
    "oasst-trees": lambda row: {"message_tree_id": row["id"], "prompt": {
        "message_id": row["id"], "user_id": row["user_id"], "text": row["text"], "role": "prompter", "lang": "en",
        "replies": [{"message_id": row["id"] + "a", "text": ANSWER, "role": "assistant", "rank": 0, "replies": []}]}},
    "langfuse": lambda row: {
        "id": row["id"], "traceId": row["id"], "type": "GENERATION", "userId": row["user_id"], "startTime": "2025-01-05T10:00:00Z",
        "input": asked(row)[:1], "output": asked(row)[1],
    },
    "otel-genai": lambda row: {"span_id": row["id"], "attributes": {
        "user.id": row["user_id"], "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 12,
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": row["text"]}]}]}},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), options.rows, options.turns)
    for key, value in report.items():
        print(f"{key}: {value:.3g}" if isinstance(value, float) else f"{key}: {value}")
    if options.json:
        print(json.dumps(report))


def measure(folder: Path, rows: int, turns: int) -> dict[str, Any]:
    """Rows a CPU second of our contract, and every other's ratio to it."""
    records = [
        {"id": row["id"], "user_id": row["user_id"], "text": row["text"]}
        for row in copies.corpus(rows, 0).records
    ]
    files = {"contract": lines(folder / "contract.jsonl", records)}
    files |= containers(folder, records)
    for name, shape in SHAPES.items():
        files[name] = lines(folder / f"{name}.jsonl", map(shape, records))
        ours = map(_external, Reader("prompts", [files[name]], ANONYMOUS).records())
        files[f"{name}, ours"] = lines(folder / f"{name}-ours.jsonl", ours)
    sides: dict[str, Callable[[], Iterable[Record]]] = {
        name: lambda path=path: Reader("prompts", [path], ANONYMOUS).records()  # type: ignore[misc]
        for name, path in files.items()
    }
    sides["strict"] = lambda: contract.read("prompts", [files["contract"]], [])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            begin = time.process_time()
            count = sum(1 for _ in side())
            if turn:  # the first warms up
                seconds[name].append(time.process_time() - begin)
            assert count > 0.8 * len(records), (name, count)  # rows that say the same are one

    def ratio(other: str, ours: str = "contract") -> float:
        return statistics.median(own / its for own, its in zip(seconds[ours], seconds[other], strict=True))

    ratios = {name: ratio(name, f"{name}, ours") for name in SHAPES}
    ratios |= {
        name: ratio(name) for name in files if name.split(".")[0] in ("jsonl", "json", "csv", "parquet")
    }
    return {
        "rows": len(records),
        "rows_per_second": len(records) / statistics.median(seconds["contract"]),
        "own_vs_strict": ratio("contract", "strict"),
        "against_plain": min(ratio(name) for name in SHAPES),
        "worst_ratio": min(ratios.values()),
        "worst": min(ratios, key=lambda name: ratios[name]),
        "ratios": {name: round(ratio, 3) for name, ratio in sorted(ratios.items(), key=lambda item: item[1])},
        "rows_per_second_of": {
            name: round(len(records) / statistics.median(seconds[name])) for name in SHAPES
        },
        "versions": {name: version(name) for name in ("msgspec", "polars", "pyarrow")}
        | {"python": platform.python_version()},
    }


def _external(record: Record) -> Record:
    """A record as a line of our contract."""
    line = {key: value for key, value in record.items() if key != "extra" and value is not None}
    return line | (msgspec.json.decode(record["extra"]) if record.get("extra") else {})


def lines(path: Path, rows: Iterable[Record]) -> Path:
    encode = msgspec.json.encode
    path.write_bytes(b"".join(encode(row) + b"\n" for row in rows))
    return path


def containers(folder: Path, records: list[Record]) -> dict[str, Path]:
    """Our own records in every container."""
    text = (folder / "contract.jsonl").read_bytes()
    (folder / "contract.jsonl.gz").write_bytes(gzip.compress(text, 6))
    with pa.CompressedOutputStream(str(folder / "contract.jsonl.zst"), "zstd") as stream:
        stream.write(text)
    (folder / "contract.json").write_text(json.dumps(records, indent=2))
    with (folder / "contract.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "user_id", "text"])
        writer.writeheader()
        writer.writerows(records)
    pl.DataFrame(records).write_parquet(folder / "contract.parquet")
    names = ("contract.jsonl.gz", "contract.jsonl.zst", "contract.json", "contract.csv", "contract.parquet")
    return {name.removeprefix("contract."): folder / name for name in names}


if __name__ == "__main__":
    main()
