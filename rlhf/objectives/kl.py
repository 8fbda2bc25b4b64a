"""KL divergence from samples (Schulman, "Approximating KL divergence", 2020).

With r = π_ref(y_t)/π(y_t) at tokens sampled from π, each estimates KL(π ‖ π_ref) a token:
    k1 = -log r            no bias; may be negative for one token
    k2 = (log r)^2 / 2     never negative, little variance, biased
    k3 = (r - 1) - log r   no bias, never negative, less variance than k1

They estimate its value. Charged as a reward, E[k ∇log π] is the gradient of KL(π ‖ π_ref) for k1 alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """log π - log π_ref, nats; any shape, the same for both. What PPO charges by default, and logs."""
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(log r)² / 2 >= 0, nats; any shape, the same for both."""
    return (logprobs - reference_logprobs) ** 2 / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(r - 1) - log r >= 0, nats; any shape, the same for both."""
    log_ratio = reference_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}
"""By the name that ppo.kl_estimator gives."""


def adapted_coefficient(
    coefficient: float, kl: float, *, target: float, episodes: int, horizon: int
) -> float:
    """β after an iteration of `episodes` (arXiv:1909.08593, 2.2): larger where KL is over target, and smaller under.

    β <- β·(1 + e·episodes/horizon),  e = clamp(kl/target - 1, -0.2, 0.2)

    kl, target: nats a response.
    """
    error = min(0.2, max(-0.2, kl / target - 1.0))
    return coefficient * (1.0 + error * episodes / horizon)
