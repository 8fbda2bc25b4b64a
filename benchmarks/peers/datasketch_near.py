"""datasketch's MinHash LSH on a corpus, in its own environment: a run for each line on standard input.

    python -m benchmarks.peers.datasketch_near CORPUS.jsonl

Each prompt, in order of age, is dropped if the index knows one like it, and put into the index otherwise: 128
permutations over the runs of 5 characters of the folded text, Jaccard .7. Writes a JSON line a run:
{seconds: CPU, removed: ids, peak_gb}.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time

from datasketch import MinHash, MinHashLSH

from rlhf.data.planted.copies import shingles


def near(rows: list[dict[str, str]]) -> list[str]:
    index = MinHashLSH(threshold=0.7, num_perm=128)
    removed = []
    for row in rows:
        sketch = MinHash(num_perm=128)
        sketch.update_batch([run.encode() for run in shingles(row["text"])])
        if index.query(sketch):
            removed.append(row["id"])
        else:
            index.insert(row["id"], sketch)
    return removed


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as corpus:
        prompts = [json.loads(line) for line in corpus]
    gc.freeze()
    for _ in sys.stdin:
        start = time.process_time()
        found = near(prompts)
        spent = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": spent, "removed": found, "peak_gb": peak}), flush=True)
