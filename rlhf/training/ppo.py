"""Step 3, stage `ppo`: PPO-ptx on the prompts kept for it, from checkpoint to checkpoint, to a policy and its EMA.

The method is in ppo_trainer.py. The value model starts from the reward model.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from typing import Any

import torch

from rlhf import distributed, seeds
from rlhf.chat import encode_completion, encode_prompt, ends, spoken, with_room
from rlhf.data.load import pretraining_texts, prompts
from rlhf.data.pii import redact
from rlhf.jobs import Job
from rlhf.models import directories, reward
from rlhf.models.positions import positions_of
from rlhf.models.reward import RewardModel
from rlhf.params import PPOParams
from rlhf.sampling.engine import Completion
from rlhf.templates import closing, control_tokens
from rlhf.training.checkpoint import Checkpoints, cut_log, random_state, set_random_state
from rlhf.training.hacking import alarm
from rlhf.training.lora import adapt, merged
from rlhf.training.ppo_trainer import PPOTrainer, episode_kl
from rlhf.training.pretraining import pack
from rlhf.training.progress import progress
from rlhf.training.rollouts import Score, Trajectory

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, Any]:
    """Stage `ppo`: out/model is the policy, out/model/ema the average of its weights, out/rollouts.jsonl episodes."""
    params = job.params.ppo
    torch.manual_seed(seeds.of_round(job.params.seed, job.round))
    trainer, queue = prepare(job)
    checkpoints, iterations, figures = Checkpoints.of(job), max(1, params.episodes // params.batch), {}
    done, warned = 0, False
    if found := checkpoints.latest():
        done, state, folder = found
        trainer.restore(state["trainer"], folder)
        set_random_state(state["random"])
        figures = state["figures"]
    else:
        with trainer.engine.whole():
            trainer.scale = reward_scale(trainer, queue[: max(256, params.batch)])
    if job.is_main:
        cut_log(job.out / "metrics.jsonl", "step", done)
        cut_log(job.out / "rollouts.jsonl", "iteration", done)
    for iteration in progress(range(done, iterations), "PPO", job.is_main):
        batch = queue[iteration * params.batch : (iteration + 1) * params.batch]
        figures, trajectory, completions = trainer.iterate(iteration, batch)
        job.log(iteration + 1, **figures)
        if (sentence := alarm(figures)) and not warned and job.is_main:
            warned = True
            log.warning("PPO iteration %d: %s", iteration + 1, sentence)
        if job.is_main:
            keep_episodes(job, iteration + 1, trajectory, completions, trainer)
        if iteration + 1 < iterations and checkpoints.is_due():
            state = {"trainer": trainer.state(), "random": random_state(), "figures": figures}
            checkpoints.save(iteration + 1, state, trainer.engine.write)
    with trainer.engine.whole():
        if job.is_main:
            weights = trainer.engine.weights_of(trainer.policy)
            directories.say_how_to_sample(trainer.policy, trainer.tokenizer, params.temperature)
            for name, state in (("model", weights), ("model/ema", trainer.ema.average)):
                directories.save(
                    trainer.policy, trainer.tokenizer, job.out / name, state=merged(trainer.policy, state)
                )
    watched = {"hacking_alarm": float(alarm(figures) is not None)} if trainer.held_out_score else {}
    return {
        **watched,
        "iterations": iterations,
        "episodes": iterations * params.batch,
        "reward_scale": trainer.scale,
        **figures,
    }


def prepare(job: Job) -> tuple[PPOTrainer, list[list[int]]]:
    """The trainer, its models read from the job's inputs, and the token ids of a prompt an episode."""
    params, compute = job.params.ppo, job.params.compute
    device = distributed.start(compute)
    policy, tokenizer = directories.load_policy(job.path("rl_start"))
    reference, words = directories.load_policy(
        job.path("reference") if "reference" in job.inputs else job.path("rl_start")
    )
    rm = reward.load_reward_model(job.path("reward_model"))
    value = reward.load_reward_model(job.path("reward_model")).model
    require_one_vocabulary(tokenizer, words, rm.tokenizer)
    require_ordinary_text(params.stop, tokenizer)
    for model in (policy, reference, rm.model, value):
        model.to(device).eval()  # no dropout in PPO
    directories.round_weights(rm.model, params.dtype)
    for model in (policy, value):
        adapt(model, params.lora_rank)
    texts = pretraining_texts(job.path("curated"), "train") if params.ptx_coef else None
    answers_end = ends(policy, tokenizer)
    trainer = PPOTrainer(
        policy,
        value,
        reference,
        as_labelers_read(rm, params.stop, answers_end),
        tokenizer,
        params,
        compute,
        pretraining=pack(tokenizer, texts, params.ptx_tokens) if texts is not None else None,
        seed=seeds.of_round(job.params.seed, job.round),
        held_out_score=held_out_score(job, device, answers_end),
        sampling=job.params.sampling,
    )
    return trainer, prompt_queue(job, tokenizer, params, positions_of(value))


