"""Every stage that trains or samples but PPO (test_ppo.py), run whole on a world of sixteen words (conftest.py)."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaMLP

from rlhf import seeds
from rlhf.chat import encode_completion, encode_prompt
from rlhf.data import load
from rlhf.models import directories, packed, reward
from rlhf.records import read_jsonl, write_jsonl
from rlhf.sampling.engine import sample
from rlhf.training import rl_start, sft


def weights(directory):
    return load_file(directory / "model.safetensors")


# --- base


def test_base_learns_the_words_and_opens_in_transformers(world):
    model = AutoModelForCausalLM.from_pretrained(world.base)
    assert world.figures["base"]["loss"] < 3.5  # ln 16 a word; ln 320 a token before training
    assert model.config.pad_token_id != model.config.eos_token_id
    assert world.metrics(world.folder / "base")[0]["loss"] > 4.0


# --- SFT and the RL start


@pytest.fixture
def steps(monkeypatch):
    """What each training step of SFTTrainer sees: (token ids, labels), learning rate, model, trainer."""
    seen = []
    compute = sft.ResponseLossTrainer.compute_loss

    def spy(self, model, inputs, *args, **kwargs):
        if model.training:
            rate = self.lr_scheduler.get_last_lr()[-1]
            rows = list(zip(inputs["input_ids"].tolist(), inputs["labels"].tolist(), strict=True))
            seen.append({"rows": rows, "rate": rate, "model": model, "trainer": self})
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(sft.ResponseLossTrainer, "compute_loss", spy)
    return seen


def test_sft_learns_the_answer_and_its_eos_alone(world, steps, tmp_path):
    figures = world.run("sft", tmp_path, {"base": world.base, "curated": world.curated})
    words = directories.load_tokenizer(world.base)
    answers = Counter(
        (
            tuple(encode_prompt(words, d["messages"]) + encode_completion(words, d["completion"])),
            tuple(encode_completion(words, d["completion"])),
        )
        for d in load.demonstrations(world.curated, "train")
    )
    seen = Counter(
        (tuple(i for i in ids if i != words.pad_token_id), tuple(i for i in labels if i != -100))
        for step in steps
        for ids, labels in step["rows"]
    )
    assert seen == answers + answers  # each demonstration once in each of two epochs
    assert all(answer[-1] == words.eos_token_id for _, answer in seen)
    rates = [step["rate"] for step in steps]
    assert rates[0] == pytest.approx(3e-3) and rates == sorted(rates, reverse=True)  # no warm-up
    assert steps[0]["trainer"].lr_scheduler.get_last_lr()[-1] == pytest.approx(3e-4)  # 10 % at the end
    assert sorted(p.name for p in tmp_path.glob("epoch-*")) == ["epoch-1", "epoch-2"]
    assert len(figures["valid_loss"]) == 2 and figures["valid_loss"][1] < figures["valid_loss"][0]


def test_residual_dropout_where_the_architecture_has_it(world, steps, tmp_path):
    words = directories.load_tokenizer(world.base)
    shape = GPTNeoXConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    base = directories.save(GPTNeoXForCausalLM(shape), words, tmp_path / "base")
    world.run("sft", tmp_path / "out", {"base": base, "curated": world.curated})
    model = steps[0]["model"]
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    assert json.loads((tmp_path / "out/epoch-2/config.json").read_text())["hidden_dropout"] == 0.0


def test_matrices_are_trained_by_muon_and_the_rest_by_adamw(world, steps, tmp_path):
    world.run("sft", tmp_path, {"base": world.base, "curated": world.curated}, sft={"lr_matrices": 0.02})
    optimizer, model = steps[0]["trainer"].optimizer.optimizer, steps[0]["model"]
    muon, adamw = optimizer.parts
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert by_muon | by_adamw == set(names.values()) and not by_muon & by_adamw
    assert all("_proj" in name for name in by_muon) and "model.embed_tokens.weight" in by_adamw
    assert muon.param_groups[0]["lr"] == pytest.approx(0.002)  # a tenth at the end, of both rates
    assert adamw.param_groups[0]["lr"] == pytest.approx(3e-4)


def test_the_rl_start_mixes_pretraining_rows(world, steps, tmp_path):
    figures = world.run("rl_start", tmp_path, {"base": world.base, "curated": world.curated})
    assert (figures["demonstrations"], figures["pretraining_rows"]) == (24, 3)  # 3 of 27 is about a tenth
    learnt = [sum(label != -100 for label in labels) for step in steps for _, labels in step["rows"]]
    assert learnt.count(32) == 2 * 3  # every token of a row; no demonstration's answer is as long
    assert [p.name for p in tmp_path.iterdir() if p.is_dir() and p.name != "trainer"] == ["model"]


@pytest.mark.parametrize("stage", ["sft", "rl_start"])
def test_packed_and_padded_rows_give_the_same_losses(world, tmp_path, monkeypatch, stage):
    for name in ("packed", "padded"):
        if name == "padded":
            monkeypatch.setattr(packed, "is_packing", lambda model: False)
        inputs = {"base": world.base, "curated": world.curated}
        world.run(stage, tmp_path / name, inputs, sft={"dropout": 0.0, "batch": 2})
    one, other = (
        [line["loss"] for line in world.metrics(tmp_path / name) if "loss" in line]
        for name in ("packed", "padded")
    )
    assert one and one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("stage", ["sft", "rl_start"])
def test_a_loss_that_is_no_number_stops_training_by_name(world, tmp_path, stage):
    rates = {"lr": 1e30, "rl_start_lr": 1e30, "lr_matrices": None}
    with pytest.raises(RuntimeError, match=r"values of [\w.]+ are NaN or infinite; lower the learning rate"):
        world.run(stage, tmp_path, {"base": world.base, "curated": world.curated}, sft=rates)
    assert not (tmp_path / "model").exists()


def test_pretraining_rows_carry_the_loss_on_every_token(world):
    words = directories.load_tokenizer(world.base)
    rows = rl_start.pretraining_rows(
        world.job("rl_start", world.folder, {"curated": world.curated}), words, 3
    )
    assert all(set(row["completion_mask"]) == {1} and len(row["input_ids"]) == 32 for row in rows)


def test_demonstrations_that_are_too_long_for_sft_leave_an_error(world, tmp_path):
    with pytest.raises(ValueError, match=r"sft\.max_tokens = 16"):
        inputs = {"base": world.base, "curated": write_long_demonstrations(world, tmp_path / "curated")}
        world.run("sft", tmp_path / "out", inputs, sft={"max_tokens": 16})


def write_long_demonstrations(world, folder):
    import polars as pl

    shutil.copytree(world.curated, folder)
    file = folder / "demonstrations_train.parquet"
    pl.read_parquet(file).with_columns(pl.lit("red " * 40).alias("completion")).write_parquet(file)
    return folder


# --- samples


def test_samples_are_fresh_and_keep_the_writers_shares(world, tmp_path):
    first = load.prompts(world.curated, "rm")[:7]
    write_jsonl(tmp_path / "used.jsonl", [{"prompt_id": record["id"]} for record in first])
    writers = [
        {"version": "policy/1", "path": str(world.rl_start), "share": 0.75},
        {"version": "sft/2", "path": str(world.sft / "epoch-2"), "share": 0.25},
    ]
    inputs = {"curated": world.curated, "writers": writers, "used": [tmp_path / "used.jsonl"], "round": 2}
    figures = world.run("sample", tmp_path, inputs)
    rows = list(read_jsonl(tmp_path / "samples.jsonl"))
    assert figures == {"prompts": 9, "completions": 36}  # 5 of 12 are left, 4 held-out ones
    assert Counter(row["split"] for row in rows) == {"train": 5, "valid": 4}
    assert not {row["prompt_id"] for row in rows} & {record["id"] for record in first}
    completions = [completion for row in rows for completion in row["completions"]]
    assert {len(row["completions"]) for row in rows} == {4}
    assert Counter(c["model_version"] for c in completions) == {"policy/1": 27, "sft/2": 9}
    again = world.run("sample", tmp_path / "again", inputs)
    assert again == figures
    assert (tmp_path / "again/samples.jsonl").read_bytes() == (tmp_path / "samples.jsonl").read_bytes()
    write_jsonl(tmp_path / "all.jsonl", [{"prompt_id": r["id"]} for r in load.prompts(world.curated, "rm")])
    nothing_left = inputs | {"used": [tmp_path / "all.jsonl"]}
    assert world.run("sample", tmp_path / "none", nothing_left)["prompts"] == 0


# --- SFT chosen


def test_prompts_without_room_for_an_answer_are_neither_sampled_nor_choose_sft(world, tmp_path, monkeypatch):
    asked = []

    def watched(model, words, messages, **given):
        asked.append([len(encode_prompt(words, one)) for one in messages])
        return sample(model, words, messages, **given)

    monkeypatch.setattr("rlhf.sampling.collect.sample", watched)
    monkeypatch.setattr("rlhf.training.choose_sft.sample", watched)
    words = directories.load_tokenizer(world.base)
    lengths = sorted(
        {
            len(encode_prompt(words, record["messages"]))
            for name in ("rm", "valid")
            for record in load.prompts(world.curated, name)
        }
    )
    longest = lengths[len(lengths) // 2]
    writers = [{"version": "base/1", "path": str(world.base), "share": 1.0}]
    for stage, inputs in (
        ("sample", {"curated": world.curated, "writers": writers, "round": 1}),
        ("choose_sft", {"sft": world.sft, "reward_model": world.reward_model, "curated": world.curated}),
    ):
        world.run(stage, tmp_path / stage, inputs, base={"context": longest + 8})
    assert len(asked) == 3 and all(asked)
    assert max(lengths) > longest >= max(length for batch in asked for length in batch)


def test_the_epoch_that_the_reward_model_likes_is_chosen(world, tmp_path):
    figures = {}
    for name, order in (("as", (1, 2)), ("swapped", (2, 1))):
        for place, epoch in enumerate(order, 1):
            shutil.copytree(world.sft / f"epoch-{epoch}", tmp_path / name / f"epoch-{place}")
        inputs = {"sft": tmp_path / name, "reward_model": world.reward_model, "curated": world.curated}
        figures[name] = world.run("choose_sft", tmp_path / f"{name}-out", inputs)
    assert figures["as"]["scores"] == figures["swapped"]["scores"][::-1]
    model, words = directories.load_policy(world.sft / "epoch-1")
    rm = reward.load_reward_model(world.reward_model)
    drawn = seeds.shuffled(load.validation_prompts(world.curated, "choice"), 0, "choice of SFT")
    asked = [record["messages"] for record in drawn] * 2
    answers = sample(model, words, asked, max_new_tokens=8, temperature=1.0, seed=0)
    read = reward.score(rm, asked, [a.text for a in answers], [a.ended for a in answers])
    assert figures["as"]["scores"][0] == pytest.approx(sum(read) / len(read), abs=1e-5), (
        "as labelers read them"
    )
    best = figures["as"]["chosen"]
    assert figures["as"]["scores"][best - 1] == max(figures["as"]["scores"])
    assert figures["swapped"]["chosen"] == 3 - best
    chosen, expected = weights(tmp_path / "as-out/model"), weights(world.sft / f"epoch-{best}")
    assert all(torch.equal(chosen[name], value) for name, value in expected.items())


# --- several stages alike


@pytest.mark.parametrize("stage", ["ppo", "reward_model"])
def test_bfloat16_trains_masters_in_float32(world, tmp_path, monkeypatch, stage):
    given = world.for_ppo if stage == "ppo" else world.for_reward_model
    computed, forward, gap = set(), LlamaMLP.forward, packed.packing_gap

    def seen(self, hidden):
        computed.add((hidden.dtype, self.gate_proj.weight.dtype))
        return forward(self, hidden)

    def probed(model):
        """A model is probed as it was opened, in float32, before it is rounded."""
        before = set(computed)
        found = gap(model)
        computed.intersection_update(before)
        return found

    monkeypatch.setattr(LlamaMLP, "forward", seen)
    monkeypatch.setattr(packed, "packing_gap", probed)
    world.run(stage, tmp_path, given, **{stage: {"dtype": "bfloat16"}})
    assert computed == {(torch.bfloat16, torch.bfloat16)}, "bfloat16 is really on"
    start = weights(world.rl_start if stage == "ppo" else world.base)
    end = weights(tmp_path / "model")
    moved = [name for name, value in start.items() if name in end and not torch.equal(end[name], value)]
    assert moved
    assert all(value.dtype == torch.float32 for value in end.values())
    assert any(not torch.equal(end[name], end[name].bfloat16().float()) for name in moved)


@pytest.mark.parametrize("stage", ["sft", "reward_model", "ppo"])
def test_forgotten_activations_change_no_loss(world, tmp_path, monkeypatch, stage):
    """compute.activation_checkpointing: layers run again in the backward pass, and the figures are the same."""
    inputs = {
        "sft": {"base": world.base, "curated": world.curated},
        "reward_model": world.for_reward_model,
        "ppo": world.for_ppo,
    }[stage]
    passes = Counter()
    forward = LlamaMLP.forward

    def counted(self, *args, **kwargs):
        passes[name] += torch.is_grad_enabled()
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    losses = {}
    for name in ("kept", "forgotten"):
        world.run(stage, tmp_path / name, inputs, compute={"activation_checkpointing": name == "forgotten"})
        losses[name] = [
            value
            for line in world.metrics(tmp_path / name)
            for key, value in line.items()
            if key.endswith("loss")
        ]
    assert passes["forgotten"] >= 1.5 * passes["kept"] > 0
    assert losses["kept"] and losses["forgotten"] == pytest.approx(losses["kept"], abs=1e-5)
