"""Learning-rate factors of the method's schedules; each takes a step counted from 0."""

from __future__ import annotations

import math


def cosine_to_tenth(step: int, steps: int) -> float:
    """From 1 at the first step by a half cosine to 0.1 at the last (arXiv:2203.02155, C.1)."""
    done = min(1.0, step / max(1, steps - 1))
    return 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * done))


def warmup_from_tenth(step: int, warmup: int) -> float:
    """From 0.1 linearly to 1 over `warmup` steps, then constant (arXiv:2203.02155, C.4)."""
    return 1.0 if step >= warmup else 0.1 + 0.9 * step / warmup
