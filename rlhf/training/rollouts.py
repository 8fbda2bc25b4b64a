"""Episodes of one PPO iteration: sampled, scored, and turned into rewards and advantages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rlhf import distributed
from rlhf.models import reward
from rlhf.models.packed import shortest
from rlhf.models.policy import response_logprobs
from rlhf.models.rows import Batch, by_length, pad, tokens_at_once
from rlhf.objectives.gae import gae
from rlhf.objectives.importance import truncated_weights
from rlhf.objectives.kl import ESTIMATORS
from rlhf.objectives.masked import whiten
from rlhf.objectives.ppo import token_rewards
from rlhf.params import PPOParams, SamplingParams
from rlhf.sampling.engine import Completion
from rlhf.sampling.gap import CHECKED_ROWS, MAX_GAP, Gap, gap_of, likely_cause, require_close
from rlhf.sampling.sampler import Sampler

#: (prompts, responses), as token ids -> a reward a row
Score = Callable[[list[list[int]], list[list[int]]], Sequence[float]]


class Trajectory(NamedTuple):
    """Episodes as right-padded rows; [B, T] unless said otherwise. Response columns alone carry figures."""

    batch: Batch
    logprobs: Tensor  # log π_old: the sampler's where it is exact, else computed again
    reference_logprobs: Tensor  # log π_ref
    values: Tensor  # V_old
    advantages: Tensor  # whitened, where params ask for it
    returns: Tensor  # advantages before whitening + values
    scores: Tensor  # [B] reward model, scaled, missing-EOS penalty taken off
    raw_scores: Tensor  # [B] reward model as it stands
    ended: Tensor  # [B] bool
    weights: Tensor  # importance weights; 1 where params ask for none
    gap: Gap  # how far the engine's log-probabilities are from the trainer's


@torch.no_grad()
def collect(
    sampler: Sampler,
    policy: Any,
    value: Any,
    reference: Any,
    score: Score,
    tokenizer: Any,
    prompts: list[list[int]],
    params: PPOParams,
    *,
    sampling: SamplingParams,
    kl_coef: float,
    scale: float,
    seed: int,
    first: int = 0,
) -> tuple[Trajectory, list[Completion]]:
    """One episode a prompt: drawn by `sampler` from `policy`, scored, its KL to `reference` charged per token.

    kl_coef: β as it stands now; scale: what the reward is divided by (1 where ppo.reward_scale is none); seed, first: as
    `Sampler.sample` takes them.
    """
    sampler.take_weights(policy)
    completions = sampler.sample(prompts, seed=seed, first=first)
    responses = [c.ids for c in completions]
    batch = pad(prompts, responses, tokenizer.pad_token_id, policy.device)
    raw = torch.tensor(score(prompts, responses), dtype=torch.float32, device=policy.device)
    ended = torch.tensor([c.ended for c in completions], device=policy.device)
    scores = raw / scale - params.missing_eos_penalty * ~ended
    compute = partial(response_logprobs, pad_id=tokenizer.pad_token_id, temperature=params.temperature)
    reference_rows = compute(reference, prompts, responses)
    checked = CHECKED_ROWS if sampler.is_exact else len(prompts)
    again = compute(policy, prompts[:checked], responses[:checked])
    gap = gap_of(completions[:checked], again)
    limit = MAX_GAP[params.dtype] if sampling.max_gap is None else sampling.max_gap
    fault = partial(likely_cause, pad_id=tokenizer.pad_token_id, temperature=params.temperature)
    require_close(gap, limit, lambda: fault(policy, reference, completions))
    engine_logprobs = _place([c.logprobs for c in completions], batch)
    logprobs = engine_logprobs if sampler.is_exact else _place(again, batch)
    weights = torch.ones_like(logprobs)
    if sampling.importance == "truncated":
        weights = truncated_weights(logprobs, engine_logprobs, batch.is_response, cap=sampling.importance_cap)
    reference_logprobs = _place(reference_rows, batch)
    values = response_values(value, batch, scale)
    charged = ESTIMATORS[params.kl_estimator](logprobs, reference_logprobs)
    rewards = token_rewards(scores, charged, batch.is_response, kl_coef=kl_coef)
    if params.whiten_rewards:
        rewards = whiten_together(rewards, batch.is_response, shift_mean=False)
    advantages = gae(rewards, values, batch.is_response, discount=params.discount, lam=params.lam)
    returns = advantages + values
    if params.whiten_advantages:
        advantages = whiten_together(advantages, batch.is_response)
    return Trajectory(
        batch, logprobs, reference_logprobs, values, advantages, returns, scores, raw, ended, weights, gap
    ), completions


def whiten_together(values: Tensor, is_counted: Tensor, *, shift_mean: bool = True) -> Tensor:
    """`masked.whiten` by the mean and variance over the episodes of every process."""
    kept = values.masked_fill(~is_counted, 0.0).double()
    moments = distributed.mean(
        {"count": float(is_counted.sum()), "sum": float(kept.sum()), "squares": float((kept**2).sum())}
    )
    count = max(moments["count"], 1e-9)
    mean = moments["sum"] / count
    variance = max(0.0, moments["squares"] / count - mean**2)
    return whiten(values, is_counted, mean, variance, shift_mean=shift_mean)


def response_values(value: Any, batch: Batch, scale: float) -> Tensor:
    """V at each response token: of the state BEFORE it, so that the value does not see the action. [B, T].

    scale: what the rewards that it predicts are divided by.
    """
    found = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    at_once = tokens_at_once(batch.ids.device)
    for rows in by_length(batch.is_real.sum(1).tolist(), at_once, least=shortest(value)):
        width = int(batch.is_real[rows].sum(1).max())
        part = Batch(*(tensor[rows, :width] for tensor in batch))
        found[rows, :width] = values_before(value, part, scale)
    return found


def values_before(value: Any, batch: Batch, scale: float) -> Tensor:
    """The value model read one token earlier than each response token. [B, T], 0 outside the response.

    It starts as the reward model, so it is read as one: its head with the reward's bias, over `scale`. A head that was read
    as it stands would begin off by the bias, and ppo.value_clip lets it make good so much an iteration, and no more.
    """
    before = functional.pad(batch.is_response[:, 1:], (0, 1))
    rewards = (reward.token_scores(value, batch.ids, batch.is_real, before) + reward.bias_of(value)) / scale
    return functional.pad(rewards.masked_fill(~before, 0.0)[:, :-1], (1, 0))


def select(trajectory: Trajectory, rows: list[int]) -> Trajectory:
    """The given episodes, cut to their longest."""
    width = int(trajectory.batch.is_real[rows].sum(1).max())
    batch = Batch(*(tensor[rows, :width] for tensor in trajectory.batch))
    of_tokens = ("logprobs", "reference_logprobs", "values", "advantages", "returns", "weights")
    cut = {name: getattr(trajectory, name)[rows, :width] for name in of_tokens}
    kept = {name: getattr(trajectory, name)[rows] for name in ("scores", "raw_scores", "ended")}
    return trajectory._replace(batch=batch, **cut, **kept)


def of_all(trajectory: Trajectory) -> Trajectory:
    """The episodes of every process, in the order of the processes, in each of them."""
    if distributed.world_size() == 1:
        return trajectory
    batch, *rest, gap = trajectory
    parts = distributed.gather([tensor.cpu() for tensor in (*batch, *rest)])
    width = max(tensors[0].shape[1] for tensors in parts)
    tensors = [
        torch.cat([functional.pad(t, (0, width - t.shape[1])) if t.ndim == 2 else t for t in column])
        for column in zip(*parts, strict=True)
    ]
    on_device = [tensor.to(batch.ids.device) for tensor in tensors]
    return Trajectory._make([Batch(*on_device[:3]), *on_device[3:], gap])


def _place(rows: list[Tensor], batch: Batch) -> Tensor:
    placed = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    return placed.masked_scatter(batch.is_response, torch.cat(rows).to(placed))
