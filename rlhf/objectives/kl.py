"""KL divergence from samples (Schulman, "Approximating KL divergence", 2020).

With r = π_ref(y_t)/π(y_t) at tokens sampled from π, both estimate KL(π ‖ π_ref) a token without bias:
    k1 = -log r            may be negative for one token
    k3 = (r - 1) - log r   never negative, less variance
"""

from __future__ import annotations

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """log π - log π_ref, nats; any shape, the same for both. What PPO charges and logs."""
    return logprobs - reference_logprobs


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(r - 1) - log r >= 0, nats; any shape, the same for both."""
    log_ratio = reference_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio
