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
    ended: bool  # by EOS or a stop string; False: cut at the length limit
    text: str  # what stands before the stop string


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: Sequence[str] = (),
    max_tokens: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """One answer a prompt, in the order of `prompts`, from every process of the job together.

    Prompts of like length are answered together, `max_tokens` of cache at a time; each such group draws from a
    generator of its own, so that the number of processes changes no answer. `on_progress(n)` is told of n more
    finished answers; stop: strings that end an answer. Dropout is off meanwhile.
    """
    ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    groups = _groups(model, ids, max_new_tokens, max_tokens)

    def answer(number: int) -> list[Completion]:
        rows = [ids[row] for row in groups[number]]
        found = _answer(
            model, tokenizer, rows, _generator(model, seed, number), max_new_tokens, temperature, stop
        )
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
    stop: Sequence[str] = (),
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
            stop,
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
    stop: Sequence[str],
) -> list[Completion]:
    was_training = model.training
    model.eval()
    drawn, logprobs, lengths, ended = _decode(
        model, tokenizer, prompts, max_new_tokens, temperature, generator, stop
    )
    model.train(was_training)
    found = []
    for row, prompt in enumerate(prompts):
        ids = drawn[row, : lengths[row]].tolist()
        text = tokenizer.decode(ids, skip_special_tokens=True)
        cut = min((text.index(end) for end in stop if end in text), default=len(text))
        found.append(
            Completion(
                prompt, ids, logprobs[row, : lengths[row]].clone(), bool(ended[row]), text[:cut].strip()
            )
        )
    return found


def _decode(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    room: int,
    temperature: float,
    generator: torch.Generator,
    stop: Sequence[str],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One answer a prompt: token ids and log-probabilities [B, room], how many of them count [B], and whether they
    ended of themselves [B]."""
    device, count = model.device, len(prompts)
    logits, cache, is_real, position = _prefill(model, prompts, tokenizer.pad_token_id, room)
    width = is_real.shape[1] - room
    alive = torch.arange(count, device=device)  # row of the batch -> row of the answer
    is_open = torch.ones(count, dtype=torch.bool, device=device)
    drawn = torch.full((count, room), tokenizer.pad_token_id, dtype=torch.int64, device=device)
    drawn_logprobs = torch.zeros((count, room), device=device)
    lengths = torch.full((count,), room, dtype=torch.int64, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for step in range(room):
        logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
        tokens = draw(logprobs, generator)
        drawn[alive, step] = tokens
        drawn_logprobs[alive, step] = logprobs.gather(1, tokens[:, None])[:, 0]
        ends = tokens == tokenizer.eos_token_id
        if stop:
            ends = ends | _stopped(tokenizer, drawn[alive, : step + 1], stop)
        closing = alive[is_open & ends]
        lengths[closing], ended[closing] = step + 1, True
        is_open = is_open & ~ends
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
    return drawn.cpu(), drawn_logprobs.cpu(), lengths.cpu(), ended.cpu()


def _stopped(tokenizer: Any, drawn: Tensor, stop: Sequence[str]) -> Tensor:
    """[B] bool: a stop string stands at the end of the tokens drawn so far, which are at most a token a character."""
    tail = drawn[:, -max(map(len, stop)) - 1 :].tolist()
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in tail]
    return torch.tensor([any(end in text for end in stop) for text in texts], device=drawn.device)


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


def draw(logprobs: Tensor, generator: torch.Generator) -> Tensor:
    """One token a row by inverting the cumulative distribution. logprobs: [B, V]. Returns [B] int64."""
    cumulative = logprobs.exp().cumsum(dim=-1)
    uniform = torch.rand((logprobs.shape[0], 1), generator=generator, device=logprobs.device)
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)[:, 0]
    return found.clamp(max=logprobs.shape[-1] - 1)
