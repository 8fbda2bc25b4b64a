"""Generalised advantage estimation."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, is_response: Tensor, *, discount: float, lam: float) -> Tensor:
    """Generalised advantage estimate (arXiv:1506.02438, eq. 16).

    A_t = δ_t + discount·lam·A_{t+1},   δ_t = r_t + discount·V_{t+1} - V_t,   V = 0 after the last token

    rewards, values: [B, T] float; is_response: [B, T] bool, True on response tokens, which stand in one run a
    row. Returns [B, T], not whitened, 0 outside the response.
    """
    rewards = rewards.masked_fill(~is_response, 0.0)
    values = values.masked_fill(~is_response, 0.0)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])  # A_{t+1}
    following_value = torch.zeros_like(rewards[:, 0])  # V_{t+1}
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + discount * following_value - values[:, t]
        following = (delta + discount * lam * following).masked_fill(~is_response[:, t], 0.0)
        following_value = values[:, t]
        advantages[:, t] = following
    return advantages
