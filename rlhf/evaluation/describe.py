"""The figures of one policy's answers beside SFT's: who wins by which judge, by how much, and through what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlhf.evaluation import quality
from rlhf.evaluation.answers import Answers, Setting
from rlhf.evaluation.gain import gain_by_feature
from rlhf.evaluation.held_out_labelers import HeldOut
from rlhf.evaluation.length_control import length_controlled
from rlhf.evaluation.win_rate import mean_interval, ratio_interval, wins_each
from rlhf.labeling.agreement import pair_counts_many
from rlhf.labeling.utility import FEATURES

CONTROLS = (
    "base",
    "base_few_shot",
    "sft",
    "sft_control",
    "sft_low_temperature",
    "best_of_n",
    "rl_start",
)


def describe(
    name: str,
    answers: Mapping[str, Answers],
    references: Sequence[Answers],
    held_out: HeldOut,
    setting: Setting,
) -> dict[str, Any]:
    """Figures of `answers[name]`, as evaluation.json holds them (rlhf/evaluation/evaluate.py).

    references: SFT's several answers to each prompt. A win rate is against all of them, which takes three tenths
    off the interval of one against one; the best of n is made of most of them, and is compared with the first alone.
    """
    own = answers[name]
    found: dict[str, Any] = {
        "prompts": len(own.completions),
        "utility": float(own.utility.mean()),
        "reward": float(own.rewards.mean()),
        **dict(zip(FEATURES, own.features.mean(axis=0).tolist(), strict=True)),
        "distinct_2": quality.distinct_2(own.texts),
        "words": quality.mean_words(own.texts),
        "characters": float(own.lengths.mean()),
        "tokens": float(np.mean([len(completion.ids) for completion in own.completions])),
        "eos_rate": float(np.mean([completion.ended for completion in own.completions])),
    }
    if name == "sft":
        return found
    how = setting.resampling.first(len(own.completions))
    against = [one.first(len(own.completions)) for one in references]
    against = against[:1] if name == "best_of_n" else against
    lengths = np.stack([one.lengths for one in against])
    by_utility = _by_utility(own, against)
    by_labelers = _by_labelers(own, against, held_out, setting)
    by_rm = wins_each(own.rewards, np.stack([one.rewards for one in against]))
    found["win_rate_vs_sft"] = mean_interval(by_utility.mean(axis=0), how)
    found["win_rate_vs_sft_by_labelers"] = mean_interval(by_labelers.mean(axis=0), how)
    found["win_rate_vs_sft_by_rm"] = mean_interval(by_rm.mean(axis=0), how)
    found["length_controlled"] = length_controlled(by_utility, own.lengths, lengths, how)
    found["length_controlled_by_labelers"] = length_controlled(by_labelers, own.lengths, lengths, how)
    found["over_optimisation"] = found["win_rate_vs_sft_by_rm"][1] - found["win_rate_vs_sft"][1]
    found["gain"] = mean_interval(own.utility - np.mean([one.utility for one in against], axis=0), how)
    found["gain_by_feature"] = gain_by_feature(own.features, np.stack([one.features for one in against]))
    if name not in CONTROLS and "sft_low_temperature" in answers:
        low = answers["sft_low_temperature"]
        found["minus_low_temperature"] = mean_interval(
            (by_utility - _by_utility(low, against)).mean(axis=0), how
        )
        found["minus_low_temperature_by_labelers"] = mean_interval(
            (by_labelers - _by_labelers(low, against, held_out, setting)).mean(axis=0), how
        )
    return found


def accuracy_by_utility(draws: Sequence[Answers], setting: Setting) -> list[float] | None:
    """[low, mid, high] share of pairs of ONE policy's answers to a prompt that the reward model orders as the utility.

    draws: the policy's several answers to each prompt; of pairs across policies most are easy, as one policy is better.
    None where the utility ties every pair.
    """
    count = min(len(one.completions) for one in draws)
    rewards = np.stack([one.rewards[:count] for one in draws], axis=1)
    utility = np.stack([one.utility[:count] for one in draws], axis=1)
    ranks = (utility[:, None, :] > utility[:, :, None]).sum(axis=2) + 1
    counts = pair_counts_many(rewards.tolist(), ranks.tolist())
    if not counts[:, 1].sum():
        return None
    return ratio_interval(counts[:, 0], counts[:, 1], setting.resampling.first(count))


def _by_utility(own: Answers, others: Sequence[Answers]) -> Any:
    return wins_each(own.utility, np.stack([one.utility for one in others]))


def _by_labelers(own: Answers, others: Sequence[Answers], held_out: HeldOut, setting: Setting) -> Any:
    ids = [prompt["id"] for prompt in setting.prompts[: len(own.completions)]]
    return held_out.wins(ids, (own.features, own.texts), [(one.features, one.texts) for one in others])
