"""Raw records to curated splits: every step counted, every removal with its reason.

Prompts:        contract -> copies (exact, prefix, near) -> language -> length -> user cap -> split by
                user -> PII (training users) -> leakage -> PPO's prompts and the reward model's
Demonstrations: contract -> thoughts cut or kept -> copies (exact, near) -> language -> length -> split -> PII (training) -> leakage
Pretraining:    contract -> cleaned -> copies (exact, near) -> language -> split -> leakage

This is the stage of a round; rlhf/data/room.py curates prompts by themselves, by the same steps.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.data import card, clean, contract, sets, splits, thoughts, tombstones, verdicts
from rlhf.data.curation import Curation, Kind, Sieve
from rlhf.data.engine import Engine
from rlhf.data.leakage import HeldOut
from rlhf.data.sets import Summary
from rlhf.params import DataParams
from rlhf.records import write_jsonl

Record = dict[str, Any]
CLEAN = Sieve("clean", "nothing but boilerplate", clean.cleaned)
KINDS: tuple[Kind, ...] = ("prompts", "demonstrations", "pretraining")


def run(job: Any) -> Record:
    """The stage `curate` of rlhf.jobs; its input `cache`, a folder, may be missing."""
    base = Path(job.params.base.path) if job.params.base.path else None
    return curate(
        job.path("raw"),
        job.out,
        job.params.data,
        valid_documents=job.params.base.valid_share,
        tokenizer=base if base and (base / "tokenizer.json").is_file() else None,
        cache=Path(job.inputs["cache"]) if "cache" in job.inputs else None,
    )


def curate(
    raw_dir: Path | str,
    out_dir: Path | str,
    params: DataParams,
    *,
    valid_documents: float = 0.01,
    tokenizer: Path | None = None,
    cache: Path | None = None,
) -> Record:
    """Curate raw_dir/{prompts,demonstrations,pretraining} into Parquet files in out_dir; the funnel.

    valid_documents: share of pretraining documents that are held out. tokenizer: a directory whose tokenizer
    measures lengths. cache: where to remember what was computed of each record.
    Writes prompts_{rm,ppo,valid,test}.parquet, {demonstrations,pretraining}_{train,valid}.parquet,
    removed.jsonl, rejected.jsonl, funnel.json, card.md and funnel.svg. Raises ValueError that names the step
    where too many lines are unreadable or a split is empty.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    asked = verdicts.asked_of(params.languages, tokenizer)
    rejects: list[contract.Reject] = []
    with ExitStack() as stack:
        for left in out_dir.glob(".work-*.part"):  # by a run that was killed
            shutil.rmtree(left)
        aside = tempfile.TemporaryDirectory(dir=out_dir, prefix=".work-", suffix=".part")
        folder = Path(stack.enter_context(aside))
        engine = stack.enter_context(Engine(params, folder))
        works = {kind: Curation(kind, folder, params, engine, asked, cache=cache) for kind in KINDS}
        begins: dict[str, int] = {}
        for kind, work in works.items():
            begins[kind] = len(rejects)
            stack.callback(work.close)
            _read(work, Path(raw_dir), rejects)
        write_jsonl(out_dir / "rejected.jsonl", (reject.as_dict() for reject in rejects))
        for kind, work in works.items():
            stop_if_unreadable(work, rejects[begins[kind] :])
            work.drop_copies()
            work.judge()
            work.split(valid_documents)
            if work.kind != "pretraining":
                work.drop_personal()
        _stop_leaks(works)
        summaries = _write_sets(works, out_dir)
        with (out_dir / "removed.jsonl").open("wb") as file:
            for work in works.values():
                work.close()
                with work.funnel.removed.open("rb") as part:
                    shutil.copyfileobj(part, file)
        summary: Record = {
            kind: work.funnel.as_dict(
                {name: found for name, found in summaries.items() if name.startswith(kind)}
            )
            for kind, work in works.items()
        }
        card.write(out_dir, summary)
        for work in works.values():
            work.remember()
    return summary


