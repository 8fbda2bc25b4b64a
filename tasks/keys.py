"""The key of a stage: a digest of everything its products depend on.

key = sha256(stage, the params it reads, digests of its input files, runs of its parents, its code).
A stage whose key is in the registry is not run again, on whatever machine it ran. What code means is in tasks/code.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlhf.params import DataParams, Params, PPOParams
from tasks import code

HOW_CURATION_RUNS = {"engine", "workers", "scheduler", "partition_rows"}  # and not what comes of it

EVALUATION = (
    "seed",
    "evaluation",
    "comparisons.labelers",
    "ppo.temperature",
    "ppo.stop",
    "base.context",
)
READS: dict[str, tuple[str, ...]] = {
    "curate": (
        *(f"data.{name}" for name in DataParams.model_fields if name not in HOW_CURATION_RUNS),
        "base.valid_share",
        "base.path",
    ),
    "base": ("seed", "base", "chat"),
    "sft": (
        "seed",
        "sft.epochs",
        "sft.demonstrations",
        "sft.valid_demonstrations",
        "ppo.temperature",  # what is saved says at which it is to be sampled
        "sft.lr",
        "sft.lr_matrices",
        "sft.batch",
        "sft.dropout",
        "sft.max_tokens",
        "sft.weight_decay",
    ),
    "rl_start": (
        "seed",
        "sft.rl_start_epochs",
        "ppo.temperature",
        "sft.rl_start_lr",
        "sft.lr_matrices",
        "sft.rl_start_pretraining_share",
        "sft.demonstrations",
        "sft.batch",
        "sft.dropout",
        "sft.max_tokens",
        "sft.weight_decay",
        "ppo.ptx_tokens",
    ),
    "sample": (
        "seed",
        "comparisons.k",
        "comparisons.prompts",
        "comparisons.valid_prompts",
        "comparisons.policy_share",
        "comparisons.temperature",
        "comparisons.max_new_tokens",
        "base.context",
    ),
    "rank": ("seed", "comparisons.labeler", "comparisons.labelers"),
    "reward_model": ("seed", "reward_model", "chat"),
    "choose_sft": (
        "seed",
        "sft.choice_prompts",
        "sft.choice_answers",
        "comparisons.temperature",
        "comparisons.max_new_tokens",
        "base.context",
    ),
    "ppo": (
        "seed",
        "sampling",
        *(f"ppo.{name}" for name in PPOParams.model_fields if name != "microbatch_tokens"),
        "base.context",
    ),
    "evaluate": EVALUATION,
    "release": EVALUATION,
}
"""The parameters each stage reads: a section, or section.key."""


def key(stage: str, params: Params, *, files: Mapping[str, str], parents: Mapping[str, str]) -> str:
    """64 hex digits. files: {role: digest}; parents: {role: id of the run or version it comes from}."""
    return digest(
        {
            "stage": stage,
            "params": section(stage, params),
            "files": dict(files),
            "parents": dict(parents),
            "code": code_digest(stage),
        }
    )


def digest(value: Any) -> str:
    """sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def section(stage: str, params: Params) -> dict[str, Any]:
    """{"section.key": value} of what `stage` reads."""
    values: dict[str, Any] = params.model_dump(mode="json")
    found = {}
    for name in READS[stage]:
        value: Any = values
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


def files_digest(paths: Iterable[Path]) -> str:
    """One digest of some files, by name and content; their order and their folder do not matter."""
    return digest(sorted([path.name, file_digest(path)] for path in paths))


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(directory: Path) -> dict[str, list[Any]]:
    """{relative path: [bytes, sha256]} of every file under `directory`, in order."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): [path.stat().st_size, file_digest(path)] for path in files
    }


def code_digest(stage: str) -> str:
    """Digest of what the code behind a stage means (tasks/code.py)."""
    from rlhf.jobs import STAGES

    return code.code_digest(STAGES[stage].partition(":")[0])
