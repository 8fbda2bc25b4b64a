"""Every stage that trains or samples, run whole on a world of sixteen words (conftest.py)."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from rlhf import distributed
from rlhf.chat import encode_completion, encode_prompt
from rlhf.data import load
from rlhf.evaluation.alignment_tax import pretraining_loss
from rlhf.models import directories, packed, reward, tokenizer
from rlhf.objectives.ranking import ranking_loss
from rlhf.params import ComputeParams
from rlhf.records import read_jsonl, write_jsonl
from rlhf.sampling.sampler import TorchSampler
from rlhf.training import ppo_trainer, reward_model, rl_start, rollouts, sft
from rlhf.training.engine import Engine


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


# --- the reward model


def test_the_reward_model_learns_what_labelers_like(world):
    rm = reward.load_reward_model(world.reward_model)
    assert world.figures["reward_model"]["accuracy"] > 0.9
    question = [{"role": "user", "content": "red blue"}]
    plain, liked = reward.score(rm, [question] * 2, ["red tree bird", "red yes yes"], [True, True])
    assert liked > plain + 1.0


def test_demonstrations_score_zero_on_average(world):
    rm = reward.load_reward_model(world.reward_model)
    chosen = load.demonstrations(world.curated, "train")
    scores = reward.score(
        rm, [d["messages"] for d in chosen], [d["completion"] for d in chosen], [True] * len(chosen)
    )
    assert sum(scores) / len(scores) == pytest.approx(0.0, abs=1e-5)
    assert rm.bias == pytest.approx(world.figures["reward_model"]["bias"])


def test_the_loss_of_a_batch_is_the_mean_over_its_prompts(world):
    rm = reward.from_policy(world.base)
    batch = [
        reward_model.Ranked([5, 6], [[20, 2], [21, 22, 2], [23, 2]], [1, 2, 3]),
        reward_model.Ranked([7, 8, 9], [[24, 2], [25, 2], [26, 2], [27, 2]], [2, 1, 2, 4]),
    ]
    alone = [
        ranking_loss(
            torch.tensor(reward.score_rows(rm, [r.prompt] * len(r.ranks), r.responses)), torch.tensor(r.ranks)
        )
        for r in batch
    ]
    scorer = reward_model.Scorer(rm.model).eval()
    optimizer = torch.optim.SGD(scorer.parameters(), lr=0.0)
    engine = Engine(scorer, optimizer, ComputeParams(device="cpu"), max_grad_norm=1.0)
    found = reward_model.train_step(engine, batch, rm.tokenizer.pad_token_id)
    assert found["loss"] == pytest.approx(float(sum(alone) / 2), abs=1e-6)


def test_ties_throughout_teach_nothing(world, tmp_path):
    rows = list(read_jsonl(world.comparisons))
    write_jsonl(tmp_path / "ties.jsonl", [row | {"ranks": [1, 1, 1, 1]} for row in rows[:9]])
    write_jsonl(tmp_path / "mixed.jsonl", [row | {"ranks": [1, 1, 1, 2]} for row in rows[:9]])
    inputs = world.for_reward_model | {"comparisons": [tmp_path / "ties.jsonl"]}
    with pytest.raises(ValueError, match="no comparison to train the reward model on"):
        world.run("reward_model", tmp_path, inputs)
    words = directories.load_tokenizer(world.base)
    both = inputs | {"comparisons": [tmp_path / "ties.jsonl", tmp_path / "mixed.jsonl"]}
    train, valid = reward_model.load_comparisons(world.job("reward_model", tmp_path, both), words, 64)
    assert len(train) + len(valid) == 9


# --- SFT chosen


def test_the_epoch_that_the_reward_model_likes_is_chosen(world, tmp_path):
    figures = {}
    for name, order in (("as", (1, 2)), ("swapped", (2, 1))):
        for place, epoch in enumerate(order, 1):
            shutil.copytree(world.sft / f"epoch-{epoch}", tmp_path / name / f"epoch-{place}")
        inputs = {"sft": tmp_path / name, "reward_model": world.reward_model, "curated": world.curated}
        figures[name] = world.run("choose_sft", tmp_path / f"{name}-out", inputs)
    assert figures["as"]["scores"] == figures["swapped"]["scores"][::-1]
    best = figures["as"]["chosen"]
    assert figures["as"]["scores"][best - 1] == max(figures["as"]["scores"])
    assert figures["swapped"]["chosen"] == 3 - best
    chosen, expected = weights(tmp_path / "as-out/model"), weights(world.sft / f"epoch-{best}")
    assert all(torch.equal(chosen[name], value) for name, value in expected.items())


# --- PPO

LONGER = {"episodes": 480, "batch": 32, "minibatch": 16, "lr": 2e-3, "value_lr": 2e-3, "kl_coef": 0.02}


@pytest.fixture(scope="module")
def policies(world, tmp_path_factory):
    """PPO for fifteen iterations with and without the pretraining gradient."""
    folder = tmp_path_factory.mktemp("ppo")
    for name, ptx_coef in (("ppo", 0.0), ("ppo_ptx", 1.0)):
        world.run("ppo", folder / name, world.for_ppo, ppo=LONGER | {"ptx_coef": ptx_coef})
    return folder


@pytest.fixture(scope="module")
def one_iteration(world, tmp_path_factory):
    """One iteration, twice with the same seed."""
    folder = tmp_path_factory.mktemp("once")
    for name in ("first", "again"):
        world.run("ppo", folder / name, world.for_ppo, ppo={"episodes": 16, "ptx_coef": 0.5})
    return folder


@pytest.mark.parametrize("name", ["ppo", "ppo_ptx"])
def test_ppo_raises_the_reward(world, policies, name):
    lines = world.metrics(policies / name)
    rewards = [line["reward"] for line in lines]
    sd = lines[0]["reward_sd"]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.5 * sd
    assert lines[-1]["kl"] > 0.0
    assert all(line["first_ratio_error"] < 1e-5 for line in lines)
    assert all(abs(line["first_kl_to_behaviour"]) < 1e-6 for line in lines)


def test_the_pretraining_gradient_keeps_the_pretraining_loss(world, policies):
    texts = load.pretraining_texts(world.curated, "valid")
    losses = [
        pretraining_loss(*directories.load_policy(policies / name / "model"), texts, 32)
        for name in ("ppo_ptx", "ppo")
    ]
    assert losses[0] < losses[1]


def test_the_same_seed_gives_the_same_bytes(one_iteration):
    for file in ("model/model.safetensors", "model/ema/model.safetensors", "rollouts.jsonl"):
        assert (one_iteration / "first" / file).read_bytes() == (one_iteration / "again" / file).read_bytes()


def test_the_average_of_the_weights_is_saved_beside_them(world, one_iteration):
    start, end, average = (
        weights(path)
        for path in (
            world.rl_start,
            one_iteration / "first/model",
            one_iteration / "first/model/ema",
        )
    )
    assert any(not torch.equal(end[name], value) for name, value in start.items())
    for name, value in start.items():
        assert torch.allclose(average[name], 0.992 * value + 0.008 * end[name], atol=1e-6)


def test_the_value_model_starts_as_the_reward_model(world, one_iteration):
    rm = reward.load_reward_model(world.reward_model)
    prompts = {r["messages"][0]["content"]: r["messages"] for r in load.prompts(world.curated, "ppo")}
    for episode in read_jsonl(one_iteration / "first/rollouts.jsonl"):
        ids = encode_prompt(rm.tokenizer, prompts[episode["prompt"].split("\n")[1]])
        row = torch.tensor([ids])
        with torch.no_grad():
            expected = reward.token_scores(rm.model, row, torch.ones_like(row, dtype=torch.bool))[0, -1]
        assert episode["value"] == pytest.approx(float(expected), abs=1e-4)


def test_the_kl_that_is_logged_is_the_kl_that_is_charged(world):
    """With λ = 1 the first return of an episode is all of its rewards: its score less kl_coef times its KL."""
    policy, _ = directories.load_policy(world.sft / "epoch-2")
    reference, words = directories.load_policy(world.rl_start)
    rm = reward.load_reward_model(world.reward_model)
    params = world.params(
        ppo={"lam": 1.0, "kl_coef": 0.5, "whiten_advantages": False, "missing_eos_penalty": 1.0}
    ).ppo
    prompts = [encode_prompt(words, record["messages"]) for record in load.prompts(world.curated, "ppo")]
    found, completions = rollouts.collect(
        TorchSampler(words, params),
        policy,
        rm.model,
        reference,
        lambda asked, answers: reward.score_rows(rm, asked, answers),
        words,
        prompts,
        params,
        kl_coef=0.5,
        scale=2.0,
        seed=0,
    )
    first = [int(row.nonzero()[0]) for row in found.batch.is_response]
    totals = found.returns[range(len(first)), first]
    kl = ppo_trainer.describe(found)["kl"]
    assert abs(kl) > 1e-3
    assert float((found.scores - totals).mean()) == pytest.approx(0.5 * kl, abs=1e-5)
    alone = reward.score_rows(rm, prompts, [c.ids for c in completions])
    penalties = [0.0 if c.ended else 1.0 for c in completions]
    expected = [score / 2.0 - penalty for score, penalty in zip(alone, penalties, strict=True)]
    assert found.scores.tolist() == pytest.approx(expected, abs=1e-5)


class Elsewhere:
    """An engine with a copy of the weights of its own, and log-probabilities that are a little off."""

    is_exact = False

    def __init__(self, tokenizer, params, error=0.01):
        self.inner, self.error, self.copies = TorchSampler(tokenizer, params), error, []

    def take_weights(self, policy):
        self.copies.append(copy.deepcopy(policy))
        self.inner.take_weights(self.copies[-1])

    def sample(self, prompts, *, seed):
        found = self.inner.sample(prompts, seed=seed)
        for completion in found:
            completion.logprobs += self.error
        return found


def test_an_engine_that_runs_elsewhere_takes_the_weights_and_is_checked(world):
    """Its log-probabilities are logged and not used: the update is the one of our own engine."""
    figures, weights_after = {}, {}
    for name in ("own", "elsewhere"):
        params = world.params(ppo={"kl_coef": 0.1, "batch": 8, "minibatch": 4, "ptx_coef": 0.0})
        policy, words = directories.load_policy(world.rl_start)
        reference, _ = directories.load_policy(world.rl_start)
        rm, value = (reward.load_reward_model(world.reward_model) for _ in range(2))
        for model in (policy, reference, rm.model, value.model):
            model.eval()
        sampler = Elsewhere(words, params.ppo) if name == "elsewhere" else None
        trainer = ppo_trainer.PPOTrainer(
            policy,
            value.model,
            reference,
            partial(reward.score_rows, rm),
            words,
            params.ppo,
            params.compute,
            sampler=sampler,
        )
        asked = [
            encode_prompt(words, record["messages"]) for record in load.prompts(world.curated, "ppo")[:8]
        ]
        figures[name] = [trainer.iterate(iteration, asked)[0] for iteration in range(2)]
        weights_after[name] = policy.state_dict()
        if sampler is not None:
            before, after = (c.state_dict()["model.norm.weight"] for c in sampler.copies)
            assert not torch.equal(before, after)  # new weights before each iteration
    assert [f["sampler_error"] for f in figures["own"]] == [0.0, 0.0]
    assert [f["sampler_error"] for f in figures["elsewhere"]] == pytest.approx([0.01, 0.01], abs=1e-4)
    assert all(f["first_ratio_error"] < 1e-5 for f in figures["elsewhere"])
    for name, value in weights_after["own"].items():
        assert torch.allclose(weights_after["elsewhere"][name], value, atol=1e-4)


def test_a_reward_model_with_another_vocabulary_is_refused(world, tmp_path):
    model, _ = directories.load_policy(world.base)
    other = directories.save(model, tokenizer.train(["other words"] * 9, 300, 64), tmp_path / "other")
    rm = reward.from_policy(other)
    directories.save(rm.model, rm.tokenizer, tmp_path / "rm")
    with pytest.raises(ValueError, match="other tokens than the policy"):
        world.run("ppo", tmp_path / "out", world.for_ppo | {"reward_model": tmp_path / "rm"})


def test_a_batch_that_the_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"ppo\.minibatch is 8; 3 processes"):
        distributed.share(8, "ppo.minibatch")


@pytest.mark.parametrize("stage", ["ppo", "reward_model"])
def test_bfloat16_trains_masters_in_float32(world, tmp_path, stage):
    given = world.for_ppo if stage == "ppo" else world.for_reward_model
    world.run(stage, tmp_path, given, **{stage: {"dtype": "bfloat16"}})
    start = weights(world.rl_start if stage == "ppo" else world.base)
    end = weights(tmp_path / "model")
    moved = [name for name, value in start.items() if name in end and not torch.equal(end[name], value)]
    assert moved
    assert all(value.dtype == torch.float32 for value in end.values())
    assert any(not torch.equal(end[name], end[name].bfloat16().float()) for name in moved)
    if stage == "ppo":
        lines = world.metrics(tmp_path)
        assert 1e-6 < lines[0]["first_ratio_error"] < 0.3, "bfloat16 is really on"


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
