"""What a loop needs to know of the other processes; with one process, nothing happens."""

from __future__ import annotations

import os

import torch
from torch import distributed


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def start() -> None:
    """Join the process group that the launcher prepared (gloo on CPU, nccl on GPU)."""
    if world_size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def without_compiling() -> None:
    """DeepSpeed on CPU exchanges by gloo alone.

    Its shared-memory kernel would be compiled at the first use: minutes, and a C++ compiler to find.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def all_reduce_gradients(model: torch.nn.Module) -> None:
    """Average gradients over the processes, in one flat exchange."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()
