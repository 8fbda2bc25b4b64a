"""Sampling in plain torch: left-padded batches with a key-value cache, finished rows retired as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rlhf.chat import Message, encode_prompt
from rlhf.models.rows import by_length


@dataclass
class Completion:
    """One sampled answer."""

    prompt_ids: list[int]
    ids: list[int]  # EOS included, where it ended
    logprobs: Tensor  # [len(ids)] float32, log π at the sampling temperature
    ended: bool  # False: cut at the length limit
    text: str


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    max_tokens: int = 16384,
    on_progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """One answer a prompt, in the order of `prompts`. `on_progress(n)` is told of n more finished answers.

    Prompts of like length are answered together, `max_tokens` of cache at a time. The same arguments give the
    same answers on one machine type and thread count. Dropout is off meanwhile.
    """
    return sample_ids(
        model,
        tokenizer,
        [encode_prompt(tokenizer, messages) for messages in prompts],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_tokens=max_tokens,
        on_progress=on_progress,
    )


@torch.no_grad()
def sample_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    max_tokens: int = 16384,
    on_progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """`sample` for prompts that are token ids already."""
    generator = torch.Generator(device=model.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    found: list[Completion | None] = [None] * len(prompts)
    for rows in by_length([len(prompt) + max_new_tokens for prompt in prompts], max_tokens):
        ids, logprobs, ended = _decode(
            model,
            [prompts[i] for i in rows],
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
            max_new_tokens,
            temperature,
            generator,
        )
        for row, i in enumerate(rows):
            text = tokenizer.decode(ids[row], skip_special_tokens=True).strip()
            found[i] = Completion(prompts[i], ids[row], torch.tensor(logprobs[row]), ended[row], text)
        if on_progress is not None:
            on_progress(len(rows))
    model.train(was_training)
    return [completion for completion in found if completion is not None]


def _decode(
    model: Any,
    prompts: list[list[int]],
    pad_id: int,
    eos_id: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> tuple[list[list[int]], list[list[float]], list[bool]]:
    device, width = model.device, max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.int64)
    is_real = torch.zeros((len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(
        prompts
    ):  # padded on the left, so that every row continues at the same column
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        is_real[row, width - len(prompt) :] = 1
    ids, is_real = ids.to(device), is_real.to(device)
    position = (is_real.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    alive = torch.arange(len(prompts), device=device)  # row in the batch -> row in the answer
    out_ids: list[list[int]] = [[] for _ in prompts]
    out_logprobs: list[list[float]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    for _ in range(max_new_tokens):
        logits = (
            model(
                input_ids=ids,
                attention_mask=is_real,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[:, -1]
            .float()
            / temperature
        )
        logprobs = torch.log_softmax(logits, dim=-1)
        tokens = draw(logprobs, generator)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0]
        is_end = tokens == eos_id
        for row, token, logprob, end in zip(
            alive.tolist(), tokens.tolist(), chosen.tolist(), is_end.tolist(), strict=True
        ):
            out_ids[row].append(token)
            out_logprobs[row].append(logprob)
            ended[row] = end
        kept = torch.nonzero(~is_end)[:, 0]
        if not len(kept):
            break
        if len(kept) < len(alive):
            cache.batch_select_indices(kept)
            alive, tokens, is_real, position = alive[kept], tokens[kept], is_real[kept], position[kept]
        ids = tokens[:, None]
        is_real = torch.cat([is_real, is_real.new_ones((len(alive), 1))], dim=1)
        position = position[:, -1:] + 1
    return out_ids, out_logprobs, ended


def draw(logprobs: Tensor, generator: torch.Generator) -> Tensor:
    """One token a row by inverting the cumulative distribution. logprobs: [B, V]. Returns [B] int64."""
    cumulative = logprobs.exp().cumsum(dim=-1)
    uniform = torch.rand((logprobs.shape[0], 1), generator=generator, device=logprobs.device)
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)[:, 0]
    return found.clamp(max=logprobs.shape[-1] - 1)
