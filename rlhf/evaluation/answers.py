"""Answers to the held-out prompts, judged by the labelers' utility and by the reward model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf.chat import Message
from rlhf.labeling.utility import WEIGHTS, Utility
from rlhf.models.reward import RewardModel, score
from rlhf.params import EvaluationParams
from rlhf.sampling.engine import Completion, sample


@dataclass(frozen=True)
class Judge:
    """Who judges answers: the labelers' noise-free utility, and the reward model."""

    utility: Utility
    reward_model: RewardModel


@dataclass(frozen=True)
class Setting:
    """What every policy is asked, and how. prompts: ids and messages; texts: held-out pretraining text."""

    prompts: Sequence[dict[str, Any]]
    texts: Sequence[str]
    context: int
    temperature: float
    seed: int
    params: EvaluationParams
    stop: Sequence[str] = ()
    device: torch.device | str = "cpu"

    @property
    def messages(self) -> list[list[Message]]:
        return [prompt["messages"] for prompt in self.prompts]


@dataclass(frozen=True)
class Answers:
    """One policy's answers, judged; [N] a figure, features [N, 8]."""

    completions: list[Completion]
    features: NDArray[np.float64]
    rewards: NDArray[np.float64]

    @property
    def utility(self) -> NDArray[np.float64]:
        return self.features @ WEIGHTS

    @property
    def texts(self) -> list[str]:
        return [completion.text for completion in self.completions]


def judged(completions: list[Completion], judge: Judge, setting: Setting) -> Answers:
    """Completions with the features of the utility and the rewards."""
    prompts, texts = setting.messages, [completion.text for completion in completions]
    ended = [completion.ended for completion in completions]
    features = judge.utility.features_many(list(zip(prompts, texts, ended, strict=True)))
    return Answers(completions, features, np.array(score(judge.reward_model, prompts, texts, ended)))


def ask(
    name: str,
    model: Any,
    tokenizer: Any,
    judge: Judge,
    setting: Setting,
    bar: Any,
    temperature: float | None = None,
) -> Answers:
    """One answer to every prompt, judged. name: seeds the draws, so that no two policies share them."""
    completions = sample(
        model,
        tokenizer,
        setting.messages,
        max_new_tokens=setting.params.max_new_tokens,
        temperature=setting.temperature if temperature is None else temperature,
        seed=setting.seed * 1_000_003 + zlib.crc32(name.encode()),
        stop=setting.stop,
        on_progress=bar.update,
    )
    return judged(completions, judge, setting)


def controls(
    model: Any, tokenizer: Any, judge: Judge, setting: Setting, bar: Any
) -> tuple[dict[str, Answers], list[Answers]]:
    """SFT again, SFT at a low temperature, and the best of n of SFT by the reward model (the control is one).

    Second: the n - 1 other answers, which win rates are against as well.
    """
    control = ask("sft_control", model, tokenizer, judge, setting, bar)
    low = setting.params.low_temperature
    others = [
        ask(f"best_of_n/{number}", model, tokenizer, judge, setting, bar)
        for number in range(1, setting.params.best_of_n)
    ]
    tries = [control, *others]
    best = np.argmax(np.stack([found.rewards for found in tries]), axis=0)
    return {
        "sft_control": control,
        "sft_low_temperature": ask("sft_low_temperature", model, tokenizer, judge, setting, bar, low),
        "best_of_n": Answers(
            [tries[which].completions[at] for at, which in enumerate(best)],
            np.stack([tries[which].features[at] for at, which in enumerate(best)]),
            np.array([tries[which].rewards[at] for at, which in enumerate(best)]),
        ),
    }, others
