"""Evaluation of a round's policy beside SFT, the champion and base; the gate on its figures; a release's figures.

Rounds read the validation users' prompts, again and again. The test users are for figures that are published: a release
reads them, once a policy, apart from the round's evaluation, and the gate sees nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

from rlhf.evaluation.gate import Decision, decide
from rlhf.evaluation.win_rate import text
from rlhf.records import read_jsonl
from tasks import promotion, registry, rounds, stage
from tasks.data import curated_files
from tasks.registry import ModelRef, StageRef
from tasks.report import SHOWN, write_report
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
    """Figures of evaluation.json under "evaluation", on the validation users. sft: the stage that chose the epoch."""

    def publish(done: Outcome) -> None:
        _keep(done)
        done.figures["shown"] = list(islice(read_jsonl(done.out / "samples.jsonl"), SHOWN))
        done.run.log_artifact(done.out / "samples.jsonl")  # redacted by the job

    return _judged(this, "evaluate", "valid", data, base, sft, rl_start, reward_model, policy, publish)


@stage_task(name="release")
def release(this: Round) -> StageRef:
    """Figures of the round's policy on the test users, apart from the round's own; its version's tags say them.

    A policy's are made once: asked for again, they come from the cache. ValueError where the round was not evaluated,
    or where data/curated is of another data version.
    """
    done = registry.stages(this.run_id)
    if "evaluate" not in done:
        raise ValueError(f"round {this.number} has no evaluation yet: a release follows it")
    if stage.digests(this.curated, "*") != done["curate"].figures["files"]:
        raise ValueError(
            f"{this.curated} is not what round {this.number} was made of: `rlhf run --round {this.number}` brings it back"
        )
    before = {
        run.data.tags.get("rlhf.parent.policy")
        for run in registry.every_run()
        if run.data.tags.get("rlhf.stage") == "release"
    }
    policy = done["ppo"]
    assert policy.model is not None

    def publish(outcome: Outcome) -> None:
        _keep(outcome)  # and no answers: whose prompts they are stays unseen
        outcome.figures["earlier_releases"] = len(before - {str(policy.model)})

    roles = ("curate", "base", "choose_sft", "rl_start", "reward_model", "ppo")
    made = _judged(this, "release", "test", *(done[role] for role in roles), publish)
    registry.tag_version(
        policy.model, release_tags(made.figures["evaluation"], made.figures["earlier_releases"])
    )
    newest = next(ref for ref in registry.rounds() if ref.run_id == this.run_id)
    write_report.fn(this, _verdict(decision(this, done["evaluate"])), rounds.table(newest))
    return made


def release_tags(figures: dict[str, Any], earlier: int) -> dict[str, str]:
    """What a released version says of itself. earlier: policies that were measured on the same test users before."""
    own = figures["policies"]["policy"]
    return {
        "rlhf.release": f"test users: {figures['prompts']} prompts of {figures['users']} users, "
        f"read for {earlier} policies before",
        "rlhf.release.win_rate_by_labelers": text(own["win_rate_vs_sft_by_labelers"], 3),
        "rlhf.release.win_rate_by_utility": text(own["win_rate_vs_sft"], 3),
        "rlhf.release.length_controlled_by_labelers": text(own["length_controlled_by_labelers"], 3),
    }


def _judged(
    this: Round,
    name: str,
    split: str,
    data: StageRef,
    base: StageRef,
    sft: StageRef,
    rl_start: StageRef,
    reward_model: StageRef,
    policy: StageRef,
    publish: Callable[[Outcome], None],
) -> StageRef:
    """The stage `name`: every policy and control, on the users of `split`."""
    policies: dict[str, StageRef | ModelRef] = {
        "base": base,
        "sft": model_ref(sft.figures["sft"]),
        "rl_start": rl_start,
        "policy": policy,
    }
    if this.champion:
        policies["champion"] = model_ref(this.champion)
    noise = _noise_scale(this)

    def inputs() -> dict[str, Any]:
        return {
            "policies": {role: str(registry.folder(ref)) for role, ref in policies.items()},
            "reward_model": str(registry.folder(reward_model)),
            "curated": str(this.curated.absolute()),
            "split": split,
            "noise_scale": noise,
        }

    files = curated_files(
        data,
        f"prompts_{split}.parquet",
        "demonstrations_train.parquet",
        "pretraining_train.parquet",
        "pretraining_valid.parquet",
    )
    if noise is not None:
        files["noise_scale"] = repr(noise)
    return stage.run(
        this,
        name,
        files=files,
        parents={**policies, "reward_model": reward_model},
        inputs=inputs,
        publish=publish,
    )


def _noise_scale(this: Round) -> float | None:
    """The noise with which this round's simulated labelers ranked; None where people did."""
    ranked = registry.stages(this.run_id).get("rank")
    found = ranked.figures.get("noise_scale") if ranked else None
    return None if found is None else float(found)


def _keep(done: Outcome) -> None:
    path = done.out / "evaluation.json"
    done.figures["evaluation"] = json.loads(path.read_text(encoding="utf-8"))
    done.run.log_artifact(path)


@stage_task(name="gate")
def gate(this: Round, policy: StageRef, evaluation: StageRef) -> dict[str, Any]:
    """Names the round's policy the candidate; the champion too, where it passes and gate.promote is auto.

    Returns {"passed", "reasons"}, which become the version's tags. An older round, run again, moves nothing.
    """
    assert policy.model is not None
    decided = decision(this, evaluation)
    reasons = "; ".join(decided.reasons)
    registry.tag_version(
        policy.model, {"rlhf.gate": "passed" if decided.passed else "failed", "rlhf.gate_reasons": reasons}
    )
    version, by = policy.model.version, f"round {this.number}"
    if this.number == registry.rounds()[-1].round:
        if registry.aliases("policy").get("candidate") != version:
            promotion.set_candidate(version, by=by, why=reasons)
        # once: who went back to another champion since knew this one
        if decided.passed and this.params.gate.promote == "auto" and not promotion.was_champion(version):
            promotion.promote(version, by=by, why="the gate passed")
    return _verdict(decided)


def decision(this: Round, evaluation: StageRef) -> Decision:
    """The gate's, by the round's own evaluation: a release's figures are none of its business."""
    assert evaluation.stage == "evaluate"
    figures = evaluation.figures
    return decide(
        this.params.gate,
        win_rate_low=figures["win_rate_low"],
        kl=figures["kl"],
        tax=figures["tax"],
        champion_win_rate_low=figures.get("champion_win_rate_low"),
    )


def _verdict(decided: Decision) -> dict[str, Any]:
    return {"passed": decided.passed, "reasons": list(decided.reasons)}
