"""Exponential moving average of a policy's weights (arXiv:2203.02155, C.4: decay 0.992 an iteration)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EMA:
    """average <- decay·average + (1 - decay)·weights, once an iteration."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in module.state_dict().items()
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1.0 - self.decay)
            else:
                self.average[name].copy_(value)
