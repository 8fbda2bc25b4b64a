"""Does PPO find the optimum that can be computed? All sequences of a short length over a few tokens.

    python -m benchmarks.optimum --json

max_π E_π[r(y)] - β·KL(π ‖ π_ref) has the solution π*(y) ∝ π_ref(y)·exp(r(y)/β), with the value β·log Σ_y π_ref(y)·exp(r(y)/β).
π_ref is a small random GPT, r a random table of standard deviation 1 under it. Prints how far from π_ref's value to
the optimum's PPO gets, exactly, by enumeration; with --json one object: worst_share_of_optimum, shares.

    python -m benchmarks.optimum --stale 1 --json

The engine that samples takes the policy's weights every second iteration only, and truncated importance weights correct for it
(sampling.importance). --no-importance shows what is lost without them.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from rlhf.models.packed import prepare
from rlhf.params import ComputeParams, PPOParams, SamplingParams
from rlhf.sampling.engine import Completion
from rlhf.sampling.sampler import TorchSampler
from rlhf.training.ppo_trainer import PPOTrainer

PROMPT = [0]
START_BETA = 3.0
#: nothing ends a response but its length
WORDS = SimpleNamespace(pad_token_id=0, eos_token_id=-1, decode=lambda ids, skip_special_tokens: "")


class Task:
    """A reference policy and a reward for every sequence, both drawn by the seed."""

    def __init__(self, seed: int, tokens: int, length: int) -> None:
        torch.manual_seed(seed)
        self.sequences = torch.tensor(list(itertools.product(range(tokens), repeat=length)))
        self.reference = prepare(GPT2LMHeadModel(_architecture(tokens, length)).eval())
        with torch.no_grad():
            self.reference.get_output_embeddings().weight.mul_(2.0)  # probabilities of 0.1 to 0.4 a token
        self.log_reference = self.log_probabilities(self.reference)
        rewards = torch.randn(len(self.sequences))
        mean = (self.log_reference.exp() * rewards).sum()
        spread = (self.log_reference.exp() * (rewards - mean) ** 2).sum().sqrt()
        self.rewards = (rewards - mean) / spread
        self.table = {tuple(y.tolist()): float(r) for y, r in zip(self.sequences, self.rewards, strict=True)}

    @torch.no_grad()
    def log_probabilities(self, model: GPT2LMHeadModel) -> Tensor:
        """[tokens ** length] log π(y) of every sequence."""
        prompt = torch.tensor(PROMPT).expand(len(self.sequences), -1)
        logits = model(torch.cat([prompt, self.sequences], dim=1)).logits[:, len(PROMPT) - 1 : -1]
        return logits.log_softmax(-1).gather(2, self.sequences[:, :, None]).sum((1, 2))

    def objective(self, log_policy: Tensor, beta: float) -> float:
        """E_π[r] - β·KL(π ‖ π_ref)."""
        return float((log_policy.exp() * (self.rewards - beta * (log_policy - self.log_reference))).sum())

    def optimum(self, beta: float) -> float:
        return float(beta * torch.logsumexp(self.log_reference + self.rewards / beta, dim=0))

    def share_of_optimum(self, log_policy: Tensor, beta: float) -> float:
        """0 at π_ref, 1 at π*."""
        start = self.objective(self.log_reference, beta)
        return (self.objective(log_policy, beta) - start) / (self.optimum(beta) - start)


class Stale:
    """An engine that takes the policy's weights every `every` iterations, and samples from old ones in between."""

    is_exact = False

    def __init__(self, params: PPOParams, every: int) -> None:
        self.inner, self.every, self.asked = TorchSampler(WORDS, params), every, 0

    def take_weights(self, policy: Any) -> None:
        if self.asked % self.every == 0:
            self.inner.take_weights(copy.deepcopy(policy))
        self.asked += 1

    def sample(self, prompts: list[list[int]], *, seed: int, first: int = 0) -> list[Completion]:
        return self.inner.sample(prompts, seed=seed, first=first)


def solve(
    seed: int,
    beta: float,
    *,
    tokens: int = 5,
    length: int = 3,
    iterations: int = 300,
    batch: int = 512,
    lr: float = 1e-3,
    stale: int = 0,
    importance: Literal["none", "truncated"] = "truncated",
) -> float:
    """Share of the optimum that PPO reaches on the seed's task of tokens ** length sequences.

    stale: iterations for which the engine keeps old weights; importance: how that is corrected for.
    """
    task = Task(seed, tokens, length)
    params = PPOParams(
        temperature=1.0,
        batch=batch,
        minibatch=batch,
        lr=lr,
        value_lr=3 * lr,
        warmup=5,
        kl_coef=beta,
        ptx_coef=0.0,
        value_clip=None,
        lam=1.0,
        max_new_tokens=length,
        reward_scale="none",
    )
    value = prepare(GPT2ForSequenceClassification(_architecture(tokens, length)).eval())
    trainer = PPOTrainer(
        copy.deepcopy(task.reference),
        value,
        task.reference,
        lambda prompts, responses: [task.table[tuple(response)] for response in responses],
        WORDS,
        params,
        ComputeParams(launcher="inline", device="cpu"),
        seed=seed,
        sampler=Stale(params, stale + 1) if stale else None,
        sampling=SamplingParams(importance=importance if stale else "none", max_gap=10.0),
    )
    for iteration in range(iterations):
        decay = min(1.0, 2.0 * (1.0 - iteration / iterations))  # the last half anneals: what is left is noise
        # β falls to its value: at a low one from the start, PPO would drop a first token for the mean of what follows
        # it before it has found the best that follows it. From 3, not 1: the first steps then move π little.
        annealed = min(1.0, iteration / (0.6 * iterations))
        trainer.kl_coef = START_BETA ** (1.0 - annealed) * beta**annealed
        trainer.params = params.model_copy(update={"lr": lr * decay, "value_lr": 3 * lr * decay})
        trainer.iterate(iteration, [PROMPT] * batch)
    return task.share_of_optimum(task.log_probabilities(trainer.policy), beta)


def _architecture(tokens: int, length: int) -> GPT2Config:
    """Positions are learnt: under rotary ones, [0] and [0, 0] would look the same to a model, and π* be out of its reach."""
    return GPT2Config(
        vocab_size=tokens,
        n_positions=len(PROMPT) + length,
        n_embd=64,
        n_layer=1,
        n_head=2,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=-1,
        pad_token_id=0,
        num_labels=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--betas", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument(
        "--stale", type=int, default=0, help="iterations for which the engine keeps old weights"
    )
    parser.add_argument("--no-importance", action="store_true", help="old weights are not corrected for")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shares: dict[str, dict[str, float]] = {}
    started = time.process_time()
    for beta in options.betas:
        shares[str(beta)] = {}
        for seed in options.seeds:
            shares[str(beta)][str(seed)] = found = solve(
                seed,
                beta,
                iterations=options.iterations,
                stale=options.stale,
                importance="none" if options.no_importance else "truncated",
            )
            spent = time.process_time() - started
            print(
                f"beta {beta:<4} seed {seed}: {found:.4f} of the optimum ({spent:.0f} CPU s so far)",
                flush=True,
            )
    worst = min(found for of_seed in shares.values() for found in of_seed.values())
    print(f"worst: {worst:.4f}")
    if options.json:
        spent = time.process_time() - started
        print(json.dumps({"worst_share_of_optimum": worst, "shares": shares, "cpu_seconds": spent}))


if __name__ == "__main__":
    main()
