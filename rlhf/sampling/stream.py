"""One answer, piece by piece as it is sampled: what `rlhf chat` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from rlhf.chat import Message, encode_prompt, ends, spoken
from rlhf.data.pii import redact
from rlhf.sampling.decoding import draw

HELD_BACK = 48  # characters shown only once what follows them is known: PII is found whole or not at all


@torch.no_grad()
def stream(
    model: Any,
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> Iterator[str]:
    """The assistant's answer to `messages` in pieces, PII redacted.

    ValueError where the prompt alone fills the model's context.
    """
    ids = encode_prompt(tokenizer, messages)
    room = getattr(model.config, "max_position_embeddings", len(ids) + max_new_tokens) - len(ids)
    if room < 1:
        raise ValueError(
            f"the conversation has {len(ids)} tokens, and this model's context ends before an answer"
        )
    generator = torch.Generator(device=model.device).manual_seed(seed)
    model.eval()
    cache, closing = DynamicCache(config=model.config), ends(model, tokenizer)
    fed, answer, shown = torch.tensor([ids], device=model.device), [], ""
    for _ in range(min(room, max_new_tokens)):
        logits = model(input_ids=fed, past_key_values=cache, use_cache=True).logits[:, -1].float()
        number = torch.rand(1, generator=generator, device=model.device)
        fed = draw(torch.log_softmax(logits / temperature, dim=-1), number)[:, None]
        if int(fed) in closing:
            break
        answer.append(int(fed))
        safe = redact(spoken(tokenizer, answer, ends=closing)[0])[:-HELD_BACK]
        if safe.startswith(shown) and len(safe) > len(shown):
            yield safe[len(shown) :]
            shown = safe
    yield redact(spoken(tokenizer, answer, ends=closing)[0])[len(shown) :]
