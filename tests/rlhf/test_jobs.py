"""A job's files: figures while it runs."""

from __future__ import annotations

import json

from rlhf.jobs import Job
from rlhf.params import Params


def test_a_figure_that_is_no_number_is_left_out(tmp_path):
    job = Job("ppo", tmp_path, {}, Params())
    job.log(1, reward=0.0, kl=float("nan"), loss=float("inf"), length=3.0)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert {name: value for name, value in json.loads(line).items() if name != "time"} == {
        "step": 1, "reward": 0.0, "length": 3.0,
    }  # fmt: skip
