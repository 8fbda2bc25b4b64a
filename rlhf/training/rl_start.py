"""Where RL starts, which is also π_ref: the base, 2 epochs of demonstrations, 10 % pretraining rows mixed in."""

from __future__ import annotations

import random
import shutil
from typing import Any

from rlhf.data.load import pretraining_texts
from rlhf.jobs import Job
from rlhf.models import directories
from rlhf.training.pretraining import pack
from rlhf.training.sft import Row, train_supervised, training_rows


def run(job: Job) -> dict[str, Any]:
    """Stage `rl_start`: out/model (arXiv:2203.02155, C.4)."""
    params = job.params.sft
    tokenizer = directories.load_tokenizer(job.path("base"))
    rows = training_rows(job, tokenizer)
    share = params.rl_start_pretraining_share
    mixed = pretraining_rows(job, tokenizer, round(len(rows) * share / (1.0 - share)))
    epochs = params.rl_start_epochs
    train_supervised(
        job,
        [*rows, *mixed],
        [],
        epochs=epochs,
        lr=params.rl_start_lr,
        name=lambda epoch: "model" if epoch == epochs else f"epoch-{epoch}",
        label="RL start",
    )
    for epoch in range(1, epochs):
        shutil.rmtree(job.out / f"epoch-{epoch}", ignore_errors=True)
    return {
        "demonstrations": len(rows),
        "pretraining_rows": len(mixed),
        "epochs": epochs,
    }


def pretraining_rows(job: Job, tokenizer: Any, count: int) -> list[Row]:
    """`count` rows of pretraining text, with the loss on every token."""
    packed = pack(
        tokenizer,
        pretraining_texts(job.path("curated"), "train"),
        min(job.params.ppo.ptx_tokens, job.params.sft.max_tokens),
    )
    chosen = random.Random(job.params.seed).sample(range(len(packed)), min(count, len(packed)))
    return [{"input_ids": packed[i].tolist(), "completion_mask": [1] * packed.shape[1]} for i in chosen]
