from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import splits
from rlhf.data.user_cap import over_cap
from rlhf.params import DataParams

PARAMS = DataParams()


def test_shares_are_met_and_only_the_user_decides():
    count = Counter(splits.user_split(f"user-{at}", PARAMS) for at in range(20_000))
    assert abs(count["valid"] / 20_000 - PARAMS.valid_share) < 0.01
    assert abs(count["test"] / 20_000 - PARAMS.test_share) < 0.01


def test_the_seed_keys_the_split():
    users = [f"user-{at}" for at in range(500)]
    other = DataParams(seed=1)
    assert any(splits.user_split(user, PARAMS) != splits.user_split(user, other) for user in users)


def test_nobody_leaves_the_test_users_when_another_share_changes():
    wider = DataParams(valid_share=PARAMS.valid_share, test_share=0.3)
    for at in range(500):
        before, after = splits.user_split(f"u{at}", PARAMS), splits.user_split(f"u{at}", wider)
        assert before == after or (before, after) == ("train", "test")


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 6))
def test_the_cap_keeps_the_earliest_of_each_user(users, cap):
    over = over_cap(np.array(users, np.int64), cap)
    for at, user in enumerate(users):
        assert over[at] == (users[:at].count(user) >= cap)


def asked(text):
    return {"messages": [{"role": "user", "content": text}]}


def test_prompts_that_choose_are_not_those_that_gate():
    uses = splits.validation_uses([asked(f"What is number {at}?") for at in range(3000)])
    assert abs(uses.count("choice") / 3000 - 5 / 9) < 0.03
    same = [asked("Where is  the River?"), asked("where is the river?"), asked("Where is the mill?")]
    first, second, _ = splits.validation_uses(same)
    assert first == second, "copies are on one side"


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=4, unique=True))
def test_where_there_are_two_prompts_each_use_has_one(numbers):
    assert set(splits.validation_uses([asked(f"a{number}") for number in numbers])) == {"choice", "gate"}
