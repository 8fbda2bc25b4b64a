"""The policy: PPO with pretraining gradients, from the RL start or the champion, against the reward model."""

from __future__ import annotations

from typing import Any

from rlhf.records import read_jsonl
from tasks import registry, stage
from tasks.data import curated_files
from tasks.registry import ModelRef, StageRef
from tasks.sft import model_ref
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="train-policy")
def train_policy(this: Round, data: StageRef, rl_start: StageRef, reward_model: StageRef) -> StageRef:
    """Registers the raw weights as a version of `policy`; the averaged ones (EMA) are kept with the run."""
    start: StageRef | ModelRef = rl_start
    if this.params.ppo.start == "champion" and this.champion:
        start = model_ref(this.champion)

    from_champion = isinstance(start, ModelRef)  # KL is measured to the RL start all the same

    def inputs() -> dict[str, Any]:
        return {
            "rl_start": str(registry.folder(start)),
            "reward_model": str(registry.folder(reward_model)),
            "curated": str(this.curated.absolute()),
            "round": this.number,
            **({"reference": str(registry.folder(rl_start))} if from_champion else {}),
        }

    def publish(done: Outcome) -> None:
        done.run.log_table(list(read_jsonl(done.out / "rollouts.jsonl")), "rollouts.json")
        done.run.register(
            "policy", done.out / "model", tags={"rlhf.round": str(this.number)}, figures=done.figures
        )

    return stage.run(
        this,
        "ppo",
        files=curated_files(data, "prompts_ppo.parquet", "pretraining_train.parquet")
        | {"round": str(this.number)},
        parents={"start": start, "reference": rl_start, "reward_model": reward_model},
        inputs=inputs,
        publish=publish,
    )
