"""Step 3: PPO-ptx (arXiv:2203.02155, eq. 2 and C.4).

    maximise  E_{π}[ r(x, y) - β·log(π(y|x)/π_ref(y|x)) ] + γ·E_{pretrain}[ log π(x) ]

An episode is one prompt and one sampled response; the KL is charged per token, the score stands on the last
response token. The value model starts from the reward model. Per minibatch the PPO gradient and the
pretraining gradient are computed one after the other and accumulated.
"""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlhf import distributed
from rlhf.chat import encode_prompt
from rlhf.data.load import pretraining_texts, prompts
from rlhf.data.pii import redact
from rlhf.jobs import Job
from rlhf.models import directories, reward
from rlhf.models.policy import TokenLogprobs, token_logprobs
from rlhf.models.reward import RewardModel
from rlhf.models.rows import Batch, by_length
from rlhf.objectives.kl import k1, k3
from rlhf.objectives.masked import masked_mean
from rlhf.objectives.ppo import clip_fraction, explained_variance, policy_loss, value_loss
from rlhf.objectives.ptx import ptx_loss
from rlhf.params import PPOParams
from rlhf.sampling.engine import Completion, sample_ids
from rlhf.training.checkpoint import Checkpoints, cut_log, random_state, set_random_state
from rlhf.training.ema import EMA
from rlhf.training.engine import Engine, mine
from rlhf.training.pretraining import pack
from rlhf.training.progress import progress
from rlhf.training.rollouts import Trajectory, collect, select, values_before
from rlhf.training.schedule import warmup_from_tenth


class PolicyAndValue(nn.Module):
    """Both trained models under one forward, so that one engine updates them."""

    def __init__(self, policy: nn.Module, value: nn.Module) -> None:
        super().__init__()
        self.policy, self.value = policy, value

    def forward(
        self, batch: Batch | None, temperature: float = 1.0, pretraining: Tensor | None = None
    ) -> tuple[TokenLogprobs, Tensor] | Tensor:
        """(log-probabilities, values) of episodes; or, given `pretraining` rows [B, T], their mean NLL a token."""
        if batch is None:
            assert pretraining is not None
            logits = self.policy(input_ids=pretraining, use_cache=False).logits
            return ptx_loss(logits, pretraining, torch.ones_like(pretraining, dtype=torch.bool))
        return token_logprobs(self.policy, batch, temperature=temperature), values_before(self.value, batch)


