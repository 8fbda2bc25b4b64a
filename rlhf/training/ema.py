"""Exponential moving average of a policy's weights (arXiv:2203.02155, C.4: decay 0.992 an iteration)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EMA:
    """average <- decay·average + (1 - decay)·weights, once an iteration. weights: a module's state, by name."""

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in weights.items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1.0 - self.decay)
            else:
                self.average[name].copy_(value)
