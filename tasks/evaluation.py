"""Evaluation of a round's policy beside SFT, the champion and base, and the gate on its figures."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from rlhf.evaluation.gate import decide
from rlhf.records import read_jsonl
from tasks import promotion, registry, stage
from tasks.data import curated_files
from tasks.registry import ModelRef, StageRef
from tasks.report import SHOWN
from tasks.sft import model_ref
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="evaluate")
def evaluate(
    this: Round,
    data: StageRef,
    base: StageRef,
    sft: StageRef,
    rl_start: StageRef,
    reward_model: StageRef,
    policy: StageRef,
) -> StageRef:
    """Figures of evaluation.json under "evaluation". sft: the stage that chose the epoch."""
    policies: dict[str, StageRef | ModelRef] = {
        "base": base,
        "sft": model_ref(sft.figures["sft"]),
        "rl_start": rl_start,
        "policy": policy,
    }
    if this.champion:
        policies["champion"] = model_ref(this.champion)

    def inputs() -> dict[str, Any]:
        return {
            "policies": {role: str(registry.folder(ref)) for role, ref in policies.items()},
            "reward_model": str(registry.folder(reward_model)),
            "curated": str(this.curated.absolute()),
        }

    def publish(done: Outcome) -> None:
        path = done.out / "evaluation.json"
        done.figures["evaluation"] = json.loads(path.read_text(encoding="utf-8"))
        done.figures["shown"] = list(islice(read_jsonl(done.out / "samples.jsonl"), SHOWN))
        done.run.log_artifact(path)
        done.run.log_artifact(done.out / "samples.jsonl")  # redacted by the job

    files = curated_files(
        data, "prompts_test.parquet", "pretraining_train.parquet", "pretraining_valid.parquet"
    )
    return stage.run(
        this,
        "evaluate",
        files=files,
        parents={**policies, "reward_model": reward_model},
        inputs=inputs,
        publish=publish,
    )


@stage_task(name="gate")
def gate(this: Round, policy: StageRef, evaluation: StageRef) -> dict[str, Any]:
    """Names the round's policy the candidate; the champion too, where it passes and gate.promote is auto.

    Returns {"passed", "reasons"}, which become the version's tags. An older round, run again, moves nothing.
    """
    assert policy.model is not None
    figures = evaluation.figures
    decision = decide(
        this.params.gate,
        win_rate_low=figures["win_rate_low"],
        kl=figures["kl"],
        tax=figures["tax"],
        champion_win_rate_low=figures.get("champion_win_rate_low"),
    )
    reasons = "; ".join(decision.reasons)
    registry.tag_version(
        policy.model, {"rlhf.gate": "passed" if decision.passed else "failed", "rlhf.gate_reasons": reasons}
    )
    version, by = policy.model.version, f"round {this.number}"
    if this.number == registry.rounds()[-1].round:
        if registry.aliases("policy").get("candidate") != version:
            promotion.set_candidate(version, by=by, why=reasons)
        # once: who went back to another champion since knew this one
        if decision.passed and this.params.gate.promote == "auto" and not promotion.was_champion(version):
            promotion.promote(version, by=by, why="the gate passed")
    return {"passed": decision.passed, "reasons": list(decision.reasons)}
