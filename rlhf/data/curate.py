"""Raw records to curated splits: every step counted, every removal with its reason.

Prompts:        contract -> exact and long-prefix copies -> language -> length -> user cap -> split by
                user -> PII (training users) -> leakage -> PPO's prompts and the reward model's
Demonstrations: contract -> exact copies -> language -> length -> split -> PII (training) -> leakage
Pretraining:    contract -> exact copies -> language -> split -> leakage
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from rlhf.data import card, contract, dedup, language, pii, splits, tombstones
from rlhf.data.fold import fold
from rlhf.data.leakage import HeldOut
from rlhf.data.user_cap import user_cap
from rlhf.params import DataParams
from rlhf.records import write_jsonl

Record = dict[str, Any]
TOKENS_A_WORD = 1.5  # where no tokenizer is at hand
_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def run(job: Any) -> Record:
    """The stage `curate` of rlhf.jobs."""
    valid_documents = job.params.base.valid_share
    return curate(job.path("raw"), job.out, job.params.data, valid_documents=valid_documents)


def curate(
    raw_dir: Path | str, out_dir: Path | str, params: DataParams, *, valid_documents: float = 0.01
) -> Record:
    """Curate raw_dir/{prompts,demonstrations,pretraining} into Parquet files in out_dir; the funnel.

    valid_documents: share of pretraining documents that are held out.
    Writes prompts_{rm,ppo,valid,test}.parquet, {demonstrations,pretraining}_{train,valid}.parquet,
    removed.jsonl, rejected.jsonl, funnel.json and card.md. Raises ValueError that names the step where
    too many lines are unreadable or a split is empty.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    rejects: list[contract.Reject] = []
    funnels = {kind: Funnel(kind) for kind in ("prompts", "demonstrations", "pretraining")}
    raw = {kind: _read(kind, Path(raw_dir), rejects, funnels[kind]) for kind in funnels}
    write_jsonl(out_dir / "rejected.jsonl", (reject.as_dict() for reject in rejects))
    _stop_if_unreadable(funnels, rejects, params)
    raw["prompts"] = _without_forgotten(raw["prompts"], Path(raw_dir).parent, funnels["prompts"])

    sets = _prompts(raw["prompts"], funnels["prompts"], params)
    sets |= _demonstrations(raw["demonstrations"], funnels["demonstrations"], params)
    sets |= _pretraining(raw["pretraining"], funnels["pretraining"], params, valid_documents)
    _stop_leaks(sets, funnels)
    sets |= _by_use(sets.pop("prompts_train"), params)
    for name, rows in sets.items():
        if not rows:
            raise ValueError(f"curation, step {_last_step(funnels[name.split('_')[0]])}: {name} is empty")
    for name, rows in sets.items():
        _write_parquet(out_dir / f"{name}.parquet", rows)
    write_jsonl(out_dir / "removed.jsonl", (row for funnel in funnels.values() for row in funnel.removed))
    summary = {kind: funnel.as_dict(sets) for kind, funnel in funnels.items()}
    card.write(out_dir, summary, sets)
    return summary


