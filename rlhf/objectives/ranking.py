"""The reward model's loss over rankings of K completions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ranking_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """K-wise ranking loss of one prompt (arXiv:2203.02155, eq. 1): mean over its untied pairs.

    loss = -mean_{(w,l): rank_w < rank_l} log σ(score_w - score_l)

    scores: [K] float; ranks: [K] int, 1 is best, equal ranks are ties and drop out.
    Returns a scalar; 0 where every pair is tied. Batches: mean over the prompts that have an untied pair.
    """
    is_better = ranks[:, None] < ranks[None, :]
    differences = scores[:, None] - scores[None, :]
    losses = -functional.logsigmoid(differences[is_better])
    return losses.mean() if losses.numel() else scores.sum() * 0.0


def pairwise_accuracy(scores: Tensor, ranks: Tensor) -> tuple[int, int]:
    """(pairs ordered as the labeler did, untied pairs) of one prompt. scores, ranks: [K]."""
    is_better = ranks[:, None] < ranks[None, :]
    right = (scores[:, None] > scores[None, :]) & is_better
    return int(right.sum()), int(is_better.sum())


def has_untied_pair(ranks: Tensor) -> bool:
    """False where every completion of the prompt has the same rank. ranks: [K]."""
    return bool(torch.any(ranks != ranks[0]))
