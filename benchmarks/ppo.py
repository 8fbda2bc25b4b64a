"""One PPO iteration of ours against TRL 1.9.2's, and against what must be computed.

    python -m benchmarks.ppo --workload W1 [--quick] [--alone] --json

Both work on the same random models and prompts (benchmarks/workloads.py), each in a process of its own with one
thread, and take turns, an iteration each. CPU seconds a useful token: prompt and response up to EOS, padding not
counted. The floor is the FLOPs of an iteration without padding, divided by the speed of a large matrix product
measured in the same run. TRL has an environment of its own, .venv-trl, which is made where it is missing.
bfloat16 runs beside float32 where the machine has arithmetic for it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import workers, workloads
from benchmarks.workloads import EOS, PAD, WORKLOADS

PHASES = ("generate", "score", "update")


def main() -> None:
    options = arguments()
    if options.workload == "smollm2":
        from benchmarks import pretrained

        found = pretrained.measure("bfloat16" if options.bf16 else "float32", options.iterations)
        print(pretrained.table(found))
        if options.json:
            print(json.dumps(found))
        return
    if options.worker:
        work(options.workload, options.device, options.dtype)
        return
    runs = {"ours_fp32": ours(options, "float32")}
    if options.bf16:
        runs["ours_bf16"] = ours(options, "bfloat16")
    if not options.alone:
        runs["trl_fp32"] = peer(options, "no")
        if options.bf16:
            runs["trl_bf16"] = peer(options, "bf16")
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    rates = []
    for turn in range(1 + options.iterations):
        for name, process in runs.items():
            record = workers.ask(process)
            if turn:  # the first warms up
                records[name].append(record)
        rates.append(matmul_rate(options.device, WORKLOADS[options.workload].width))
    for process in runs.values():
        workers.stop(process)
    report = summary(options.workload, records, statistics.median(rates))
    print(table(report))
    if options.json:
        print(json.dumps(report))


def summary(workload: str, found: dict[str, list[dict[str, Any]]], rate: float) -> dict[str, Any]:
    """The keys of the benchmark, and seconds by phase of an iteration of the workload's mean length."""
    load = WORKLOADS[workload]
    report: dict[str, Any] = {
        "workload": workload,
        "matmul_gflops": rate / 1e9,
        "seconds": {},
        "useful_tokens": {},
    }
    per_token: dict[str, dict[str, float]] = {}
    for name, records in found.items():
        useful = [sum(r["prompt_tokens"]) + sum(r["response_tokens"]) for r in records]
        report["seconds"][name] = {phase: statistics.median(r[phase] for r in records) for phase in PHASES}
        report["seconds"][name]["iteration"] = statistics.median(
            sum(r[phase] for phase in PHASES) for r in records
        )
        report["useful_tokens"][name] = statistics.median(useful)
        per_token[name] = {
            phase: statistics.median(r[phase] / count for r, count in zip(records, useful, strict=True))
            for phase in PHASES
        }
        per_token[name]["iteration"] = statistics.median(
            sum(r[phase] for phase in PHASES) / count for r, count in zip(records, useful, strict=True)
        )
        report.setdefault("peak_gb", {})[name] = records[-1]["peak_gb"]
        if name.endswith("fp32"):
            floors = [
                workloads.floor_flops(load, r["prompt_tokens"], r["response_tokens"]) / rate for r in records
            ]
            over = [sum(r[p] for p in PHASES) / floor for r, floor in zip(records, floors, strict=True)]
            report["over_floor_fp32" if name == "ours_fp32" else f"over_floor_{name}"] = statistics.median(
                over
            )
    for precision in ("fp32", "bf16"):
        if {f"ours_{precision}", f"trl_{precision}"} <= per_token.keys():
            mine, theirs = per_token[f"ours_{precision}"], per_token[f"trl_{precision}"]
            report[f"speedup_{precision}"] = theirs["iteration"] / mine["iteration"]
            if precision == "fp32":
                report["sampling_speedup"] = theirs["generate"] / mine["generate"]
                report["memory_ratio"] = report["peak_gb"]["ours_fp32"] / report["peak_gb"]["trl_fp32"]
    return report


def table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['workload']}: CPU seconds an iteration; matrix products {report['matmul_gflops']:.0f} GFLOP/s"
    ]
    lines.append(
        f"{'':<12}"
        + "".join(f"{phase:>11}" for phase in (*PHASES, "iteration"))
        + "   useful tokens   peak GB"
    )
    for name, seconds in report["seconds"].items():
        lines.append(
            f"{name:<12}"
            + "".join(f"{seconds[phase]:>11.2f}" for phase in (*PHASES, "iteration"))
            + f"{report['useful_tokens'][name]:>16.0f}{report['peak_gb'][name]:>10.2f}"
        )
    for key in ("speedup_fp32", "speedup_bf16", "sampling_speedup", "over_floor_fp32", "memory_ratio"):
        if key in report:
            lines.append(f"{key}: {report[key]:.2f}")
    return "\n".join(lines)


