"""Importance weights where the engine that samples is not quite the policy that is trained."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated_weights(
    logprobs: Tensor, engine_logprobs: Tensor, is_response: Tensor, *, cap: float
) -> Tensor:
    """w_t = min(π(y_t) / μ(y_t), cap): truncated importance sampling (arXiv:1802.01561, eq. 1, for one token).

    logprobs: log π of the policy as it stood when its update began; engine_logprobs: log μ, what the tokens were drawn by; both
    [B, T], nats; is_response: [B, T] bool. Returns [B, T] without a gradient, 1 outside the response.
    The cap bounds the variance, at the price of a bias towards μ on tokens that π likes much more.
    """
    ratio = torch.exp((logprobs - engine_logprobs).masked_fill(~is_response, 0.0))
    return ratio.clamp(max=cap).detach()
