"""infra/deepspeed/zero*.json under the deepspeed launcher on 2 CPU processes: the same steps as one process."""

import os
from pathlib import Path

import torch

from rlhf.params import ComputeParams
from rlhf.training.engine import Engine
from tasks import launch

TOY = """
import json, pathlib, sys
import torch.distributed as dist
from rlhf.distributed import without_compiling
from test_deepspeed import add_up, resumed, train
without_compiling()
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
work = {"losses": train, "sum": add_up, "resumed": resumed}[job["inputs"]["work"]]
found = {stage: work(f"{job['inputs']['configs']}/zero{stage}.json", "deepspeed") for stage in (1, 2, 3)}
if dist.get_rank() == 0:
    (pathlib.Path(job["out"]) / "result.json").write_text(json.dumps(found))
"""


def train(config, launcher):
    """Losses of four AdamW steps on eight fixed rows, shared out over the processes."""
    torch.manual_seed(0)
    rows, targets = torch.randn(8, 16), torch.randn(8, 4)
    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    engine = Engine(
        module,
        torch.optim.AdamW(module.parameters(), lr=1e-2, fused=True),
        ComputeParams(launcher=launcher, deepspeed_config=config, device="cpu"),
        max_grad_norm=1.0,
    )
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world > 1 else 0
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.mse_loss(engine(rows[share]), targets[share])
        engine.backward(loss)
        engine.step()
        total = loss.detach().clone()
        if world > 1:
            torch.distributed.all_reduce(total)
        losses.append(total.item() / world)
    return losses


def add_up(config, launcher):
    """The norm of a gradient of many passes and both processes: 256, and then 63 times 1, as each process's loss."""
    module = torch.nn.Linear(1, 1, bias=False)
    engine = Engine(
        module,
        torch.optim.AdamW(module.parameters(), lr=1e-2, fused=True),
        ComputeParams(launcher=launcher, deepspeed_config=config, device="cpu"),
        max_grad_norm=1e9,
        dtype="bfloat16",
    )
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    for number in range(64):
        gradient = (256.0 if number == 0 else 1.0) + (0.0 if number else 2.0 * rank)
        row = torch.full((1, 1), gradient, dtype=torch.bfloat16)
        engine.backward(engine(row).sum(), more_to_come=number < 63)
    return engine.step()


def resumed(config, launcher):
    """How far four steps in bfloat16 end from two steps, a checkpoint and two more: the largest difference of a weight."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    folder = Path(os.environ["CHECKPOINTS"]) / Path(config).stem

    def begun():
        torch.manual_seed(0)
        module = torch.nn.Linear(16, 4)
        return Engine(
            module,
            torch.optim.AdamW(module.parameters(), lr=1e-2, fused=True),
            ComputeParams(launcher=launcher, deepspeed_config=config, device="cpu"),
            max_grad_norm=1.0,
            dtype="bfloat16",
        )

    def steps(engine, numbers):
        for number in numbers:
            rows = torch.randn(4, 16, generator=torch.Generator().manual_seed(2 * number + rank))
            engine.backward(engine(rows.bfloat16()).float().square().mean(), more_to_come=True)
            engine.backward(engine(rows.flip(1).bfloat16()).float().square().mean())
            engine.step()

    def weights(engine):
        with engine.whole() as module:
            return module.weight.detach().float().clone()

    whole = begun()
    steps(whole, (0, 1))
    whole.write(folder)
    middle = weights(whole)
    steps(whole, (2, 3))
    again = begun()
    again.restore(whole.state(), folder)
    steps(again, (2, 3))
    assert not torch.equal(weights(whole), middle)
    return float((weights(whole) - weights(again)).abs().max())


def on_two_processes(work, tmp_path, monkeypatch, root):
    (tmp_path / "toyjob.py").write_text(TOY)
    places = [str(tmp_path), str(root / "tests" / "infra"), str(root)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setattr(launch, "JOBS", "toyjob")
    job = {
        "stage": "ppo",
        "out": str(tmp_path / "out"),
        "inputs": {"work": work, "configs": str(root / "infra/deepspeed")},
        "params": {},
    }
    return launch.run_job(job, ComputeParams(launcher="deepspeed", num_processes=2, device="cpu", threads=1))


def test_every_stage_takes_the_steps_of_one_process(tmp_path, monkeypatch, root):
    result = on_two_processes("losses", tmp_path, monkeypatch, root)
    alone = train("", "inline")
    assert alone[-1] < alone[0]
    for stage in ("1", "2", "3"):
        assert torch.allclose(torch.tensor(result[stage]), torch.tensor(alone), atol=1e-5)


def test_bfloat16_gradients_of_passes_and_processes_add_up_in_float32(tmp_path, monkeypatch, root):
    """The mean of 256 and 258, and 63 times 1: 320, of which bfloat16, whose spacing is 2 above 256, would lose the ones."""
    assert on_two_processes("sum", tmp_path, monkeypatch, root) == {"1": 320.0, "2": 320.0, "3": 320.0}


def test_a_checkpoint_in_bfloat16_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch, root):
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path / "checkpoints"))
    assert on_two_processes("resumed", tmp_path, monkeypatch, root) == {"1": 0.0, "2": 0.0, "3": 0.0}
