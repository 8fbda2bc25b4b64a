from collections import Counter

from rlhf.data import splits
from rlhf.data.user_cap import user_cap
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


def test_the_cap_keeps_the_earliest_of_each_user():
    rows = [
        {"id": f"{user}{at}", "user_id": user, "created_at": f"2024-01-{28 - at:02d}"}
        for user in "ab"
        for at in range(20)
    ]
    kept, removed = user_cap(rows, 5)
    assert Counter(row["user_id"] for row in kept) == {"a": 5, "b": 5}
    assert {row["id"] for row in kept if row["user_id"] == "a"} == {f"a{at}" for at in range(15, 20)}
    assert len(removed) == 30
