"""Stage `ppo` and its trainer, run whole on a world of sixteen words (conftest.py)."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from rlhf import distributed
from rlhf.chat import encode_prompt
from rlhf.data import load
from rlhf.evaluation.alignment_tax import pretraining_loss
from rlhf.models import directories, reward, tokenizer
from rlhf.params import SamplingParams
from rlhf.records import read_jsonl
from rlhf.sampling.sampler import TorchSampler
from rlhf.training import ppo, ppo_trainer, rollouts


def weights(directory):
    return load_file(directory / "model.safetensors")


def trainer_of(world, params, rm, value, **settings):
    """A trainer from the world's RL start towards a reward model."""
    (policy, words), (reference, _) = (directories.load_policy(world.rl_start) for _ in range(2))
    return ppo_trainer.PPOTrainer(
        policy.eval(),
        value.model.eval(),
        reference.eval(),
        partial(reward.score_rows, rm),
        words,
        params.ppo,
        params.compute,
        **settings,
    )


def changed(before, model):
    return any(not torch.equal(before[name], value) for name, value in model.state_dict().items())


LONGER = {"episodes": 640, "batch": 32, "minibatch": 16, "lr": 2e-3, "value_lr": 2e-3, "kl_coef": 0.02}


@pytest.fixture(scope="module")
def policies(world, tmp_path_factory):
    """PPO for twenty iterations with and without the pretraining gradient."""
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
    """Its bias included: the reward of a prompt that is not answered yet."""
    rm = reward.load_reward_model(world.reward_model)
    assert abs(rm.bias) > 1e-3
    prompts = {r["messages"][0]["content"]: r["messages"] for r in load.prompts(world.curated, "ppo")}
    for episode in read_jsonl(one_iteration / "first/rollouts.jsonl"):
        ids = encode_prompt(rm.tokenizer, prompts[episode["prompt"].split("\n")[1]])
        row = torch.tensor([ids])
        with torch.no_grad():
            expected = reward.row_scores(rm.model, row, torch.ones_like(row, dtype=torch.bool))[0] + rm.bias
        assert episode["value"] == pytest.approx(float(expected), abs=1e-4)


def test_a_reward_that_is_the_same_for_every_answer_teaches_nothing(world):
    """A reward model that is its bias alone: values begin at the rewards, in the rollout and in the update."""
    params = world.params(ppo={"whiten_advantages": False, "ptx_coef": 0.0, "batch": 8, "minibatch": 4})
    rm, value = (reward.load_reward_model(world.reward_model) for _ in range(2))
    for model in (rm.model, value.model):
        model.config.reward_bias = -3.0
        with torch.no_grad():
            model.score.weight.zero_()
    trainer = trainer_of(world, params, rm, value, scale=2.0)
    prompts = [
        encode_prompt(trainer.tokenizer, record["messages"])
        for record in load.prompts(world.curated, "ppo")[:8]
    ]
    figures, found, _ = trainer.iterate(0, prompts)
    values = found.values[found.batch.is_response]
    torch.testing.assert_close(values, torch.full_like(values, -1.5))
    assert not bool(found.values[~found.batch.is_response].any())
    assert float(found.advantages.abs().max()) < 1e-4
    assert figures["value_loss"] < 1e-8


