"""Which SFT epoch is best: the one whose answers to validation prompts the reward model scores highest.

Validation loss overfits after an epoch, reward-model score and human preference do not (arXiv:2203.02155, C.1).
"""

from __future__ import annotations

import shutil
from typing import Any

from rlhf import distributed
from rlhf.chat import with_room
from rlhf.data.load import prompts
from rlhf.jobs import Job
from rlhf.models import directories, reward
from rlhf.sampling.engine import sample
from rlhf.training.progress import progress


def run(job: Job) -> dict[str, Any]:
    """Stage `choose_sft`: out/model is the chosen epoch. inputs: sft (folder of epochs), reward_model, curated."""
    params = job.params
    device = distributed.start(params.compute)
    rm = reward.load_reward_model(job.path("reward_model"))
    rm.model.to(device)
    records = with_room(
        prompts(job.path("curated"), "valid"),
        rm.tokenizer,
        params.base.context,
        params.comparisons.max_new_tokens,
    )
    chosen_prompts = [record["messages"] for record in records[: params.sft.choice_prompts]]
    epochs = sorted(job.path("sft").glob("epoch-*"), key=lambda path: int(path.name.split("-")[1]))
    scores = []
    for epoch in progress(epochs, "choosing SFT", job.is_main):
        model, tokenizer = directories.load_policy(epoch)
        answers = sample(
            model.to(device),
            tokenizer,
            chosen_prompts,
            max_new_tokens=params.comparisons.max_new_tokens,
            temperature=params.comparisons.temperature,
            seed=params.seed,
        )
        found = reward.score(rm, chosen_prompts, [a.text for a in answers], [a.ended for a in answers])
        scores.append(sum(found) / len(found))
        job.log(len(scores), reward=scores[-1])
    best = max(range(len(epochs)), key=scores.__getitem__)
    if job.is_main:
        shutil.copytree(epochs[best], job.out / "model", dirs_exist_ok=True)
    return {"chosen": best + 1, "scores": scores}
