"""PPO-ptx itself (arXiv:2203.02155, eq. 2 and C.4), free of files and stages: one iteration at a time.

    maximise  E_{π}[ r(x, y) - β·log(π(y|x)/π_ref(y|x)) ] + γ·E_{pretrain}[ log π(x) ]

An episode is one prompt and one sampled response; the KL is charged per token, the score stands on the last
response token. Per minibatch the PPO gradient and the pretraining gradient are computed one after the other
and accumulated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlhf import distributed
from rlhf.models.directories import round_weights
from rlhf.models.packed import shortest
from rlhf.models.policy import TokenLogprobs, token_logprobs
from rlhf.models.rows import Batch, by_length, tokens_at_once
from rlhf.objectives.kl import adapted_coefficient, k1, k3
from rlhf.objectives.masked import masked_mean
from rlhf.objectives.ppo import clip_fraction, explained_variance, policy_loss, value_loss
from rlhf.objectives.ptx import ptx_loss
from rlhf.params import ComputeParams, PPOParams, SamplingParams
from rlhf.sampling.engine import Completion
from rlhf.sampling.sampler import Sampler, TorchSampler
from rlhf.training.ema import EMA
from rlhf.training.engine import Engine, mine
from rlhf.training.finite import require_finite
from rlhf.training.hacking import Watch
from rlhf.training.lora import frozen, trainable
from rlhf.training.rollouts import Score, Trajectory, collect, of_all, select, values_before
from rlhf.training.schedule import warmup_from_tenth

#: how far a ratio may be from 1 before the first update: far more than rounding makes it (1e-5 and 3e-2)
FIRST_RATIO = {"float32": 1e-3, "bfloat16": 0.3}
MINIBATCH_FIGURES = (
    "policy_loss",
    "value_loss",
    "entropy",
    "clip_fraction",
    "ratio_error",
    "kl_to_behaviour",
)


class PolicyAndValue(nn.Module):
    """Both trained models under one forward, so that one engine updates them."""

    def __init__(self, policy: nn.Module, value: nn.Module) -> None:
        super().__init__()
        self.policy, self.value = policy, value

    def forward(
        self,
        batch: Batch | None,
        temperature: float = 1.0,
        scale: float = 1.0,
        pretraining: Tensor | None = None,
    ) -> tuple[TokenLogprobs, Tensor] | Tensor:
        """(log-probabilities, values) of episodes; or, given `pretraining` rows [B, T], their mean NLL a token.

        temperature: divides the logits; scale: what rewards are divided by.
        """
        if batch is None:
            assert pretraining is not None
            logits = self.policy(input_ids=pretraining, use_cache=False).logits
            return ptx_loss(logits, pretraining, torch.ones_like(pretraining, dtype=torch.bool))
        logprobs = token_logprobs(self.policy, batch, temperature=temperature)
        return logprobs, values_before(self.value, batch, scale)


class PPOTrainer:
    """Policy and value model, what they are trained towards, and where training stands.

    score(prompts, responses): a reward a row, as it stands; it is divided by `scale`. pretraining: [N, T] token
    ids, or None where there is no pretraining term. sampler: what writes the episodes; our own engine by default.
    held_out_score: of a reward model that the policy is not trained towards, to be logged beside the other.
    Models are on their device and in evaluation mode: PPO has no dropout.
    """

    def __init__(
        self,
        policy: Any,
        value: Any,
        reference: Any,
        score: Score,
        tokenizer: Any,
        params: PPOParams,
        compute: ComputeParams,
        *,
        pretraining: np.ndarray | None = None,
        scale: float = 1.0,
        seed: int = 0,
        sampler: Sampler | None = None,
        held_out_score: Score | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        distributed.share(params.minibatch, "ppo.minibatch")
        self.policy, self.value, self.reference = policy, value, reference
        self.score, self.tokenizer, self.params = score, tokenizer, params
        self.pretraining, self.scale, self.seed = pretraining, scale, seed
        self.sampler = sampler or TorchSampler(tokenizer, params)
        self.sampling = sampling or SamplingParams()
        self.held_out_score, self.watch = held_out_score, Watch()
        self.kl_coef = params.kl_coef
        optimizer = torch.optim.AdamW(
            [
                {"params": trainable(policy), "lr": params.lr},
                {"params": trainable(value), "lr": params.value_lr},
            ],
            betas=(0.9, 0.95),
            eps=1e-5,
            weight_decay=0.0,
            fused=True,
        )
        self.engine = Engine(
            PolicyAndValue(policy, value),
            optimizer,
            compute,
            max_grad_norm=params.max_grad_norm,
            dtype=params.dtype,
        )
        with self.engine.whole():
            self.ema = EMA(self.engine.weights_of(policy), params.ema)
        round_weights(self.reference, params.dtype)
        self.draw = np.random.default_rng([seed, 0])  # the same on every process

    def iterate(
        self, iteration: int, prompts: list[list[int]]
    ) -> tuple[dict[str, float], Trajectory, list[Completion]]:
        """One iteration, counted from 0: sample and score this process's share of `prompts`, update on everybody's.

        Returns figures, and this process's episodes. Episodes and minibatches do not depend on how many processes there
        are. Raises RuntimeError where the first minibatch's ratio is not 1, and where a number is NaN or infinite.
        """
        started = time.time()
        policy_group, value_group = self.engine.optimizer.param_groups
        policy_group["lr"] = self.params.lr * policy_rate(iteration, self.params)
        value_group["lr"] = self.params.value_lr * warmup_from_tenth(iteration, self.params.warmup)
        own = mine(prompts)
        with self.engine.whole():
            trajectory, completions = collect(
                self.sampler,
                self.policy,
                self.value,
                self.reference,
                self.score,
                self.tokenizer,
                own,
                self.params,
                sampling=self.sampling,
                kl_coef=self.kl_coef,
                scale=self.scale,
                seed=(self.seed * 1_000_003 + iteration) * 1_009,
                first=distributed.rank() * len(own),
            )
        require_finite(
            f"PPO iteration {iteration + 1}, its episodes",
            log_probabilities=trajectory.logprobs,
            reference_log_probabilities=trajectory.reference_logprobs,
            rewards=trajectory.raw_scores,
            values=trajectory.values,
            advantages=trajectory.advantages,
        )
        sampled = time.time()
        episodes = of_all(trajectory)
        with self.engine.training():
            updates = self.update(episodes)
        with self.engine.whole():
            self.ema.update(self.engine.weights_of(self.policy))
        figures = describe(episodes) | updates | {"kl_coef": self.kl_coef}
        if self.held_out_score is not None:
            held_out = self.held_out_score(own, [completion.ids for completion in completions])
            of_each = distributed.gather(list(held_out))
            figures |= self.watch.see(
                episodes.raw_scores.tolist(), [reward for part in of_each for reward in part]
            )
        if self.params.kl_target is not None and iteration >= self.params.value_warmup:
            self.kl_coef = adapted_coefficient(
                self.kl_coef,
                figures["kl"],
                target=self.params.kl_target,
                episodes=self.params.batch,
                horizon=self.params.kl_horizon,
            )
        figures |= {"seconds_rollout": sampled - started, "seconds_update": time.time() - sampled}
        return figures, trajectory, completions

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Inner epochs over the episodes, those of every process, in minibatches of which each process does its share.

        Returns means over the updates, and what the first one saw.
        """
        rows_total, size = len(trajectory.scores), self.params.minibatch
        seen: list[dict[str, float]] = []
        error = 0.0
        for _ in range(self.params.inner_epochs):
            order = self.draw.permutation(rows_total)
            for start in range(0, rows_total - size + 1, size):
                seen.append(self.minibatch(select(trajectory, mine(order[start : start + size].tolist()))))
                if len(seen) == 1:
                    error = distributed.largest(seen[0]["ratio_error"])
                    check_first_ratio(error, FIRST_RATIO[self.params.dtype])
        means = {key: float(np.mean([figures[key] for figures in seen])) for key in seen[0]}
        first = {"first_kl_to_behaviour": seen[0]["kl_to_behaviour"]}
        return distributed.mean(means | first) | {"first_ratio_error": error}

    def minibatch(self, part: Trajectory) -> dict[str, float]:
        """One optimizer step: PPO gradient, then pretraining gradient, accumulated.

        Episodes go through in groups of like length, each weighted by its share of the response tokens, so that
        the loss is the mean over the minibatch's response tokens, those of every process, and little is spent on
        padding. ZeRO exchanges at each backward: where another process has more groups, the last one is passed
        through again with weight 0.
        """
        params, engine = self.params, self.engine
        pretraining = list(self.pretraining_rows())
        total = distributed.mean({"tokens": float(part.batch.is_response.sum())})["tokens"]
        figures: dict[str, float] = dict.fromkeys(MINIBATCH_FIGURES, 0.0)
        lengths = part.batch.is_real.sum(1).tolist()
        at_once = params.microbatch_tokens or tokens_at_once(part.batch.ids.device)
        own = list(by_length(lengths, at_once, least=shortest(self.policy)))
        groups = own + own[-1:] * (int(distributed.largest(len(own))) - len(own))
        for number, group in enumerate(groups):
            episodes = select(part, group)
            weight = float(episodes.batch.is_response.sum()) / total if number < len(own) else 0.0
            loss, found = episode_loss(
                engine, episodes, params, self.scale, self.sampling.importance != "none"
            )
            engine.backward(weight * loss, more_to_come=bool(pretraining) or number + 1 < len(groups))
            for name, value in found.items():
                figures[name] = (
                    max(figures[name], value) if name == "ratio_error" else figures[name] + weight * value
                )
        for number, (rows, weight) in enumerate(pretraining):
            loss = weight * engine(None, pretraining=rows)
            require_finite("PPO's update", pretraining_loss=loss)
            engine.backward(params.ptx_coef * loss, more_to_come=number + 1 < len(pretraining))
            figures["ptx_loss"] = figures.get("ptx_loss", 0.0) + float(loss.detach())
        return figures | {"grad_norm": engine.step()}

    def pretraining_rows(self) -> Iterator[tuple[Tensor, float]]:
        """([B, T] token ids, weight) of each pass of a minibatch's pretraining rows through this process.

        The rows are drawn for all processes and dealt out; the weights make the mean over the processes the mean over
        the rows. ZeRO wants as many passes of every process: one that has run out of rows passes another's, at weight 0.
        """
        if self.pretraining is None:
            return
        params, device, processes = self.params, self.policy.device, distributed.world_size()
        count = round(params.ptx_ratio * params.minibatch)
        drawn = self.pretraining[self.draw.integers(0, len(self.pretraining), count)].astype(np.int64)
        own = drawn[distributed.rank() :: processes]
        most = -(-count // processes)
        at_once = max(1, (params.microbatch_tokens or tokens_at_once(device)) // drawn.shape[1])
        for start in range(0, most, at_once):
            rows = own[start : start + at_once]
            yield (
                torch.from_numpy(rows if len(rows) else drawn[:1]).to(device),
                len(rows) * processes / count,
            )

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint needs, but the global generators (checkpoint.random_state)."""
        left_out = frozen(self.policy)
        return {
            "engine": self.engine.state(),
            "ema": {name: value for name, value in self.ema.average.items() if name not in left_out},
            "scale": self.scale,
            "kl_coef": self.kl_coef,
            "draw": self.draw.bit_generator.state,
            "watch": self.watch.state(),
        }

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Back to `state`; folder: its checkpoint's, for what the engine wrote there."""
        self.engine.restore(state["engine"], folder)
        self.ema.average |= {
            name: value.to(self.ema.average[name].device) for name, value in state["ema"].items()
        }
        self.scale, self.kl_coef = state["scale"], state["kl_coef"]
        self.draw.bit_generator.state = state["draw"]
        self.watch.restore(state["watch"])


def policy_rate(iteration: int, params: PPOParams) -> float:
    """The policy's share of ppo.lr in an iteration, counted from 0: nothing while only the value model learns."""
    learnt = iteration - params.value_warmup
    return warmup_from_tenth(learnt, params.warmup) if learnt >= 0 else 0.0


def episode_loss(
    engine: Engine, part: Trajectory, params: PPOParams, scale: float, is_weighted: bool = False
) -> tuple[Tensor, dict[str, float]]:
    """Policy loss plus value_coef times value loss, and MINIBATCH_FIGURES of these episodes.

    scale: of the reward; is_weighted: whether importance weights count.
    """
    is_response = part.batch.is_response
    (logprobs, entropy), values = engine(part.batch, params.temperature, scale)
    weights = part.weights if is_weighted else None
    actor = policy_loss(
        logprobs, part.logprobs, part.advantages, is_response, clip=params.clip, weights=weights
    )
    critic = value_loss(values, part.values, part.returns, is_response, clip=params.value_clip)
    require_finite(
        "PPO's update", log_probabilities=logprobs, values=values, policy_loss=actor, value_loss=critic
    )
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


def episode_kl(trajectory: Trajectory) -> Tensor:
    """[B] Σ_t log π - log π_ref, nats a response, as sampled."""
    charged = k1(trajectory.logprobs, trajectory.reference_logprobs)
    return charged.masked_fill(~trajectory.batch.is_response, 0.0).sum(1)


def describe(trajectory: Trajectory) -> dict[str, float]:
    """Figures of an iteration's episodes; `kl` is the mean of `episode_kl`, `explained_variance` absent where undefined."""
    is_response = trajectory.batch.is_response
    explained = float(explained_variance(trajectory.values, trajectory.returns, is_response))
    return {
        "reward": float(trajectory.raw_scores.mean()),
        "reward_sd": float(trajectory.raw_scores.std(unbiased=False)),
        "score": float(trajectory.scores.mean()),
        "kl": float(episode_kl(trajectory).mean()),
        "length": float(is_response.sum(1).float().mean()),
        "eos_rate": float(trajectory.ended.float().mean()),
        **({} if math.isnan(explained) else {"explained_variance": explained}),
        "sampler_gap": trajectory.gap.mean,
        "sampler_gap_largest": trajectory.gap.largest,
        "sampler_drift": trajectory.gap.drift,
        "importance_weight": float(masked_mean(trajectory.weights, is_response)),
    }


def check_first_ratio(error: float, allowed: float = FIRST_RATIO["float32"]) -> None:
    """Before any update π is π_old: what sampling and training compute for the same tokens must agree.

    Raises RuntimeError with the likely causes where the largest |ratio - 1| exceeds what is allowed.
    """
    if not error <= allowed:
        raise RuntimeError(
            f"PPO's first minibatch has ratios up to {error:.2g} away from 1 (allowed {allowed:g}): sampling and training "
            "do not compute the same log-probabilities. Likely causes: dropout is on in one of them, another "
            "temperature, padding or positions read differently, or weights that changed in between"
        )
