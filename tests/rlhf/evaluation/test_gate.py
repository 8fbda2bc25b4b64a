"""The gate: every limit counts, the reasons say which, and a missing figure never passes."""

import math

import pytest

from rlhf.evaluation.gate import decide
from rlhf.params import GateParams

LIMITS = GateParams(min_win_rate=0.5, max_kl=10.0, max_tax=0.5)
GOOD = {"win_rate_low": 0.55, "kl": 3.0, "tax": 0.1}


def test_passes_within_all_limits():
    decision = decide(LIMITS, **GOOD)
    assert decision.passed and len(decision.reasons) == 3
    assert all(reason.startswith("holds: ") for reason in decision.reasons)
    assert "by the noise-free utility on validation users' prompts" in decision.reasons[0], (
        "whose, and by whom"
    )


@pytest.mark.parametrize(
    ("figure", "value", "named"),
    [("win_rate_low", 0.49, "win rate over SFT"), ("kl", 10.1, "KL"), ("tax", 0.51, "alignment tax")],
)
def test_one_limit_passed_over_fails_and_is_named(figure, value, named):
    decision = decide(LIMITS, **{**GOOD, figure: value})
    assert not decision.passed
    assert [named in reason for reason in decision.reasons if reason.startswith("fails")] == [True]


@pytest.mark.parametrize("figure", list(GOOD))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_a_number_fails(figure, value):
    assert not decide(LIMITS, **{**GOOD, figure: value}).passed


def test_the_champion_must_be_beaten_where_there_is_one():
    assert decide(LIMITS, **GOOD, champion_win_rate_low=0.5).passed
    assert not decide(LIMITS, **GOOD, champion_win_rate_low=0.4).passed
