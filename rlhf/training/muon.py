"""Muon: momentum, orthogonalised, for the hidden matrices of a network (Jordan et al. 2024), with AdamW for the rest.

torch.optim.Muon orthogonalises in bfloat16 and one matrix at a time, which on a CPU without bf16 units takes
as long as the step itself; here it is float32, and matrices of one shape go through one batched product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rlhf import distributed

_A, _B, _C = 3.4445, -4.7750, 2.0315  # quintic whose fixed points lie near 1


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices by Newton-Schulz: singular values go to about 1 (0.7 .. 1.2).

    matrices: [N, R, C] float. Returns the same shape.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


def _orthogonalise_together(matrices: Tensor) -> Tensor:
    """`orthogonalise`, each process its share where they divide; all hold the same momentum, and get all updates."""
    processes = distributed.world_size()
    if processes == 1 or len(matrices) % processes:
        return orthogonalise(matrices)
    found = torch.empty_like(matrices)
    mine = orthogonalise(matrices.chunk(processes)[distributed.rank()])
    torch.distributed.all_gather(list(found.chunk(processes)), mine.contiguous())
    return found


class Muon(torch.optim.Optimizer):
    """For 2-D parameters; the update of an [R, C] matrix has the scale sqrt(max(1, R/C))."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None, "the loss is computed before the step"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = _orthogonalise_together(
                    torch.stack([self._nesterov(p, group["momentum"]) for p in parameters])
                )
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for a model's hidden matrices, AdamW for embeddings, norms, biases and heads, as one optimizer.

    lr: AdamW's rate; lr_matrices: Muon's. A schedule scales both.
    """

    def __init__(self, model: nn.Module, *, lr: float, lr_matrices: float, weight_decay: float = 0.0) -> None:
        matrices = hidden_matrices(model)
        rest = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
        self.parts = (
            Muon(matrices, lr=lr_matrices, weight_decay=weight_decay),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay, fused=True),
        )
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> Any:
        assert closure is None, "the loss is computed before the step"
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state  # loading a state makes both anew
            part.step()


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The 2-D weights between a language model's embedding and its head."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tables |= {id(head.weight)} if head is not None else set()
    return [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
