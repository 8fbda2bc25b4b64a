"""Real training processes, killed with SIGKILL, end in the weights of one that never was: bit for bit."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf import distributed
from rlhf.params import ComputeParams
from rlhf.training.checkpoint import Checkpoints, cut_log, engine_name

SECTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"episodes": 80, "batch": 8, "minibatch": 4, "warmup": 2},  # ten iterations
    "reward_model": {"batch": 4, "epochs": 1},
    "compute": {"threads": 1, "device": "cpu", "launcher": "inline", "checkpoint_seconds": 0},
}
LAST = {"ppo": 10, "reward_model": 32}  # steps of a whole run


def start(world, stage: str, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    inputs = world.for_ppo if stage == "ppo" else world.for_reward_model
    job = {"stage": stage, "out": out, "inputs": inputs, "params": world.params(**SECTIONS).model_dump()}
    (out / "JOB.json").write_text(json.dumps(job, default=str))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (out / "log.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "rlhf.jobs", out / "JOB.json"], stderr=log, env=env)


def kill_when(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> None:
    """SIGKILL at the moment; fails if the victim ended before, or lived."""
    while not moment():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL


def finish(world, stage: str, out: Path) -> dict[str, torch.Tensor]:
    assert start(world, stage, out).wait(timeout=300) == 0
    assert (out / "result.json").is_file()
    return {
        f"{file.parent.name}/{name}": value
        for file in out.glob("model/**/*.safetensors")
        for name, value in load_file(file).items()
    }


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Callable[[str], tuple[Path, dict[str, torch.Tensor]]]:
    """A run of the stage that nobody kills."""
    runs: dict[str, tuple[Path, dict[str, torch.Tensor]]] = {}

    def run(stage: str) -> tuple[Path, dict[str, torch.Tensor]]:
        if stage not in runs:
            out = tmp_path_factory.mktemp("whole") / stage
            runs[stage] = out, finish(world, stage, out)
        return runs[stage]

    return run


def steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def newest(out: Path) -> int:
    return max((int(f.name[-6:]) for f in out.glob("checkpoints/checkpoint-*")), default=0)


def moments(out: Path, step: int) -> dict[str, Callable[[], bool]]:
    """Around the writing of a step's checkpoint."""
    metrics, folder = out / "metrics.jsonl", out / "checkpoints"
    return {
        "before": lambda: metrics.is_file() and metrics.read_bytes().count(b"\n") >= step,
        "during": lambda: (folder / f"writing-{step:06d}").exists(),
        "after": lambda: (folder / f"checkpoint-{step:06d}").exists(),
    }


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and one
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_ppo_goes_on_after_kills_around_a_checkpoint(world, whole, tmp_path):
    expected_out, expected = whole("ppo")
    for number, moment in enumerate(("before", "during", "after"), 1):
        kill_when(start(world, "ppo", tmp_path), moments(tmp_path, 3 * number)[moment])
        assert newest(tmp_path) >= 3 * number - 1
    assert_same(finish(world, "ppo", tmp_path), expected)
    assert steps(tmp_path) == steps(expected_out) == list(range(1, 11))
    lines = (tmp_path / "rollouts.jsonl").read_text(), (expected_out / "rollouts.jsonl").read_text()
    assert lines[0] == lines[1]
    assert len(list(tmp_path.glob("checkpoints/*"))) <= 3  # two, and one that the last kill left


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ppo", "reward_model"])
def test_ten_kills_at_random_moments(world, whole, tmp_path, stage):
    """Ten times: some time after training began, between steps or while a checkpoint is written."""
    _, expected = whole(stage)
    draw = random.Random(stage)
    kills = 0
    while kills < 10:
        at = newest(tmp_path)
        if at >= LAST[stage] - 2:  # nearly through: again from the first step
            assert_same(finish(world, stage, tmp_path), expected)
            tmp_path = tmp_path / "again"
            at = 0
        kind = draw.choice(["before", "during", "after", "later"])
        process = start(world, stage, tmp_path)
        moment = moments(tmp_path, at + 1)["after" if kind == "later" else kind]
        if stage == "reward_model" and kind == "before":  # its log has a line in five steps
            moment = moments(tmp_path, at + 1)["during"]
        kill_when(process, moment) if kind != "later" else kill_when(
            process, later(moment, draw.random() / 5)
        )
        kills += 1
    assert_same(finish(world, stage, tmp_path), expected)