def ours(options: argparse.Namespace, dtype: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.ppo", "--worker", "--workload", options.workload]
    return workers.start([*command, "--device", options.device, "--dtype", dtype])


def peer(options: argparse.Namespace, precision: str) -> subprocess.Popen[str]:
    python = workers.environment("trl")
    command = [python, "-m", "benchmarks.peers.trl_ppo", options.workload, options.device]
    return workers.start(command, ACCELERATE_MIXED_PRECISION=precision)


def matmul_rate(device: str, width: int) -> float:
    """FLOP/s of a float32 product [2048, d] x [d, 4d] on one thread."""
    torch.set_num_threads(1)
    a, b = torch.randn(2048, width, device=device), torch.randn(width, 4 * width, device=device)
    best = 0.0
    for _ in range(20):
        start = time.process_time() if device == "cpu" else time.perf_counter()
        for _ in range(4):
            a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        spent = (time.process_time() if device == "cpu" else time.perf_counter()) - start
        best = max(best, 4 * 2 * 2048 * width * 4 * width / spent)
    return best


def work(name: str, device: str, dtype: str) -> None:
    """Ours: an iteration for each line on standard input, a JSON line each."""
    from benchmarks.peers.timing import Clock, peak_gb
    from rlhf.models import directories
    from rlhf.models.packed import prepare
    from rlhf.models.reward import RewardModel, score_rows
    from rlhf.params import ComputeParams, PPOParams
    from rlhf.sampling.sampler import TorchSampler
    from rlhf.training.ppo_trainer import PPOTrainer

    torch.set_num_threads(1)
    load, clock = WORKLOADS[name], Clock(device)
    made = {role: prepare(model.to(device).eval()) for role, model in workloads.models(load).items()}
    words = SimpleNamespace(pad_token_id=PAD, eos_token_id=EOS, decode=lambda ids, skip_special_tokens: "")
    rm = RewardModel(made["reward"], words)
    marks: dict[str, float] = {}

    class TimedSampler(TorchSampler):
        def sample(self, prompts: list[list[int]], *, seed: int, first: int = 0) -> Any:
            marks["start"] = clock()
            found = super().sample(prompts, seed=seed, first=first)
            marks["generated"] = clock()
            return found

    params = PPOParams(
        temperature=1.0,
        batch=load.episodes,
        minibatch=load.minibatch,
        max_new_tokens=load.new_tokens,
        kl_coef=0.05,
        ptx_coef=0.0,
        lr=3e-6,
        value_lr=3e-6,
        warmup=0,
        reward_scale="none",
        dtype=dtype,
    )
    directories.round_weights(made["reward"], dtype)

    class Timed(PPOTrainer):
        def update(self, trajectory: Any) -> Any:
            marks["scored"] = clock()
            found = super().update(trajectory)
            marks["end"] = clock()
            return found

    trainer = Timed(
        made["policy"],
        made["value"],
        made["reference"],
        lambda asked, answers: score_rows(rm, asked, answers),
        words,
        params,
        ComputeParams(launcher="inline", device="cpu" if device == "cpu" else "cuda"),
        sampler=TimedSampler(words, params),
    )
    queue = workloads.prompts(load, 16 * load.episodes)
    for turn, _ in enumerate(sys.stdin):
        start = turn * load.episodes % len(queue)
        _, _, completions = trainer.iterate(turn, queue[start : start + load.episodes])
        record = {
            "generate": marks["generated"] - marks["start"],
            "score": marks["scored"] - marks["generated"],
            "update": marks["end"] - marks["scored"],
            "prompt_tokens": [len(c.prompt_ids) for c in completions],
            "response_tokens": [len(c.ids) for c in completions],
            "peak_gb": peak_gb(device),
        }
        print(json.dumps(record), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=(*WORKLOADS, "smollm2"), default="W1")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--alone", action="store_true", help="ours and the floor, without TRL")
    parser.add_argument("--iterations", type=int, default=5, help="measured ones, after one that warms up")
    parser.add_argument("--quick", action="store_true", help="two iterations")
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="bfloat16 beside float32; smollm2: instead of it (default: where the machine has it)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.iterations = 2
    if options.bf16 is None:
        able = torch.cpu.get_capabilities()
        options.bf16 = options.device == "cuda" or any(
            able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")
        )
    return options


if __name__ == "__main__":
    main()
