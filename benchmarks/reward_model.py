"""Rankings of K = 9: our K-wise loss against TRL's pairwise RewardTrainer, CPU seconds a prompt.

    python -m benchmarks.reward_model --json

The same random model (W1 of benchmarks.ppo) and rankings for both, one thread, taking turns. A ranking of nine is 36
pairs: TRL passes each pair through the model, 72 rows, and we each completion once, 9 rows. Both losses, the mean over
the pairs, are compared first, on the same weights.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import statistics
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer

from benchmarks import workloads
from benchmarks.workloads import EOS, FIRST_WORD, PAD, WORKLOADS
from rlhf.models.packed import prepare
from rlhf.params import ComputeParams
from rlhf.training.engine import Engine
from rlhf.training.reward_model import Ranked, Scorer, train_step

K = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=16, help="rankings a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one turn of four rankings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.turns = 4, 1
    torch.set_num_threads(1)
    model = workloads.models(WORKLOADS["W1"])["reward"].eval()
    rankings = draw(options.prompts)
    mine, theirs = loss_of_ours(model, rankings), loss_of_trl(model, rankings)
    assert abs(mine - theirs) < 1e-4, f"the losses differ: {mine} and {theirs}"
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    for turn in range(1 + options.turns):
        spent = {"ours": seconds_of_ours(model, rankings), "trl": seconds_of_trl(model, rankings)}
        if turn:  # the first warms up
            for name, found in spent.items():
                seconds[name].append(found / len(rankings))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    speedup = medians["trl"] / medians["ours"]
    print(f"loss {mine:.6f} and {theirs:.6f}; CPU seconds a prompt: {medians}; speedup {speedup:.1f}")
    if options.json:
        print(
            json.dumps(
                {"speedup": speedup, "seconds_per_prompt": medians, "loss": {"ours": mine, "trl": theirs}}
            )
        )


def draw(count: int) -> list[Ranked]:
    """Rankings without ties, of completions of 8 to 64 tokens."""
    chance = random.Random(0)

    def words(length: int) -> list[int]:
        return [chance.randrange(FIRST_WORD, WORKLOADS["W1"].vocabulary) for _ in range(length)]

    return [
        Ranked(
            prompt,
            [[*words(chance.randint(8, 64)), EOS] for _ in range(K)],
            chance.sample(range(1, K + 1), K),
        )
        for prompt in workloads.prompts(WORKLOADS["W1"], count)
    ]


def loss_of_ours(model: Any, rankings: list[Ranked]) -> float:
    return train_step(engine_of(model), rankings, PAD)["loss"]


def seconds_of_ours(model: Any, rankings: list[Ranked], batch: int = 4) -> float:
    engine = engine_of(model)
    start = time.process_time()
    for at in range(0, len(rankings), batch):
        train_step(engine, rankings[at : at + batch], PAD)
    return time.process_time() - start


def engine_of(model: Any) -> Engine:
    scorer = Scorer(prepare(copy.deepcopy(model)))
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-6)
    return Engine(scorer, optimizer, ComputeParams(launcher="inline", device="cpu"), max_grad_norm=1.0)


def loss_of_trl(model: Any, rankings: list[Ranked]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return float(trainer_of(model, rankings, folder).evaluate()["eval_loss"])


def seconds_of_trl(model: Any, rankings: list[Ranked]) -> float:
    spent: list[float] = []

    class Watch(TrainerCallback):
        def on_train_begin(self, *args: Any, **named: Any) -> None:
            spent.append(time.process_time())

        def on_train_end(self, *args: Any, **named: Any) -> None:
            spent.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(model, rankings, folder)
        trainer.add_callback(Watch())
        trainer.train()
    return spent[1] - spent[0]


def trainer_of(model: Any, rankings: list[Ranked], folder: str) -> RewardTrainer:
    """Every pair as TRL takes it, the 36 of a prompt in one batch."""
    pairs = [
        {"chosen_ids": ranked.prompt + better, "rejected_ids": ranked.prompt + worse}
        for ranked in rankings
        for (better, high), (worse, low) in itertools.permutations(
            zip(ranked.responses, ranked.ranks, strict=True), 2
        )
        if high < low
    ]
    tokenizer = workloads.tokenizer(padding_side="right")
    rows = Dataset.from_list(pairs)
    config = RewardConfig(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=K * (K - 1) // 2,
        per_device_eval_batch_size=K * (K - 1) // 2,
        learning_rate=1e-6,
        max_length=None,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        dataloader_pin_memory=False,
    )
    return RewardTrainer(
        copy.deepcopy(model), config, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer
    )


if __name__ == "__main__":
    main()
