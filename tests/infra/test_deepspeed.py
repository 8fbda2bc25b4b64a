"""infra/deepspeed/zero*.json under the deepspeed launcher on 2 CPU processes: the same steps as one process."""

import os

import torch

from rlhf.params import ComputeParams
from rlhf.training.engine import Engine
from tasks import launch

TOY = """
import json, pathlib, sys
import torch.distributed as dist
from rlhf.distributed import without_compiling
from test_deepspeed import train
without_compiling()
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
losses = {stage: train(f"{job['inputs']['configs']}/zero{stage}.json", "deepspeed") for stage in (1, 2, 3)}
if dist.get_rank() == 0:
    (pathlib.Path(job["out"]) / "result.json").write_text(json.dumps(losses))
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


def test_every_stage_takes_the_steps_of_one_process(tmp_path, monkeypatch, root):
    (tmp_path / "toyjob.py").write_text(TOY)
    places = [str(tmp_path), str(root / "tests" / "infra"), str(root)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setattr(launch, "JOBS", "toyjob")
    job = {
        "stage": "ppo",
        "out": str(tmp_path / "out"),
        "inputs": {"configs": str(root / "infra/deepspeed")},
        "params": {},
    }
    compute = ComputeParams(launcher="deepspeed", num_processes=2, device="cpu", threads=1)
    result = launch.run_job(job, compute)
    alone = train("", "inline")
    assert alone[-1] < alone[0]
    for stage in ("1", "2", "3"):
        assert torch.allclose(torch.tensor(result[stage]), torch.tensor(alone), atol=1e-5)
