"""Where a policy's gain in utility comes from: the utility is a weighted sum, and so is its difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf.labeling.utility import FEATURES, WEIGHTS


def gain_by_feature(own: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """Each feature's weight times (A's mean - B's mean); together they are the difference of mean utility.

    own: [N, 8] features of A's answers; others: [R, N, 8] of B's R answers to the same prompts.
    """
    apart = own.mean(axis=0) - others.mean(axis=(0, 1))
    return dict(zip(FEATURES, (WEIGHTS * apart).tolist(), strict=True))
