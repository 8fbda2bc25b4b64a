"""One job, one process: `python -m rlhf.jobs JOB.json` runs a stage and leaves its products in a folder.

JOB.json: {"stage", "out", "inputs": {...}, "params": {...}, "threads": int}.
A job writes metrics.jsonl while it runs and result.json last and atomically, so result.json present means
finished. A user's mistake leaves error.json with one sentence, and exit status 2.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.params import Params

STAGES = {  # stage -> module with `run(job) -> dict of figures`
    "curate": "rlhf.data.curate",
    "base": "rlhf.training.pretraining",
    "sft": "rlhf.training.sft",
    "rl_start": "rlhf.training.rl_start",
    "sample": "rlhf.sampling.collect",
    "rank": "rlhf.labeling.rank",
    "reward_model": "rlhf.training.reward_model",
    "choose_sft": "rlhf.training.choose_sft",
    "ppo": "rlhf.training.ppo",
    "evaluate": "rlhf.evaluation.evaluate",
    "release": "rlhf.evaluation.evaluate",
}


@dataclass(frozen=True)
class Job:
    """What a stage works on: `inputs` are paths (or lists of them), `out` its folder."""

    stage: str
    out: Path
    inputs: dict[str, Any]
    params: Params

    def path(self, name: str) -> Path:
        return Path(self.inputs[name])

    @property
    def round(self) -> int:
        """The number of the round that it is a part of; 1 where its inputs name none."""
        return int(self.inputs.get("round", 1))

    @property
    def is_main(self) -> bool:
        """True in the process that writes (rank 0)."""
        return int(os.environ.get("RANK", "0")) == 0

    def log(self, step: int, **figures: float) -> None:
        """Append a line to metrics.jsonl; only the main process writes. A figure that is no number is undefined, and left out."""
        if self.is_main:
            known = {name: value for name, value in figures.items() if math.isfinite(value)}
            with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": step, "time": time.time(), **known}) + "\n")


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: written aside, then renamed."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    os.replace(aside, path)


def main(argv: list[str]) -> int:
    job_file = next(Path(word) for word in argv if not word.startswith("--"))  # launchers add --local_rank
    description = json.loads(job_file.read_text(encoding="utf-8"))
    job = Job(
        description["stage"],
        Path(description["out"]),
        description["inputs"],
        Params.model_validate(description["params"]),
    )
    job.out.mkdir(parents=True, exist_ok=True)
    import torch

    from rlhf import distributed

    torch.set_num_threads(int(description.get("threads") or 1))
    compute = job.params.compute
    if compute.launcher == "deepspeed" and "WORLD_SIZE" in os.environ and not compute.uses_gpu():
        distributed.without_compiling()
    try:
        figures = importlib.import_module(STAGES[job.stage]).run(job)
    except ValueError as error:
        if job.is_main:
            write_json(job.out / "error.json", {"message": str(error), "kind": "user"})
        if "RLHF_DEBUG" in os.environ or type(error) is not ValueError:
            raise
        return 2
    if job.is_main:
        write_json(job.out / "result.json", figures)
    distributed.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
