"""Does the loop align? Each seed from SFT on, with every control, judged by the labelers' noise-free utility.

    python -m benchmarks.learning --seeds 0 1 2 --json

Prints a table, and with --json one JSON object last: `seeds`, one object each with rm_accuracy, rm_ceiling,
win_rate_vs_sft of base, sft (the control: SFT again), sft_low_temperature, best_of_n, ppo, ppo_ptx as
[low, mid, high], relevance and distinct_2 of each, ppo_ptx_minus_low_temperature (paired), kl of ppo_ptx, and
pretraining_loss. Curated data and base are made once, in --work, or taken from --curated and --base.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlhf.evaluation.win_rate import text
from rlhf.params import Params, load
from tasks.launch import run_job

SHOWN = {
    "base": "base",
    "sft_control": "sft",
    "sft_low_temperature": "sft_low_temperature",
    "best_of_n": "best_of_n",
    "ppo": "ppo",
    "ppo_ptx": "ppo_ptx",
}


def main() -> None:
    options = arguments()
    params = load("params.yaml" if Path("params.yaml").is_file() else None, options.params, options.set)
    work = Path(options.work)
    curated = (
        Path(options.curated)
        if options.curated
        else stage("curate", work / "curate", {"raw": "data/raw"}, params) and work / "curate"
    )
    base = (
        Path(options.base)
        if options.base
        else stage("base", work / "base", {"curated": str(curated)}, params) and work / "base" / "model"
    )
    with ThreadPoolExecutor(options.jobs) as pool:  # a process each; threads only wait
        seeds = list(
            pool.map(
                lambda seed: one_seed(seed, work / f"seed-{seed}", base, curated, params, options.threads),
                options.seeds,
            )
        )
    print(table(seeds))
    if options.json:
        print(
            json.dumps(
                {"seeds": seeds, "machine": platform.processor() or platform.machine(), "commit": commit()}
            )
        )


def one_seed(
    seed: int, work: Path, base: Path, curated: Path, params: Params, threads: int
) -> dict[str, Any]:
    """Every stage from SFT on with one seed; finished stages are not run again."""
    params = params.model_copy(
        update={
            "seed": seed,
            "compute": params.compute.model_copy(
                update={"launcher": "inline", "num_processes": 1, "threads": threads}
            ),
        }
    )
    plain = params.model_copy(update={"ppo": params.ppo.model_copy(update={"ptx_coef": 0.0})})

    def run(
        name: str, inputs: dict[str, Any], using: Params = params, stage_name: str | None = None
    ) -> dict[str, Any]:
        return stage(stage_name or name, work / name, {"curated": str(curated), **inputs}, using)

    run("sft", {"base": str(base)})
    run("rl_start", {"base": str(base)})
    last = work / "sft" / f"epoch-{params.sft.epochs}"
    run(
        "sample", {"writers": [{"version": "sft/1", "path": str(last), "share": 1.0}], "used": [], "round": 1}
    )
    ranked = run("rank", {"samples": str(work / "sample" / "samples.jsonl")})
    start = base if params.reward_model.base == "base" else last
    comparisons = [str(work / "rank" / "comparisons.jsonl")]
    rm = run("reward_model", {"base": str(start), "comparisons": comparisons})
    reward_model = str(work / "reward_model" / "model")
    run("choose_sft", {"sft": str(work / "sft"), "reward_model": reward_model})
    inputs = {"rl_start": str(work / "rl_start" / "model"), "reward_model": reward_model}
    run("ppo", inputs, plain)
    run("ppo_ptx", inputs, stage_name="ppo")
    policies = {
        "base": base,
        "sft": work / "choose_sft" / "model",
        "rl_start": work / "rl_start" / "model",
        "policy": work / "ppo_ptx" / "model",
        "ppo": work / "ppo" / "model",
    }
    run(
        "evaluate",
        {"policies": {name: str(path) for name, path in policies.items()}, "reward_model": reward_model},
    )
    found = json.loads((work / "evaluate" / "evaluation.json").read_text(encoding="utf-8"))["policies"]
    found["ppo_ptx"] = found.pop("policy")
    return {
        "seed": seed,
        "rm_accuracy": rm["accuracy"],
        "rm_ceiling": ranked["rm_ceiling"],
        "win_rate_vs_sft": {shown: found[name]["win_rate_vs_sft"] for name, shown in SHOWN.items()},
        "relevance": {
            shown: found[name]["relevance"] for name, shown in {**SHOWN, "sft": "sft_reference"}.items()
        },
        "distinct_2": {
            shown: found[name]["distinct_2"] for name, shown in {**SHOWN, "sft": "sft_reference"}.items()
        },
        "ppo_ptx_minus_low_temperature": found["ppo_ptx"]["minus_low_temperature"],
        "kl": found["ppo_ptx"]["kl"],
        "pretraining_loss": {
            name: found[name]["pretraining_loss"] for name in ("base", "sft", "ppo", "ppo_ptx")
        },
    }


def stage(name: str, out: Path, inputs: dict[str, Any], params: Params) -> dict[str, Any]:
    job = {"stage": name, "out": str(out), "inputs": inputs, "params": params.model_dump(mode="json")}
    return run_job(job, params.compute)


def table(seeds: list[dict[str, Any]]) -> str:
    """What --json says, for people."""
    lines = []
    for found in seeds:
        accuracy, ceiling, kl = found["rm_accuracy"], found["rm_ceiling"], found["kl"][1]
        lines.append(
            f"seed {found['seed']}: reward model {accuracy:.3f} (ceiling {ceiling:.3f}), KL {kl:.2f}"
        )
        lines.append(f"  {'policy':<22}{'wins over SFT':<22}{'relevance':<11}{'distinct-2':<12}held-out loss")
        for name, won in found["win_rate_vs_sft"].items():
            relevance, distinct = found["relevance"][name], found["distinct_2"][name]
            loss = found["pretraining_loss"].get(name) if name != "sft" else None
            lines.append(
                f"  {name:<22}{text(won, 3):<22}{relevance:<11.3f}{distinct:<12.3f}"
                + (f"{loss:.3f}" if loss else "")
            )
        gain = text(found["ppo_ptx_minus_low_temperature"], 3)
        lines.append(
            f"  PPO-ptx minus low temperature, paired: {gain}; SFT's held-out loss {found['pretraining_loss']['sft']:.3f}"
        )
    return "\n".join(lines)


def commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads a seed")
    parser.add_argument("--params", action="append", default=[], help="profile to overlay")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--work", default=".rlhf/benchmarks/learning")
    parser.add_argument("--curated", help="curated data to use")
    parser.add_argument("--base", help="base model to use")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier call left in --work")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    return options


if __name__ == "__main__":
    main()
