"""Scalar heads: the reward model, and the value model that starts from it.

A reward model is a Hugging Face sequence classifier with one label. Its score layer has no bias, so the bias
that makes demonstrations score 0 on average stands in config.json as `reward_bias`: reward = score + reward_bias.
The reward is read at the last real token of a row; a value is read at every token of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from rlhf import distributed
from rlhf.chat import Message, encode_completion, encode_prompt
from rlhf.models import directories, scored_elsewhere
from rlhf.models.openable import require_loaded
from rlhf.models.packed import hidden_states, layout_of, prepare, shortest, unpack
from rlhf.models.plain import require_plain
from rlhf.models.positions import cut_to, positions_of
from rlhf.models.rows import by_length, pad, tokens_at_once


@dataclass
class RewardModel:
    model: Any
    tokenizer: Any

    @property
    def bias(self) -> float:
        return bias_of(self.model)


def bias_of(model: Any) -> float:
    """What a reward model's head lacks of a reward; 0 where nothing was set."""
    return float(getattr(model.config, "reward_bias", 0.0))


def from_policy(directory: Path | str, *, seed: int = 0) -> RewardModel:
    """A policy's body under a fresh scalar head (weights of sd 1/sqrt(d+1), no bias), dropout off."""
    directory = Path(directory)
    require_plain(directory)
    config = directories.configure(directory, dropout=0.0)
    config.num_labels = 1
    tokenizer = directories.load_tokenizer(directory)
    config.pad_token_id = tokenizer.pad_token_id
    model, info = AutoModelForSequenceClassification.from_pretrained(
        directory,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    info["missing_keys"] -= {"score.weight"}  # drawn below
    require_loaded(model, info, str(directory))
    head = model.score.weight
    with torch.no_grad():
        head.copy_(
            torch.randn(head.shape, generator=torch.Generator().manual_seed(seed))
            / (head.shape[1] + 1) ** 0.5
        )
    scored_elsewhere.fit_out(model, tokenizer)
    return RewardModel(prepare(model), tokenizer)


def load_reward_model(directory: Path | str) -> RewardModel:
    """A reward model as `directories.save` wrote it."""
    directory = Path(directory)
    require_plain(directory)
    tokenizer = directories.load_tokenizer(directory)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        directory,
        config=directories.configure(directory, 0.0),
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    require_loaded(model, info, str(directory))
    return RewardModel(prepare(model), tokenizer)


def token_scores(model: Any, ids: Tensor, is_real: Tensor, asked: Tensor) -> Tensor:
    """[B, T] float32: the head's output, without the bias, at the tokens that are asked for; 0 elsewhere.

    ids: [B, T]; is_real, asked: [B, T] bool, asked only of real tokens.
    """
    layout = layout_of(is_real)
    at = asked.flatten()[layout.places].nonzero()[:, 0]
    return unpack(model.score(hidden_states(model, ids, is_real, layout, at))[:, 0].float(), layout, at)


def row_scores(model: Any, ids: Tensor, is_real: Tensor) -> Tensor:
    """[B] float32: the head's output at each row's last real token, wherever padding lies, without the bias.

    0 for a row without tokens. ids, is_real: [B, T].
    """
    order = torch.arange(1, is_real.shape[1] + 1, device=is_real.device) * is_real
    is_last = is_real & (order == order.amax(dim=1, keepdim=True))
    return token_scores(model, ids, is_real, is_last).sum(1)


@torch.no_grad()
def score_rows(
    rm: RewardModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
) -> list[float]:
    """Reward of each response, bias included, in rows of similar length, cut to the model's positions."""
    prompts, responses = cut_to(positions_of(rm.model), prompts, responses)
    found = [0.0] * len(prompts)
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    for group in by_length(lengths, tokens_at_once(rm.model.device), least=shortest(rm.model)):
        batch = pad(
            [prompts[i] for i in group],
            [responses[i] for i in group],
            rm.tokenizer.pad_token_id,
            rm.model.device,
        )
        rewards = row_scores(rm.model, batch.ids, batch.is_real) + rm.bias
        for i, reward in zip(group, rewards.tolist(), strict=True):
            found[i] = reward
    return found


def score_together(
    rm: RewardModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> list[float]:
    """`score_rows` by all processes of the job, each on its share of the rows; every one gets all rewards."""

    def work(rows: list[int]) -> list[float]:
        return score_rows(rm, [prompts[row] for row in rows], [responses[row] for row in rows])

    return distributed.deal_rows(len(prompts), work)


def score(
    rm: RewardModel, prompts: Sequence[Sequence[Message]], completions: Sequence[str], ended: Sequence[bool]
) -> list[float]:
    """`score_together` of answers to messages."""
    return score_together(
        rm,
        [encode_prompt(rm.tokenizer, messages) for messages in prompts],
        [
            encode_completion(rm.tokenizer, text, ended=end)
            for text, end in zip(completions, ended, strict=True)
        ],
    )
