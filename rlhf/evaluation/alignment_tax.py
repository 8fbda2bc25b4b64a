"""The alignment tax: what following instructions costs in predicting ordinary text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from rlhf import distributed
from rlhf.training.pretraining import pack

LOGITS = 2**24  # at most so many numbers in a batch's logits: 64 MiB in float32


@torch.no_grad()
def pretraining_loss(
    model: Any, tokenizer: Any, texts: Sequence[str], context: int, *, max_tokens: int | None = None
) -> float:
    """Mean loss -log P(x_t | x_<t) on held-out text, nats a token, measured as pretraining packs its rows.

    context: tokens a row; max_tokens: the first so many tokens are enough. Dropout is off meanwhile.
    """
    if not texts:
        raise ValueError(
            "no held-out pretraining text to measure the alignment tax on: raise base.valid_share"
        )
    rows = torch.from_numpy(pack(tokenizer, list(texts), context)).long()
    if max_tokens is not None:
        rows = rows[: max(1, max_tokens // context)]
    size = max(1, LOGITS // (context * model.config.vocab_size))
    was_training = model.training
    model.eval()
    parts = rows.split(size)

    def loss(number: int) -> float:
        ids = parts[number].to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        return float(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))

    total = sum(distributed.deal(len(parts), loss))
    model.train(was_training)
    return total / (len(rows) * (context - 1))