def require_one_vocabulary(policy: Any, reference: Any, rm: Any) -> None:
    """Raise ValueError where one of the tokenizers reads other tokens than the policy's."""
    if reference.get_vocab() != policy.get_vocab():
        raise ValueError(
            "the champion reads other tokens than the RL start: it was made from another base; allowed: ppo.start=rl-start"
        )
    if rm.get_vocab() != policy.get_vocab():
        raise ValueError(
            "the reward model reads other tokens than the policy; give reward_model.base a model with the policy's tokenizer"
        )


def require_ordinary_text(stop: Sequence[str], tokenizer: Any) -> None:
    """Raise ValueError for a stop string that holds a special token: it would never be seen."""
    for token in control_tokens(tokenizer):
        if any(token in end for end in stop):
            raise ValueError(
                f"ppo.stop holds the special token {token!r}, which no answer's text shows; allowed: ordinary text (EOS ends "
                "an answer by itself)"
            )


def held_out_score(job: Job, device: torch.device, answers_end: Sequence[int]) -> Score | None:
    """The rewards of the model that was trained on held-out rankings, if there is one (reward_model.held_out_share)."""
    folder = job.path("reward_model") / "held_out"
    if not folder.is_dir():
        return None
    rm = reward.load_reward_model(folder)
    rm.model.to(device).eval()
    directories.round_weights(rm.model, job.params.ppo.dtype)
    return as_labelers_read(rm, job.params.ppo.stop, answers_end)


def as_labelers_read(rm: RewardModel, stop: Sequence[str], answers_end: Sequence[int] = ()) -> Score:
    """Rewards of sampled tokens as text, as in ranking and in evaluation: no special tokens, nothing from a stop string on.

    The tokens themselves may be others than the reward model ever read: a text has more than one spelling in tokens.
    answers_end: ids at which the policy's answers end, beside the reward model's own.
    """
    at = {*answers_end, closing(rm.tokenizer), rm.tokenizer.eos_token_id}

    def score(asked: list[list[int]], answers: list[list[int]]) -> list[float]:
        read = [
            encode_completion(rm.tokenizer, text, ended=ended)
            for text, ended in (spoken(rm.tokenizer, ids, ends=at, stop=stop) for ids in answers)
        ]
        return reward.score_rows(rm, asked, read)

    return score


def prompt_queue(
    job: Job, tokenizer: Any, params: PPOParams, positions: int | None = None
) -> list[list[int]]:
    """Token ids of a prompt an episode: PPO's own prompts that leave room for an answer, each once before any comes again.

    positions: of the value model, which may have fewer than base.context; None: no limit.
    """
    records = prompts(job.path("curated"), "ppo")
    if not records:
        raise ValueError("there is no prompt for PPO: data.ppo_share left none")
    context = min(job.params.base.context, positions or job.params.base.context)
    records = with_room(records, tokenizer, context, params.max_new_tokens)
    ids = [encode_prompt(tokenizer, record["messages"]) for record in records]
    order = random.Random(seeds.of_round(job.params.seed, job.round))
    queue: list[list[int]] = []
    while len(queue) < params.episodes:
        queue += order.sample(ids, len(ids))
    return queue


def reward_scale(trainer: PPOTrainer, prompt_ids: list[list[int]]) -> float:
    """What the reward is divided by: 1, or the reward's standard deviation on the RL start's own completions, whichever
    policy PPO starts from, so that ppo.kl_coef weighs the same against the reward from the champion as from the RL start."""
    params = trainer.params
    if params.reward_scale == "none":
        return 1.0
    trainer.sampler.take_weights(trainer.reference)
    completions = trainer.sampler.sample(prompt_ids, seed=trainer.seed)
    scores = torch.tensor(trainer.score(prompt_ids, [c.ids for c in completions]))
    return max(1e-3, float(scores.std()))


def keep_episodes(
    job: Job,
    iteration: int,
    trajectory: Trajectory,
    completions: list[Completion],
    trainer: PPOTrainer,
    count: int = 4,
) -> None:
    """A few episodes of the iteration as JSON Lines, personal data redacted; reward and value as the reward model gives them."""
    kl = episode_kl(trajectory)
    with (job.out / "rollouts.jsonl").open("a", encoding="utf-8") as lines:
        for row, completion in enumerate(completions[:count]):
            episode = {
                "iteration": iteration,
                "prompt": redact(trainer.tokenizer.decode(completion.prompt_ids, skip_special_tokens=True)),
                "completion": redact(completion.text),
                "reward": float(trajectory.raw_scores[row]),
                "kl": float(kl[row]),
                "value": float(trajectory.values[row][trajectory.batch.is_response[row]][0]) * trainer.scale,
            }
            lines.write(json.dumps(episode, ensure_ascii=False) + "\n")
