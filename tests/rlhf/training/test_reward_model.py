"""Stage `reward_model`, run whole on a world of sixteen words (conftest.py)."""

from __future__ import annotations

import copy
from datetime import date

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
)

from rlhf.chat import encode_completion, encode_prompt
from rlhf.data import load
from rlhf.models import directories, importing, reward, tokenizer
from rlhf.models.rows import pad
from rlhf.objectives.ranking import ranking_loss
from rlhf.params import ComputeParams
from rlhf.records import read_jsonl, write_jsonl
from rlhf.training import reward_model
from rlhf.training.engine import Engine


def weights(directory):
    return load_file(directory / "model.safetensors")


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


@pytest.mark.parametrize("at_once", [2048, 1])
def test_the_loss_of_a_batch_is_the_mean_over_its_prompts(world, monkeypatch, at_once):
    """However many of them go through at once, and so is the gradient."""
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
    optimizer = torch.optim.SGD(scorer.parameters(), lr=1.0)
    engine = Engine(scorer, optimizer, ComputeParams(device="cpu"), max_grad_norm=1e9)
    expected = copy.deepcopy(rm.model)
    losses = [
        ranking_loss(reward.row_scores(expected, rows.ids, rows.is_real), torch.tensor(r.ranks))
        for r in batch
        for rows in [pad([r.prompt] * len(r.ranks), r.responses, rm.tokenizer.pad_token_id)]
    ]
    (sum(losses) / 2).backward()
    monkeypatch.setattr(reward_model, "tokens_at_once", lambda device: at_once)
    found = reward_model.train_step(engine, batch, rm.tokenizer.pad_token_id)
    assert found["loss"] == pytest.approx(float(sum(alone) / 2), abs=1e-6)
    for after, before in zip(rm.model.parameters(), expected.parameters(), strict=True):
        if before.grad is not None:
            torch.testing.assert_close(after, before - before.grad, atol=1e-6, rtol=0)


def test_rankings_that_cannot_teach_are_counted_by_reason(world, tmp_path, caplog):
    rows = list(read_jsonl(world.comparisons))[1:5]
    empty = [*rows[1]["completions"][:3], {"text": "", "ended": False}]
    long = [*rows[1]["completions"][:3], {"text": "red " * 90, "ended": True}]
    kinds = [
        rows[0] | {"ranks": [1, 2, 3, 3]},
        rows[1] | {"completions": empty, "ranks": [2, 1, 3, 3]},
        rows[1] | {"completions": [*empty[:3], {"text": ""}], "ranks": [2, 1, 3, 3]},
        rows[1] | {"completions": long, "ranks": [2, 1, 3, 1]},
        rows[2] | {"messages": [{"role": "user", "content": "red " * 90}]},
        rows[3] | {"ranks": [1, 1, 1, 1]},
    ]
    write_jsonl(tmp_path / "kinds.jsonl", kinds)
    inputs = world.for_reward_model | {"comparisons": [tmp_path / "kinds.jsonl"]}
    words = directories.load_tokenizer(world.base)
    train, valid = reward_model.load_comparisons(world.job("reward_model", tmp_path, inputs), words, 64)
    assert [ranked.ranks for ranked in train + valid] == [[1, 2, 3, 3], [2, 1, 3], [2, 1, 3, 3], [2, 1, 3]]
    assert (train + valid)[2].responses[3] == [words.eos_token_id], (
        "an empty answer that ended is scored by its end"
    )
    assert [record.getMessage() for record in caplog.records] == [
        "1 completions are empty and did not end, and are left out",
        "5 completions have more than reward_model.max_tokens = 64 tokens with their prompt, and are left out",
        "2 rankings tell no two completions apart, and are left out",
    ]


def test_demonstrations_that_are_too_long_do_not_set_the_bias(world, tmp_path, monkeypatch):
    rm = reward.load_reward_model(world.reward_model)
    every = load.demonstrations(world.curated, "train")
    lengths = [
        len(encode_prompt(rm.tokenizer, d["messages"]))
        + len(encode_completion(rm.tokenizer, d["completion"]))
        for d in every
    ]
    limit = sorted(lengths)[len(lengths) // 2]
    job = world.job("reward_model", tmp_path, world.for_reward_model, reward_model={"max_tokens": limit})
    reward_model.set_bias(rm, job)
    short = [d for d, length in zip(every, lengths, strict=True) if length <= limit]
    scores = reward.score(
        rm, [d["messages"] for d in short], [d["completion"] for d in short], [True] * len(short)
    )
    assert 0 < len(short) < len(every) and sum(scores) / len(scores) == pytest.approx(0.0, abs=1e-5)
    job = world.job("reward_model", tmp_path, world.for_reward_model, reward_model={"max_tokens": 16})
    monkeypatch.setattr(reward_model, "demonstrations", lambda *_: [d for d in every if d not in short])
    with pytest.raises(ValueError, match=r"no demonstration has at most reward_model.max_tokens = 16"):
        reward_model.set_bias(rm, job)


def test_a_start_of_the_reward_model_s_own_is_mended_and_read_before_training(world, tmp_path):
    """Another size of the policy's family, as its makers published it: its pad token is its EOS, which an import mends."""
    torch.manual_seed(0)
    words = tokenizer.train(["the river runs past the castle"] * 9, 300, 64)
    words.pad_token = words.eos_token
    shape = {
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": len(words),
    }
    for name, width in (("policy", 16), ("larger", 32)):
        LlamaForCausalLM(
            LlamaConfig(hidden_size=width, eos_token_id=words.eos_token_id, **shape)
        ).save_pretrained(tmp_path / name)
        words.save_pretrained(tmp_path / name)
    imported = tmp_path / "imported"
    importing.import_model(
        str(tmp_path / "policy"),
        imported,
        key="base.path",
        longest=("base.context", 64),
        today=date(2026, 1, 1),
    )
    inputs = world.for_reward_model | {"base": tmp_path / "larger", "policy": imported}
    world.run("reward_model", tmp_path / "out", inputs)
    rm = reward.load_reward_model(tmp_path / "out/model")
    assert rm.model.config.hidden_size == 32
    assert rm.tokenizer.get_vocab() == directories.load_tokenizer(imported).get_vocab()
    with pytest.raises(ValueError, match=r"reward_model.base .*larger reads other tokens than the policy"):
        world.run("reward_model", tmp_path / "other", inputs | {"policy": world.base})
    assert not (tmp_path / "other/model").exists()


def test_rankings_of_a_prompt_are_held_out_together(world):
    rankings = [reward_model.Ranked([n // 3], [[20, 2], [21, 2]], [1, 2]) for n in range(30)]
    kept, rest = reward_model.held_out(rankings, 0.25, seed=0)
    assert len(kept) == 9 and len(rest) == 21
    assert not {tuple(r.prompt) for r in kept} & {tuple(r.prompt) for r in rest}
    rm = reward.load_reward_model(world.reward_model)
    ranked = reward_model.Ranked([5, 6], [[20, 2], [21, 2]], [1, 2])
    twice = reward_model.accuracy_of(rm, [ranked, ranked._replace(ranks=[2, 1])])
    assert (twice["valid_prompts"], twice["accuracy"]) == (1, 0.5)


def test_gradients_of_several_passes_add_up_in_float32():
    module = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = Engine(module, optimizer, ComputeParams(device="cpu"), max_grad_norm=1e9, dtype="bfloat16")
    for gradient in (256.0, 1.0):  # their sum, 257, is no bfloat16
        engine.backward(engine(torch.full((1, 1), gradient, dtype=torch.bfloat16)).sum())
    assert engine.step() == 257.0


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
