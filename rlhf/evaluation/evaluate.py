"""Stage "evaluate": every policy and its controls on the same held-out prompts, judged two ways.

evaluation.json:
  prompts, skipped (too long for the context), temperature, low_temperature, best_of_n
  policies: {name: {win_rate_vs_sft, win_rate_vs_sft_by_rm: [low, mid, high], utility, reward, relevance, fluency
    (every feature's mean), distinct_2, words, eos_rate, over_optimisation, pretraining_loss, alignment_tax, and
    for trained policies kl: [low, mid, high] nats a response and minus_low_temperature: paired [low, mid, high]}}
  win_rate_vs_champion: [low, mid, high], where there is a champion
  over_optimisation is the win rate by the reward model less the one by the labelers' utility
  reward_model: {accuracy_by_utility}: pairs of answers that it orders as the noise-free utility does
A win rate over SFT is against best_of_n answers of SFT to each prompt (the best of n: against one).
Names: base, sft, sft_control (SFT again, another seed), sft_low_temperature, best_of_n (SFT's best by the reward
model), then the policies. samples.jsonl holds each prompt with everybody's answer, personal data redacted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rlhf import distributed, seeds
from rlhf.chat import with_room
from rlhf.data import load
from rlhf.data.pii import redact
from rlhf.evaluation import quality
from rlhf.evaluation.alignment_tax import pretraining_loss
from rlhf.evaluation.answers import Answers, Judge, Setting, ask, controls
from rlhf.evaluation.divergence import response_kl
from rlhf.evaluation.win_rate import mean_interval, paired_difference, win_rate
from rlhf.jobs import Job, write_json
from rlhf.labeling.agreement import pairwise_accuracy
from rlhf.labeling.utility import FEATURES, Utility
from rlhf.models.directories import load_policy
from rlhf.models.reward import load_reward_model
from rlhf.records import write_jsonl

CONTROLS = ("base", "sft", "sft_control", "sft_low_temperature", "best_of_n")


def run(job: Job) -> dict[str, float]:
    """Inputs: policies {base, sft, rl_start, policy, champion?}, reward_model, curated.

    Products: evaluation.json, samples.jsonl. Returns the headline as flat figures.
    """
    curated, params = job.path("curated"), job.params
    device = distributed.start(params.compute)
    rm = load_reward_model(job.path("reward_model"))
    rm.model.to(device).eval()
    policies = {name: Path(path) for name, path in job.inputs["policies"].items()}
    rl_start = policies.pop("rl_start")
    every = load.prompts(curated, "test")
    chosen = with_room(
        every, rm.tokenizer, params.base.context, params.evaluation.max_new_tokens, may_be_empty=True
    )
    if not chosen:
        raise ValueError("no held-out prompt to evaluate on: raise data.test_share, or base.context")
    random.Random(params.seed).shuffle(chosen)
    setting = Setting(
        prompts=chosen[: params.evaluation.prompts],
        texts=seeds.shuffled(load.pretraining_texts(curated, "valid"), params.seed, "alignment tax"),
        context=params.base.context,
        temperature=params.ppo.temperature,
        seed=params.seed,
        params=params.evaluation,
        stop=params.ppo.stop,
        device=device,
    )
    judge = Judge(Utility.fit(load.pretraining_texts(curated, "train")), rm)
    figures, answers = evaluate(policies, rl_start, judge, setting, on_done=job.log)
    figures["skipped"] = len(every) - len(chosen)
    if job.is_main:
        write_jsonl(job.out / "samples.jsonl", samples(setting, answers))
        write_json(job.out / "evaluation.json", figures)
    return headline(figures)


def evaluate(
    policies: Mapping[str, Path],
    rl_start: Path,
    judge: Judge,
    setting: Setting,
    *,
    on_done: Callable[..., None] | None = None,
) -> tuple[dict[str, Any], dict[str, Answers]]:
    """Figures (evaluation.json, above) and judged answers of each policy and control.

    policies: {"base", "sft", and any trained ones: name -> model folder}; "policy" is compared with "champion"
    where both are there. rl_start: what KL is measured against. on_done(step, **figures) hears of each.
    """
    assert "sft" in policies, "win rates are against SFT"
    answers: dict[str, Answers] = {}
    references: list[Answers] = []
    losses: dict[str, float] = {}
    kl: dict[str, NDArray[np.float64]] = {}
    passes = len(policies) + 1 + setting.params.best_of_n
    with tqdm(
        total=passes * len(setting.prompts),
        desc="evaluate",
        unit="answer",
        mininterval=0.5,
        disable=distributed.rank() > 0,
    ) as bar:
        for name, directory in policies.items():
            model, tokenizer = _open(directory, setting)
            losses[name] = pretraining_loss(
                model, tokenizer, setting.texts, setting.context, max_tokens=setting.params.loss_tokens
            )
            answers[name] = ask(name, model, tokenizer, judge, setting, bar)
            if name == "sft":
                asked, others = controls(model, tokenizer, judge, setting, bar)
                answers |= asked
                references = [answers["sft"], *others]
            elif name not in CONTROLS:
                moved = _kl(model, tokenizer, rl_start, answers[name], setting)
                if moved is not None:
                    kl[name] = moved
    figures: dict[str, Any] = {
        "prompts": len(setting.prompts),
        "temperature": setting.temperature,
        "low_temperature": setting.params.low_temperature,
        "best_of_n": setting.params.best_of_n,
        "policies": {},
    }
    for step, name in enumerate(sorted(answers, key=_place)):
        found = describe(name, answers, references, setting)
        if name in losses:
            found["pretraining_loss"] = losses[name]
            if "base" in losses:
                found["alignment_tax"] = losses[name] - losses["base"]
        if name in kl:
            found["kl"] = mean_interval(kl[name], **_resampling(setting))
        figures["policies"][name] = found
        if on_done:
            on_done(
                step, **{f"{name}/{key}": value for key, value in found.items() if isinstance(value, float)}
            )
    if {"policy", "champion"} <= answers.keys():
        figures["win_rate_vs_champion"] = win_rate(
            answers["policy"].utility, answers["champion"].utility, **_resampling(setting)
        )
    figures["reward_model"] = {"accuracy_by_utility": agreement_with_utility(answers)}
    return figures, answers


def describe(
    name: str, answers: Mapping[str, Answers], references: Sequence[Answers], setting: Setting
) -> dict[str, Any]:
    """Figures of one policy's answers beside SFT's.

    references: SFT's several answers to each prompt. A win rate is against all of them, which takes three tenths
    off the interval of one against one; the best of n is made of most of them, and is compared with the first alone.
    """
    own, against = answers[name], references[:1] if name == "best_of_n" else references
    utilities = np.stack([found.utility for found in against])
    rewards = np.stack([found.rewards for found in against])
    found: dict[str, Any] = {
        "utility": float(own.utility.mean()),
        "reward": float(own.rewards.mean()),
        **dict(zip(FEATURES, own.features.mean(axis=0).tolist(), strict=True)),
        "distinct_2": quality.distinct_2(own.texts),
        "words": quality.mean_words(own.texts),
        "tokens": float(np.mean([len(completion.ids) for completion in own.completions])),
        "eos_rate": float(np.mean([completion.ended for completion in own.completions])),
    }
    if name == "sft":
        return found
    found["win_rate_vs_sft"] = win_rate(own.utility, utilities, **_resampling(setting))
    found["win_rate_vs_sft_by_rm"] = win_rate(own.rewards, rewards, **_resampling(setting))
    found["over_optimisation"] = found["win_rate_vs_sft_by_rm"][1] - found["win_rate_vs_sft"][1]
    if name not in CONTROLS and "sft_low_temperature" in answers:
        low = answers["sft_low_temperature"]
        found["minus_low_temperature"] = paired_difference(
            own.utility, low.utility, utilities, **_resampling(setting)
        )
    return found


def agreement_with_utility(answers: Mapping[str, Answers]) -> float:
    """Share of pairs of answers to a prompt that the reward model orders as the noise-free utility does."""
    rewards = np.stack([found.rewards for found in answers.values()], axis=1)
    utility = np.stack([found.utility for found in answers.values()], axis=1)
    ranks = (utility[:, None, :] > utility[:, :, None]).sum(axis=2) + 1
    return pairwise_accuracy(rewards.tolist(), ranks.tolist())


def headline(figures: Mapping[str, Any], policy: str = "policy") -> dict[str, float]:
    """The gate's figures and the ones a table shows, flat."""
    found = figures["policies"][policy]
    flat = {
        "prompts": float(figures["prompts"]),
        "relevance": found["relevance"],
        "distinct_2": found["distinct_2"],
    }
    named = {
        "win_rate": found["win_rate_vs_sft"],
        "win_rate_by_rm": found["win_rate_vs_sft_by_rm"],
        "minus_low_temperature": found["minus_low_temperature"],
        "kl": found["kl"],
    }
    if "win_rate_vs_champion" in figures:
        named["champion_win_rate"] = figures["win_rate_vs_champion"]
    for name, (low, mid, high) in named.items():
        flat |= {name: mid, f"{name}_low": low, f"{name}_high": high}
    if "alignment_tax" in found:
        flat["tax"] = found["alignment_tax"]
    return flat


