"""TRL 1.9.2's PPO on a workload, in its own environment: an iteration for each line on standard input.

    python -m benchmarks.peers.trl_ppo WORKLOAD DEVICE

Writes a JSON line an iteration: {generate, score, update: CPU seconds (seconds on a GPU), prompt_tokens,
response_tokens: a list of lengths, peak_gb}. ACCELERATE_MIXED_PRECISION=bf16 switches its autocast on; its own
bf16 setting does nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks import workloads
from benchmarks.peers.timing import Clock, peak_gb
from benchmarks.workloads import EOS, PAD, WORKLOADS


def main(name: str, device: str) -> None:
    torch.set_num_threads(1)
    load = WORKLOADS[name]
    made = workloads.models(load)
    marks: dict[str, float] = {}
    clock = Clock(device)
    generate, whiten = ppo_trainer.batch_generation, ppo_trainer.masked_whiten

    def timed_generation(policy: Any, queries: torch.Tensor, *args: Any) -> Any:
        marks["start"] = clock()
        found = generate(policy, queries, *args)
        marks["generated"] = clock()
        answers = found[0][:, queries.shape[1] :]
        ends = (answers == EOS) | (
            torch.arange(answers.shape[1], device=answers.device) == answers.shape[1] - 1
        )
        record["response_tokens"] = (ends.int().argmax(1) + 1).tolist()
        record["prompt_tokens"] = (queries != PAD).sum(1).tolist()
        return found

    def timed_whiten(*args: Any, **named: Any) -> Any:
        found = whiten(*args, **named)
        marks["scored"] = clock()
        return found

    class OneAtATime(TrainerCallback):
        def on_train_begin(self, *args: Any, **named: Any) -> None:
            wait()

        def on_step_end(self, *args: Any, **named: Any) -> None:
            marks["end"] = clock()
            record.update(
                generate=marks["generated"] - marks["start"],
                score=marks["scored"] - marks["generated"],
                update=marks["end"] - marks["scored"],
                peak_gb=peak_gb(device),
            )
            print(json.dumps(record), file=out, flush=True)
            wait()

    record: dict[str, Any] = {}
    ppo_trainer.batch_generation, ppo_trainer.masked_whiten = timed_generation, timed_whiten
    tokenizer = workloads.tokenizer(padding_side="left")
    rows = Dataset.from_dict({"input_ids": workloads.prompts(load, 16 * load.episodes)})
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            total_episodes=10_000 * load.episodes,
            per_device_train_batch_size=load.minibatch,
            gradient_accumulation_steps=load.episodes // load.minibatch,
            num_mini_batches=load.episodes // load.minibatch,
            num_ppo_epochs=1,
            local_rollout_forward_batch_size=load.minibatch,
            response_length=load.new_tokens,
            stop_token="eos",
            temperature=1.0,
            kl_coef=0.05,
            num_sample_generations=0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=device == "cpu",
            bf16=False,
            gradient_checkpointing=False,
        )
        trainer = PPOTrainer(
            config,
            tokenizer,
            made["policy"],
            made["reference"],
            made["reward"],
            rows,
            made["value"],
            callbacks=[OneAtATime()],
        )
        trainer.train()


def wait() -> None:
    if not sys.stdin.readline():
        sys.exit(0)


if __name__ == "__main__":
    out, sys.stdout = sys.stdout, sys.stderr  # what TRL prints is not for the reader of the figures
    main(*sys.argv[1:])
