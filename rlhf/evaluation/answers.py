"""Answers to held-out users' prompts, with what judges need of them: the utility's features, and rewards."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf.chat import Message
from rlhf.evaluation.few_shot import STOP, few_shot, plain, shots
from rlhf.evaluation.win_rate import Resampling
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
    """What every policy is asked, and how.

    prompts: id, messages, user_id. texts: held-out pretraining text. demonstrations: for the few-shot prompt of base.
    split: whose prompts they are, the validation or the test users'. labelers: simulated ones of a round, held out or
    not; noise: the scale that they ranked with, None where people ranked.
    """

    prompts: Sequence[dict[str, Any]]
    texts: Sequence[str]
    context: int
    temperature: float
    seed: int
    params: EvaluationParams
    demonstrations: Sequence[dict[str, Any]] = ()
    split: str = "valid"
    labelers: int = 10
    noise: float | None = None
    stop: Sequence[str] = ()
    device: torch.device | str = "cpu"

    @property
    def messages(self) -> list[list[Message]]:
        return [prompt["messages"] for prompt in self.prompts]

    @property
    def few(self) -> int:
        """Prompts that the controls of less weight answer: the first so many."""
        return min(self.params.control_prompts, len(self.prompts))

    @property
    def resampling(self) -> Resampling:
        """By user; a prompt without one stands for itself."""
        users = [prompt.get("user_id") or ("prompt", prompt["id"]) for prompt in self.prompts]
        return Resampling(self.params.bootstrap, self.seed, users)


@dataclass(frozen=True)
class Answers:
    """One policy's answers to the first N prompts, judged; [N] a figure, features [N, 8]."""

    completions: list[Completion]
    features: NDArray[np.float64]
    rewards: NDArray[np.float64]

    @property
    def utility(self) -> NDArray[np.float64]:
        return self.features @ WEIGHTS

    @property
    def texts(self) -> list[str]:
        return [completion.text for completion in self.completions]

    @property
    def lengths(self) -> NDArray[np.float64]:
        """[N] characters."""
        return np.array([len(text) for text in self.texts], dtype=np.float64)

    def first(self, count: int) -> Answers:
        """Those to the first so many prompts."""
        return Answers(self.completions[:count], self.features[:count], self.rewards[:count])


def judged(completions: list[Completion], judge: Judge, setting: Setting) -> Answers:
    """Completions of the first prompts with the features of the utility and the rewards."""
    prompts, texts = setting.messages[: len(completions)], [completion.text for completion in completions]
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
    *,
    temperature: float | None = None,
    count: int | None = None,
) -> Answers:
    """An answer to each of the first `count` prompts (all), judged. name: seeds the draws, so that no two share them."""
    asked = setting.messages[:count]
    return judged(_sampled(name, model, tokenizer, asked, setting, bar, temperature), judge, setting)


def ask_few_shot(
    model: Any, tokenizer: Any, judge: Judge, setting: Setting, bar: Any
) -> tuple[Answers, float]:
    """Base's answers after a few demonstrations in plain text, and how many of these a prompt had room for, on average."""
    words = plain(tokenizer)
    room = setting.context - setting.params.max_new_tokens
    examples = shots(
        setting.demonstrations, words, count=setting.params.few_shot, tokens=room, seed=setting.seed
    )
    asked = [few_shot(examples, words, messages, room) for messages in setting.messages[: setting.few]]
    given = [  # a question and its answer each
        (len(turns) - len(own)) / 2 for turns, own in zip(asked, setting.messages[: setting.few], strict=True)
    ]
    found = _sampled("base_few_shot", model, words, asked, setting, bar, stop=STOP)
    return judged(found, judge, setting), float(np.mean(given))


def _sampled(
    name: str,
    model: Any,
    tokenizer: Any,
    asked: Sequence[Sequence[Message]],
    setting: Setting,
    bar: Any,
    temperature: float | None = None,
    stop: Sequence[str] = (),
) -> list[Completion]:
    return sample(
        model,
        tokenizer,
        asked,
        max_new_tokens=setting.params.max_new_tokens,
        temperature=setting.temperature if temperature is None else temperature,
        seed=setting.seed * 1_000_003 + zlib.crc32(name.encode()),
        stop=(*setting.stop, *stop),
        on_progress=bar.update,
    )


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
        "sft_low_temperature": ask(
            "sft_low_temperature", model, tokenizer, judge, setting, bar, temperature=low
        ),
        "best_of_n": Answers(
            [tries[which].completions[at] for at, which in enumerate(best)],
            np.stack([tries[which].features[at] for at, which in enumerate(best)]),
            np.array([tries[which].rewards[at] for at, which in enumerate(best)]),
        ),
    }, others
