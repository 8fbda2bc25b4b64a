"""The round: rlhf-iteration. In place by hand; as deployments, its training stages run on the pool gpu."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import deployment

from flows.schedule import make_up_for_missed
from flows.stages import params_of
from tasks import lock, rounds
from tasks.base import ensure_base, require_models
from tasks.comparisons import rank, rank_by_people, sample
from tasks.data import prepare_data
from tasks.evaluation import evaluate, gate
from tasks.policy import train_policy
from tasks.profile import keep_apart
from tasks.report import write_report
from tasks.reward_model import train_reward_model
from tasks.rounds import Progress
from tasks.sft import choose_sft, ensure_rl_start, ensure_sft


@flow(name="rlhf-iteration")
def rlhf_iteration(params: dict[str, Any] | None = None, round: int | None = None) -> dict[str, Any]:
    """One round: fresh samples -> rankings -> reward model -> policy -> gate.

    params: what differs from params.yaml. round: its number; by default the unfinished one, else the next.
    Returns {"round", "state", "run_id", "table", "gate"}; a state but "finished" says what it waits for.
    """
    chosen = params_of(params)
    keep_apart(chosen)
    if deployment.id:
        require_models(chosen)  # as `rlhf run` did already
        make_up_for_missed()
    started_by = "the deployment" if deployment.id else "rlhf run"
    with (
        lock.one_round_at_a_time(started_by),
        rounds.at_work(chosen, round, dispatch=bool(deployment.id)) as progress,
    ):
        return iterate(progress)


def iterate(round: Progress) -> dict[str, Any]:
    """The stages in their order; `round.does` runs one, or takes it from the cache, and notes its time."""
    data = round.does(prepare_data)
    base = round.does(ensure_base, data)
    sft = round.does(ensure_sft, data, base)
    rl_start = round.does(ensure_rl_start, data, base)

    samples = round.does(sample, data, sft)
    if not samples.figures["prompts"]:
        return round.ends("no fresh prompts")
    if round.params.comparisons.labeler == "file":
        comparisons = round.does(rank_by_people, samples)
    else:
        comparisons = round.does(rank, data, samples)
    if comparisons is None:
        return round.ends("waiting for rankings")

    reward_model = round.does(train_reward_model, data, comparisons, base, sft)
    chosen_sft = round.does(choose_sft, data, sft, reward_model)
    policy = round.does(train_policy, data, rl_start, reward_model)
    evaluation = round.does(evaluate, data, base, chosen_sft, rl_start, reward_model, policy)

    decision = round.does(gate, policy, evaluation)
    round.does(write_report, decision, round.rows)
    return round.ends("finished", decision)
