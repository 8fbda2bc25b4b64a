"""Which SFT epoch is best: the one whose answers to validation prompts the reward model scores highest.

Validation loss overfits after an epoch, reward-model score and human preference do not (arXiv:2203.02155, C.1). Epochs are
compared on the same prompts with the same random numbers, and the figures say how far the best one is from the next, with
an interval: where that holds 0 the choice is within noise, and the highest is taken all the same, as in the paper.
"""

from __future__ import annotations

import logging
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf import distributed, seeds
from rlhf.chat import with_room
from rlhf.data.load import validation_prompts
from rlhf.jobs import Job
from rlhf.models import directories, reward
from rlhf.sampling.engine import sample
from rlhf.training.epoch_choice import lead, sentence
from rlhf.training.progress import progress

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, Any]:
    """Stage `choose_sft`: out/model is the chosen epoch. inputs: sft (folder of epochs), reward_model, curated, round.

    Figures: chosen (from 1), scores (mean reward of each epoch), and those of `epoch_choice.lead`.
    """
    params = job.params
    seed = seeds.of_round(params.seed, job.round)
    device = distributed.start(params.compute)
    rm = reward.load_reward_model(job.path("reward_model"))
    rm.model.to(device)
    records = with_room(
        validation_prompts(job.path("curated"), "choice"),
        rm.tokenizer,
        params.base.context,
        params.comparisons.max_new_tokens,
    )
    if not records:
        raise ValueError("no held-out prompt to choose the epoch of SFT on: raise data.valid_share")
    drawn = seeds.shuffled(records, seed, "choice of SFT")[: params.sft.choice_prompts]
    asked = [record["messages"] for record in drawn] * params.sft.choice_answers
    epochs = sorted(job.path("sft").glob("epoch-*"), key=lambda path: int(path.name.split("-")[1]))
    rewards: list[NDArray[np.float64]] = []  # of each epoch: [prompts], the mean of a prompt's answers
    for epoch in progress(epochs, "choosing SFT", job.is_main):
        model, tokenizer = directories.load_policy(epoch)
        answers = sample(
            model.to(device),
            tokenizer,
            asked,
            max_new_tokens=params.comparisons.max_new_tokens,
            temperature=params.comparisons.temperature,
            seed=seed,
        )
        scores = reward.score(rm, asked, [a.text for a in answers], [a.ended for a in answers])
        rewards.append(np.reshape(scores, (params.sft.choice_answers, -1)).mean(0))
        job.log(len(rewards), reward=float(rewards[-1].mean()))
    means = [float(of_epoch.mean()) for of_epoch in rewards]
    best = int(np.argmax(means))
    figures: dict[str, Any] = {"chosen": best + 1, "scores": means, **lead(rewards, seed=seed)}
    if job.is_main:
        if "lead" in figures and figures["lead"][0] <= 0:
            log.warning("the choice of SFT: %s; the highest is taken", sentence(figures))
        shutil.copytree(epochs[best], job.out / "model", dirs_exist_ok=True)
    return figures