def test_the_value_model_learns_alone_at_first_where_asked_to(world):
    """The policy's warm-up begins after it: from one tenth of its rate."""
    params = world.params(ppo={"ptx_coef": 0.0, "batch": 8, "minibatch": 4, "value_warmup": 1, "warmup": 5})
    rm, value = (reward.load_reward_model(world.reward_model) for _ in range(2))
    trainer = trainer_of(world, params, rm, value)
    prompts = [
        encode_prompt(trainer.tokenizer, record["messages"])
        for record in load.prompts(world.curated, "ppo")[:8]
    ]
    policy, critic = (copy.deepcopy(model.state_dict()) for model in (trainer.policy, trainer.value))
    trainer.iterate(0, prompts)
    assert changed(critic, trainer.value) and not changed(policy, trainer.policy)
    trainer.iterate(1, prompts)
    assert changed(policy, trainer.policy)
    rates = [ppo_trainer.policy_rate(at, params.ppo) for at in range(4)]
    assert rates == pytest.approx([0.0, 0.1, 0.28, 0.46])


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
        sampling=SamplingParams(),
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

    def sample(self, prompts, *, seed, first=0):
        found = self.inner.sample(prompts, seed=seed, first=first)
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
            sampling=SamplingParams(max_gap=0.02),
        )
        asked = [
            encode_prompt(words, record["messages"]) for record in load.prompts(world.curated, "ppo")[:8]
        ]
        figures[name] = [trainer.iterate(iteration, asked)[0] for iteration in range(2)]
        weights_after[name] = policy.state_dict()
        if sampler is not None:
            before, after = (c.state_dict()["model.norm.weight"] for c in sampler.copies)
            assert not torch.equal(before, after)  # new weights before each iteration
    assert all(f["sampler_gap"] < 1e-5 for f in figures["own"])
    for name in ("sampler_gap", "sampler_gap_largest", "sampler_drift"):
        assert [f[name] for f in figures["elsewhere"]] == pytest.approx([0.01, 0.01], abs=1e-4)
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


def test_a_champion_of_another_vocabulary_is_refused(world, tmp_path):
    model, _ = directories.load_policy(world.base)
    other = directories.save(model, tokenizer.train(["other words"] * 9, 300, 64), tmp_path / "other")
    with pytest.raises(ValueError, match=r"the champion reads other tokens than the RL start"):
        world.run(
            "ppo",
            tmp_path / "out",
            world.for_ppo | {"rl_start": other, "reference": world.for_ppo["rl_start"]},
        )


def test_a_stop_string_that_no_text_can_hold_is_refused(world, tmp_path):
    with pytest.raises(ValueError, match=r"ppo.stop holds the special token '<\|im_start\|>'"):
        world.run("ppo", tmp_path / "out", world.for_ppo, ppo={"stop": ["END", "x<|im_start|>"]})


def test_the_reward_reads_what_labelers_read(world):
    """Text: special tokens inside an answer are not seen, nor is a stop string and what follows it; EOS where it ended."""
    rm = reward.load_reward_model(world.reward_model)
    words, prompt = rm.tokenizer, [5, 6, 7]
    red, both = (words(text, add_special_tokens=False)["input_ids"] for text in ("red", "red blue"))
    eos, bos = words.eos_token_id, words.bos_token_id
    assert bos != eos
    answers = [[*both[:1], bos, *both[1:], eos], [*both, eos], both]
    seen = ppo.as_labelers_read(rm, ())([prompt] * 3, answers)
    alone = reward.score_rows(rm, [prompt] * 3, [answers[0], [*both, eos], both])
    assert seen == pytest.approx([alone[1], alone[1], alone[2]], abs=1e-6)
    assert alone[0] != pytest.approx(alone[1], abs=1e-4)
    stopped = ppo.as_labelers_read(rm, (" blue",))([prompt], [both])
    assert stopped == pytest.approx(reward.score_rows(rm, [prompt], [[*red, eos]]), abs=1e-6)


def test_prompts_that_leave_no_room_for_an_answer_are_left_out(world, tmp_path):
    params = world.params()
    lengths = {
        len(encode_prompt(directories.load_tokenizer(world.base), record["messages"]))
        for record in load.prompts(world.curated, "ppo")
    }
    shortest = min(lengths)
    assert len(lengths) > 1
    job = world.job("ppo", tmp_path, world.for_ppo, base={"context": shortest + params.ppo.max_new_tokens})
    tokenizer = directories.load_tokenizer(world.base)
    assert set(map(len, ppo.prompt_queue(job, tokenizer, params.ppo))) == {shortest}
    job = world.job(
        "ppo", tmp_path, world.for_ppo, base={"context": shortest + params.ppo.max_new_tokens - 1}
    )
    with pytest.raises(ValueError, match="no prompt leaves room for 8 new tokens"):
        ppo.prompt_queue(job, tokenizer, params.ppo)


def test_a_batch_that_the_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"ppo\.minibatch is 8; 3 processes"):
        distributed.share(8, "ppo.minibatch")
