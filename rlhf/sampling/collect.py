"""Fresh completions to rank: K a prompt, from the newest policy and SFT in stated shares."""

from __future__ import annotations

import random
from typing import Any

from rlhf import distributed, seeds
from rlhf.chat import with_room
from rlhf.data.load import prompts, validation_prompts
from rlhf.jobs import Job
from rlhf.models import directories
from rlhf.records import read_jsonl, write_jsonl
from rlhf.sampling.engine import sample
from rlhf.training.progress import progress


def run(job: Job) -> dict[str, Any]:
    """Stage `sample`: out/samples.jsonl, on prompts that no earlier round used.

    inputs: curated; writers: [{version, path, share}], shares adding to 1; used: samples of earlier rounds; round.
    Returns {"prompts": 0} where no fresh prompt is left.
    """
    params, round_number = job.params.comparisons, job.round
    device = distributed.start(job.params.compute)
    seed = seeds.of_round(job.params.seed, round_number)
    tokenizers = [directories.load_tokenizer(writer["path"]) for writer in job.inputs["writers"]]
    used = {record["prompt_id"] for file in job.inputs.get("used", []) for record in read_jsonl(file)}
    chosen = [
        (split, record)
        for split, records, count in (
            ("train", prompts(job.path("curated"), "rm"), params.prompts),
            ("valid", validation_prompts(job.path("curated"), "choice"), params.valid_prompts),
        )
        for record in fresh(
            answerable(records, tokenizers, job),
            used,
            count,
            seed + 1,
        )
    ]
    if not any(split == "train" for split, _ in chosen):
        if job.is_main:
            write_jsonl(job.out / "samples.jsonl", [])
        return {"prompts": 0, "completions": 0}
    writers = job.inputs["writers"]
    slots = writers_of(len(chosen), params.k, [float(writer["share"]) for writer in writers], seed)
    completions: list[list[dict[str, Any]]] = [[] for _ in chosen]
    for number, writer in enumerate(writers):
        rows = [row for row, slot in enumerate(slots) for w in slot if w == number]
        if not rows:
            continue
        model, tokenizer = directories.load_policy(writer["path"])
        bar = progress(range(len(rows)), f"sampling {writer['version']}", job.is_main)
        answers = sample(
            model.to(device),
            tokenizer,
            [chosen[row][1]["messages"] for row in rows],
            max_new_tokens=params.max_new_tokens,
            temperature=params.temperature,
            seed=seed * 1009 + 31 + number,
            on_progress=bar.update,
        )
        bar.close()
        for row, answer in zip(rows, answers, strict=True):
            completions[row].append(
                {"text": answer.text, "model_version": writer["version"], "ended": answer.ended}
            )
    if job.is_main:
        write_jsonl(
            job.out / "samples.jsonl",
            [
                {
                    "id": f"r{round_number:04d}-{record['id']}",
                    "prompt_id": record["id"],
                    "messages": record["messages"],
                    "round": round_number,
                    "split": split,
                    "completions": found,
                }
                for (split, record), found in zip(chosen, completions, strict=True)
            ],
        )
    return {"prompts": len(chosen), "completions": sum(map(len, completions))}


def answerable(records: list[dict[str, Any]], tokenizers: list[Any], job: Job) -> list[dict[str, Any]]:
    """The records whose prompt leaves room for an answer of every writer."""
    for tokenizer in tokenizers:
        records = with_room(
            records, tokenizer, job.params.base.context, job.params.comparisons.max_new_tokens
        )
    return records


def fresh(records: list[dict[str, Any]], used: set[str], count: int, seed: int) -> list[dict[str, Any]]:
    """Up to `count` records that no round has used, drawn by `seed`."""
    left = sorted((r for r in records if r["id"] not in used), key=lambda r: r["id"])
    return random.Random(seed).sample(left, min(count, len(left)))


def writers_of(prompt_count: int, k: int, shares: list[float], seed: int) -> list[list[int]]:
    """Which writer gives each of a prompt's K completions: every share kept over all prompts, order by chance."""
    total = prompt_count * k
    slots = [number for number, share in enumerate(shares) for _ in range(round(share * total))]
    slots += [max(range(len(shares)), key=shares.__getitem__)] * (total - len(slots))
    random.Random(seed).shuffle(slots)
    return [slots[row * k : (row + 1) * k] for row in range(prompt_count)]
