"""How sure the choice of SFT's epoch is: the best epoch's lead over the next best, paired by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.win_rate import Resampling, mean_interval, text

RESAMPLES = 2000  # of the bootstrap


def lead(rewards: Sequence[NDArray[np.float64]], *, seed: int) -> dict[str, Any]:
    """How far the epoch of the highest mean reward is ahead of the next; empty where there is one epoch alone.

    rewards: [prompts] of each epoch, on the same prompts. Figures: over (the next best epoch, from 1) and lead: [low, mean,
    high] of the difference of reward, paired by prompt, the 95 % interval by bootstrap over prompts.
    """
    if len(rewards) < 2:
        return {}
    best, second = np.argsort([-of_epoch.mean() for of_epoch in rewards], kind="stable")[:2]
    gain = rewards[best] - rewards[second]
    return {"over": int(second) + 1, "lead": mean_interval(gain, Resampling(RESAMPLES, seed))}


def sentence(figures: Mapping[str, Any]) -> str:
    """The choice in words, from the stage's figures: "epoch 2 over epoch 1 by 0.03 (-0.02 to 0.08): within noise"."""
    said = f"epoch {figures['chosen']}"
    if "lead" not in figures:
        return said
    said += f" over epoch {figures['over']} by {text(figures['lead'])}"
    return said + (": within noise" if figures["lead"][0] <= 0 else "")
