"""Logits and log-probabilities of a causal LM, computed only where they are needed.

Logits are the model's own: its forward pass may cap them (Gemma 2), scale them (Cohere, Granite) or leave tokens out
(rlhf/models/never.py), which its output matrix alone does not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlhf.models.last_layer import read_at
from rlhf.models.packed import Layout, inputs, is_packing, layout_of, padded, shortest, takes
from rlhf.models.rows import Batch, by_length, pad, tokens_at_once


class TokenLogprobs(NamedTuple):
    logprobs: Tensor  # [B, T] float32, log π(ids_t | ids_<t) on response tokens, 0 elsewhere
    entropy: (
        Tensor  # [B, T] float32, nats, of the distribution each response token was drawn from; 0 elsewhere
    )


def token_logprobs(model: Any, batch: Batch, *, temperature: float) -> TokenLogprobs:
    """Forward pass of the whole rows, output head on the response's positions alone.

    `temperature` divides the logits, as it did in sampling. Differentiable in logprobs; entropy carries no gradient.
    """
    logits = response_logits(model, batch, temperature)
    logprobs, entropies = _ChosenLogprobs.apply(logits, batch.ids[batch.is_response])
    zeros = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    return TokenLogprobs(
        zeros.masked_scatter(batch.is_response, logprobs),
        zeros.masked_scatter(batch.is_response, entropies),
    )


def response_logits(model: Any, batch: Batch, temperature: float) -> Tensor:
    """[response tokens, V] float32, in the order of the rows; divided by `temperature`."""
    layout = layout_of(batch.is_real)
    targets = batch.is_response.flatten()[layout.places].nonzero()[:, 0]
    before = targets - 1  # where a token is predicted
    logits = logits_at(model, batch.ids, batch.is_real, layout, before).float()
    return logits if temperature == 1.0 else logits / temperature


def logits_at(
    model: Any, ids: Tensor, is_real: Tensor, layout: Layout, at: Tensor, cache: Any = None
) -> Tensor:
    """[M, V]: the model's own logits at the real tokens `at`, [M] int64, rising places in the layout's order.

    ids, is_real: [B, T]. cache: as in `packed.hidden_states`. A model whose forward pass cannot leave positions out computes all.
    """
    if is_packing(model):
        with read_at(model, at):
            outputs = model(
                **inputs(ids, layout), logits_to_keep=at, past_key_values=cache, use_cache=cache is not None
            )
        return outputs.logits[0]
    places = layout.places[at]
    rows, columns = places // layout.width, places % layout.width
    given = padded(model, ids, is_real)
    if not takes(model, "logits_to_keep"):
        return model(**given).logits[rows, columns]
    kept, slots = columns.unique(return_inverse=True)
    return model(**given, logits_to_keep=kept).logits[rows, slots]


class _ChosenLogprobs(torch.autograd.Function):
    """log softmax(logits)[chosen] and the entropy, keeping the probabilities alone: d/dlogits = onehot - p.

    logits: [N, V] float32; chosen: [N] int64. What autograd would put together takes twice the passes over [N, V].
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        log_normaliser = torch.logsumexp(logits, dim=-1)
        probabilities = (logits - log_normaliser[:, None]).exp_()
        entropies = log_normaliser - torch.linalg.vecdot(probabilities, logits)
        ctx.save_for_backward(probabilities, chosen)
        ctx.mark_non_differentiable(entropies)
        return logits.gather(1, chosen[:, None])[:, 0] - log_normaliser, entropies

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        probabilities, chosen = ctx.saved_tensors
        found = probabilities * -gradient[:, None]
        return found.scatter_add_(1, chosen[:, None], gradient[:, None]), None


@torch.no_grad()
def response_logprobs(
    model: Any,
    prompts: list[list[int]],
    responses: list[list[int]],
    *,
    pad_id: int,
    temperature: float,
) -> list[Tensor]:
    """log π of every response token, a [len(response)] float32 tensor a row, in rows of similar length."""
    found: list[Tensor] = [torch.empty(0)] * len(prompts)
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    for group in by_length(lengths, tokens_at_once(model.device), least=shortest(model)):
        batch = pad([prompts[i] for i in group], [responses[i] for i in group], pad_id, model.device)
        logits = response_logits(model, batch, temperature)
        chosen = logits.gather(1, batch.ids[batch.is_response][:, None])[:, 0]
        own = (chosen - torch.logsumexp(logits, dim=-1)).cpu().split([len(responses[i]) for i in group])
        for i, of_row in zip(group, own, strict=True):
            found[i] = of_row
    return found
