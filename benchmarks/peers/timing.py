"""Time and memory as both sides of a benchmark measure them; torch alone."""

from __future__ import annotations

import resource
import time

import torch


class Clock:
    """CPU seconds of this process; on a GPU seconds, its work waited for."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def peak_gb(device: str) -> float:
    """The most memory this process has held, GiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
