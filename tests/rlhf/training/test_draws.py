"""Samples of curated data are drawn by seed, not taken from the front; later rounds draw anew (conftest.py)."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rlhf.data import load
from rlhf.evaluation import evaluate
from rlhf.models import directories, reward
from rlhf.records import read_jsonl
from rlhf.sampling import collect
from rlhf.training import choose_sft, ppo, reward_model, sft
from rlhf.training.epoch_choice import lead, sentence


@pytest.fixture
def seen(monkeypatch):
    """Lets `watch` keep what a function of a module was given, and returns instead of calling it."""

    class Seen(Exception):
        pass

    def watch(module, name, pick):
        kept = []

        def stop(*args, **kwargs):
            kept.append(pick(*args, **kwargs))
            raise Seen

        monkeypatch.setattr(module, name, stop)

        def run(job):
            with pytest.raises(Seen):
                module.run(job)
            return kept.pop()

        return run

    return watch


def seeded(job, seed):
    return replace(job, params=job.params.model_copy(update={"seed": seed}))


def sorted_by_length(world, folder):
    """Curated data whose ids are in the order of their answers' length, as those of several sources are."""
    shutil.copytree(world.curated, folder)
    for name in ("demonstrations_train", "demonstrations_valid"):
        rows = pl.read_parquet(folder / f"{name}.parquet")
        rows.sort(pl.col("completion").str.len_chars()).write_parquet(folder / f"{name}.parquet")
    return folder


def test_the_reward_s_zero_is_that_of_demonstrations_drawn_by_seed(world, tmp_path):
    curated = sorted_by_length(world, tmp_path / "curated")
    rm = reward.load_reward_model(world.reward_model)
    inputs = world.for_reward_model | {"curated": curated}

    def bias(count, seed):
        job = world.job("reward_model", tmp_path, inputs, reward_model={"bias_demonstrations": count})
        return reward_model.set_bias(rm, seeded(job, seed))

    every = load.demonstrations(curated, "train")
    rm.model.config.reward_bias = 0.0
    scores = reward.score(rm, [d["messages"] for d in every], [d["completion"] for d in every], [True] * 24)
    whole, first = -np.mean(scores), -np.mean(scores[:12])
    drawn = [bias(12, seed) for seed in range(12)]
    error = np.std(scores) / 12**0.5 * (1 - 12 / 24) ** 0.5  # of a draw without replacement
    assert bias(100, 0) == pytest.approx(whole, abs=1e-5)
    assert abs(np.mean(drawn) - whole) < 3 * error / 12**0.5 < abs(first - whole)
    assert bias(12, 3) == bias(12, 3)


def test_the_held_out_loss_is_on_demonstrations_drawn_by_seed(world, tmp_path, seen):
    curated = sorted_by_length(world, tmp_path / "curated")
    run = seen(sft, "train_supervised", lambda job, rows, valid, **_: [row["input_ids"] for row in valid])
    words = directories.load_tokenizer(world.base)
    every = [sft.encode(words, d)["input_ids"] for d in load.demonstrations(curated, "valid")]
    inputs = {"base": world.base, "curated": curated}
    parts = [
        run(seeded(world.job("sft", tmp_path, inputs, sft={"valid_demonstrations": 4}), seed))
        for seed in range(6)
    ]
    assert all(len(part) == 4 and all(row in every for row in part) for part in parts)
    assert len({str(part) for part in parts}) > 3 and every[:4] not in parts


def test_the_choice_of_sft_asks_drawn_prompts_several_times_and_others_in_the_next_round(
    world, tmp_path, seen
):
    run = seen(choose_sft, "sample", lambda model, words, asked, *, seed, **_: (asked, seed))
    inputs = {"curated": world.curated, "sft": world.sft, "reward_model": world.reward_model}

    def asked(number):
        return run(world.job("choose_sft", tmp_path, inputs | {"round": number}, sft={"choice_prompts": 3}))

    first, seed = asked(1)
    assert len(first) == 6 and first[:3] == first[3:], "two answers a prompt"
    assert first[:3] != [r["messages"] for r in load.prompts(world.curated, "valid")[:3]]
    second, other = asked(2)
    assert second != first and other != seed and asked(1) == (first, seed)


def test_prompts_that_measure_the_reward_model_and_choose_sft_do_not_gate(world, tmp_path, seen):
    gating = [record["messages"] for record in load.validation_prompts(world.curated, "gate")]
    writers = [{"version": "base/1", "path": str(world.base), "share": 1.0}]
    world.run("sample", tmp_path, {"curated": world.curated, "writers": writers, "round": 1})
    ranked = [row["messages"] for row in read_jsonl(tmp_path / "samples.jsonl") if row["split"] == "valid"]
    run = seen(choose_sft, "sample", lambda model, words, asked, **_: asked)
    chosen = run(
        world.job(
            "choose_sft",
            tmp_path,
            {"curated": world.curated, "sft": world.sft} | {"reward_model": world.reward_model},
        )
    )
    assert ranked and chosen and gating
    assert not any(messages in gating for messages in [*ranked, *chosen])


