"""Held-out labelers as judges: people whose rankings the reward model never saw, with weights and noise of their own.

The noise-free utility knows better than anybody: a win by it is smaller than a person would see it, or larger. Held-out
simulated labelers (rlhf/labeling/simulated.py) rank a policy's answer among SFT's as they rank completions in a round.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf import seeds
from rlhf.labeling.simulated import Labelers, calibrate, personas


@dataclass(frozen=True)
class HeldOut:
    """The held-out half of the round's simulated labelers."""

    labelers: Labelers

    @classmethod
    def of(
        cls, count: int, seed: int, noise: float | None, answers: Sequence[NDArray[np.float64]]
    ) -> HeldOut:
        """count: labelers of the round, held out or not; seed: the experiment's, which makes them who they are.

        noise: the scale that they ranked with; None (people ranked): it is calibrated on `answers`, SFT's several to
        each prompt, [K, 8] features each.
        """
        weights = personas(count, seed)
        scale = calibrate(weights, answers) if noise is None else noise
        return cls(Labelers(weights, scale, seeds.mixed(seed, "judgments of the evaluation")))

    def wins(
        self,
        prompt_ids: Sequence[str],
        own: tuple[NDArray[np.float64], Sequence[str]],
        others: Sequence[tuple[NDArray[np.float64], Sequence[str]]],
    ) -> NDArray[np.float64]:
        """[R, N] share of the held-out labelers who prefer a policy's answer to each of R others; a tie is half.

        own, others: features [N, 8] and texts [N]. Noise depends on the seed, the labeler, the prompt and an answer's
        place alone, so two policies against the same answers meet the same judgments of these: their difference is paired.
        """
        shares = np.zeros((len(others), len(prompt_ids)))
        for at, prompt_id in enumerate(prompt_ids):
            features = np.stack([own[0][at], *(seen[at] for seen, _ in others)])
            texts = [own[1][at], *(said[at] for _, said in others)]
            key = [zlib.crc32(prompt_id.encode())]
            for labeler in self.labelers.held_out:
                mine, *theirs = self.labelers.rank(labeler, features, texts, key)
                shares[:, at] += [0.5 if mine == rank else float(mine < rank) for rank in theirs]
        return shares / len(self.labelers.held_out)
