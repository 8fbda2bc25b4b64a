"""The workloads of benchmarks.ppo: random GPT-2 models and prompts, the same for us and for TRL.

Imported in TRL's own environment too: torch, transformers and its tokenizers alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

PAD, EOS, FIRST_WORD = 0, 1, 2
END_PROBABILITY = 1 / 32  # of EOS at a step


@dataclass(frozen=True)
class Workload:
    layers: int
    width: int
    heads: int
    vocabulary: int
    episodes: int
    prompt_tokens: tuple[int, int]
    new_tokens: int
    minibatch: int = 32


WORKLOADS = {
    "W1": Workload(4, 256, 4, 4096, 128, (16, 64), 64),
    "W2": Workload(6, 512, 8, 8192, 64, (16, 64), 64),
    "W3": Workload(24, 1024, 16, 50257, 256, (64, 256), 256),
    "tiny": Workload(1, 32, 2, 64, 32, (4, 8), 8, minibatch=16),
}


def models(load: Workload, seed: int = 0) -> dict[str, Any]:
    """policy, reference (its copy), value and reward: of one size, without dropout, random weights."""
    config = GPT2Config(
        vocab_size=load.vocabulary,
        n_positions=1024,
        n_embd=load.width,
        n_layer=load.layers,
        n_head=load.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=EOS,
        num_labels=1,
    )
    torch.manual_seed(seed)
    policy = GPT2LMHeadModel(config)
    end_with(policy, END_PROBABILITY)
    reference = GPT2LMHeadModel(config)
    reference.load_state_dict(policy.state_dict())
    value, rewarder = GPT2ForSequenceClassification(config), GPT2ForSequenceClassification(config)
    return {"policy": policy, "reference": reference, "value": value, "reward": rewarder}


@torch.no_grad()
def end_with(policy: Any, probability: float) -> None:
    """Point the final layer norm's bias at the EOS embedding, as far as makes EOS that likely on random text."""
    ids = torch.randint(FIRST_WORD, policy.config.vocab_size, (8, 32))
    direction = policy.transformer.wte.weight[EOS] / policy.transformer.wte.weight[EOS].norm() ** 2
    low, high = 0.0, 50.0
    for _ in range(30):
        middle = (low + high) / 2
        policy.transformer.ln_f.bias.copy_(middle * direction)
        found = float(policy(ids).logits.softmax(-1)[..., EOS].mean())
        low, high = (middle, high) if found < probability else (low, middle)


def prompts(load: Workload, count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [
        [draw.randrange(FIRST_WORD, load.vocabulary) for _ in range(draw.randint(*load.prompt_tokens))]
        for _ in range(count)
    ]


def tokenizer(padding_side: str) -> PreTrainedTokenizerFast:
    """What TRL's trainers ask for: it knows padding and the end."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"[pad]": PAD, "[end]": EOS}, "[pad]")),
        pad_token="[pad]",
        eos_token="[end]",
        padding_side=padding_side,
    )


def floor_flops(load: Workload, prompt_tokens: list[int], response_tokens: list[int]) -> float:
    """What an iteration must compute: every token once, logits at response positions alone, no padding.

    Generation: the policy over prompt and response. Scores: reward, reference and value over both. Update: three
    forwards' worth for policy and value. 2 a multiplication and addition; attention over what stands before.
    """
    body = 12 * load.layers * load.width**2
    head = load.width * load.vocabulary
    total = sum(prompt_tokens) + sum(response_tokens)
    attention = sum(
        2 * load.layers * load.width * (p + r) ** 2
        for p, r in zip(prompt_tokens, response_tokens, strict=True)
    )
    forward = 2 * body * total + attention
    logits = 2 * head * sum(response_tokens)
    return (1 + 3 + 3 * 2) * forward + (1 + 1 + 3) * logits