def run(job: Job) -> dict[str, Any]:
    """Stage `ppo`: out/model is the policy, out/model/ema the average of its weights, out/rollouts.jsonl episodes."""
    params, compute = job.params.ppo, job.params.compute
    device = distributed.start(compute)
    distributed.share(params.minibatch, "ppo.minibatch")
    torch.manual_seed(job.params.seed)
    policy, tokenizer = directories.load_policy(job.path("rl_start"))
    reference, _ = directories.load_policy(
        job.path("reference") if "reference" in job.inputs else job.path("rl_start")
    )
    rm = reward.load_reward_model(job.path("reward_model"))
    value = reward.load_reward_model(
        job.path("reward_model")
    ).model  # the value model starts from the reward model
    if rm.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError(
            "the reward model reads other tokens than the policy; give reward_model.base a model with the policy's tokenizer"
        )
    for model in (policy, reference, rm.model, value):
        model.to(device).eval()  # no dropout in PPO
    queue = prompt_queue(job, tokenizer, params)
    pretraining = (
        pack(tokenizer, pretraining_texts(job.path("curated"), "train"), params.ptx_tokens)
        if params.ptx_coef
        else None
    )
    module = PolicyAndValue(policy, value)
    optimizer = torch.optim.AdamW(
        [
            {"params": policy.parameters(), "lr": params.lr},
            {"params": value.parameters(), "lr": params.value_lr},
        ],
        betas=(0.9, 0.95),
        eps=1e-5,
        weight_decay=0.0,
    )
    ema = EMA(policy, params.ema)  # before ZeRO-3 takes the weights apart
    engine = Engine(module, optimizer, compute, max_grad_norm=params.max_grad_norm)
    iterations = max(1, params.episodes // params.batch)
    shuffle = np.random.default_rng([job.params.seed, distributed.rank()])
    checkpoints = Checkpoints.of(job)
    done, figures = 0, {}
    if found := checkpoints.latest():
        done, state, folder = found
        engine.restore(state["engine"], folder)
        ema.average, scale, figures = state["ema"], state["reward_scale"], state["figures"]
        shuffle.bit_generator.state = state["shuffle"]
        set_random_state(state["random"])
    else:
        with engine.whole():
            scale = reward_scale(policy, rm, queue[: max(256, params.batch)], params, job.params.seed)
    if job.is_main:
        cut_log(job.out / "metrics.jsonl", "step", done)
        cut_log(job.out / "rollouts.jsonl", "iteration", done)
    for iteration in progress(range(done, iterations), "PPO", job.is_main):
        started = time.time()
        for group, peak in zip(engine.optimizer.param_groups, (params.lr, params.value_lr), strict=True):
            group["lr"] = peak * warmup_from_tenth(iteration, params.warmup)
        episode_prompts = mine(queue[iteration * params.batch : (iteration + 1) * params.batch])
        with engine.whole():
            trajectory, completions = collect(
                policy,
                value,
                reference,
                rm,
                episode_prompts,
                params,
                scale=scale,
                seed=seed_of(job.params.seed, iteration),
            )
        sampled = time.time()
        updates = update(engine, trajectory, params, pretraining, shuffle)
        with engine.whole():
            ema.update(policy)
        figures = (
            distributed.mean(describe(trajectory))
            | updates
            | {"seconds_rollout": sampled - started, "seconds_update": time.time() - sampled}
        )
        stop_if_broken(figures, iteration)
        job.log(iteration + 1, **figures)
        if job.is_main:
            keep_episodes(job, iteration + 1, trajectory, completions, tokenizer)
        if iteration + 1 < iterations and checkpoints.is_due():
            state = {
                "engine": engine.state(),
                "ema": ema.average,
                "reward_scale": scale,
                "figures": figures,
                "shuffle": shuffle.bit_generator.state,
                "random": random_state(),
            }
            checkpoints.save(iteration + 1, state, engine.write)
    with engine.whole():
        if job.is_main:
            directories.save(policy, tokenizer, job.out / "model")
            directories.save(policy, tokenizer, job.out / "model" / "ema", state=ema.average)
    return {"iterations": iterations, "episodes": iterations * params.batch, "reward_scale": scale, **figures}


def update(
    engine: Engine,
    trajectory: Trajectory,
    params: PPOParams,
    pretraining: np.ndarray | None,
    shuffle: np.random.Generator,
) -> dict[str, float]:
    """Inner epochs over the episodes in minibatches. Returns means over the updates, and what the first one saw."""
    rows_total = len(trajectory.scores)
    size = distributed.share(params.minibatch, "ppo.minibatch")
    seen: list[dict[str, float]] = []
    for _ in range(params.inner_epochs):
        order = shuffle.permutation(rows_total)
        for start in range(0, rows_total - size + 1, size):
            part = select(trajectory, order[start : start + size].tolist())
            seen.append(minibatch(engine, part, params, pretraining, shuffle))
    means = {key: float(np.mean([figures[key] for figures in seen])) for key in seen[0]}
    first = {"first_kl_to_behaviour": seen[0]["kl_to_behaviour"]}
    return distributed.mean(means | first) | {
        "first_ratio_error": distributed.largest(seen[0]["ratio_error"])
    }


def minibatch(
    engine: Engine,
    part: Trajectory,
    params: PPOParams,
    pretraining: np.ndarray | None,
    draw: np.random.Generator,
) -> dict[str, float]:
    """One optimizer step: PPO gradient, then pretraining gradient, accumulated.

    Episodes go through in groups of like length, each weighted by its share of the response tokens, so that
    the loss is the mean over the minibatch's response tokens, those of every process, and little is spent on
    padding. ZeRO exchanges at each backward: where another process has more groups, the last one is passed
    through again with weight 0.
    """
    rows = round(params.ptx_ratio * len(part.scores)) if pretraining is not None else 0
    total = distributed.mean({"tokens": float(part.batch.is_response.sum())})["tokens"]
    figures: dict[str, float] = dict.fromkeys(MINIBATCH_FIGURES, 0.0)
    own = list(by_length(part.batch.is_real.sum(1).tolist(), params.microbatch_tokens))
    groups = own + own[-1:] * (int(distributed.largest(len(own))) - len(own))
    for number, group in enumerate(groups):
        episodes = select(part, group)
        weight = float(episodes.batch.is_response.sum()) / total if number < len(own) else 0.0
        loss, found = episode_loss(engine, episodes, params)
        engine.backward(weight * loss, more_to_come=rows > 0 or number + 1 < len(groups))
        for name, value in found.items():
            figures[name] = (
                max(figures[name], value) if name == "ratio_error" else figures[name] + weight * value
            )
    if rows and pretraining is not None:
        chosen = torch.from_numpy(pretraining[draw.integers(0, len(pretraining), rows)].astype(np.int64))
        loss = engine(None, pretraining=chosen.to(part.scores.device))
        engine.backward(params.ptx_coef * loss)
        figures["ptx_loss"] = float(loss.detach())
    return figures | {"grad_norm": engine.step()}


MINIBATCH_FIGURES = (
    "policy_loss",
    "value_loss",
    "entropy",
    "clip_fraction",
    "ratio_error",
    "kl_to_behaviour",
)


def episode_loss(engine: Engine, part: Trajectory, params: PPOParams) -> tuple[Tensor, dict[str, float]]:
    """Policy loss plus value_coef times value loss, and MINIBATCH_FIGURES of these episodes."""
    is_response = part.batch.is_response
    (logprobs, entropy), values = engine(part.batch, params.temperature)
    actor = policy_loss(logprobs, part.logprobs, part.advantages, is_response, clip=params.clip)
    critic = value_loss(values, part.values, part.returns, is_response, clip=params.value_clip)
    with torch.no_grad():
        ratio = (logprobs - part.logprobs).masked_fill(~is_response, 0.0).exp()
        found = (
            actor,
            critic,
            masked_mean(entropy, is_response),
            clip_fraction(logprobs, part.logprobs, is_response, clip=params.clip),
            (ratio - 1.0).abs().max(),
            masked_mean(k3(part.logprobs, logprobs), is_response),
        )
    figures = [float(figure.detach()) for figure in found]
    return actor + params.value_coef * critic, dict(zip(MINIBATCH_FIGURES, figures, strict=True))


def describe(trajectory: Trajectory) -> dict[str, float]:
    """Figures of an iteration's episodes; `kl` is what was charged: Σ_t log π - log π_ref, nats a response."""
    is_response = trajectory.batch.is_response
    kl = k1(trajectory.logprobs, trajectory.reference_logprobs).masked_fill(~is_response, 0.0).sum(1)
    return {
        "reward": float(trajectory.raw_scores.mean()),
        "reward_sd": float(trajectory.raw_scores.std()),
        "score": float(trajectory.scores.mean()),
        "kl": float(kl.mean()),
        "length": float(is_response.sum(1).float().mean()),
        "eos_rate": float(trajectory.ended.float().mean()),
        "explained_variance": float(explained_variance(trajectory.values, trajectory.returns, is_response)),
    }


def prompt_queue(job: Job, tokenizer: Any, params: PPOParams) -> list[list[int]]:
    """Token ids of a prompt an episode: PPO's own prompts, each once before any comes again."""
    records = prompts(job.path("curated"), "ppo")
    if not records:
        raise ValueError("there is no prompt for PPO: data.ppo_share left none")
    ids = [encode_prompt(tokenizer, record["messages"]) for record in records]
    order = random.Random(job.params.seed)
    queue: list[list[int]] = []
    while len(queue) < params.episodes:
        queue += order.sample(ids, len(ids))
    return queue


def reward_scale(
    policy: Any, rm: RewardModel, prompt_ids: list[list[int]], params: PPOParams, seed: int
) -> float:
    """What the reward is divided by: 1, or the reward's standard deviation on the start's own completions."""
    if params.reward_scale == "none":
        return 1.0
    completions = sample_ids(
        policy,
        rm.tokenizer,
        prompt_ids,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        seed=seed,
    )
    scores = torch.tensor(reward.score_rows(rm, prompt_ids, [c.ids for c in completions]))
    return max(1e-3, float(scores.std()))


def seed_of(seed: int, iteration: int) -> int:
    """A sampling seed for each iteration and process."""
    return (seed * 1_000_003 + iteration) * 1_009 + distributed.rank()


def stop_if_broken(figures: dict[str, float], iteration: int) -> None:
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        raise RuntimeError(
            f"PPO iteration {iteration + 1}: {', '.join(wrong)} not finite; lower ppo.lr, or raise ppo.kl_coef"
        )


def keep_episodes(
    job: Job,
    iteration: int,
    trajectory: Trajectory,
    completions: list[Completion],
    tokenizer: Any,
    count: int = 4,
) -> None:
    """A few episodes of the iteration as JSON Lines, personal data redacted."""
    kl = (
        k1(trajectory.logprobs, trajectory.reference_logprobs)
        .masked_fill(~trajectory.batch.is_response, 0.0)
        .sum(1)
    )
    with (job.out / "rollouts.jsonl").open("a", encoding="utf-8") as lines:
        for row, completion in enumerate(completions[:count]):
            episode = {
                "iteration": iteration,
                "prompt": redact(tokenizer.decode(completion.prompt_ids, skip_special_tokens=True)),
                "completion": redact(completion.text),
                "reward": float(trajectory.raw_scores[row]),
                "kl": float(kl[row]),
                "value": float(trajectory.values[row][trajectory.batch.is_response[row]][0]),
            }
            lines.write(json.dumps(episode, ensure_ascii=False) + "\n")
