"""Does PPO stay itself for 500 iterations, and does its memory? On what benchmarks.learning left for each seed.

    python -m benchmarks.long_run --seeds 0 1 2 --json

Stage `ppo` at the defaults but for its length, one process a seed. Prints by quarter of the run reward, KL, entropy, length and
resident memory; with --json one object: `seeds`, each with those, `memory_growth` (last quarter over first, medians, less 1)
and `collapsed` (a sentence, or null).
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.learning import commit, stage
from rlhf.params import Params, load

SHOWN = ("reward", "kl", "entropy", "length", "eos_rate", "explained_variance")


def main() -> None:
    options = arguments()
    params = load("params.yaml" if Path("params.yaml").is_file() else None, [], options.set)
    found = [one_seed(seed, options, params) for seed in options.seeds]
    print(table(found))
    if options.json:
        print(json.dumps({"seeds": found, "iterations": options.iterations, "commit": commit()}))


def one_seed(seed: int, options: argparse.Namespace, params: Params) -> dict[str, Any]:
    work = Path(options.work) / f"seed-{seed}"
    params = params.model_copy(
        update={
            "seed": seed,
            "ppo": params.ppo.model_copy(update={"episodes": options.iterations * params.ppo.batch}),
            "compute": params.compute.model_copy(
                update={"launcher": "inline", "num_processes": 1, "threads": options.threads}
            ),
        }
    )
    inputs = {
        "curated": options.curated,
        "rl_start": str(work / "rl_start" / "model"),
        "reward_model": str(work / "reward_model" / "model"),
    }
    out = work / "long_run"
    memory: list[tuple[float, float]] = []
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(str(out), memory, over))
    watcher.start()
    try:
        stage("ppo", out, inputs, params)
    finally:
        over.set()
        watcher.join()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"seed": seed, **summary(lines, memory)}


def watch(out: str, memory: list[tuple[float, float]], over: threading.Event) -> None:
    """(time, GiB) of the job that writes into `out`, a second apart."""
    while not over.wait(1.0):
        for process in psutil.Process().children(recursive=True):
            try:
                words = process.cmdline()
                is_job = "rlhf.jobs" in words and "tasks.guard" not in words
                if is_job and any(out in word for word in words):
                    memory.append((time.time(), process.memory_info().rss / 2**30))
            except psutil.NoSuchProcess:
                continue


def summary(lines: list[dict[str, float]], memory: list[tuple[float, float]]) -> dict[str, Any]:
    """Means by quarter of the run, growth of memory, and whether the policy collapsed."""
    size = max(1, len(lines) // 4)
    quarters = [lines[number * size : (number + 1) * size] for number in range(4)]
    found: dict[str, Any] = {
        name: [statistics.fmean(line[name] for line in quarter) for quarter in quarters] for name in SHOWN
    }
    found["memory_gb"] = [
        statistics.median(
            [gb for at, gb in memory if quarter[0]["time"] <= at <= quarter[-1]["time"]] or [0.0]
        )
        for quarter in quarters
    ]
    found["memory_growth"] = found["memory_gb"][-1] / max(found["memory_gb"][0], 1e-9) - 1.0
    found["collapsed"] = collapsed(found)
    return found


def collapsed(quarters: dict[str, list[float]]) -> str | None:
    """What shows a collapse in the last quarter, or None."""
    last = {name: quarters[name][-1] for name in SHOWN}
    if last["reward"] < quarters["reward"][0]:
        return f"the reward fell from {quarters['reward'][0]:.2f} to {last['reward']:.2f}"
    if last["kl"] > 30.0:
        return f"the KL is {last['kl']:.1f} nats a response"
    if last["entropy"] < 0.5:
        return f"the entropy is {last['entropy']:.2f} nats a token"
    if last["length"] < 4.0:
        return f"answers have {last['length']:.1f} tokens"
    return None


def table(seeds: list[dict[str, Any]]) -> str:
    """What --json says, for people."""
    lines = []
    for found in seeds:
        verdict = found["collapsed"] or "no collapse"
        lines.append(f"seed {found['seed']}: {verdict}; memory {100 * found['memory_growth']:+.1f} %")
        for name in (*SHOWN, "memory_gb"):
            lines.append(f"  {name:<20}" + "".join(f"{value:10.3f}" for value in found[name]))
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--work", default=".rlhf/benchmarks/learning", help="where benchmarks.learning keeps its seeds"
    )
    parser.add_argument("--curated", default=".rlhf/benchmarks/learning/curate", help="curated data")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