def stop_if_unreadable(work: Curation, rejects: list[contract.Reject]) -> None:
    """ValueError where more lines of a kind were rejected than data.max_rejected allows. rejects: from its first on."""
    lines, good = work.funnel.steps[0]["in"], work.funnel.steps[0]["out"]
    if lines - good > work.params.max_rejected * lines:
        raise ValueError(
            f"curation, step contract: {lines - good} of {lines} lines of {work.kind} are unreadable, "
            f"data.max_rejected allows {work.params.max_rejected:.0%}; the first: {rejects[0].sentence()}"
        )


def _read(work: Curation, raw_dir: Path, rejects: list[contract.Reject]) -> None:
    folder = raw_dir / work.kind
    files = sorted(path for path in folder.glob("*") if path.suffix in (".jsonl", ".parquet", ".gz"))
    if not files:
        raise ValueError(f"{folder} holds no data; run `rlhf data fetch` or `rlhf data add {work.kind} FILE`")
    work.read(files, rejects, _sieve(work, raw_dir.parent))


def _sieve(work: Curation, data: Path) -> Sieve | None:
    """What is done to each record of a kind as it is read."""
    if work.kind == "pretraining":
        return CLEAN
    if work.kind == "demonstrations":
        treatment = thoughts.Treatment(work.params.thinking)
        return Sieve("thinking", thoughts.NO_ANSWER, treatment.apply, done=treatment.done)
    return _unless_forgotten(work, data)


def _unless_forgotten(work: Curation, data: Path) -> Sieve | None:
    """Keeps what no user in data/forgotten.json wrote; counted, and named nowhere."""
    gone = tombstones.read(data)
    if work.kind != "prompts" or not gone:
        return None

    def keep(record: Record) -> Record | None:
        return next(tombstones.not_forgotten([record], gone), None)

    return Sieve(tombstones.REASON, tombstones.REASON, keep, is_named=False)


def _stop_leaks(works: dict[Kind, Curation]) -> None:
    """Drop from every training set what a held-out set holds, and prompts that demonstrations answer."""
    prompts, demonstrations, pretraining = (works[kind] for kind in KINDS)
    prompts.drop_leaks(_held_out((prompts, "test")), side="valid")
    sides = ((prompts, "valid"), (prompts, "test"), (demonstrations, "valid"))
    asked = _held_out(*sides)
    demonstrations.drop_leaks(asked)
    answered = frozenset(
        map(verdicts.asked_hash, demonstrations.table.records(demonstrations.sides["train"]))
    )
    prompts.drop_leaks(asked, answered)
    pretraining.drop_leaks(_held_out(*sides, (pretraining, "valid")))


def _held_out(*sides: tuple[Curation, str]) -> HeldOut:
    """The texts of sides that are held out, under names like prompts_test."""
    names: list[str] = []
    texts: list[str] = []
    for work, side in sides:
        texts += work.texts(side)
        names += [f"{work.kind}_{side}"] * (len(texts) - len(names))
    return HeldOut(texts, names)


def _write_sets(works: dict[Kind, Curation], out_dir: Path) -> dict[str, Summary]:
    """Every set as Parquet, once none of them is empty."""
    found: dict[str, tuple[Curation, np.ndarray, bool]] = {}
    for kind, work in works.items():
        for side, rows in work.sides.items():
            if (kind, side) == ("prompts", "train"):
                is_ppo = np.fromiter(_is_ppo(work, rows), bool, len(rows))
                found |= {
                    "prompts_rm": (work, rows[~is_ppo], True),
                    "prompts_ppo": (work, rows[is_ppo], True),
                }
            else:
                found[f"{kind}_{side}"] = (work, rows, side == "train" and kind != "pretraining")
    for name, (work, rows, _) in found.items():
        if not len(rows):
            raise ValueError(f"curation, step {work.funnel.emptied_by}: {name} is empty")
    return {
        name: sets.write_parquet(out_dir / f"{name}.parquet", work, rows, training=training)
        for name, (work, rows, training) in found.items()
    }


def _is_ppo(work: Curation, rows: np.ndarray) -> Iterator[bool]:
    return (splits.training_use(record, work.params) == "ppo" for record in work.table.records(rows))