def test_the_alignment_tax_is_measured_on_documents_drawn_by_seed(world, tmp_path, seen):
    run = seen(evaluate, "evaluate", lambda policies, start, judge, setting, **_: list(setting.texts))
    policies = {"base": world.base, "rl_start": world.base, "sft": world.base}
    inputs = {"curated": world.curated, "reward_model": world.reward_model, "policies": policies}
    texts = run(world.job("evaluate", tmp_path, inputs))
    every = load.pretraining_texts(world.curated, "valid")
    assert texts != every and sorted(texts) == sorted(every)


# --- the rounds after the first


def test_later_rounds_of_ppo_have_prompts_and_numbers_of_their_own(world, tmp_path):
    words = directories.load_tokenizer(world.base)

    def of(number, seed=0):
        job = seeded(world.job("ppo", tmp_path, world.for_ppo | {"round": number}), seed)
        return ppo.prompt_queue(job, words, job.params.ppo)[:32], ppo.prepare(job)[0].seed

    first, second = of(1), of(2)
    plain = world.job("ppo", tmp_path, world.for_ppo)
    assert first == (ppo.prompt_queue(plain, words, plain.params.ppo)[:32], 0)
    assert first[0] != second[0] and sorted(map(str, first[0])) != sorted(map(str, second[0]))
    assert first[1] != second[1] == of(2)[1]
    assert of(2) != of(1, seed=1), "round 2 of one seed is no round of another's"


def test_prompts_leave_room_for_an_answer_in_the_value_model_too(world, tmp_path):
    words = directories.load_tokenizer(world.base)
    job = world.job("ppo", tmp_path, world.for_ppo)
    longest = {
        limit: max(map(len, ppo.prompt_queue(job, words, job.params.ppo, limit))) for limit in (None, 26)
    }
    assert longest[26] + job.params.ppo.max_new_tokens <= 26 < longest[None] + job.params.ppo.max_new_tokens


def test_later_rounds_train_the_reward_model_from_another_head_in_another_order(world, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(reward_model, "fit", lambda job, *args: given.append(args[-1]) or {})
    monkeypatch.setattr(reward_model.shutil, "move", lambda *_: None)
    for number in (1, 2):
        inputs = world.for_reward_model | {"round": number}
        reward_model.run(world.job("reward_model", tmp_path, inputs, reward_model={"held_out_share": 0.25}))
    assert given[0] == 0 and len(set(given)) == 4, "the watcher's is another in every round"


def test_later_rounds_sample_with_writers_and_numbers_of_their_own(world, tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(collect, "writers_of", lambda *args: shares.append(args[-1]) or [[0] * 4] * 10)
    seeds = []
    monkeypatch.setattr(collect, "sample", lambda *args, seed, **_: seeds.append(seed) or [])
    inputs = {"curated": world.curated, "writers": [{"version": "sft/1", "path": world.base, "share": 1.0}]}
    for number in (1, 2):
        with pytest.raises(ValueError, match="zip"):
            world.run("sample", tmp_path, inputs | {"round": number})
    assert shares[0] == 0 and seeds[0] == 31, "as it was"
    assert shares[1] != 0 and seeds[1] not in (31, 62)


# --- the watcher, and the scale of a champion's rewards


def test_the_watcher_starts_from_another_head(world, tmp_path, monkeypatch):
    heads = []
    build = reward.from_policy
    monkeypatch.setattr(
        reward,
        "from_policy",
        lambda path, seed: (
            heads.append(build(path, seed=seed).model.score.weight.clone()) or build(path, seed=seed)
        ),
    )
    inputs = world.for_reward_model
    world.run("reward_model", tmp_path, inputs, reward_model={"held_out_share": 0.5, "epochs": 1})
    assert len(heads) == 2 and not heads[0].equal(heads[1])


def test_rewards_are_scaled_by_the_rl_start_whichever_policy_ppo_starts_from(world, tmp_path):
    inputs = world.for_ppo | {"rl_start": world.sft / "epoch-1", "reference": world.rl_start}
    scales = [
        ppo.reward_scale((found := ppo.prepare(world.job("ppo", tmp_path, each)))[0], found[1])
        for each in (inputs, world.for_ppo)
    ]
    assert scales[0] == scales[1] != 1.0


# --- how sure the choice of an epoch is


def test_an_epoch_s_lead_is_paired_by_prompt():
    draw = np.random.default_rng(0)
    prompts = draw.normal(0, 5.0, 200)
    close = [prompts + draw.normal(0, 1.0, 200), prompts + 0.02 + draw.normal(0, 1.0, 200)]
    clear = [prompts + 0.5 + draw.normal(0, 1.0, 200), prompts - 3.0, prompts + draw.normal(0, 1.0, 200)]
    figures = lead(clear, seed=0)
    low, mean, high = figures["lead"]
    assert figures["over"] == 3 and 0 < low < mean < high < 1 and high - low < 0.5
    assert mean == pytest.approx(np.mean(clear[0] - clear[2]))
    assert sentence({"chosen": 1, **figures}) == f"epoch 1 over epoch 3 by {mean:.2f} ({low:.2f}–{high:.2f})"
    figures = lead(close, seed=0)
    assert figures["lead"][0] < 0 < figures["lead"][2]
    assert sentence({"chosen": 2, **figures}).endswith("): within noise")
    assert lead(clear[:1], seed=0) == {} and sentence({"chosen": 1}) == "epoch 1"
