"""What a loop needs to know of the other processes; with one process, nothing happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from rlhf.models.rows import in_order
from rlhf.params import ComputeParams

#: how long a process waits for the others: while one writes a large checkpoint, they do
PATIENCE = timedelta(hours=2)


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def start(compute: ComputeParams) -> torch.device:
    """Join the process group that the launcher prepared (gloo on CPU, nccl on GPU); the device of this process."""
    gpu = compute.uses_gpu()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if world_size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    return device


def finish() -> None:
    """Wait until every process has come this far, then leave the group."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def barrier() -> None:
    """Wait until every process has come this far."""
    if world_size() > 1:
        distributed.barrier()


def without_compiling() -> None:
    """DeepSpeed on CPU exchanges by gloo alone.

    Its shared-memory kernel would be compiled at the first use: minutes, and a C++ compiler to find.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def share(count: int, key: str) -> int:
    """This process's part of a batch of `count`. Raises ValueError, naming the parameter, where it does not divide."""
    if count % world_size():
        raise ValueError(f"{key} is {count}; {world_size()} processes (compute.num_processes) must divide it")
    return count // world_size()


def mean(figures: Mapping[str, float]) -> dict[str, float]:
    """Each figure's mean over the processes, which give the same names."""
    return dict(
        zip(figures, _reduced(list(figures.values()), distributed.ReduceOp.SUM, world_size()), strict=True)
    )


def largest(value: float) -> float:
    """The largest of the processes' values."""
    return _reduced([value], distributed.ReduceOp.MAX, 1)[0]


def _reduced(values: list[float], operation: distributed.ReduceOp.RedOpType, divisor: int) -> list[float]:
    if world_size() == 1:
        return values
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    exchanged = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(exchanged, operation)
    return [value / divisor for value in exchanged.tolist()]


def gather(value: Any) -> list[Any]:
    """[value of process 0, of process 1, ...], in every process; value: anything that pickles."""
    if world_size() == 1:
        return [value]
    hands: list[Any] = [None] * world_size()
    distributed.all_gather_object(hands, value)
    return hands


def deal(count: int, work: Callable[[int], Any]) -> list[Any]:
    """[work(0), ..., work(count - 1)], dealt out over the processes; every one of them gets all results."""
    processes = world_size()
    hands = gather([work(number) for number in range(rank(), count, processes)])
    return [hands[number % processes][number // processes] for number in range(count)]


def deal_rows(count: int, work: Callable[[list[int]], list[Any]]) -> list[Any]:
    """work([row, ...]) -> one result a row, each process doing its share of `count` rows; all get all, in order."""
    shares = [list(range(number, count, world_size())) for number in range(world_size())]
    return in_order(shares, deal(len(shares), lambda number: work(shares[number]) if shares[number] else []))


def all_reduce_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Average gradients over the processes, in one flat exchange."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()
