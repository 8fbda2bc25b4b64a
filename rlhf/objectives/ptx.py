"""The pretraining term of PPO-ptx."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def ptx_loss(logits: Tensor, ids: Tensor, is_real: Tensor) -> Tensor:
    """Mean NLL a pretraining token, nats (arXiv:2203.02155, eq. 2, the γ term): -mean_t log π(x_t | x_<t).

    logits: [B, T, V] float; ids: [B, T] int64; is_real: [B, T] bool, False on padding. Returns a scalar.
    The trainer multiplies it by ppo.ptx_coef. The paper's γ = 27.8 multiplies another normalisation:
    docs/algorithm.md.
    """
    targets = ids[:, 1:].masked_fill(~is_real[:, 1:], -100)
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=-100
    )
