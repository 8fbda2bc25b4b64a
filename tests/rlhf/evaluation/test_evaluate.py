"""The stage on tiny models: what must hold whatever they say."""

import copy
import json
from pathlib import Path

import polars as pl
import pytest

from rlhf.evaluation import evaluate as module
from rlhf.evaluation.answers import Judge, Setting
from rlhf.evaluation.evaluate import agreement_with_utility, evaluate, headline, run, samples
from rlhf.jobs import Job
from rlhf.labeling.utility import Utility
from rlhf.models import directories, tokenizer
from rlhf.models.reward import load_reward_model
from rlhf.params import EvaluationParams, Params, validate

PROMPTS = [
    {
        "id": f"p{at}",
        "messages": [{"role": "user", "content": f"Tell me about the {name}, ask jane.doe@corp.org."}],
    }
    for at, name in enumerate(["red fox", "grey bear", "small owl", "river", "forest", "mice"])
]
FEW = EvaluationParams(prompts=4, max_new_tokens=6, best_of_n=3, bootstrap=100)


@pytest.fixture(scope="module")
def judge(models, texts):
    return Judge(Utility.fit(texts), load_reward_model(models["reward_model"]))


@pytest.fixture(scope="module")
def setting(texts):
    return Setting(PROMPTS, texts, context=64, temperature=1.0, seed=0, params=FEW)


@pytest.fixture(scope="module")
def found(models, judge, setting):
    policies = {"base": models["base"], "sft": models["sft"], "policy": models["rl_start"]}
    return evaluate(policies, models["rl_start"], judge, setting)


def test_all_controls_are_there_and_answer_the_same_prompts(found, setting):
    figures, answers = found
    assert list(figures["policies"]) == [
        "base",
        "sft",
        "sft_control",
        "sft_low_temperature",
        "best_of_n",
        "policy",
    ]
    assert {len(answer.completions) for answer in answers.values()} == {len(PROMPTS)}
    assert figures["policies"]["sft_control"]["win_rate_vs_sft"] != [0.5, 0.5, 0.5], (
        "the control is another draw"
    )


def test_a_policy_that_never_moved_has_no_kl_and_no_tax_over_the_model_it_is(found):
    policies = found[0]["policies"]
    assert policies["policy"]["kl"] == pytest.approx([0, 0, 0], abs=1e-5)
    assert policies["policy"]["pretraining_loss"] == pytest.approx(policies["sft"]["pretraining_loss"])
    assert policies["base"]["alignment_tax"] == 0.0


def test_best_of_n_is_the_best_by_the_reward_model(found):
    _, answers = found
    assert (answers["best_of_n"].rewards >= answers["sft_control"].rewards).all()


def test_paired_difference_is_the_difference_of_the_two_win_rates(found):
    policies = found[0]["policies"]
    apart = policies["policy"]["win_rate_vs_sft"][1] - policies["sft_low_temperature"]["win_rate_vs_sft"][1]
    assert policies["policy"]["minus_low_temperature"][1] == pytest.approx(apart)


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


def test_a_reward_model_that_is_the_utility_agrees_with_it(found):
    class Same:
        def __init__(self, answers):
            self.utility = self.rewards = answers.utility

    assert agreement_with_utility({name: Same(answers) for name, answers in found[1].items()}) == 1.0


def test_the_stage_writes_its_products_and_says_what_is_missing(models, texts, tmp_path, monkeypatch):
    curated = tmp_path / "curated"
    curated.mkdir()
    for split in ("train", "valid"):
        frame = pl.DataFrame({"id": [str(at) for at in range(len(texts))], "text": texts})
        frame.write_parquet(curated / f"pretraining_{split}.parquet")
    long = {"id": "long", "messages": [{"role": "user", "content": "word " * 200}]}
    pl.DataFrame([*PROMPTS, long]).write_parquet(curated / "prompts_test.parquet")
    params: Params = validate(
        {"evaluation": FEW.model_dump(), "base": {"context": 96}, "compute": {"device": "cpu"}}
    )
    policies = {name: str(models[name]) for name in ("base", "sft", "rl_start")} | {
        "policy": str(models["sft"])
    }
    inputs = {"policies": policies, "reward_model": str(models["reward_model"]), "curated": str(curated)}
    (tmp_path / "out").mkdir()
    job = Job("evaluate", tmp_path / "out", inputs, params)
    result = run(job)
    evaluation = json.loads(Path(job.out, "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["skipped"] == 1
    assert (
        evaluation["prompts"] == FEW.prompts == len(Path(job.out, "samples.jsonl").read_text().splitlines())
    )
    assert {"win_rate_low", "kl", "tax", "minus_low_temperature_low"} <= result.keys()
    seen = []
    monkeypatch.setattr(module, "evaluate", lambda *given, **_: seen.append(given[3]) or evaluate(*given))
    as_trained = params.model_copy(
        update={"ppo": params.ppo.model_copy(update={"temperature": 0.6, "stop": ("END",)})}
    )
    run(Job("evaluate", tmp_path / "out", inputs, as_trained))
    assert (seen[0].temperature, seen[0].stop) == (0.6, ("END",)), (
        "answers as the policy was trained to give them"
    )
    pl.DataFrame([long]).write_parquet(curated / "prompts_test.parquet")
    with pytest.raises(ValueError, match=r"data\.test_share"):
        run(job)
