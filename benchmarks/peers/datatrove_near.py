"""datatrove's four MinHash steps on a corpus, in its own environment: a run for each line on standard input.

    python -m benchmarks.peers.datatrove_near CORPUS.jsonl

Runs of 3 words, 25 buckets of 5 hashes, one task in this process. Writes a JSON line a run:
{seconds: CPU, removed: ids, peak_gb}.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig


def near(corpus: Path, folder: Path) -> list[str]:
    config = MinhashConfig(
        n_grams=3, num_buckets=25, hashes_per_bucket=5, hash_config=HashConfig(precision=64)
    )
    read = JsonlReader(str(corpus.parent), glob_pattern=corpus.name)
    steps = (
        ([read, MinhashDedupSignature(str(folder / "signatures"), config=config)], 1),
        (
            [MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)],
            config.num_buckets,
        ),
        ([MinhashDedupCluster(str(folder / "buckets"), str(folder / "gone"), config=config)], 1),
        ([read, MinhashDedupFilter(str(folder / "gone")), JsonlWriter(str(folder / "kept"))], 1),
    )
    for at, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=1, logging_dir=str(folder / f"log{at}")
        ).run()
    kept = set()
    for path in (folder / "kept").glob("*.jsonl.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            kept.update(json.loads(line)["id"] for line in lines)
    with corpus.open(encoding="utf-8") as lines:
        return [row["id"] for row in map(json.loads, lines) if row["id"] not in kept]


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # its progress goes elsewhere
    for _ in sys.stdin:
        with tempfile.TemporaryDirectory() as work:
            start = cpu()
            found = near(Path(sys.argv[1]), Path(work))
            spent = cpu() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": spent, "removed": found, "peak_gb": peak}), file=answers, flush=True)
