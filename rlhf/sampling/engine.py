"""Sampling in plain torch: prompts read without padding, then all rows a token at a time, finished ones retired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rlhf import distributed
from rlhf.chat import Message, encode_prompt
from rlhf.models.packed import hidden_states, is_packing, layout_of
from rlhf.models.rows import by_length, in_order
from rlhf.sampling.cache import reserved

#: a batch is made smaller once this share of its rows has ended: doing it at every row copies the cache too often
RETIRED = 0.2
#: tokens of one batch's cache: on a CPU few, which stay near it and leave many batches to deal out
GROUP_TOKENS = {"cpu": 8192, "cuda": 131072}


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
    return list(by_length([len(prompt) + max_new_tokens for prompt in prompts], limit, least=0.0))


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
    device, room = model.device, max_new_tokens
    logits, cache, is_real, position = _prefill(model, prompts, pad_id, room)
    width = is_real.shape[1] - room
    alive = torch.arange(len(prompts), device=device)  # row of the batch -> row of the answer
    drawn = torch.full((len(prompts), room), pad_id, dtype=torch.int64, device=device)
    drawn_logprobs = torch.zeros((len(prompts), room), device=device)
    is_open = torch.ones(len(prompts), dtype=torch.bool, device=device)
    for step in range(room):
        logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
        tokens = draw(logprobs, generator)
        drawn[alive, step] = tokens
        drawn_logprobs[alive, step] = logprobs.gather(1, tokens[:, None])[:, 0]
        is_open = is_open & (tokens != eos_id)
        left = int(is_open.sum())
        if not left or step + 1 == room:
            break
        if left <= (1 - RETIRED) * len(alive):
            kept = torch.nonzero(is_open)[:, 0]
            cache.batch_select_indices(kept)
            alive, tokens, is_real, position = alive[kept], tokens[kept], is_real[kept], position[kept]
            is_open = is_open[kept]
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=is_real[:, : width + step + 1],
            position_ids=position + step,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return _until_end(drawn.cpu(), drawn_logprobs.cpu(), eos_id)


def _prefill(
    model: Any, prompts: list[list[int]], pad_id: int, room: int
) -> tuple[Tensor, DynamicCache, Tensor, Tensor]:
    """Logits after each prompt [B, V], their cache with `room` more columns, what is real in it [B, T + room], and
    the position of the first new token [B, 1]. Prompts end at column T - 1, so that all rows go on at the same one."""
    device, width = model.device, max(map(len, prompts))
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.int64)
    columns = torch.arange(width + room)
    is_real = (columns >= width - lengths[:, None]).to(device)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
    ids, position = ids.to(device), lengths[:, None].to(device)
    if is_packing(model):
        layout, packed = layout_of(is_real[:, :width]), DynamicCache(config=model.config)
        hidden = hidden_states(model, ids, is_real[:, :width], layout, packed)
        last = hidden[torch.cumsum(lengths, 0).to(device) - 1]
        return model.get_output_embeddings()(last), reserved(packed, layout, room), is_real.long(), position
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=ids,
        attention_mask=is_real[:, :width].long(),
        position_ids=(is_real[:, :width].long().cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits, cache, is_real.long(), position


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
