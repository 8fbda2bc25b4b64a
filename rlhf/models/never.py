"""Tokens that are never said: the pad token, and rows of the output matrix for which the tokenizer has no token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: a logit whose probability is 0 in float32; finite, so that p·log p is 0 and not NaN
NEVER = -1e9


def never_said(tokenizer: Any, rows: int) -> list[int]:
    """Ids below `rows` that no answer may hold, rising."""
    said = set(tokenizer.get_vocab().values()) - {tokenizer.pad_token_id}
    return [number for number in range(rows) if number not in said]


def forbid(model: Any, tokenizer: Any) -> None:
    """From now on every forward pass of the causal LM `model` gives such tokens probability 0.

    So sampling, each log-probability and every loss are of one distribution, whoever computes them. What is saved says it to
    others: transformers and vLLM read `suppress_tokens` of generation_config.json.
    """
    ids = never_said(tokenizer, model.get_output_embeddings().weight.shape[0])
    model.register_buffer("_never_said", torch.tensor(ids, dtype=torch.int64), persistent=False)
    model.register_forward_hook(_suppress)
    model.generation_config.suppress_tokens = ids or None


def _suppress(model: Any, given: Any, outputs: Any) -> Any:
    """In place, since nothing that computes logits needs them again for its gradient."""
    logits: Tensor = outputs.logits
    if model._never_said.numel():
        logits.index_fill_(-1, model._never_said, NEVER)
    return outputs