def samples(setting: Setting, answers: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """A row a prompt with everybody's answer: {prompt_id, messages, answers: {name: {text, ended, utility, reward}}}."""
    rows = []
    utilities = {name: found.utility for name, found in answers.items()}
    for at, prompt in enumerate(setting.prompts):
        said = {
            name: {
                "text": redact(found.completions[at].text),
                "ended": found.completions[at].ended,
                "utility": float(utilities[name][at]),
                "reward": float(found.rewards[at]),
            }
            for name, found in answers.items()
        }
        messages = [{"role": m["role"], "content": redact(m["content"])} for m in prompt["messages"]]
        rows.append({"prompt_id": prompt["id"], "messages": messages, "answers": said})
    return rows


def _kl(
    model: Any, tokenizer: Any, rl_start: Path, answers: Answers, setting: Setting
) -> NDArray[np.float64] | None:
    """None for a model of other tokens than the RL start's: a champion that another base's rounds made."""
    reference, words = _open(rl_start, setting)
    if words.get_vocab() != tokenizer.get_vocab():
        return None
    return response_kl(
        model, reference, answers.completions, pad_id=tokenizer.pad_token_id, temperature=setting.temperature
    )


def _open(directory: Path, setting: Setting) -> tuple[Any, Any]:
    model: Any
    model, tokenizer = load_policy(directory)
    return model.to(setting.device).eval(), tokenizer


def _resampling(setting: Setting) -> dict[str, int]:
    return {"resamples": setting.params.bootstrap, "seed": setting.seed}


def _place(name: str) -> int:
    return CONTROLS.index(name) if name in CONTROLS else len(CONTROLS)
