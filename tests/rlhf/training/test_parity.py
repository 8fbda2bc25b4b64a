"""The same tensors as TRL 1.9.2's PPO computes, to 1e-5, and why where not.

TRL runs in a process of its own, which finds 1.9.2 before the TRL that is installed here (that one has no PPO).
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.workloads import EOS, PAD, WORKLOADS, models
from rlhf.models import reward
from rlhf.models.packed import prepare
from rlhf.models.policy import response_logprobs
from rlhf.models.rows import pad
from rlhf.objectives.gae import gae
from rlhf.objectives.kl import k1
from rlhf.objectives.ppo import policy_loss, token_rewards, value_loss
from rlhf.training.rollouts import response_values, whiten_together

SETTINGS = {
    "kl_coef": 0.05,
    "gamma": 1.0,
    "lam": 0.95,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
}
ROOT = Path(__file__).parents[3]
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def trl(tmp_path_factory):
    """TRL's tensors by name; its masks say what is padding, here turned into what is counted."""
    folder = tmp_path_factory.mktemp("trl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        folder / "site",
        "trl==1.9.2",
    ]
    subprocess.run(install, check=True)
    environment = os.environ | {"PYTHONPATH": f"{folder / 'site'}:{ROOT}", "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.peers.trl_tensors",
        folder / "found.safetensors",
        json.dumps(SETTINGS),
    ]
    subprocess.run(command, check=True, cwd=folder, env=environment)
    found = load_file(folder / "found.safetensors")
    rollout = {name.split(".")[1]: value for name, value in found.items() if name.startswith("rollout.")}
    rollout["is_response"] = ~rollout.pop("padding_mask")
    rollout["is_response_and_next"] = ~rollout.pop("padding_mask_p1")
    return SimpleNamespace(all=found, **rollout)


@pytest.fixture(scope="module")
def made(trl):
    """Our models with TRL's weights, and its prompts and responses as lists without padding."""
    ours = models(WORKLOADS["tiny"])
    for name, model in ours.items():
        prefix = f"{name}."
        model.load_state_dict(
            {key.removeprefix(prefix): value for key, value in trl.all.items() if key.startswith(prefix)}
        )
        prepare(model.eval())
    prompts = [[int(i) for i in row if i != PAD] for row in trl.queries]
    responses = [
        row[: length + 1].tolist() for row, length in zip(trl.responses, trl.sequence_lengths, strict=True)
    ]
    assert all(EOS not in response[:-1] for response in responses)
    assert len({len(response) for response in responses}) > 3 and len({len(prompt) for prompt in prompts}) > 3
    return SimpleNamespace(
        **ours, prompts=prompts, responses=responses, batch=pad(prompts, responses, PAD, "cpu")
    )


def counted(values, is_counted):
    return torch.cat([row[chosen] for row, chosen in zip(values, is_counted, strict=True)])


@pytest.mark.parametrize(("name", "theirs"), [("policy", "logprobs"), ("reference", "ref_logprobs")])
def test_log_probabilities(trl, made, name, theirs):
    """Theirs through left padding, ours packed."""
    found = response_logprobs(getattr(made, name), made.prompts, made.responses, pad_id=PAD, temperature=1.0)
    assert torch.allclose(torch.cat(found), counted(getattr(trl, theirs), trl.is_response), **NEAR)


def test_values_and_scores(trl, made):
    values = response_values(made.value, made.batch, 1.0)
    assert torch.allclose(
        counted(values, made.batch.is_response), counted(trl.values, trl.is_response), **NEAR
    )
    rm = SimpleNamespace(model=made.reward, tokenizer=SimpleNamespace(pad_token_id=PAD), bias=0.0)
    assert torch.allclose(
        torch.tensor(reward.score_rows(rm, made.prompts, made.responses)), trl.scores, **NEAR
    )


def test_rewards_are_theirs_but_for_where_the_score_stands(trl):
    """TRL puts the score one token behind the response's last, where there is room: on padding, which nobody
    sampled, so that one more discount and λ stand between a response and its score. Here it stands on the last token."""
    kl = k1(trl.logprobs, trl.ref_logprobs)
    ours = token_rewards(trl.scores, kl, trl.is_response, kl_coef=SETTINGS["kl_coef"])
    length = trl.is_response.sum(1)
    fills = length == trl.is_response.shape[1]
    assert 0 < int(fills.sum()) < len(fills)
    assert torch.allclose(ours[fills], trl.rewards[fills], **NEAR)
    rows, last = torch.arange(len(length)), length - 1
    moved = ours.clone()
    moved[rows[~fills], last[~fills]] -= trl.scores[~fills]
    moved[rows[~fills], last[~fills] + 1] += trl.scores[~fills]
    assert torch.allclose(moved, trl.rewards, **NEAR)


def test_advantages_and_returns(trl):
    """From their rewards and values, over the tokens that they count."""
    ours = gae(
        trl.rewards, trl.values, trl.is_response_and_next, discount=SETTINGS["gamma"], lam=SETTINGS["lam"]
    )
    assert torch.allclose(ours, trl.advantages.masked_fill(~trl.is_response_and_next, 0.0), **NEAR)
    assert torch.allclose(ours + trl.values, trl.returns, **NEAR)


def test_whitened_advantages(trl):
    """They divide the squares by n - 1, we by n: over an iteration's tokens it is the same to a part in thousands."""
    n = int(trl.is_response.sum())
    ours = whiten_together(trl.advantages, trl.is_response)
    theirs = trl.whitened.masked_fill(~trl.is_response, 0.0)
    assert torch.allclose(ours * math.sqrt((n - 1) / n), theirs, **NEAR)


def test_losses_of_every_minibatch(trl):
    """Three inner epochs at a high learning rate: ratios and values are clipped. Their value loss counts one token more."""
    steps = sorted({name.split(".")[0] for name in trl.all if name.startswith("step-")})
    assert len(steps) == 6
    clipped = 0
    for step in steps:
        at = {name.split(".")[1]: value for name, value in trl.all.items() if name.startswith(f"{step}.")}
        rows = at["rows"]
        policy = policy_loss(
            at["new_logprobs"],
            at["mb_logprobs"],
            at["mb_advantage"],
            trl.is_response[rows],
            clip=SETTINGS["cliprange"],
        )
        value = value_loss(
            at["vpred"],
            at["mb_values"],
            at["mb_return"],
            trl.is_response_and_next[rows],
            clip=SETTINGS["cliprange_value"],
        )
        assert float(policy) == pytest.approx(float(at["pg_loss"]), abs=1e-5)
        assert float(value) == pytest.approx(float(at["vf_loss"]), abs=1e-5)
        assert float(policy + SETTINGS["vf_coef"] * value) == pytest.approx(float(at["loss"]), abs=1e-5)
        ratio = (at["new_logprobs"] - at["mb_logprobs"])[trl.is_response[rows]].exp()
        clipped += int(((ratio - 1).abs() > SETTINGS["cliprange"]).sum())
    assert clipped > 20
