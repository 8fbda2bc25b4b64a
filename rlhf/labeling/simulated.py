"""Simulated labelers: people who differ in what they weigh, and who are not sure of themselves.

Labeler m ranks by u_m + Gumbel noise, where u_m has every weight of the utility times a lognormal factor of
m's own (sigma .35). The noise is scaled so that two labelers agree on 75 % of the first round's pairs, as the
paper's do (72.6 and 77.3 %), and stays as it is: how far they agree on later rounds' answers, which may be harder
to tell apart, is a finding. Half of the labelers are held out: what they rank is never learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import expit

from rlhf.labeling.agreement import pair_counts, ranks_of
from rlhf.labeling.utility import FEATURES, WEIGHTS, Array, Utility

SPREAD = 0.35  # sigma of the lognormal factors
AGREEMENT = 0.75  # share of pairs on which two labelers should agree


@dataclass(frozen=True)
class Labelers:
    """n labelers.

    weights: [n, 8], their own; noise: scale of the Gumbel noise, in units of u; seed: of the noise.
    """

    weights: Array
    noise: float
    seed: int

    @property
    def training(self) -> list[int]:
        """The labelers whose rankings reward models learn from."""
        return list(range((len(self.weights) + 1) // 2))

    @property
    def held_out(self) -> list[int]:
        """The labelers who rank validation prompts alone."""
        return list(range((len(self.weights) + 1) // 2, len(self.weights)))

    def rank(self, labeler: int, features: Array, texts: Sequence[str], key: Sequence[int]) -> list[int]:
        """One labeler's ranking of K completions, 1 best; the same text twice is a tie.

        features: [K, 8]; key: numbers that name the prompt, so that its noise depends on nothing else.
        """
        noise = np.random.default_rng([self.seed, labeler, *key]).gumbel(scale=self.noise, size=len(texts))
        valued = features @ self.weights[labeler] + noise
        first = {text: at for at, text in reversed(list(enumerate(texts)))}
        return ranks_of([float(valued[first[text]]) for text in texts])


def personas(n: int, seed: int) -> Array:
    """[n, 8] weights of n labelers: the utility's, each times its own lognormal factor."""
    return WEIGHTS * np.exp(SPREAD * np.random.default_rng(seed).standard_normal((n, len(FEATURES))))


def calibrate(weights: Array, prompts: Sequence[Array], target: float = AGREEMENT) -> float:
    """The noise scale at which two labelers agree on `target` of the pairs of completions, by bisection.

    weights: [n, 8]; prompts: for each prompt, [K, 8] features. Labeler m puts i before j with probability
    sigmoid((u_m(i) - u_m(j)) / scale), so the expected agreement needs no random draw. 0 where labelers agree
    less than `target` without any noise.
    """
    gaps = pair_gaps(weights, prompts)
    if not target < expected_agreement(gaps, 1e-6) or not gaps.shape[1]:
        return 0.0
    low, high = 1e-6, 1e3
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if expected_agreement(gaps, middle) > target else (low, middle)
    return (low * high) ** 0.5


def pair_gaps(weights: Array, prompts: Sequence[Array]) -> Array:
    """[n, pairs] differences of utility of every pair of completions of a prompt, for n labelers."""
    pairs = [
        features[i] - features[j] for features in prompts for i, j in combinations(range(len(features)), 2)
    ]
    different = [pair for pair in pairs if pair.any()]
    return weights @ np.array(different).T if different else np.zeros((len(weights), 0))


def expected_agreement(gaps: Array, scale: float) -> float:
    """Expected share of pairs on which two different labelers agree.

    gaps: [n, pairs] of `pair_gaps`; scale: of the labelers' noise.
    """
    if gaps.shape[1] == 0:
        return 1.0
    first = expit(gaps / scale)
    n, total = len(gaps), first.sum(axis=0)
    both = (total**2 - (first**2).sum(axis=0)) / (n * (n - 1))  # mean of p_a p_b over a != b
    return float((1 - 2 * total / n + 2 * both).mean())


def rank(
    samples: Sequence[dict[str, Any]],
    utility: Utility,
    *,
    labelers: int,
    seed: int,
    noise: float | None = None,
    on_progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Comparison records of the samples, and figures: who agrees how far with whom.

    samples: {id, prompt_id, messages, round, split, completions}; a prompt of the split "train" is ranked by
    a training labeler, of "valid" by a held-out one. The same samples, utility, seed and noise give the same ranks.
    noise: scale of the labelers' noise, in units of u; None: calibrated on these samples.
    Figures: `agreement` (two labelers of all on the same prompts, measured), `agreement_training` and
    `agreement_held_out` (two of one group), `agreement_expected`, `noise_scale`, `utility_agreement`
    (rankings against the noise-free utility), `rm_ceiling` (the same on held-out labelers' rankings alone),
    `tied_pairs` (share).
    """
    answers = [(s["messages"], c["text"], c["ended"]) for s in samples for c in s["completions"]]
    table = utility.features_many(answers)
    ends = np.cumsum([len(sample["completions"]) for sample in samples])
    features = np.split(table, ends[:-1]) if len(samples) else []
    weights = personas(labelers, seed)
    noise = calibrate(weights, features) if noise is None else noise
    people = Labelers(weights, noise, seed)
    records, ties = [], []
    counts: dict[str, list[tuple[float, int]]] = {}
    for sample, seen in on_progress(list(zip(samples, features, strict=True))):
        key = _key(sample["prompt_id"], sample["round"])
        texts = [completion["text"] for completion in sample["completions"]]
        group = people.training if sample["split"] == "train" else people.held_out
        order = np.random.default_rng([seed, *key]).permutation(len(weights))
        labeler, *mates = [one for one in order if one in group]
        ranks = people.rank(labeler, seen, texts, key)
        records.append(
            {
                "id": f"{sample['id']}-{labeler:02d}",
                "prompt_id": sample["prompt_id"],
                "messages": sample["messages"],
                "round": sample["round"],
                "split": sample["split"],
                "labeler_id": f"simulated-{labeler:02d}",
                "completions": sample["completions"],
                "ranks": ranks,
            }
        )
        ties += [a == b for a, b in combinations(ranks, 2)]
        ideal = pair_counts(ranks, [-u for u in seen @ WEIGHTS])
        counts.setdefault("utility_agreement", []).append(ideal)
        if sample["split"] == "valid":
            counts.setdefault("rm_ceiling", []).append(ideal)
        anyone = next(one for one in order if one != labeler)
        counts.setdefault("agreement", []).append(pair_counts(ranks, people.rank(anyone, seen, texts, key)))
        if mates:
            name = "agreement_training" if sample["split"] == "train" else "agreement_held_out"
            counts.setdefault(name, []).append(pair_counts(ranks, people.rank(mates[0], seen, texts, key)))
    figures = {
        "prompts": float(len(records)),
        "pairs": float(len(ties)),
        "tied_pairs": sum(ties) / max(1, len(ties)),
        "noise_scale": noise,
        "agreement_expected": expected_agreement(pair_gaps(weights, features), max(noise, 1e-6)),
    }
    for name, listed in counts.items():
        agreeing, counted = np.sum(listed, axis=0)
        if counted:
            figures[name] = float(agreeing / counted)
    return records, figures


def _key(prompt_id: str, number: int) -> list[int]:
    """Numbers that name a prompt in a round, the same on every machine."""
    return [number, int.from_bytes(prompt_id.encode(), "big")]
