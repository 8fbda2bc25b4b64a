"""A world of sixteen words: curated data in the shape that stages read, and a base that has learned to write it.

The labelers of this world like one word, "yes": the more of it, the better the answer.
"""

from __future__ import annotations

import importlib
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from rlhf.jobs import STAGES, Job
from rlhf.params import Params, validate
from rlhf.records import write_jsonl

WORDS = ["red", "blue", "green", "stone", "river", "house", "bird", "tree"]
WORDS += ["walks", "sings", "sleeps", "over", "under", "yes", "no", "maybe"]
SIZES: dict[str, dict[str, Any]] = {
    "base": {"vocab_size": 320, "layers": 1, "width": 32, "heads": 2, "context": 32}
    | {"tokens": 60_000, "batch_tokens": 512},
    "sft": {"epochs": 2, "batch": 8, "max_tokens": 64, "lr": 3e-3},
    "comparisons": {"k": 4, "prompts": 6, "valid_prompts": 4, "max_new_tokens": 8, "temperature": 1.0},
    "reward_model": {"batch": 4, "max_tokens": 64, "lr": 5e-3},
    "ppo": {"episodes": 32, "batch": 16, "minibatch": 8, "max_new_tokens": 8, "ptx_tokens": 32, "warmup": 0}
    | {"ema": 0.992, "temperature": 1.0},
    "evaluation": {"max_new_tokens": 8},
    "compute": {"threads": 1, "device": "cpu"},
}


def speech(draw: random.Random, length: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(length))


def question(draw: random.Random) -> list[dict[str, str]]:
    return [{"role": "user", "content": speech(draw, draw.randint(2, 5))}]


def write_curated(folder: Path) -> Path:
    """What curation leaves: 40 documents, 24 + 8 demonstrations and four sets of prompts."""
    draw = random.Random(0)
    folder.mkdir(parents=True)

    def table(name: str, rows: list[dict[str, Any]]) -> None:
        pl.DataFrame(rows).write_parquet(folder / f"{name}.parquet")

    for split, count in (("train", 40), ("valid", 8)):
        table(
            f"pretraining_{split}", [{"id": f"{split}-{i}", "text": speech(draw, 40)} for i in range(count)]
        )
    for split, count in (("train", 24), ("valid", 8)):
        demonstrations = [
            {"id": f"{split}-{i}", "messages": question(draw), "completion": speech(draw, 1 + i % 6)}
            | {"labeler_id": "l", "source": "labeler-plain"}
            for i in range(count)
        ]
        table(f"demonstrations_{split}", demonstrations)
    for name, count in (("rm", 12), ("ppo", 40), ("valid", 8), ("test", 8)):
        prompts = [
            {"id": f"{name}-{i}", "user_id": f"u{i % 3}", "messages": question(draw), "source": "api"}
            for i in range(count)
        ]
        table(f"prompts_{name}", prompts)
    return folder


def write_comparisons(file: Path, count: int = 160) -> Path:
    """Rankings by the number of times "yes" stands in a completion; a fifth is held out."""
    draw = random.Random(1)
    rows = []
    for number in range(count):
        texts = [speech(draw, draw.randint(3, 6)) for _ in range(4)]
        texts = [t + " yes" * draw.randint(0, 2) for t in texts]
        likes = [text.split().count("yes") for text in texts]
        rows.append(
            {
                "id": f"c{number}",
                "messages": question(draw),
                "split": "valid" if number % 5 == 0 else "train",
                "completions": [{"text": text, "ended": True} for text in texts],
                "ranks": [1 + sum(other > like for other in likes) for like in likes],
            }
        )
    write_jsonl(file, rows)
    return file


class World:
    """Each stage is trained once for all tests that stand on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.curated = write_curated(folder / "curated")
        self.comparisons = write_comparisons(folder / "comparisons.jsonl")
        self.figures: dict[str, dict[str, Any]] = {}

    def params(self, **sections: dict[str, Any]) -> Params:
        """SIZES with some keys of some sections changed."""
        return validate({name: SIZES.get(name, {}) | sections.get(name, {}) for name in {*SIZES, *sections}})

    def job(self, stage: str, out: Path, inputs: dict[str, Any], **sections: Any) -> Job:
        return Job(stage, out, inputs, self.params(**sections))

    def run(self, stage: str, out: Path, inputs: dict[str, Any], **sections: Any) -> dict[str, Any]:
        """The stage in this process; returns its figures, as result.json would hold them."""
        out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        job = self.job(stage, out, inputs, **sections)
        return json.loads(json.dumps(importlib.import_module(STAGES[stage]).run(job), allow_nan=False))

    def metrics(self, out: Path) -> list[dict[str, float]]:
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]

    def stage(self, stage: str, inputs: dict[str, Any]) -> Path:
        if stage not in self.figures:
            self.figures[stage] = self.run(stage, self.folder / stage, inputs)
        return self.folder / stage

    @property
    def base(self) -> Path:
        return self.stage("base", {"curated": self.curated}) / "model"

    @property
    def sft(self) -> Path:
        return self.stage("sft", {"base": self.base, "curated": self.curated})

    @property
    def rl_start(self) -> Path:
        return self.stage("rl_start", {"base": self.base, "curated": self.curated}) / "model"

    @property
    def reward_model(self) -> Path:
        return self.stage("reward_model", self.for_reward_model) / "model"

    @property
    def for_reward_model(self) -> dict[str, Any]:
        return {"base": self.base, "comparisons": [self.comparisons], "curated": self.curated}

    @property
    def for_ppo(self) -> dict[str, Path]:
        return {"rl_start": self.rl_start, "reward_model": self.reward_model, "curated": self.curated}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))
