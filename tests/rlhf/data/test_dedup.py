from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import dedup
from rlhf.data.fold import fold


def prompt(identity, text, created_at=None, user="u"):
    return {
        "id": identity,
        "user_id": user,
        "messages": [{"role": "user", "content": text}],
        "created_at": created_at,
    }


def test_case_width_and_white_space_do_not_matter():
    rows = [prompt("a", "What is ＲＡＩＮ?"), prompt("b", "  what  IS\nrain? "), prompt("c", "What is snow?")]
    kept, removed = dedup.exact(rows)
    assert [row["id"] for row in kept] == ["a", "c"]
    assert removed == [{"id": "b", "step": "exact", "reason": "exact copy", "duplicate_of": "a"}]


def test_the_earliest_stands_whatever_the_order():
    rows = [prompt("b", "x", "2024-01-02"), prompt("c", "x", "2024-01-01"), prompt("a", "x")]
    for order in (rows, rows[::-1]):
        kept, _ = dedup.exact(order)
        assert [row["id"] for row in kept] == ["c"]


def test_long_prefix_is_exact_at_its_length():
    head = "p" * 64
    kept, removed = dedup.long_prefix(
        [prompt("a", head + "1"), prompt("b", head + "2"), prompt("c", head[:63] + "3")], 64
    )
    assert [row["id"] for row in kept] == ["a", "c"]
    assert removed[0]["duplicate_of"] == "a"


def test_short_texts_and_shared_system_messages_are_no_prefix_copies():
    system = {"role": "system", "content": "You are a helpful assistant of the company. " * 3}
    rows = [prompt("a", "What is rain?"), prompt("b", "What is rain? And snow?")]
    for row in rows:
        row["messages"].insert(0, system)
    kept, _ = dedup.long_prefix(rows, 64)
    assert len(kept) == 2


TEXTS = st.lists(
    st.tuples(st.text(alphabet="aB c", max_size=6), st.sampled_from([None, "2024", "2025"])), max_size=12
)


@given(TEXTS, st.randoms(use_true_random=False))
def test_dedup_keeps_one_of_each_class_independent_of_order(texts, random):
    rows = [prompt(f"{at:02d}", text, time) for at, (text, time) in enumerate(texts)]
    kept, removed = dedup.exact(rows)
    assert {fold(row["messages"][0]["content"]) for row in kept} == {fold(text) for text, _ in texts}
    assert len(kept) + len(removed) == len(rows)
    shuffled = rows[:]
    random.shuffle(shuffled)
    assert dedup.exact(shuffled) == (kept, removed)


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
