"""Stage "rank": samples.jsonl -> comparisons.jsonl, ranked by simulated labelers."""

from __future__ import annotations

from typing import Any

from rlhf.data.load import pretraining_texts
from rlhf.jobs import Job
from rlhf.labeling.simulated import rank
from rlhf.labeling.utility import Utility
from rlhf.records import read_jsonl, write_jsonl
from rlhf.training.progress import progress


def run(job: Job) -> dict[str, Any]:
    """Inputs: samples (file), curated (folder), and after the first round noise_scale. Product: comparisons.jsonl.

    Returns the figures of `rlhf.labeling.simulated.rank`.
    """
    samples = list(read_jsonl(job.path("samples")))
    if not samples:
        raise ValueError(f"{job.path('samples').name} holds no completions to rank")
    utility = Utility.fit(pretraining_texts(job.path("curated"), "train"))
    records, figures = rank(
        samples,
        utility,
        labelers=job.params.comparisons.labelers,
        seed=job.params.seed,
        noise=job.inputs.get("noise_scale"),
        on_progress=lambda items: progress(items, "rank"),
    )
    write_jsonl(job.out / "comparisons.jsonl", records)
    job.log(0, **figures)
    return figures
