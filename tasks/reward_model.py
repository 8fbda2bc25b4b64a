"""The reward model, trained on the comparisons of all rounds and on those that a user brought."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rlhf.data import load
from rlhf.records import read_jsonl, write_jsonl
from tasks import keys, registry, stage
from tasks.base import directory_digest
from tasks.data import curated_files
from tasks.registry import StageRef
from tasks.sft import current_sft
from tasks.stage import Outcome, Round, stage_task
from tasks.tracking import ModelRef, home


@stage_task(name="train-reward-model")
def train_reward_model(
    this: Round, data: StageRef, comparisons: StageRef, base: StageRef, sft: StageRef
) -> StageRef:
    """Registers a version of `reward-model`; its tag rlhf.comparisons names the rounds it learned from."""
    ranked = [*this.earlier("comparisons.jsonl"), this.folder / "comparisons.jsonl"]
    brought = _brought(this)
    start: dict[str, StageRef | ModelRef] = {}  # empty where the base is a directory
    if this.params.reward_model.base == "sft":
        start["start"] = current_sft(this, sft)
    elif this.params.reward_model.base == "base":
        start["start"] = base

    def inputs() -> dict[str, Any]:
        if "start" in start:
            models = {"base": str(registry.folder(start["start"]))}
        else:
            models = {"base": this.params.reward_model.base, "policy": str(registry.folder(base))}
        return models | {
            "curated": str(this.curated.absolute()),
            "round": this.number,
            "comparisons": [str(path.absolute()) for path in ranked] + _write(this, brought),
        }

    def publish(done: Outcome) -> None:
        for path in (home() / "work").glob("brought-*.jsonl"):  # text of users lies in data/ alone
            path.unlink()
        rounds = ",".join(str(int(path.parent.name)) for path in ranked)
        done.run.register(
            "reward-model", done.out / "model", tags={"rlhf.comparisons": rounds}, figures=done.figures
        )

    files = curated_files(data, "demonstrations_train.parquet") | {"round": str(this.number)}
    files |= {f"comparisons/{path.parent.name}": keys.file_digest(path) for path in ranked}
    if "start" not in start:
        files |= directory_digest("reward_model.base", this.params.reward_model.base)
    if brought:
        files["comparisons/brought"] = keys.digest(brought)
    return stage.run(
        this,
        "reward_model",
        files=files,
        parents=start,
        inputs=inputs,
        publish=publish,
        beside=stage.digests(this.raw / "comparisons", "*.jsonl"),
    )


def _brought(this: Round) -> list[dict[str, Any]]:
    """Comparisons under data/raw that are no round's: they train the reward model beside the rounds'.

    Those of a prompt that a round kept for validation stay there, and those of a prompt of held-out users are left
    out: by these the models are judged. So are those without messages of a prompt that no round sampled and curation
    did not keep. Both are counted.
    """
    added = sorted((this.raw / "comparisons").glob("*.jsonl"))
    if not added:
        return []
    rounds = this.folder.parent
    ours = {row["id"] for path in rounds.glob("*/comparisons.jsonl") for row in read_jsonl(path)}
    asked = {
        row["id"]: {"messages": row["messages"]}
        for name in load.PROMPT_SETS
        for row in load.prompts(this.curated, name)
    }
    asked |= {
        row["prompt_id"]: {"messages": row["messages"], "split": row["split"]}
        for path in rounds.glob("*/samples.jsonl")
        for row in read_jsonl(path)
    }
    held_out = {_asked(row) for name in ("valid", "test") for row in load.prompts(this.curated, name)}
    found: list[dict[str, Any]] = []
    left_out = 0
    unknown: Counter[str] = Counter()
    for path in added:
        for row in read_jsonl(path):
            if row["id"] in ours:
                continue
            if "messages" not in row and row["prompt_id"] not in asked:
                unknown[path.name] += 1
                continue
            record = {"split": "train", "round": 0} | asked.get(row.get("prompt_id"), {}) | row
            if record["split"] == "train" and _asked(record) in held_out:
                left_out += 1
            else:
                found.append(record)
    for name, count in unknown.items():
        stage.say(
            f"{count} comparisons of {name} have no messages, and name prompts that no round sampled and curation did not "
            f"keep: they are left out (`rlhf data remove {name}` takes the file out)"
        )
    if left_out:
        stage.say(f"{left_out} comparisons of data/raw ask what held-out users ask, and are left out")
    return found


def _asked(row: dict[str, Any]) -> str:
    return keys.digest([[message["role"], message["content"].strip()] for message in row["messages"]])


def _write(this: Round, brought: list[dict[str, Any]]) -> list[str]:
    if not brought:
        return []
    path = home() / "work" / f"brought-{keys.digest(brought)[:12]}.jsonl"
    write_jsonl(path, brought)
    return [str(path)]
