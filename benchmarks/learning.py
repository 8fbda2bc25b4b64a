"""Does the loop align? Each seed from SFT on, with every control, on users that nothing was tuned on.

    python -m benchmarks.learning --seeds 0 1 2 --json

Prints Markdown tables of the mean and standard deviation over seeds, and with --json one JSON object last:

    seeds   one object each: seed, rm_accuracy, rm_ceiling, noise_scale, prompts, users, and policies: {name: figures}
            as evaluation.json has them (rlhf/evaluation/evaluate.py); the policy's name is ppo_ptx
    mean, sd   over seeds: {name: {figure: value}}; of an interval its middle, of gain_by_feature each feature's

Held-out simulated labelers and the noise-free utility judge. Users are the test users, or with --split valid, for tuning,
the validation users. Curated data and base are made once, in --work, or taken from --curated and --base: seeds share
them, so that sd leaves out what another base would add. Plain PPO, without pretraining loss, is run with --ppo alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.params import Params, load
from tasks.launch import run_job

SHOWN = {
    "base": "base",
    "base_few_shot": "base, few-shot in plain text",
    "sft_control": "SFT again (control)",
    "sft_low_temperature": "SFT at low temperature",
    "best_of_n": "SFT, best of n by the reward model",
    "rl_start": "RL start",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
}
COLUMNS = {
    "win_rate_vs_sft_by_labelers": "held-out labelers",
    "length_controlled_by_labelers": "at equal length",
    "win_rate_vs_sft": "noise-free utility",
    "length_controlled": "at equal length",
    "relevance": "relevance",
    "fluency": "fluency",
    "distinct_2": "distinct-2",
    "words": "words",
    "pretraining_loss": "held-out loss",
}
PAIRED = {
    "minus_low_temperature_by_labelers": "minus low temperature, held-out labelers",
    "minus_low_temperature": "minus low temperature, noise-free utility",
    "kl": "KL to the RL start, nats a response",
    "alignment_tax": "alignment tax, nats a token",
    "gain": "gain in utility over SFT",
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
                lambda seed: one_seed(seed, work / f"seed-{seed}", base, curated, params, options),
                options.seeds,
            )
        )
    mean, sd = over_seeds([found["policies"] for found in seeds])
    print(markdown(seeds, mean, sd))
    if options.json:
        machine = platform.processor() or platform.machine()
        made = {"split": options.split, "machine": machine, "commit": commit()}
        print(json.dumps({"seeds": seeds, "mean": mean, "sd": sd, **made}))


def one_seed(
    seed: int, work: Path, base: Path, curated: Path, params: Params, options: argparse.Namespace
) -> dict[str, Any]:
    """Every stage from SFT on with one seed; finished stages are not run again."""
    alone = {"launcher": "inline", "num_processes": 1, "threads": options.threads}
    params = params.model_copy(
        update={"seed": seed, "compute": params.compute.model_copy(update=alone)},
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
    run("ppo_ptx", inputs, stage_name="ppo")
    policies = {
        "base": base,
        "sft": work / "choose_sft" / "model",
        "rl_start": work / "rl_start" / "model",
        "policy": work / "ppo_ptx" / "model",
    }
    if options.ppo:
        run("ppo", inputs, plain)
        policies["ppo"] = work / "ppo" / "model"
    judged = f"evaluate-{options.split}" + ("-ppo" if options.ppo else "")
    asked = {
        "policies": {name: str(path) for name, path in policies.items()},
        "reward_model": reward_model,
        "split": options.split,
        "noise_scale": ranked["noise_scale"],
    }
    run(judged, asked, stage_name="evaluate")
    found = json.loads((work / judged / "evaluation.json").read_text(encoding="utf-8"))
    found["policies"]["ppo_ptx"] = found["policies"].pop("policy")
    return {
        "seed": seed,
        "rm_accuracy": rm.get("accuracy"),
        "rm_ceiling": ranked.get("rm_ceiling"),
        "rm_accuracy_by_utility": found["reward_model"]["accuracy_by_utility"],
        "noise_scale": found["noise_scale"],
        "prompts": found["prompts"],
        "users": found["users"],
        "policies": found["policies"],
    }


def over_seeds(seeds: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(mean, standard deviation) of every figure of every policy; sd with n - 1, None of one seed.

    seeds: a {policy: {figure: value, [low, mid, high] or {part: value}}} each.
    """
    means: dict[str, Any] = {}
    sds: dict[str, Any] = {}
    for name in seeds[0]:
        means[name], sds[name] = {}, {}
        for figure in seeds[0][name]:
            listed = [_parts(seed[name][figure]) for seed in seeds if figure in seed.get(name, {})]
            table = np.array([list(parts.values()) for parts in listed])
            mean, sd = table.mean(axis=0), table.std(axis=0, ddof=1) if len(listed) > 1 else None
            for into, values in ((means, mean.tolist()), (sds, None if sd is None else sd.tolist())):
                named = dict(zip(listed[0], values or [None] * len(listed[0]), strict=True))
                into[name][figure] = named if isinstance(seeds[0][name][figure], Mapping) else named[""]
    return means, sds


