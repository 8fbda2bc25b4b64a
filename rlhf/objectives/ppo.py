"""PPO's clipped losses (arXiv:1707.06347) and the reward of a token (arXiv:2203.02155, eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf.objectives.masked import masked_mean


def token_rewards(scores: Tensor, kl: Tensor, is_response: Tensor, *, kl_coef: float) -> Tensor:
    """R_t = -kl_coef·kl_t, plus the score on each row's last response token (EOS, if there is one).

    scores: [B] float, one a response; kl: [B, T] nats, log π - log π_ref; is_response: [B, T] bool.
    Returns [B, T], 0 outside the response.
    """
    rewards = (-kl_coef * kl).masked_fill(~is_response, 0.0)
    positions = torch.arange(is_response.shape[1], device=is_response.device)
    last = (positions * is_response).amax(dim=1)
    is_last = (positions == last[:, None]) & is_response
    return rewards + is_last * scores[:, None]


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    is_response: Tensor,
    *,
    clip: float,
    weights: Tensor | None = None,
) -> Tensor:
    """-mean_t w_t min(ρ_t A_t, clamp(ρ_t, 1-clip, 1+clip) A_t),  ρ = exp(log π - log π_old) (eq. 7).

    All [B, T]; the mean is over response tokens. weights: importance weights w; None: 1. Returns a scalar.
    """
    ratio = torch.exp((logprobs - old_logprobs).masked_fill(~is_response, 0.0))
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages)
    return -masked_mean(surrogate if weights is None else weights * surrogate, is_response)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, is_response: Tensor, *, clip: float | None
) -> Tensor:
    """Half the mean squared error over response tokens; with `clip`, the larger of it and the clipped one.

    values clipped to old_values ± clip, as in the PPO code of arXiv:1707.06347's authors. All [B, T].
    """
    errors = (values - returns) ** 2
    if clip is not None:
        clipped = torch.clamp(values, min=old_values - clip, max=old_values + clip)
        errors = torch.maximum(errors, (clipped - returns) ** 2)
    return 0.5 * masked_mean(errors, is_response)


def clip_fraction(logprobs: Tensor, old_logprobs: Tensor, is_response: Tensor, *, clip: float) -> Tensor:
    """Share of response tokens whose ratio lies outside 1 ± clip. All [B, T]; returns a scalar in 0..1."""
    ratio = torch.exp((logprobs - old_logprobs).masked_fill(~is_response, 0.0))
    return masked_mean(((ratio - 1.0).abs() > clip).float(), is_response)


def explained_variance(values: Tensor, returns: Tensor, is_response: Tensor) -> Tensor:
    """1 - Var(returns - values)/Var(returns) over response tokens; 1 is a perfect value model, 0 a constant.

    All [B, T]. Returns a scalar; NaN, undefined, where the returns are all the same: there is nothing to explain.
    """
    errors, kept = (returns - values)[is_response], returns[is_response]
    variance = kept.var(unbiased=False)
    if not variance > 1e-8:
        return torch.full_like(variance, torch.nan)
    return 1.0 - errors.var(unbiased=False) / variance
