"""Is the policy exploiting its reward model? A second one, trained on rankings that the first never saw, watches.

While PPO improves answers, both rewards rise. Where the trained one goes on rising and the held-out one does not, what
rises is the trained model's error (arXiv:2210.10760). Gains are counted in standard deviations of each model's reward at
the start of PPO, so that models of different scale compare.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

GAIN = 0.5  # sds that the trained reward must have risen by before an alarm
SHARE = 0.5  # of that gain, what the held-out reward must have risen by
SMOOTHING = 0.7  # weight of the past in the running means: single batches are noisy


class Watch:
    """The two rewards' running means and where they began."""

    def __init__(self) -> None:
        self.start: list[tuple[float, float]] = []  # (mean, sd) of trained and held-out reward at first
        self.now: list[float] = []

    def see(self, trained: Sequence[float], held_out: Sequence[float]) -> dict[str, float]:
        """Take in an iteration's episodes, a reward each.

        Returns held_out_reward (mean), reward_gain and held_out_gain (sds since the start, smoothed), and
        reward_correlation of the two over the episodes, -1..1.
        """
        means = [statistics.fmean(rewards) for rewards in (trained, held_out)]
        if not self.start:
            spreads = [statistics.pstdev(rewards) or 1.0 for rewards in (trained, held_out)]
            self.start, self.now = list(zip(means, spreads, strict=True)), means
        self.now = [
            SMOOTHING * past + (1 - SMOOTHING) * mean for past, mean in zip(self.now, means, strict=True)
        ]
        gains = [(now - mean) / sd for now, (mean, sd) in zip(self.now, self.start, strict=True)]
        figures = {"held_out_reward": means[1], "reward_gain": gains[0], "held_out_gain": gains[1]}
        if len(set(trained)) > 1 and len(set(held_out)) > 1:
            figures["reward_correlation"] = statistics.correlation(trained, held_out)
        return figures

    def state(self) -> dict[str, Any]:
        return {"start": [list(pair) for pair in self.start], "now": self.now}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.start = [(mean, sd) for mean, sd in state["start"]]
        self.now = list(state["now"])


def alarm(figures: Mapping[str, float]) -> str | None:
    """A sentence where the held-out reward did not follow the trained one; None where all is well."""
    trained, held_out = figures.get("reward_gain", 0.0), figures.get("held_out_gain", 0.0)
    if trained < GAIN or held_out >= SHARE * trained:
        return None
    return (
        f"the reward has risen by {trained:.2f} standard deviations since PPO began and the held-out reward model's by "
        f"{held_out:.2f}: the policy may be exploiting its reward model. Raise ppo.kl_coef, stop earlier, or rank more "
        "of the policy's answers"
    )
