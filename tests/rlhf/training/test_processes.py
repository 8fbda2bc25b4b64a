"""Training on two processes, started as the pipeline starts it: torchrun and deepspeed, ZeRO 1, 2 and 3.

Starting a process takes longer than training these models, so one launch runs every stage.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf.sampling import engine
from tasks import launch

# Runs the jobs whose files stand in inputs.jobs, one after the other in one process group.
SEVERAL = """
import json, pathlib, shutil, sys
from rlhf import distributed, jobs
from rlhf.sampling import engine
from rlhf.training import reward_model
engine.CACHE_TOKENS["cpu"] = 40
reward_model.tokens_at_once = lambda device: 60  # one or two rankings a pass, as long as they are
leave, distributed.finish = distributed.finish, lambda: None
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
for file in job["inputs"]["jobs"]:
    described = json.loads(pathlib.Path(file).read_text())
    if source := described["inputs"].get("resume"):
        if distributed.rank() == 0:
            shutil.copytree(pathlib.Path(source) / "checkpoints", pathlib.Path(described["out"]) / "checkpoints")
        distributed.barrier()
    assert jobs.main([file]) == 0, file
if distributed.rank() == 0:
    (pathlib.Path(job["out"]) / "result.json").write_text("{}")
leave()
"""
SECTIONS: dict[str, dict[str, Any]] = {
    "base": {"tokens": 2048},  # four steps
    "evaluation": {"max_new_tokens": 8, "best_of_n": 2, "bootstrap": 100},
    # All demonstrations in one step, and AdamW, which ZeRO has too.
    "sft": {"epochs": 1, "batch": 24, "lr": 1e-3, "lr_matrices": None},
    "reward_model": {
        "batch": 4,
        "lr": 5e-4,
    },  # Adam makes whole steps of rounding errors: small ones stay under 1e-5
    "ppo": {
        "episodes": 16,
        "batch": 8,
        "minibatch": 4,
        "ptx_ratio": 0.75,  # 3 rows a minibatch, one a pass: the second process runs out first
        "microbatch_tokens": 32,
    },
}
#: what runs besides, by "stage-what": sections as they differ
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "reward_model-adapted": {"reward_model": {"lora_rank": 2, "held_out_share": 0.25}},
    "ppo-adapted": {"ppo": {"lora_rank": 2}},
    "ppo-bfloat16": {"ppo": {"dtype": "bfloat16"}},
}
LAUNCHERS = [
    pytest.param(("torchrun", "zero2"), id="torchrun"),
    pytest.param(("deepspeed", "zero2"), id="zero2"),
    pytest.param(("deepspeed", "zero1"), id="zero1", marks=pytest.mark.slow),
    pytest.param(("deepspeed", "zero3"), id="zero3", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def inputs(world, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What the stages work on; of the rankings, 24 are enough."""
    few = tmp_path_factory.mktemp("few") / "comparisons.jsonl"
    few.write_text("".join(world.comparisons.read_text().splitlines(keepends=True)[:24]))
    watched = few.parent / "watched"  # a reward model beside which another one watches
    shutil.copytree(world.reward_model, watched)
    shutil.copytree(world.reward_model, watched / "held_out")
    for_reward_model = world.for_reward_model | {"comparisons": [few]}
    return {
        "base": {"curated": world.curated},
        "reward_model": for_reward_model,
        "reward_model-adapted": for_reward_model,
        "ppo": world.for_ppo,
        "ppo-adapted": world.for_ppo | {"reward_model": watched},
        "ppo-bfloat16": world.for_ppo,
        "sample": {
            "curated": world.curated,
            "round": 1,
            "writers": [{"version": "base/1", "path": world.base, "share": 1.0}],
        },
        "evaluate": {
            "curated": world.curated,
            "reward_model": world.for_ppo["reward_model"],
            "policies": {"base": world.base, "sft": world.base}
            | dict.fromkeys(("rl_start", "policy"), world.for_ppo["rl_start"]),
        },
        # Last: once Hugging Face's trainer runs under ZeRO-3, this process loads every model in parts.
        "sft": {"base": world.base, "curated": world.curated},
    }


