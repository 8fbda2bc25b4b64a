"""Each stage as a flow of its own, for workers: what comes before it is found in MLflow, its data by DVC.

rlhf-iteration says where a stage stands (`At`). A person who starts one leaves that out: then it works on
the unfinished round, or the next, under the same lock as a round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel

from rlhf.params import Params, load, merge, validate
from tasks import (
    base,
    comparisons,
    data,
    evaluation,
    lock,
    policy,
    registry,
    reward_model,
    rounds,
    sft,
    versioning,
)
from tasks.profile import keep_apart
from tasks.registry import StageRef
from tasks.stage import Round


class At(BaseModel):
    """Where a stage stands. round: its number; run_id: its MLflow run; params: what differs from
    params.yaml; data_version: the text of data.dvc to work on."""

    round: int | None = None
    run_id: str | None = None
    params: dict[str, Any] | None = None
    data_version: str | None = None


HERE = At()


class Work:
    """A round and the stages that it has behind it."""

    def __init__(self, this: Round) -> None:
        self.this = this
        self.done = registry.stages(this.run_id)

    def __getitem__(self, stage: str) -> StageRef:
        if stage not in self.done:
            raise ValueError(
                f"round {self.this.number} has no {stage.replace('_', ' ')} yet: that stage comes first"
            )
        return self.done[stage]


@flow(name="prepare-data")
def prepare_data(at: At = HERE) -> str:
    """Curate the raw data."""
    with opened(at) as work:
        return data.prepare_data(work.this).run_id


@flow(name="train-base")
def train_base(at: At = HERE) -> str:
    """Pretrain the base model, or import it."""
    with opened(at) as work:
        return base.ensure_base(work.this, work["curate"]).run_id


@flow(name="train-sft")
def train_sft(at: At = HERE) -> str:
    """Fine-tune base on demonstrations."""
    with opened(at) as work:
        return sft.ensure_sft(work.this, work["curate"], work["base"]).run_id


@flow(name="train-rl-start")
def train_rl_start(at: At = HERE) -> str:
    """Train the model that PPO starts from."""
    with opened(at) as work:
        return sft.ensure_rl_start(work.this, work["curate"], work["base"]).run_id


@flow(name="sample")
def sample(at: At = HERE) -> str:
    """Sample completions on fresh prompts."""
    with opened(at) as work:
        return comparisons.sample(work.this, work["curate"], work["sft"]).run_id


@flow(name="rank")
def rank(at: At = HERE) -> str:
    """Rank the completions by simulated labelers."""
    with opened(at) as work:
        return comparisons.rank(work.this, work["curate"], work["sample"]).run_id


@flow(name="train-reward-model")
def train_reward_model(at: At = HERE) -> str:
    """Train the reward model on the comparisons of all rounds."""
    with opened(at) as work:
        ref = reward_model.train_reward_model(
            work.this, work["curate"], work["rank"], work["base"], work["sft"]
        )
        return ref.run_id


@flow(name="choose-sft")
def choose_sft(at: At = HERE) -> str:
    """Choose the epoch of SFT that the reward model likes best."""
    with opened(at) as work:
        return sft.choose_sft(work.this, work["curate"], work["sft"], work["reward_model"]).run_id


@flow(name="train-policy")
def train_policy(at: At = HERE) -> str:
    """Train the policy by PPO-ptx."""
    with opened(at) as work:
        ref = policy.train_policy(work.this, work["curate"], work["rl_start"], work["reward_model"])
        return ref.run_id


@flow(name="evaluate")
def evaluate(at: At = HERE) -> str:
    """Evaluate the policy beside SFT, the champion and base."""
    with opened(at) as work:
        parents = (work[name] for name in ("curate", "base", "choose_sft", "rl_start", "reward_model", "ppo"))
        return evaluation.evaluate(work.this, *parents).run_id


@flow(name="release")
def release(at: At = HERE) -> dict[str, Any]:
    """Figures of a finished round's policy on the test users; {"round", "policy", "figures", "earlier_releases"}."""
    with opened(at.model_copy(update={"round": rounds.finished(at.round)})) as work:
        done = evaluation.release(work.this)
        return {
            "round": work.this.number,
            "policy": str(work["ppo"].model),
            "figures": done.figures["evaluation"],
            "earlier_releases": done.figures["earlier_releases"],
        }


@contextmanager
def opened(at: At) -> Iterator[Work]:
    """The round that `at` names, with its data on this machine."""
    params = params_of(at.params)
    keep_apart(params)
    if at.run_id is None:
        with lock.one_round_at_a_time("a stage by itself"), rounds.looked_into(params, at.round) as this:
            yield Work(this)
        return
    if at.data_version:
        versioning.materialize(at.data_version, params.versioning)
    yield Work(rounds.join_round(params, at.run_id))


def params_of(settings: dict[str, Any] | None) -> Params:
    """params.yaml (where there is one), overlaid by what a deployment or a person passed."""
    if not isinstance(settings, Mapping | None):
        raise ValueError(
            f"params is {settings!r}: expected a mapping of sections, as in params.yaml ({{ppo: {{kl_coef: 0.05}}}})"
        )
    here = load(Path("params.yaml") if Path("params.yaml").is_file() else None)
    values = here.model_dump(mode="json")
    merge(values, settings or {})
    return validate(values)
