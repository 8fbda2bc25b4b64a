"""Supervised fine-tuning: `sft`, whose epoch is chosen once a reward model stands, and the RL start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tasks import registry, stage
from tasks.data import curated_files
from tasks.registry import ModelRef, StageRef
from tasks.stage import Outcome, Round, stage_task
from tasks.tracking import home


@stage_task(name="ensure-sft")
def ensure_sft(this: Round, data: StageRef, base: StageRef) -> StageRef:
    """Registers the last epoch as a version of `sft` and keeps the others with the run."""

    def publish(done: Outcome) -> None:
        epochs = this.params.sft.epochs
        for epoch in range(1, epochs):
            done.run.store(done.out / f"epoch-{epoch}", f"epoch-{epoch}")
        done.run.register(
            "sft", done.out / f"epoch-{epochs}", tags={"rlhf.epoch": str(epochs)}, figures=done.figures
        )
        done.figures["epochs"] = epochs

    return stage.run(
        this,
        "sft",
        files=curated_files(data, "demonstrations_train.parquet", "demonstrations_valid.parquet")
        | _optimizer(this),
        parents={"base": base},
        inputs=lambda: _inputs(this, base),
        publish=publish,
    )


@stage_task(name="ensure-rl-start")
def ensure_rl_start(this: Round, data: StageRef, base: StageRef) -> StageRef:
    """What PPO starts from: base, two epochs of demonstrations, pretraining mixed in. Not registered."""
    files = curated_files(data, "demonstrations_train.parquet", "pretraining_train.parquet")
    return stage.run(
        this,
        "rl_start",
        files=files | _optimizer(this),
        parents={"base": base},
        inputs=lambda: _inputs(this, base),
        publish=lambda done: done.run.store(done.out / "model"),
    )


@stage_task(name="choose-sft")
def choose_sft(this: Round, data: StageRef, sft: StageRef, reward_model: StageRef) -> StageRef:
    """The epoch that the reward model scores best gets the alias `chosen`, and a version if it has none."""

    def inputs() -> dict[str, Any]:
        return {
            "curated": str(this.curated.absolute()),
            "sft": str(epochs_folder(sft)),
            "reward_model": str(registry.folder(reward_model)),
            "round": this.number,
        }

    def publish(done: Outcome) -> None:
        epoch = int(done.figures["chosen"])
        version = known_version(sft, epoch)
        if version is None:
            tags = {"rlhf.epoch": str(epoch), "rlhf.sft_run": sft.run_id}
            version = done.run.register("sft", done.out / "model", tags=tags, figures=done.figures)
        done.figures["sft"] = str(version)

    chosen = stage.run(
        this,
        "choose_sft",
        files=curated_files(data, "prompts_valid.parquet") | {"round": str(this.number)},
        parents={"sft": sft, "reward_model": reward_model},
        inputs=inputs,
        publish=publish,
    )
    shutil.rmtree(_links(sft), ignore_errors=True)
    version = model_ref(chosen.figures["sft"])
    newest_round = max(ref.round for ref in registry.rounds())
    if this.number == newest_round:  # an older round, run again, does not turn the clock back
        registry.set_alias(
            "sft", "chosen", version.version, by=f"round {this.number}", why="best reward model score"
        )
    return chosen


def current_sft(this: Round, sft: StageRef) -> ModelRef:
    """The version this round builds on: what an earlier round chose, unless SFT has changed since."""
    if this.sft:
        ref = model_ref(this.sft)
        if origin(ref) == sft.run_id:
            return ref
    assert sft.model is not None
    return sft.model


def origin(ref: ModelRef) -> str | None:
    """The run of the SFT stage whose epoch a version of `sft` is."""
    tags = registry.version_tags(ref)
    return tags.get("rlhf.sft_run") or tags.get("rlhf.run")


def known_version(sft: StageRef, epoch: int) -> ModelRef | None:
    """The version of `sft` that holds this epoch of the stage, if one does."""
    for version in reversed(registry.versions("sft")):
        ref = ModelRef("sft", version)
        if origin(ref) == sft.run_id and registry.version_tags(ref).get("rlhf.epoch") == str(epoch):
            return ref
    return None


def epochs_folder(sft: StageRef) -> str:
    """A folder with epoch-1 ... epoch-E, as the SFT job left them: links, not copies."""
    folder = _links(sft)
    folder.mkdir(parents=True, exist_ok=True)
    epochs = int(sft.figures["epochs"])
    for epoch in range(1, epochs + 1):
        link = folder / f"epoch-{epoch}"
        link.unlink(missing_ok=True)
        link.symlink_to(registry.local_dir(sft.run_id, "model" if epoch == epochs else f"epoch-{epoch}"))
    return str(folder)


def _links(sft: StageRef) -> Path:
    return home() / "work" / f"sft-epochs-{sft.run_id[:12]}"


def model_ref(text: str) -> ModelRef:
    """ModelRef of "name/version"."""
    name, _, version = text.partition("/")
    return ModelRef(name, int(version))


def _optimizer(this: Round) -> dict[str, str]:
    """DeepSpeed has no Muon, so that SFT learns otherwise under it (docs/decisions/0009)."""
    params = this.params
    other = params.compute.launcher == "deepspeed" and params.sft.lr_matrices is not None
    return {"optimizer": "AdamW"} if other else {}


def _inputs(this: Round, base: StageRef) -> dict[str, str]:
    return {"curated": str(this.curated.absolute()), "base": str(registry.folder(base))}
