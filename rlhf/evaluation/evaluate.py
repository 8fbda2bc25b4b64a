"""Stage "evaluate": every policy and its controls on the same held-out users' prompts, by three judges.

The round's evaluation, which the gate reads, is on the validation users' prompts that choose nothing else. The test
users are read by the stage "release" alone, which is this one with the input `split` "test".

evaluation.json:
  split (valid or test), prompts, users, skipped (too long for the context), temperature, low_temperature, best_of_n,
  few_shot (demonstrations before a prompt, on average), noise_scale (of the held-out labelers)
  policies: {name: figures}. Of each: prompts, utility, reward, relevance, fluency (every feature's mean), distinct_2,
    words, characters, tokens, eos_rate, pretraining_loss, alignment_tax; of all but SFT [low, mid, high]:
    win_rate_vs_sft                by the noise-free utility: the simulated labelers' mean taste, without their noise
    win_rate_vs_sft_by_labelers    by held-out simulated labelers, with their own taste and their noise
    win_rate_vs_sft_by_rm          by the reward model; over_optimisation is this less the first
    length_controlled, length_controlled_by_labelers   the first two at equal length
    gain                           of mean utility over SFT; gain_by_feature: what adds up to it
    and for trained policies kl, nats a response, and minus_low_temperature, minus_low_temperature_by_labelers: paired
  win_rate_vs_champion, win_rate_vs_champion_by_labelers: where there is a champion
  reward_model: {accuracy_by_utility: {name: [low, mid, high]}}: pairs of one policy's answers to a prompt that it
    orders as the noise-free utility does
Intervals are bootstraps by user. A win rate over SFT is against best_of_n answers of SFT to each prompt (the best of n:
against one). Names: base, base_few_shot (plain text, after a few demonstrations; left out where no prompt has room for
it), sft, sft_control (SFT again, another seed), sft_low_temperature, best_of_n (SFT's best by the reward model),
rl_start, then the policies. base, base_few_shot and rl_start answer the first evaluation.control_prompts.
samples.jsonl holds each prompt with everybody's answer, personal data redacted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rlhf import distributed, seeds
from rlhf.chat import with_room
from rlhf.data import load
from rlhf.data.pii import redact
from rlhf.evaluation.alignment_tax import pretraining_loss
from rlhf.evaluation.answers import Answers, Judge, Setting, ask, ask_few_shot, controls
from rlhf.evaluation.describe import CONTROLS, accuracy_by_utility, describe
from rlhf.evaluation.divergence import response_kl
from rlhf.evaluation.few_shot import plain
from rlhf.evaluation.held_out_labelers import HeldOut
from rlhf.evaluation.win_rate import mean_interval, win_rate
from rlhf.jobs import Job, write_json
from rlhf.labeling.utility import Utility
from rlhf.models.directories import load_policy
from rlhf.models.reward import load_reward_model
from rlhf.records import write_jsonl


def run(job: Job) -> dict[str, float]:
    """Inputs: policies {base, sft, rl_start, policy, champion?}, reward_model, curated, split (valid or test),
    noise_scale (of the round's simulated labelers; None: people ranked).

    Products: evaluation.json, samples.jsonl. Returns the headline as flat figures.
    """
    curated, params = job.path("curated"), job.params
    split = job.inputs.get("split", "valid")
    device = distributed.start(params.compute)
    rm = load_reward_model(job.path("reward_model"))
    rm.model.to(device).eval()
    policies = {name: Path(path) for name, path in job.inputs["policies"].items()}
    rl_start = policies.pop("rl_start")
    every = load.prompts(curated, "test") if split == "test" else load.validation_prompts(curated, "gate")
    room = (params.base.context, params.evaluation.max_new_tokens)
    chosen = with_room(every, rm.tokenizer, *room, may_be_empty=True)
    in_plain_text = with_room(chosen, plain(rm.tokenizer), *room, may_be_empty=True)
    chosen = in_plain_text or chosen  # where none has room in plain text, base is not asked few-shot
    if not chosen:
        raise ValueError(
            f"no prompt of the {split} users to evaluate on: raise data.{split}_share, or base.context"
        )
    setting = Setting(
        prompts=seeds.shuffled(chosen, params.seed, "evaluation")[: params.evaluation.prompts],
        texts=seeds.shuffled(load.pretraining_texts(curated, "valid"), params.seed, "alignment tax"),
        demonstrations=load.demonstrations(curated, "train") if in_plain_text else (),
        context=params.base.context,
        temperature=params.ppo.temperature,
        seed=params.seed,
        params=params.evaluation,
        split=split,
        labelers=params.comparisons.labelers,
        noise=job.inputs.get("noise_scale"),
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
    draws: dict[str, list[Answers]] = {}  # several answers of one policy to a prompt
    references: list[Answers] = []
    losses: dict[str, float] = {}
    kl: dict[str, NDArray[np.float64]] = {}
    shots = 0.0
    every, few = len(setting.prompts), setting.few
    asked = {
        "base": few * (2 if setting.demonstrations else 1),
        "sft": (2 + setting.params.best_of_n) * every,
        "policy": every + few,
    }
    with tqdm(
        total=few + sum(asked.get(name, every) for name in policies),
        desc="evaluate",
        unit="answer",
        mininterval=0.5,
        disable=distributed.rank() > 0,
    ) as bar:
        for name, directory in [*policies.items(), ("rl_start", rl_start)]:
            model, tokenizer = _open(directory, setting)
            losses[name] = pretraining_loss(
                model, tokenizer, setting.texts, setting.context, max_tokens=setting.params.loss_tokens
            )
            count = few if name in ("base", "rl_start") else None
            answers[name] = ask(name, model, tokenizer, judge, setting, bar, count=count)
            if name == "base" and setting.demonstrations:
                answers["base_few_shot"], shots = ask_few_shot(model, tokenizer, judge, setting, bar)
            elif name == "sft":
                others, drawn = controls(model, tokenizer, judge, setting, bar)
                answers |= others
                references = [answers["sft"], *drawn]
                draws["sft"] = [*references, answers["sft_control"]]
            elif name == "policy":
                again = ask("policy_again", model, tokenizer, judge, setting, bar, count=few)
                draws["policy"] = [answers["policy"], again]
            if name not in CONTROLS:
                moved = _kl(model, tokenizer, rl_start, answers[name], setting)
                if moved is not None:
                    kl[name] = moved
    held_out = HeldOut.of(
        setting.labelers,
        setting.seed,
        setting.noise,
        list(np.stack([one.features for one in draws["sft"]], axis=1)),
    )
    figures: dict[str, Any] = {
        "split": setting.split,
        "prompts": len(setting.prompts),
        "users": len(set(setting.resampling.users or ())),
        "temperature": setting.temperature,
        "low_temperature": setting.params.low_temperature,
        "best_of_n": setting.params.best_of_n,
        "few_shot": shots,
        "noise_scale": held_out.labelers.noise,
        "policies": {},
    }
    for step, name in enumerate(sorted(answers, key=_place)):
        found = describe(name, answers, references, held_out, setting)
        if name in losses:
            found["pretraining_loss"] = losses[name]
            if "base" in losses:
                found["alignment_tax"] = losses[name] - losses["base"]
        if name in kl:
            found["kl"] = mean_interval(kl[name], setting.resampling)
        figures["policies"][name] = found
        if on_done:
            on_done(
                step, **{f"{name}/{key}": value for key, value in found.items() if isinstance(value, float)}
            )
    if {"policy", "champion"} <= answers.keys():
        figures |= against_champion(answers["policy"], answers["champion"], held_out, setting)
    accuracy = {name: accuracy_by_utility(several, setting) for name, several in draws.items()}
    figures["reward_model"] = {
        "accuracy_by_utility": {name: found for name, found in accuracy.items() if found is not None}
    }
    return figures, answers


def against_champion(
    policy: Answers, champion: Answers, held_out: HeldOut, setting: Setting
) -> dict[str, list[float]]:
    """The policy's win rates over the champion's answers, one to each prompt."""
    ids = [prompt["id"] for prompt in setting.prompts]
    judged = held_out.wins(ids, (policy.features, policy.texts), [(champion.features, champion.texts)])
    return {
        "win_rate_vs_champion": win_rate(policy.utility, champion.utility, setting.resampling),
        "win_rate_vs_champion_by_labelers": mean_interval(judged[0], setting.resampling),
    }


def headline(figures: Mapping[str, Any], policy: str = "policy") -> dict[str, float]:
    """The gate's figures and the ones a table shows, flat."""
    found = figures["policies"][policy]
    flat = {
        "prompts": float(figures["prompts"]),
        "users": float(figures["users"]),
        "relevance": found["relevance"],
        "distinct_2": found["distinct_2"],
        "noise_scale": figures["noise_scale"],
    }
    named = {
        "win_rate": found["win_rate_vs_sft"],
        "win_rate_by_labelers": found["win_rate_vs_sft_by_labelers"],
        "win_rate_by_rm": found["win_rate_vs_sft_by_rm"],
        "length_controlled": found["length_controlled"],
        "length_controlled_by_labelers": found["length_controlled_by_labelers"],
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
            if at < len(found.completions)
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


def _place(name: str) -> int:
    return CONTROLS.index(name) if name in CONTROLS else len(CONTROLS)
