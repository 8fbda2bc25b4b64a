"""Where a number stops being one: found at once, and named."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

ADVICE = "lower the learning rate, and in PPO raise ppo.kl_coef"


def require_finite(moment: str, **tensors: Tensor) -> None:
    """RuntimeError that names the first tensor which holds NaN or infinity, and how many of them."""
    for name, tensor in tensors.items():
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise RuntimeError(
                f"{moment}: {wrong} of the {tensor.numel()} values of {name} are NaN or infinite; {ADVICE}"
            )


def name_of_broken_gradient(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """The first parameter whose gradient is not finite; "no single one" where only their norm overflows."""
    for name, parameter in parameters:
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return name
    return "no single one"
