"""Sampling in plain torch: left-padded batches with a key-value cache, from which finished rows are retired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlhf import distributed
from rlhf.chat import Message, encode_prompt
from rlhf.models.rows import by_length, in_order
from rlhf.sampling.cache import reserved_cache

#: a batch is made smaller once this share of its rows has ended: doing it at every row copies the cache too often
RETIRED = 0.1
#: tokens of one batch's cache: on a CPU few, which stay near it and leave many batches to deal out
GROUP_TOKENS = {"cpu": 4096, "cuda": 131072}


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
    max_tokens: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """One answer a prompt, in the order of `prompts`, from every process of the job together.

    Prompts of like length are answered together, `max_tokens` of cache at a time; each such group draws from a
    generator of its own, so that the number of processes changes no answer. `on_progress(n)` is told of n more
    finished answers. Dropout is off meanwhile.
    """
    ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    groups = _groups(model, ids, max_new_tokens, max_tokens)

    def answer(number: int) -> list[Completion]:
        rows = [ids[row] for row in groups[number]]
        found = _answer(model, tokenizer, rows, _generator(model, seed, number), max_new_tokens, temperature)
        if on_progress is not None:
            on_progress(len(rows) * distributed.world_size())
        return found

    return in_order(groups, distributed.deal(len(groups), answer))


def sample_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    max_tokens: int | None = None,
) -> list[Completion]:
    """`sample` by this process alone, for prompts that are token ids already."""
    groups = _groups(model, prompts, max_new_tokens, max_tokens)
    found = [
        _answer(
            model,
            tokenizer,
            [prompts[row] for row in rows],
            _generator(model, seed, number),
            max_new_tokens,
            temperature,
        )
        for number, rows in enumerate(groups)
    ]
    return in_order(groups, found)


def _groups(
    model: Any, prompts: Sequence[list[int]], max_new_tokens: int, max_tokens: int | None
) -> list[list[int]]:
    limit = max_tokens or GROUP_TOKENS.get(model.device.type, 16384)
    return list(by_length([len(prompt) + max_new_tokens for prompt in prompts], limit))


def _generator(model: Any, seed: int, number: int) -> torch.Generator:
    return torch.Generator(device=model.device).manual_seed((seed * 100_003 + number) % 2**63)


@torch.no_grad()
def _answer(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    generator: torch.Generator,
    max_new_tokens: int,
    temperature: float,
) -> list[Completion]:
    was_training = model.training
    model.eval()
    drawn = _decode(
        model,
        prompts,
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        max_new_tokens,
        temperature,
        generator,
    )
    model.train(was_training)
    return [
        Completion(
            prompt,
            ids,
            torch.tensor(logprobs),
            ended,
            tokenizer.decode(ids, skip_special_tokens=True).strip(),
        )
        for prompt, ids, logprobs, ended in zip(prompts, *drawn, strict=True)
    ]


def _decode(
    model: Any,
    prompts: list[list[int]],
    pad_id: int,
    eos_id: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> tuple[list[list[int]], list[list[float]], list[bool]]:
    """Token ids, their log-probabilities and whether EOS ended them, of one answer a prompt."""
    device, width = model.device, max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.int64)
    is_real = torch.zeros((len(prompts), width + max_new_tokens), dtype=torch.int64)
    is_real[:, width:] = 1
    for row, prompt in enumerate(prompts):  # padded on the left: every row continues at the same column
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        is_real[row, width - len(prompt) : width] = 1
    ids, is_real = ids.to(device), is_real.to(device)
    position = (is_real[:, :width].cumsum(1) - 1).clamp(min=0)
    cache = reserved_cache(model, room=max_new_tokens)
    alive = torch.arange(len(prompts), device=device)  # row of the batch -> row of the answer
    drawn = torch.full((len(prompts), max_new_tokens), pad_id, dtype=torch.int64, device=device)
    drawn_logprobs = torch.zeros((len(prompts), max_new_tokens), device=device)
    is_open = torch.ones(len(prompts), dtype=torch.bool, device=device)
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=is_real[:, : width + step],
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
        tokens = draw(logprobs, generator)
        drawn[alive, step] = tokens
        drawn_logprobs[alive, step] = logprobs.gather(1, tokens[:, None])[:, 0]
        is_open = is_open & (tokens != eos_id)
        left = int(is_open.sum())
        if not left:
            break
        if left <= (1 - RETIRED) * len(alive):
            kept = torch.nonzero(is_open)[:, 0]
            cache.batch_select_indices(kept)
            alive, tokens, is_real, position = alive[kept], tokens[kept], is_real[kept], position[kept]
            is_open = is_open[kept]
        ids, position = tokens[:, None], position[:, -1:] + 1
    return _until_end(drawn.cpu(), drawn_logprobs.cpu(), eos_id)


def _until_end(
    drawn: Tensor, logprobs: Tensor, eos_id: int
) -> tuple[list[list[int]], list[list[float]], list[bool]]:
    """Rows cut after their first EOS; what was drawn behind it, before the row was retired, is nothing."""
    is_end = drawn == eos_id
    ended = is_end.any(1)
    lengths = torch.where(ended, is_end.int().argmax(1) + 1, drawn.shape[1]).tolist()
    return (
        [row[:length] for row, length in zip(drawn.tolist(), lengths, strict=True)],
        [row[:length] for row, length in zip(logprobs.tolist(), lengths, strict=True)],
        ended.tolist(),
    )


def draw(logprobs: Tensor, generator: torch.Generator) -> Tensor:
    """One token a row by inverting the cumulative distribution. logprobs: [B, V]. Returns [B] int64."""
    cumulative = logprobs.exp().cumsum(dim=-1)
    uniform = torch.rand((logprobs.shape[0], 1), generator=generator, device=logprobs.device)
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)[:, 0]
    return found.clamp(max=logprobs.shape[-1] - 1)
