"""The page: whole without parts, safe whatever was written, and on its own."""

import re
from html.parser import HTMLParser

import pytest

from rlhf.evaluation.figures import smooth
from rlhf.evaluation.report import SHOWN_PROMPTS, figures, page, svg

ATTACK = "</p><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
WIN = [0.55, 0.61, 0.66]


@pytest.fixture(scope="module")
def html(full):
    return page(full)


def policy(**more):
    return {
        "win_rate_vs_sft": WIN,
        "win_rate_vs_sft_by_rm": WIN,
        "relevance": 0.4,
        "pretraining_loss": 4.1,
    } | more


@pytest.fixture(scope="module")
def full():
    answer = {"ended": False, "utility": 1.0, "reward": 0.0}
    return {
        "round": 2,
        "made": "today",
        "policy": ATTACK,
        "evaluation": {
            "prompts": 40,
            "low_temperature": 0.5,
            "best_of_n": 4,
            "win_rate_vs_champion": WIN,
            "policies": {
                "base": policy(alignment_tax=0.0),
                "sft": {"relevance": 0.4, "pretraining_loss": 4.3, "alignment_tax": 0.2},
                "policy": policy(
                    kl=[1.0, 2.0, 3.0], minus_low_temperature=[-0.02, 0.03, 0.08], alignment_tax=0.1
                ),
            },
        },
        "gate": {"passed": False, "reasons": ["fails: " + ATTACK, "holds: KL"]},
        "samples": [
            {
                "prompt_id": "p",
                "messages": [{"role": "user", "content": f"{ATTACK} write to jane.doe@corp.org"}],
                "answers": {
                    "sft": answer | {"text": ATTACK},
                    "policy": answer | {"text": "Fine.", "utility": 2.0},
                },
            }
        ]
        * (SHOWN_PROMPTS + 2),
        "ppo": [{"step": step, "reward": step / 9, "kl": step / 3, "entropy": 3.0} for step in range(1, 10)],
        "reward_model": {
            "metrics": [{"step": 1, "accuracy": 0.5}, {"step": 2, "accuracy": 0.6}],
            "accuracy": 0.6,
        },
        "ranking": {"agreement": 0.75},
        "funnel": {
            "prompts": {"steps": [{"step": "exact", "in": 9, "out": 7, "reasons": {ATTACK: 2}}]},
            "seed": 0,
        },
        "history": [{"round": 1, "win_rate": WIN}, {"round": 2, "win_rate": WIN}],
        "stages": [{"stage": "ppo", "seconds": 75.0, "cached": False, "model": "policy v2", "figure": ""}],
        "lineage": {"data": "abc.dir", ATTACK: ATTACK},
    }


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.ids = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]


def test_what_models_and_users_wrote_stays_text(html):
    tags = Tags(html)
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in tags.found}
    assert not [name for _, attrs in tags.found for name in attrs if name.startswith("on")]
    assert "{{ 7 * 7 }}" in html, "a template in a text is not run"
    assert "jane.doe" not in html


def test_the_page_stands_alone_and_forbids_scripts(html):
    tags = Tags(html).found
    policies = [
        attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    assert "script-src" not in policies[0]
    links = [
        attrs.get(name) for _, attrs in tags for name in ("href", "src", "xlink:href") if attrs.get(name)
    ]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"url\((?!#)", html)


def test_ids_are_unique_and_every_reference_has_its_target(html):
    ids = Tags(html).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#([^\")]+)", html)) <= set(ids)


def test_the_figures_of_the_headline_are_said(html):
    assert "61 %" in html
    assert "Gate not passed" in html
    assert "+3.0 pts" in html
    assert "sharpening may explain it" in html
    assert html.count('class="sample"') == SHOWN_PROMPTS


LABELERS = {
    "win_rate_vs_sft_by_labelers": [0.5, 0.57, 0.63],
    "length_controlled_by_labelers": [0.49, 0.53, 0.58],
}
PARTS = {"relevance": 0.25, "fluency": 0.5, "profanity": -0.125}


@pytest.fixture(scope="module")
def judged(full):
    own = full["evaluation"]["policies"]["policy"] | LABELERS | {"gain_by_feature": PARTS}
    policies = full["evaluation"]["policies"] | {
        "policy": own,
        "base_few_shot": policy(),
        "rl_start": policy(),
    }
    accuracy = {"accuracy_by_utility": {"sft": [0.6, 0.65, 0.7], "policy": [0.5, 0.55, 0.6]}}
    return full | {
        "evaluation": full["evaluation"]
        | {"users": 7, "few_shot": 2.5, "policies": policies, "reward_model": accuracy}
    }


def words(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_each_win_rate_says_who_judged_on_whose_prompts(judged):
    said = words(page(judged))
    assert "win rate over SFT by noise-free utility, 57 % by held-out labelers" in said
    assert "40 prompts of 7 validation users" in said
    assert "labelers, at equal length 53 % 49–58 %" in said
    assert not re.search(r"labelers (would )?prefer", said), "the utility is nobody's preference"
    assert "base, few-shot" in said and "RL start" in said
    assert "reward model on the policy 55 % of pairs of its own answers" in said


def test_the_gain_is_drawn_by_feature(judged, full):
    said = words(page(judged))
    assert all(
        one in said for one in ("+0.25", "+0.50", "−0.12", "relevance", "utility over SFT: +0.62 in all")
    )
    assert "gain_by_feature" not in figures(full)


def test_a_release_is_marked_as_such(judged):
    release = judged["evaluation"] | {"users": 9, "earlier_releases": 0}
    assert "Release: test users" not in words(page(judged))
    assert "40 prompts of 9 users" in words(page(judged | {"release": release}))
    again = words(page(judged | {"release": release | {"earlier_releases": 2}}))
    assert "They were read for 2 policies before" in again


def test_every_part_may_be_missing(full):
    for key in full.keys() - {"round"}:
        assert "<h1>Round 2" in page({"round": 2, key: full[key]}), key
    bare = page({"round": 2})
    assert "<figure>" not in bare
    assert "<section" not in bare
    assert figures({"round": 2}) == {}


def test_the_same_report_is_the_same_bytes(full):
    part = {name: full[name] for name in ("round", "funnel", "lineage")}
    assert page(part) == page(part)


def test_pictures_take_the_page_s_colours(full):
    drawing = svg("win_rates", figures(full)["win_rates"])
    assert drawing.startswith("<svg")
    assert "var(--accent)" in drawing
    assert "#0c7a70" not in drawing


def test_smoothing_keeps_a_line_a_line():
    line = [2.0 * at for at in range(60)]
    assert smooth(line) == pytest.approx(line)
    assert smooth([5.0]) == [5.0]


def test_a_policy_that_exploits_its_reward_model_is_said_on_the_page(full):
    followed = [{"step": n, "reward_gain": n / 3, "held_out_gain": n / 4} for n in range(1, 7)]
    gamed = [line | {"held_out_gain": 0.1} for line in followed]
    quiet, loud = page(full | {"ppo": followed}), page(full | {"ppo": gamed})
    assert "ppo_watch-" in quiet and "may be exploiting" not in quiet
    assert "may be exploiting its reward model" in loud