class Funnel:
    """What happened to one kind of record: a line a step, and what was removed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.steps: list[Record] = []
        self.removed: list[Record] = []
        self.pii: Counter[str] = Counter()

    def step(self, name: str, before: int, after: int, reasons: Counter[str]) -> None:
        self.steps.append(
            {"step": name, "in": before, "out": after, "reasons": dict(sorted(reasons.items()))}
        )

    def drop(self, name: str, rows: list[Record], kept: list[Record], removed: list[Record]) -> list[Record]:
        """Count a step that removed something, and hand on what it kept."""
        self.step(name, len(rows), len(kept), Counter(row["reason"] for row in removed))
        self.removed += [{"kind": self.kind, **row} for row in removed]
        return kept

    def filter(self, name: str, rows: list[Record], judge: Callable[[Record], Record | None]) -> list[Record]:
        """Keep the rows for which `judge` gives None; else it gives what removed.jsonl says of the row."""
        kept, removed = [], []
        for row in rows:
            verdict = judge(row)
            if verdict is None:
                kept.append(row)
            else:
                removed.append({"id": row["id"], "step": name, **verdict})
        return self.drop(name, rows, kept, removed)

    def split(self, rows: list[Record], side: Callable[[Record], str]) -> dict[str, list[Record]]:
        """The rows of each split; the steps that follow work on the training side."""
        names = ("train", "valid", "test") if self.kind == "prompts" else ("train", "valid")
        sides: dict[str, list[Record]] = {name: [] for name in names}
        for row in rows:
            sides[side(row)].append(row)
        held_out = Counter({f"held out for {name}": len(sides[name]) for name in names[1:]})
        self.step("split", len(rows), len(sides["train"]), held_out)
        return sides

    def as_dict(self, sets: dict[str, list[Record]]) -> Record:
        sizes = {name: len(rows) for name, rows in sets.items() if name.startswith(self.kind)}
        return {"steps": self.steps, "sets": sizes, "pii": dict(sorted(self.pii.items()))}


def _read(kind: str, raw_dir: Path, rejects: list[contract.Reject], funnel: Funnel) -> list[Record]:
    files = sorted(
        path for path in (raw_dir / kind).glob("*") if path.suffix in (".jsonl", ".parquet", ".gz")
    )
    if not files:
        raise ValueError(
            f"{raw_dir / kind} holds no data; run `rlhf data fetch` or `rlhf data add {kind} FILE`"
        )
    before = len(rejects)
    records = list(contract.read(kind, files, rejects))
    reasons = Counter(f"{reject.field}: {reject.reason.split(' in ')[0]}" for reject in rejects[before:])
    funnel.step("contract", len(records) + len(rejects) - before, len(records), reasons)
    return records


def _stop_if_unreadable(
    funnels: dict[str, Funnel], rejects: list[contract.Reject], params: DataParams
) -> None:
    for kind, funnel in funnels.items():
        lines, good = funnel.steps[0]["in"], funnel.steps[0]["out"]
        if lines - good > params.max_rejected * lines:
            raise ValueError(
                f"curation, step contract: {lines - good} of {lines} lines of {kind} are unreadable, "
                f"data.max_rejected allows {params.max_rejected:.0%}; the first: {rejects[0].sentence()}"
            )


def _without_forgotten(rows: list[Record], data: Path, funnel: Funnel) -> list[Record]:
    """Without the prompts of users in data/forgotten.json: counted, and named nowhere."""
    gone = tombstones.read(data)
    kept = list(tombstones.not_forgotten(rows, gone)) if gone else rows
    if len(kept) < len(rows):
        removed = Counter({tombstones.REASON: len(rows) - len(kept)})
        funnel.step(tombstones.REASON, len(rows), len(kept), removed)
    return kept


def _prompts(rows: list[Record], funnel: Funnel, params: DataParams) -> dict[str, list[Record]]:
    rows = funnel.drop("exact", rows, *dedup.exact(rows))
    rows = funnel.drop("prefix", rows, *dedup.long_prefix(rows, params.prefix_chars))
    rows = funnel.filter("language", rows, lambda row: _foreign(row, params))
    rows = funnel.filter("length", rows, lambda row: _too_long(row, params))
    rows = funnel.drop("user_cap", rows, *user_cap(rows, params.user_cap))
    sides = funnel.split(rows, lambda row: splits.user_split(row["user_id"], params))
    sides["train"] = _without_pii(sides["train"], funnel, params)
    return {f"prompts_{name}": side for name, side in sides.items()}


def _demonstrations(rows: list[Record], funnel: Funnel, params: DataParams) -> dict[str, list[Record]]:
    rows = funnel.drop("exact", rows, *dedup.exact_demonstrations(rows))
    rows = funnel.filter("language", rows, lambda row: _foreign(row, params))
    rows = funnel.filter("length", rows, lambda row: _too_long(row, params))
    sides = funnel.split(rows, lambda row: splits.demonstration_split(row, params))
    sides["train"] = _without_pii(sides["train"], funnel, params)
    return {f"demonstrations_{name}": side for name, side in sides.items()}


def _pretraining(
    rows: list[Record], funnel: Funnel, params: DataParams, valid: float
) -> dict[str, list[Record]]:
    rows = funnel.drop("exact", rows, *dedup.exact_documents(rows))
    rows = funnel.filter("language", rows, lambda row: _foreign(row, params))
    sides = funnel.split(rows, lambda row: splits.document_split(row, params, valid))
    return {f"pretraining_{name}": side for name, side in sides.items()}


def _foreign(row: Record, params: DataParams) -> Record | None:
    text = row["text"] if "text" in row else row["messages"][-1]["content"]
    found = language.foreign(text, params.languages)
    return {"reason": f"language {found}"} if found else None


def _too_long(row: Record, params: DataParams) -> Record | None:
    words = sum(len(message["content"].split()) for message in row["messages"])
    if words * TOKENS_A_WORD <= params.max_prompt_tokens:
        return None
    return {"reason": f"over {params.max_prompt_tokens} tokens"}


def _texts(row: Record) -> list[str]:
    """All texts of a record: messages and completion, or the lines of a document."""
    if "text" in row:
        return list(row["text"].splitlines())
    return [message["content"] for message in row["messages"]] + (
        [row["completion"]] if "completion" in row else []
    )


def _without_pii(rows: list[Record], funnel: Funnel, params: DataParams) -> list[Record]:
    """Training records without personal data: those that hold some are dropped, or redacted in place."""

    def judge(row: Record) -> Record | None:
        spans = [
            {"part": at, "kind": span.kind, "start": span.start, "end": span.end}
            for at, text in enumerate(_texts(row))
            for span in pii.find(text)
        ]
        funnel.pii.update(str(span["kind"]) for span in spans)
        if not spans or params.pii == "redact":
            return None
        return {"reason": ", ".join(sorted({str(span["kind"]) for span in spans})), "pii": spans}

    kept = funnel.filter("pii", rows, judge)
    return [_redacted(row) for row in kept] if params.pii == "redact" else kept


def _redacted(row: Record) -> Record:
    messages = [{**message, "content": pii.redact(message["content"])} for message in row["messages"]]
    changed = {**row, "messages": messages}
    if "completion" in row:
        changed["completion"] = pii.redact(row["completion"])
    return changed


def _stop_leaks(sets: dict[str, list[Record]], funnels: dict[str, Funnel]) -> None:
    """Drop from every training set what a held-out set holds, and prompts that demonstrations answer."""
    names, texts = [], []
    for name in ("prompts_valid", "prompts_test", "demonstrations_valid"):
        names += [name] * len(sets[name])
        texts += [row["messages"][-1]["content"] for row in sets[name]]
    asked = HeldOut(texts, names)
    documents = [row["text"] for row in sets["pretraining_valid"]]
    written = HeldOut(texts + documents, names + ["pretraining_valid"] * len(documents))
    for kind, held_out in (("demonstrations", asked), ("prompts", asked), ("pretraining", written)):
        used = {
            fold(row["messages"][-1]["content"]) for row in sets["demonstrations_train"] if kind == "prompts"
        }

        def judge(row: Record, held_out: HeldOut = held_out, used: set[str] = used) -> Record | None:
            against = held_out.match(_texts(row))
            if against:
                return {"reason": f"repeats a text of {against}", "against": against}
            if used and fold(row["messages"][-1]["content"]) in used:
                return {"reason": "a demonstration answers it", "against": "demonstrations_train"}
            return None

        sets[f"{kind}_train"] = funnels[kind].filter("leakage", sets[f"{kind}_train"], judge)


def _by_use(rows: list[Record], params: DataParams) -> dict[str, list[Record]]:
    sides: dict[str, list[Record]] = {"prompts_rm": [], "prompts_ppo": []}
    for row in rows:
        sides[f"prompts_{splits.training_use(row, params)}"].append(row)
    return sides


def _last_step(funnel: Funnel) -> str:
    """The step that left nothing, or else the split that follows the steps."""
    return next((step["step"] for step in funnel.steps if step["out"] == 0), "split")


def _write_parquet(path: Path, rows: list[Record]) -> None:
    """Rows ordered by id, so that the same records are the same bytes."""
    rows = sorted(rows, key=lambda row: row["id"])
    schema = {key: _MESSAGES if key == "messages" else pl.String for key in rows[0]}
    aside = path.with_name(f".{path.name}.tmp")
    pl.DataFrame(rows, schema=schema).write_parquet(aside, compression="zstd", statistics=False)
    os.replace(aside, path)
