"""The stage on tiny models: what must hold whatever they say."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rlhf.chat import encode_prompt
from rlhf.data import load
from rlhf.evaluation import evaluate as module
from rlhf.evaluation.answers import Answers, Judge, Setting
from rlhf.evaluation.describe import CONTROLS, accuracy_by_utility
from rlhf.evaluation.evaluate import evaluate, headline, run, samples
from rlhf.evaluation.few_shot import plain
from rlhf.jobs import Job
from rlhf.labeling.utility import Utility
from rlhf.models import directories, tokenizer
from rlhf.models.reward import load_reward_model
from rlhf.params import EvaluationParams, Params, validate

PROMPTS = [
    {
        "id": f"p{at}",
        "user_id": f"u{at // 2}",
        "messages": [{"role": "user", "content": f"Tell me about the {name}, ask jane.doe@corp.org."}],
    }
    for at, name in enumerate(["red fox", "grey bear", "small owl", "river", "forest", "mice"])
]
DEMONSTRATIONS = [
    {
        "id": f"d{at}",
        "messages": [{"role": "user", "content": f"Tell me\nabout {name}."}],
        "completion": f"{name} eats.",
    }
    for at, name in enumerate(["owl", "fox", "bear"])
]
FEW = EvaluationParams(prompts=4, control_prompts=3, few_shot=1, max_new_tokens=6, best_of_n=3, bootstrap=100)


@pytest.fixture(scope="module")
def judge(models, texts):
    return Judge(Utility.fit(texts), load_reward_model(models["reward_model"]))


@pytest.fixture(scope="module")
def setting(texts):
    return Setting(
        PROMPTS,
        texts,
        context=128,
        temperature=1.0,
        seed=0,
        params=FEW,
        demonstrations=DEMONSTRATIONS,
        noise=0.5,
    )


@pytest.fixture(scope="module")
def found(models, judge, setting):
    policies = {"base": models["base"], "sft": models["sft"], "policy": models["rl_start"]}
    return evaluate(policies, models["rl_start"], judge, setting)


def test_all_controls_are_there_and_answer_the_same_prompts(found, setting):
    figures, answers = found
    assert list(figures["policies"]) == [
        "base",
        "base_few_shot",
        "sft",
        "sft_control",
        "sft_low_temperature",
        "best_of_n",
        "rl_start",
        "policy",
    ]
    few = {name for name, answer in answers.items() if len(answer.completions) == FEW.control_prompts}
    assert few == {"base", "base_few_shot", "rl_start"}
    assert {len(answers[name].completions) for name in answers.keys() - few} == {len(PROMPTS)}
    assert figures["policies"]["sft_control"]["win_rate_vs_sft"] != [0.5, 0.5, 0.5], (
        "the control is another draw"
    )
    assert figures["policies"]["base"]["prompts"] == 3 and figures["users"] == 3


def test_every_judge_says_and_the_parts_of_a_gain_add_up(found):
    figures, _ = found
    for name in figures["policies"].keys() - {"sft"}:
        one = figures["policies"][name]
        for judge in ("win_rate_vs_sft", "win_rate_vs_sft_by_labelers", "win_rate_vs_sft_by_rm"):
            low, mid, high = one[judge]
            assert 0 <= low <= mid <= high <= 1, (name, judge)
        assert 0 < one["length_controlled"][1] < 1 > one["length_controlled_by_labelers"][1] > 0
        assert sum(one["gain_by_feature"].values()) == pytest.approx(one["gain"][1])
        assert one["gain"][0] <= one["gain"][1] <= one["gain"][2]


def test_base_is_asked_in_plain_text_after_demonstrations(found, models, setting):
    figures, answers = found
    assert figures["few_shot"] == 1.0
    words = directories.load_tokenizer(models["base"])
    asked = [words.decode(completion.prompt_ids) for completion in answers["base_few_shot"].completions]
    for text, prompt in zip(asked, PROMPTS, strict=False):
        example, _, own = text.partition("\n\n")
        assert example.startswith("Question: Tell me about ") and example.endswith(" eats.")
        assert own == f"Question: {prompt['messages'][0]['content']}\nAnswer:"
    assert not any("\n" in text for text in answers["base_few_shot"].texts)


def test_a_policy_that_never_moved_has_no_kl_and_no_tax_over_the_model_it_is(found):
    policies = found[0]["policies"]
    assert policies["policy"]["kl"] == pytest.approx([0, 0, 0], abs=1e-5)
    assert policies["policy"]["pretraining_loss"] == pytest.approx(policies["sft"]["pretraining_loss"])
    assert policies["base"]["alignment_tax"] == 0.0


def test_best_of_n_is_the_best_by_the_reward_model(found):
    _, answers = found
    assert (answers["best_of_n"].rewards >= answers["sft_control"].rewards).all()


@pytest.mark.parametrize("by", ["", "_by_labelers"])
def test_paired_difference_is_the_difference_of_the_two_win_rates(found, by):
    policies = found[0]["policies"]
    rates = [policies[name]["win_rate_vs_sft" + by][1] for name in ("policy", "sft_low_temperature")]
    assert policies["policy"]["minus_low_temperature" + by][1] == pytest.approx(rates[0] - rates[1])


def test_the_same_seed_gives_the_same_figures(found, models, judge, setting):
    policies = {"base": models["base"], "sft": models["sft"], "policy": models["rl_start"]}
    assert evaluate(policies, models["rl_start"], judge, setting)[0] == found[0]


def test_a_champion_is_compared_with_the_policy(models, judge, setting):
    policies = {"sft": models["sft"], "policy": models["sft"], "champion": models["base"]}
    figures, _ = evaluate(policies, models["rl_start"], judge, setting)
    assert len(figures["win_rate_vs_champion"]) == 3
    assert headline(figures)["champion_win_rate"] == figures["win_rate_vs_champion"][1]
    assert "tax" not in headline(figures), "without base there is no tax"


def test_a_champion_of_another_vocabulary_has_no_kl(models, judge, setting, texts, tmp_path):
    """Its token ids mean other words to the RL start, or none at all."""
    model, _ = directories.load_policy(models["sft"])
    other = tokenizer.train(["other words"] * 9, 300, 64)
    model.resize_token_embeddings(len(other))
    directories.save(model, other, tmp_path / "champion")
    policies = {"sft": models["sft"], "policy": models["rl_start"], "champion": tmp_path / "champion"}
    figures, _ = evaluate(policies, models["rl_start"], judge, setting)
    assert "kl" in figures["policies"]["policy"] and "kl" not in figures["policies"]["champion"]


def test_samples_show_no_personal_data(found, setting):
    rows = samples(setting, found[1])
    assert len(rows) == len(PROMPTS)
    assert "jane.doe" not in json.dumps(rows)
    said = copy.deepcopy(found[1])
    said["policy"].completions[0].text = "Ask john.roe@corp.org about it."
    assert "john.roe" not in json.dumps(samples(setting, said)), "nor what a policy writes"


def test_the_reward_model_is_measured_on_answers_of_one_policy(found, setting):
    """Across policies of different quality, a judge that knows the policies alone would get most pairs right."""
    figures, answers = found
    assert figures["reward_model"]["accuracy_by_utility"].keys() == {"sft", "policy"}

    def draw(utility, reward):
        return Answers(answers["sft"].completions, np.outer(utility, [1, 0, 0, 0, 0, 0, 0, 0]) / 3, reward)

    chance = np.random.default_rng(0)
    for quality in (0.0, 5.0):  # of another policy; the reward model sees it and nothing else
        own = [draw(quality + chance.random(6), np.full(6, quality)) for _ in range(3)]
        assert accuracy_by_utility(own, setting) == pytest.approx([0.5] * 3)
    utilities = [chance.random(6) for _ in range(3)]
    assert accuracy_by_utility([draw(u, u) for u in utilities], setting) == pytest.approx([1.0] * 3)
    assert accuracy_by_utility([draw(utilities[0], u) for u in utilities], setting) is None


VALID = [
    {"id": f"v{at}", "user_id": f"w{at}", "messages": [{"role": "user", "content": f"Where is the {word}?"}]}
    for at, word in enumerate(
        ["fox", "owl", "bear", "river", "hill", "sea", "tree", "lake", "mill", "barn", "road", "well"]
    )
]


@pytest.fixture
def curated(texts, tmp_path):
    """Prompts of the test users, and of the validation users those for choices and those for the gate."""
    folder = tmp_path / "curated"
    folder.mkdir()
    for split in ("train", "valid"):
        frame = pl.DataFrame({"id": [str(at) for at in range(len(texts))], "text": texts})
        frame.write_parquet(folder / f"pretraining_{split}.parquet")
    pl.DataFrame(DEMONSTRATIONS).write_parquet(folder / "demonstrations_train.parquet")
    pl.DataFrame(VALID).write_parquet(folder / "prompts_valid.parquet")
    pl.DataFrame([*PROMPTS, LONG]).write_parquet(folder / "prompts_test.parquet")
    return folder


LONG = {"id": "long", "user_id": "u9", "messages": [{"role": "user", "content": "word " * 200}]}


@pytest.fixture
def job(models, curated, tmp_path):
    params: Params = validate(
        {"evaluation": FEW.model_dump(), "base": {"context": 128}, "compute": {"device": "cpu"}}
    )
    policies = {name: str(models[name]) for name in ("base", "sft", "rl_start")} | {
        "policy": str(models["sft"])
    }
    inputs = {"policies": policies, "reward_model": str(models["reward_model"]), "curated": str(curated)}
    (tmp_path / "out").mkdir()
    return Job("evaluate", tmp_path / "out", inputs, params)


def evaluated(job):
    return json.loads(Path(job.out, "evaluation.json").read_text(encoding="utf-8"))


def test_the_stage_writes_its_products_and_asks_as_the_policy_was_trained(job, monkeypatch):
    result = run(job)
    evaluation = evaluated(job)
    asked = len(Path(job.out, "samples.jsonl").read_text().splitlines())
    assert evaluation["prompts"] == FEW.prompts == asked
    assert {
        "win_rate_low",
        "win_rate_by_labelers_low",
        "kl",
        "tax",
        "minus_low_temperature_low",
    } <= result.keys()
    seen = []
    monkeypatch.setattr(module, "evaluate", lambda *given, **_: seen.append(given[3]) or evaluate(*given))
    ppo = job.params.ppo.model_copy(update={"temperature": 0.6, "stop": ("END",)})
    run(dataclasses.replace(job, params=job.params.model_copy(update={"ppo": ppo})))
    assert (seen[0].temperature, seen[0].stop) == (0.6, ("END",)), (
        "answers as the policy was trained to give them"
    )


def test_the_round_reads_validation_prompts_that_choose_nothing_and_a_release_the_test_users(job, curated):
    run(job)
    rows = [json.loads(line) for line in Path(job.out, "samples.jsonl").read_text().splitlines()]
    gating = {record["id"] for record in load.validation_prompts(curated, "gate")}
    choosing = {record["id"] for record in load.validation_prompts(curated, "choice")}
    assert gating | choosing == {f"v{at}" for at in range(12)} and not gating & choosing
    assert {row["prompt_id"] for row in rows} <= gating and evaluated(job)["split"] == "valid"
    run(dataclasses.replace(job, inputs=job.inputs | {"split": "test"}))
    rows = [json.loads(line) for line in Path(job.out, "samples.jsonl").read_text().splitlines()]
    assert {row["prompt_id"] for row in rows} <= {prompt["id"] for prompt in PROMPTS}
    assert evaluated(job)["split"] == "test" and evaluated(job)["skipped"] == 1


def test_base_is_not_asked_few_shot_where_no_prompt_has_room_for_it(job, models, monkeypatch):
    def wordy(words):
        form = plain(words)
        form.chat_template = "A question of a person who wants to know: " * 3 + form.chat_template
        return form

    monkeypatch.setattr(module, "plain", wordy)
    words = directories.load_tokenizer(models["base"])
    length = max(len(encode_prompt(words, prompt["messages"])) for prompt in VALID)
    context = job.params.base.model_copy(update={"context": length + FEW.max_new_tokens})
    run(dataclasses.replace(job, params=job.params.model_copy(update={"base": context})))
    assert evaluated(job)["policies"].keys() == {*CONTROLS, "policy"} - {"base_few_shot"}


def test_the_labelers_of_the_round_judge_with_the_noise_that_they_ranked_with(job):
    run(dataclasses.replace(job, inputs=job.inputs | {"noise_scale": 0.25}))
    assert evaluated(job)["noise_scale"] == 0.25
    run(job)
    assert evaluated(job)["noise_scale"] not in (0.25, None), (
        "where people ranked: calibrated on SFT's answers"
    )


@pytest.mark.parametrize(("split", "share"), [("valid", r"data\.valid_share"), ("test", r"data\.test_share")])
def test_a_split_without_prompts_is_said(job, curated, split, share):
    pl.DataFrame([LONG]).write_parquet(curated / f"prompts_{split}.parquet")
    with pytest.raises(ValueError, match=share):
        run(dataclasses.replace(job, inputs=job.inputs | {"split": split}))