def _parts(value: Any) -> dict[str, float]:
    if isinstance(value, Mapping):
        return dict(value)
    return {"": value[1] if isinstance(value, list) else value}


def markdown(seeds: Sequence[Mapping[str, Any]], mean: Mapping[str, Any], sd: Mapping[str, Any]) -> str:
    """What --json says, as tables: mean ± sd over seeds."""
    numbers = ", ".join(str(found["seed"]) for found in seeds)
    first = seeds[0]
    lines = [
        f"Mean ± standard deviation over seeds {numbers}; win rates over SFT on {first['prompts']} prompts of "
        f"{first['users']} users (fewer for base and the RL start).",
        "",
        "| answers by | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for name, called in SHOWN.items():
        if name in mean:
            cells = [_cell(mean[name], sd[name], figure) for figure in COLUMNS]
            lines.append(f"| {called} | " + " | ".join(cells) + " |")
    own, spread = mean["ppo_ptx"], sd["ppo_ptx"]
    lines += ["", "| PPO-ptx | |", "|---|---|"]
    lines += [f"| {called} | {_cell(own, spread, figure)} |" for figure, called in PAIRED.items()]
    lines += [
        f"| of it, {feature.replace('_', ' ')} | {_cell(own['gain_by_feature'], spread['gain_by_feature'], feature)} |"
        for feature in own["gain_by_feature"]
    ]
    lines += ["", "| seed | " + " | ".join(map(str, (found["seed"] for found in seeds))) + " |"]
    lines.append("|---" * (1 + len(seeds)) + "|")
    for figure in ("win_rate_vs_sft_by_labelers", "win_rate_vs_sft"):
        each = [found["policies"]["ppo_ptx"][figure] for found in seeds]
        shown = [f"{mid:.3f} ({low:.3f}–{high:.3f})" for low, mid, high in each]
        lines.append(f"| PPO-ptx, {COLUMNS[figure]} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _cell(mean: Mapping[str, Any], sd: Mapping[str, Any], figure: str) -> str:
    if mean.get(figure) is None:
        return ""
    apart = "" if sd.get(figure) is None else f" ± {sd[figure]:.3f}"
    return f"{mean[figure]:.3f}{apart}".replace("-", "−")


def stage(name: str, out: Path, inputs: dict[str, Any], params: Params) -> dict[str, Any]:
    job = {"stage": name, "out": str(out), "inputs": inputs, "params": params.model_dump(mode="json")}
    return run_job(job, params.compute)


def commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=["test", "valid"], default="test", help="whose prompts judge")
    parser.add_argument("--ppo", action="store_true", help="plain PPO too, without pretraining loss")
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
