"""What answers are like: how varied and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rlhf.labeling.words import words


def distinct_2(texts: Sequence[str]) -> float:
    """Share of word bigrams that are different, over all texts together; 0 where there is none.

    It falls as texts get longer or more numerous: compare it between answers to the same prompts.
    """
    pairs = [pair for text in texts for pair in pairwise(words(text))]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def mean_words(texts: Sequence[str]) -> float:
    """Mean number of words of a text."""
    return float(np.mean([len(words(text)) for text in texts])) if texts else 0.0