@pytest.fixture(scope="module")
def alone(world, inputs, tmp_path_factory) -> Path:
    """Every stage by one process."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engine.CACHE_TOKENS, "cpu", 40)
        for name in inputs:
            world.run(stage_of(name), folder / name, inputs[name], **sections(name))
    return folder


def stage_of(name: str) -> str:
    return name.partition("-")[0]


def sections(name: str) -> dict[str, dict[str, Any]]:
    varied = VARIANTS.get(name, {})
    return {section: keys | varied.get(section, {}) for section, keys in SECTIONS.items()}


@pytest.fixture(scope="module", params=LAUNCHERS)
def together(request, world, inputs, tmp_path_factory, pytestconfig) -> Path:
    """Every stage by two processes."""
    launcher, zero = request.param
    folder = tmp_path_factory.mktemp(zero)
    settings = json.loads((pytestconfig.rootpath / f"infra/deepspeed/{zero}.json").read_text())
    if zero == "zero3":  # else weights as few as these are left whole in every process
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    (folder / "zero.json").write_text(json.dumps(settings))
    compute = {"launcher": launcher, "num_processes": 2, "deepspeed_config": str(folder / "zero.json")}
    compute["checkpoint_seconds"] = 0
    compute |= {"threads": 1, "device": "cpu"}
    files = []
    works = inputs | {"ppo-resumed": inputs["ppo"] | {"resume": folder / "ppo"}}
    works["sft"] = works.pop("sft")  # it must be the last still
    for name, given in works.items():
        params = world.params(**sections(name), compute=compute)
        job = {"stage": stage_of(name), "out": folder / name, "inputs": given, "params": params.model_dump()}
        files.append(folder / f"{name}.json")
        files[-1].write_text(json.dumps(job, default=str))
    (folder / "several.py").write_text(SEVERAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(pytestconfig.rootpath)]))
        patch.setattr(launch, "JOBS", "several")
        job = {"stage": "ppo", "out": str(folder / "all"), "inputs": {"jobs": list(map(str, files))}}
        launch.run_job(job, params.compute)
    return folder


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def test_transformers_opens_what_every_stage_leaves(together):
    for directory in ("sft/epoch-1", "ppo/model", "ppo/model/ema"):
        tokenizer = AutoTokenizer.from_pretrained(together / directory)
        model, loading = AutoModelForCausalLM.from_pretrained(together / directory, output_loading_info=True)
        assert not any(loading.values())
        ids = tokenizer("red blue", return_tensors="pt")
        assert model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    classifier = AutoModelForSequenceClassification.from_pretrained(together / "reward_model/model")
    assert torch.isfinite(classifier(input_ids=torch.tensor([[5, 6, 7]])).logits).all()


@pytest.mark.parametrize(
    ("stage", "model"),
    [
        ("base", "model"),
        ("reward_model", "model"),
        ("reward_model-adapted", "model"),
        ("reward_model-adapted", "model/held_out"),
        ("ppo", "model"),
        ("ppo", "model/ema"),
        ("ppo-adapted", "model"),
        ("sft", "epoch-1"),
    ],
)
def test_two_processes_take_the_steps_of_one(alone, together, world, stage, model):
    """The losses of each step within 1e-5, and so the weights; PPO's episodes are the same ones too."""
    steps, theirs = (losses(world.metrics(folder / stage)) for folder in (alone, together))
    assert steps.shape == theirs.shape
    assert len(steps) or stage == "sft"  # which logs every tenth step, and takes one here
    assert torch.allclose(steps, theirs, atol=1e-5)
    found, expected = weights(together / stage / model), weights(alone / stage / model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-5), name


def losses(lines: list[dict[str, float]]) -> torch.Tensor:
    """[steps, figures]: what a step should give however many processes take it; HF's last line has none.

    Errors of rounding are not the same, and one figure is a mean of the processes' largest.
    """
    apart = {"sampler_gap", "sampler_gap_largest", "sampler_drift", "ratio_error", "first_ratio_error"}
    apart |= {"time", "seconds_rollout", "seconds_update", "tokens_per_second"}
    return torch.tensor(
        [
            [line[name] for name in sorted(line.keys() - apart)]
            for line in lines
            if {"loss", "policy_loss"} & line.keys()
        ]
    )


def test_two_processes_in_bfloat16_are_near_one(alone, together, world):
    """Rounding differs with the shapes of a pass and with the engine that updates; the first episodes are the same ones."""
    one, two = (world.metrics(folder / "ppo-bfloat16")[0] for folder in (alone, together))
    for name in ("reward", "reward_sd", "score", "kl", "length", "explained_variance"):
        assert two[name] == pytest.approx(one[name], abs=1e-4), name
    for name in ("policy_loss", "value_loss", "ptx_loss"):
        assert two[name] == pytest.approx(one[name], abs=0.01), name
    assert one["kl"] == 0.0, "the policy and the reference compute alike, positions included"


def test_two_processes_sample_and_judge_as_one(alone, together):
    """Answers are dealt out in groups that draw for themselves, so they are the same answers."""
    for file in ("sample/samples.jsonl", "evaluate/samples.jsonl"):
        found, expected = ((folder / file).read_text().splitlines() for folder in (together, alone))
        assert len(found) == len(expected) > 1
        for one, other in zip(map(json.loads, found), map(json.loads, expected), strict=True):
            assert words_of(one) == words_of(other)
    found, expected = (
        json.loads((folder / "evaluate/evaluation.json").read_text())["policies"]
        for folder in (together, alone)
    )
    assert found == {
        name: {key: pytest.approx(value, abs=1e-5) for key, value in figures.items()}
        for name, figures in expected.items()
    }


def words_of(row: dict[str, Any]) -> list[str]:
    answers = row["completions"] if "completions" in row else row["answers"].values()
    return [answer["text"] for answer in answers]


def test_ppo_goes_on_from_a_checkpoint_of_two_processes(together, world):
    """From the first of two iterations, DeepSpeed's own states included, to the same weights."""
    assert [line["step"] for line in world.metrics(together / "ppo-resumed")] == [2]
    for model in ("model", "model/ema"):
        found, expected = weights(together / "ppo-resumed" / model), weights(together / "ppo" / model)
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_every_process_holds_is_kept_once(together):
    for folder in (together / "ppo" / "checkpoints").glob("checkpoint-*"):
        files = [folder / f"rank-{rank}.safetensors" for rank in (0, 1)]
        by_zero = "DeepSpeed" in json.loads((folder / "checksums.json").read_text())["written_by"]
        assert by_zero or files[0].samefile(files[1])
        assert load_file(files[0]).keys() == load_file(files[1]).keys()


def test_policies_learn_from_every_process(together, world, inputs):
    lines = world.metrics(together / "ppo")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["first_ratio_error"] < 1e-5 for line in lines)
    assert json.loads((together / "ppo/result.json").read_text())["episodes"] == 16
    start, end, average = (
        weights(path)
        for path in (inputs["ppo"]["rl_start"], together / "ppo/model", together / "ppo/model/ema")
    )
    for name, value in start.items():
        assert torch.isfinite(end[name]).all()
        assert (average[name] - value).norm() <= 0.05 * (end[name] - value).norm() + 1e-6
    assert any(not torch.equal(end[name], value) for name, value in start.items())