def later(moment: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    seen: list[float] = []

    def reached() -> bool:
        if not seen and moment():
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= seconds

    return reached


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, caplog):
    kept = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        kept.save(step, {"weights": torch.full((2,), float(step)), "at": {0: [step]}})
    flipped = tmp_path / "checkpoint-000003/rank-0.safetensors"
    content = bytearray(flipped.read_bytes())
    content[-1] ^= 1
    flipped.write_bytes(content)
    (tmp_path / "checkpoint-000002/rank-0.json").unlink()
    with caplog.at_level(logging.WARNING):
        step, state, folder = kept.latest()
    assert (step, state["at"], folder.name) == (1, {0: [1]}, "checkpoint-000001")
    assert torch.equal(state["weights"], torch.ones(2))
    assert "checkpoint-000003 cannot be used (rank-0.safetensors is not what was written)" in caplog.text
    assert "checkpoint-000002 cannot be used (rank-0.json is missing)" in caplog.text


def test_a_checkpoint_of_other_processes_or_another_engine_is_not_taken(tmp_path, monkeypatch, caplog):
    """Neither fewer processes nor more, neither ours after DeepSpeed nor the other way round."""
    monkeypatch.setattr(distributed, "gather", lambda value: [value])  # the others are not there

    def checkpoints(processes, **compute):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        return Checkpoints(tmp_path / "kept", written_by=engine_name(ComputeParams(**compute)))

    zero2, zero3 = (
        {"launcher": "deepspeed", "deepspeed_config": f"infra/deepspeed/zero{n}.json"} for n in (2, 3)
    )
    checkpoints(1, launcher="inline").save(1, {"at": 1})
    assert checkpoints(1, launcher="torchrun").latest()[0] == 1
    for processes, other in ((2, {"launcher": "torchrun"}), (1, zero2), (1, zero3)):
        assert checkpoints(processes, **other).latest() is None
    checkpoints(1, **zero2).save(1, {"at": 1})
    assert checkpoints(1, **zero2).latest()[0] == 1
    for other in ({"launcher": "torchrun"}, zero3):
        assert checkpoints(1, **other).latest() is None
    for step in (5, 6):
        checkpoints(1, **zero3).save(step, {"at": step})
    for step in (2, 3, 4):  # neither loses what the other has
        checkpoints(1, **zero2).save(step, {"at": step})
    assert checkpoints(1, **zero2).latest()[0] == 4
    assert checkpoints(1, **zero3).latest()[0] == 6
    assert sorted(path.name[-1] for path in (tmp_path / "kept").iterdir()) == ["3", "4", "5", "6"]
    assert (
        "written by DeepSpeed ZeRO 2 on 1 process, and this is DeepSpeed ZeRO 3 on 1 process" in caplog.text
    )


def test_a_log_is_cut_after_the_step_and_at_a_torn_line(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    cut_log(log, "step", 2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_log_is_cut_at_bytes_and_not_at_what_looks_like_a_line_s_end(tmp_path):
    """A kill may go through a character, and a text may hold other line ends than JSON Lines has."""
    log = tmp_path / "rollouts.jsonl"
    whole = '{"step": 1, "text": "one\u2028two\u0085three"}\n{"step": 2, "text": "caf\u00e9"}\n'
    log.write_bytes((whole + '{"step": 3, "text": "caf\u00e9').encode()[:-1])
    cut_log(log, "step", 3)
    assert log.read_bytes() == whole.encode()


@pytest.mark.parametrize("stage", ["ppo", "reward_model"])
def test_a_checkpoint_of_adapters_holds_them_alone_and_is_enough(world, tmp_path, stage):
    inputs = world.for_ppo if stage == "ppo" else world.for_reward_model
    sections = {stage: SECTIONS[stage] | {"lora_rank": 2}, "compute": SECTIONS["compute"]}
    if stage == "ppo":
        sections["ppo"] |= {"episodes": 16}  # two iterations
    world.run(stage, tmp_path / "whole", inputs, **sections)
    kept = max((tmp_path / "whole/checkpoints").glob("checkpoint-*"))
    names = load_file(kept / "rank-0.safetensors").keys()
    assert any("lora" in name for name in names) and not any("embed_tokens" in name for name in names)
    shutil.copytree(kept, tmp_path / "resumed/checkpoints" / kept.name)
    world.run(stage, tmp_path / "resumed", inputs, **sections)
    assert steps(tmp_path / "resumed")[0] > 1
    whole, resumed = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "resumed"))
    assert_same(whole, resumed)
