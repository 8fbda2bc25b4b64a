"""Sampling in plain torch: prompts read without padding, then all rows a token at a time; a row that ends makes room
for the next prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rlhf import distributed
from rlhf.chat import Message, encode_prompt, ends, spoken
from rlhf.models.laid_out import laid_out
from rlhf.models.rows import in_order
from rlhf.sampling.cache import bytes_a_token
from rlhf.sampling.decoding import Answers, decode
from rlhf.sampling.probe import how

#: tokens of the cache at most: on a CPU few, which stay near it
CACHE_TOKENS = {"cpu": 8192, "cuda": 131072}
#: of a GPU's memory, what the cache takes at most: models and updates want the rest
CACHE_SHARE = 0.25
#: of all processes' work, a part that one process does alone holds at most this many prompts a slot
REFILLS = 4


@dataclass
class Completion:
    """One sampled answer."""

    prompt_ids: list[int]
    ids: list[int]  # the token that ends it included
    logprobs: Tensor  # [len(ids)] float32, log π at the sampling temperature
    ended: bool  # by a token that ends an answer or a stop string; False: cut at the length limit, or in a thought
    text: str  # as people read it: what stands before the stop string, without thoughts


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

    `max_tokens` of cache bound how many are answered at a time. Each answer draws from random numbers of its own, so
    that neither that nor the number of processes changes it. `on_progress(n)` is told of n more finished answers;
    stop: strings that end an answer. Dropout is off meanwhile.
    """
    ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    slots = _slots(model, ids, max_new_tokens, max_tokens)
    part = slots * REFILLS if refills(model, tokenizer) else slots
    parts = _parts(ids, max(2, distributed.world_size(), -(-len(ids) // part)))
    numbers = random_numbers(seed, len(ids), max_new_tokens)

    closing = ends(model, tokenizer)

    def answer(part: int) -> list[Completion]:
        chosen = parts[part]
        answers = Answers(tokenizer, closing, numbers[chosen], temperature, stop, model.device)
        return _answer(model, tokenizer, [ids[row] for row in chosen], answers, slots, on_ended)

    def on_ended(count: int) -> None:
        if on_progress is not None:
            on_progress(count * distributed.world_size())

    return in_order(parts, distributed.deal(len(parts), answer))


def sample_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    first: int = 0,
    stop: Sequence[str] = (),
    max_tokens: int | None = None,
) -> list[Completion]:
    """`sample` by this process alone, for prompts that are token ids already.

    first: the number of the first prompt among those of every process, which its random numbers go by.
    """
    slots = _slots(model, prompts, max_new_tokens, max_tokens)
    parts = _parts(prompts, 1 if refills(model, tokenizer) else -(-len(prompts) // slots))
    numbers = random_numbers(seed, first + len(prompts), max_new_tokens)[first:]
    found, closing = [], ends(model, tokenizer)
    for part in parts:
        answers = Answers(tokenizer, closing, numbers[part], temperature, stop, model.device)
        found.append(_answer(model, tokenizer, [prompts[row] for row in part], answers, slots))
    return in_order(parts, found)


def refills(model: Any, tokenizer: Any) -> bool:
    """Whether a row that ends makes room for the next prompt."""
    return how(model, tokenizer.pad_token_id) == "slots"


def random_numbers(seed: int, rows: int, columns: int) -> Tensor:
    """[rows, columns] in [0, 1): one for each token of each answer. A row's do not depend on how many rows there are."""
    return torch.rand((rows, columns), generator=torch.Generator().manual_seed(seed % 2**63))


def _slots(model: Any, prompts: Sequence[list[int]], room: int, max_tokens: int | None) -> int:
    limit = max_tokens or CACHE_TOKENS.get(model.device.type, 16384)
    if model.device.type == "cuda":
        memory = torch.cuda.get_device_properties(model.device).total_memory
        limit = min(limit, int(CACHE_SHARE * memory) // bytes_a_token(model))
    return max(1, limit // (max(map(len, prompts), default=0) + room))


def _parts(prompts: Sequence[list[int]], count: int) -> list[list[int]]:
    """Row numbers, longest prompt first, in parts of equal size (up to one) and like lengths."""
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    bounds = [len(order) * part // count for part in range(count + 1)]
    return [order[a:b] for a, b in pairwise(bounds) if b > a]


@torch.no_grad()
def _answer(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    answers: Answers,
    slots: int,
    on_ended: Callable[[int], None] | None = None,
) -> list[Completion]:
    was_training = model.training
    model.eval()
    with laid_out(model):
        decode(model, tokenizer.pad_token_id, prompts, answers, slots, on_ended)
    model.train(was_training)
    lengths, ended, drawn = answers.lengths.tolist(), answers.ended.tolist(), answers.ids.tolist()
    is_drawn = torch.arange(answers.ids.shape[1], device=model.device) < answers.lengths[:, None]
    # each a tensor of its own: where views are sent to another process, each takes all of it along
    logprobs = [part.clone() for part in answers.logprobs[is_drawn].cpu().split(lengths)]
    found = []
    for row, prompt in enumerate(prompts):
        ids = drawn[row][: lengths[row]]
        text, is_whole = spoken(tokenizer, ids, ends=answers.ends.tolist(), stop=answers.stop)
        found.append(Completion(prompt, ids, logprobs[row], ended[row] and is_whole, text))
    return found
