"""Comparisons: completions of the newest policies on fresh prompts, ranked by labelers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rlhf.labeling import rankings_file
from rlhf.records import read_jsonl, write_jsonl
from tasks import keys, registry, stage
from tasks.data import curated_files
from tasks.registry import ModelRef, StageRef
from tasks.sft import current_sft, model_ref
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="sample")
def sample(this: Round, data: StageRef, sft: StageRef) -> StageRef:
    """K completions a prompt in data/rounds/NNNN/samples.jsonl; figures["prompts"] 0: no prompt is fresh."""
    kept = registry.stages(this.run_id).get("sample") if this.is_ranked else None
    if kept and (now := stage.digests(this.folder, "samples.jsonl")):  # less of it where a user was forgotten
        return stage.take(this, replace(kept, figures=kept.figures | {"files": now}))
    writers = shares(this, sft)
    used = this.earlier("samples.jsonl")

    def inputs() -> dict[str, Any]:
        return {
            "writers": [
                {"version": str(ref), "path": str(registry.local_path(ref)), "share": share}
                for ref, share in writers.items()
            ],
            "curated": str(this.curated.absolute()),
            "used": [str(path.absolute()) for path in used],
            "round": this.number,
        }

    def publish(done: Outcome) -> None:
        if done.figures["prompts"]:
            _keep(this, done, "samples.jsonl")

    files = curated_files(data, "prompts_rm.parquet", "prompts_valid.parquet")
    files |= {f"used/{path.parent.name}": keys.file_digest(path) for path in used}
    files |= {
        "round": str(this.number),
        "shares": keys.digest({str(ref): share for ref, share in writers.items()}),
    }
    return stage.run(
        this,
        "sample",
        files=files,
        parents={f"writer-{n}": ref for n, ref in enumerate(writers)},
        inputs=inputs,
        publish=publish,
        present=lambda ref: _present(this, ref, "samples.jsonl"),
    )


def shares(this: Round, sft: StageRef) -> dict[ModelRef, float]:
    """Who writes a prompt's completions, in which shares: SFT alone until there is a policy."""
    chosen = current_sft(this, sft)
    share = this.params.comparisons.policy_share
    if not this.policies or not share:
        return {chosen: 1.0}
    policies = {model_ref(name): share / len(this.policies) for name in this.policies}
    return policies if share == 1 else policies | {chosen: 1.0 - share}


@stage_task(name="rank")
def rank(this: Round, data: StageRef, samples: StageRef) -> StageRef:
    """Simulated labelers rank the round's completions: data/rounds/NNNN/comparisons.jsonl.

    They are the people of the first round that they ranked, whose noise was fixed there.
    """
    noise = _noise_of_the_first(this)

    def inputs() -> dict[str, Any]:
        return {
            "curated": str(this.curated.absolute()),
            "samples": str((this.folder / "samples.jsonl").absolute()),
            "noise_scale": noise,
        }

    files = curated_files(data, "pretraining_train.parquet") | {
        "samples": samples.figures["files"]["samples.jsonl"]
    }
    if noise is not None:
        files["noise_scale"] = repr(noise)
    return stage.run(
        this,
        "rank",
        files=files,
        inputs=inputs,
        publish=lambda done: _keep(this, done, "comparisons.jsonl"),
        present=lambda ref: _present(this, ref, "comparisons.jsonl"),
    )


def _noise_of_the_first(this: Round) -> float | None:
    """The noise scale of the first round that simulated labelers ranked; None where this one is it."""
    for ref in registry.rounds():
        if ref.round < this.number and (run_id := ref.tags.get("rlhf.run.rank")):
            figures = registry.stage_ref(run_id).figures
            if "noise_scale" in figures:
                return float(figures["noise_scale"])
    return None


@stage_task(name="rank-by-people")
def rank_by_people(this: Round, samples: StageRef) -> StageRef | None:
    """What people ranked of the round's completions (`rlhf data add comparisons`); None while nobody has."""
    rows = list(read_jsonl(this.folder / "samples.jsonl"))
    to_rank = this.folder / "to_rank.jsonl"
    if not (to_rank.is_file() and rankings_file.asks(rows, read_jsonl(to_rank))):
        write_jsonl(to_rank, rankings_file.to_rank(rows))
    added = sorted((this.raw / "comparisons").glob("*.jsonl"))
    ranked = rankings_file.ranked(rows, (row for path in added for row in read_jsonl(path)))
    if not ranked:
        return None

    def work(out: Path) -> dict[str, Any]:
        write_jsonl(out / "comparisons.jsonl", ranked)
        people = {row["labeler_id"] for row in ranked}
        prompts = {row["prompt_id"] for row in ranked}
        return {"comparisons": len(ranked), "prompts": len(prompts), "of": len(rows), "labelers": len(people)}

    files = {"samples": samples.figures["files"]["samples.jsonl"], "rankings": keys.digest(ranked)}
    return stage.run(
        this,
        "rank",
        files=files,
        inputs=dict,
        work=work,
        publish=lambda done: _keep(this, done, "comparisons.jsonl"),
        present=lambda ref: _present(this, ref, "comparisons.jsonl"),
    )


def _keep(this: Round, done: Outcome, name: str) -> None:
    stage.put(done.out / name, this.folder / name)
    done.figures["files"] = stage.digests(this.folder, name)
    done.figures |= stage.version_data(this)


def _present(this: Round, cached: StageRef, name: str) -> bool:
    return stage.digests(this.folder, name) == cached.figures.get("files", {})
