"""Which models learned from some files: told by what each stage read, which its run in MLflow keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks import registry
from tasks.registry import ModelRef

LEARNING_STAGES = ("base", "sft", "rl_start", "reward_model", "choose_sft", "ppo")
TRAINED, POSSIBLY = "trained on them", "possibly"


@dataclass(frozen=True)
class Learned:
    """A model, and how the users' records got into it. model: None for one that is kept and has no version."""

    name: str
    model: ModelRef | None
    how: str


@dataclass(frozen=True)
class Lineage:
    """models: what learned from them, oldest first. stale: {run: stage} that read or wrote their records."""

    models: list[Learned]
    stale: dict[str, str]


def lineage(holding: Mapping[str, bool]) -> Lineage:
    """What learned from the files that hold the users' records.

    holding: {sha256 of a file: whether it does}. A stage that read a file which is not among these, or
    whose run does not say what it read, learned from them possibly. So did what has it for a parent.
    """
    models: list[Learned] = []
    stale: dict[str, str] = {}
    touched: dict[str, str] = {}  # by run and by version: how
    runs = [run for run in reversed(registry.every_run()) if run.data.tags.get("rlhf.kind") == "stage"]
    for run in runs:
        stage, run_id = run.data.tags["rlhf.stage"], run.info.run_id
        try:
            outputs = registry.outputs_of(run)
        except ValueError:  # its artifacts are another machine's
            outputs = {"figures": {}, "model": None}
        if outputs is None:
            continue
        figures = outputs["figures"]
        if any(holding.get(sha) for sha in _files(figures)):
            stale[run_id] = stage
        how = _how(figures, holding, touched) if stage in LEARNING_STAGES else None
        if how is None:
            continue
        model = ModelRef(*outputs["model"]) if outputs["model"] else None
        name = str(model) if model else f"{stage} of run {run_id[:8]}"
        touched[run_id] = touched[name] = name if how == TRAINED else f"{how}|{name}"
        if model or stage == "rl_start":
            models.append(Learned(name, model, how))
    return Lineage(models + _unfinished(runs), stale)


def _how(figures: Mapping[str, Any], holding: Mapping[str, bool], touched: Mapping[str, str]) -> str | None:
    if "read" not in figures:
        return f"{POSSIBLY}: its run does not say what it read"
    read = [sha for name, sha in figures["read"].items() if _is_data(name)]
    if any(holding.get(sha) for sha in read):
        return TRAINED
    parents = [touched[parent] for parent in figures["parents"].values() if parent in touched]
    certain = [name.rpartition("|")[2] for name in parents if not name.startswith(POSSIBLY)]
    if certain:
        return f"through {certain[0]}"
    if any(sha not in holding for sha in read):
        return f"{POSSIBLY}: a file that it read is not on this machine any more"
    return f"{POSSIBLY}, through {parents[0].rpartition('|')[2]}" if parents else None


def _files(figures: Mapping[str, Any]) -> list[str]:
    """Digests of the files that a stage read and left in data/."""
    files = figures.get("files")
    left = [sha for sha in files.values() if isinstance(sha, str)] if isinstance(files, dict) else []
    return left + [sha for name, sha in figures.get("read", {}).items() if _is_data(name)]


def _is_data(name: str) -> bool:
    """Whether an input's name is a file's under data/ (others are a digest of settings, or of several files)."""
    return name.endswith((".parquet", ".jsonl")) or (
        name.startswith(("comparisons/", "used/", "samples")) and name != "comparisons/brought"
    )


def _unfinished(runs: list[Any]) -> list[Learned]:
    """Versions that a stage registered before it was ended: what they read was never written down."""
    ended = {run.info.run_id for run in runs if run.info.status == "FINISHED"}
    found = []
    for name in registry.MODELS:
        for number in registry.versions(name):
            ref = ModelRef(name, number)
            if registry.version_tags(ref).get("rlhf.run") not in ended:
                found.append(Learned(str(ref), ref, f"{POSSIBLY}: the stage that made it did not finish"))
    return found
