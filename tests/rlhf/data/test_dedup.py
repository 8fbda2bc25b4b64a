import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.data import dedup, fingerprints, near
from rlhf.data.fold import fold


def prompt(identity, text, created_at=None, user="u"):
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    return {"id": identity, "user_id": user, "messages": messages, "created_at": created_at}


def copies(rows, prefix_chars=64, limit=0.7):
    """{id: (step, id of what it duplicates)} of what is removed."""
    rows = sorted(rows, key=dedup.by_age)
    prints = fingerprints.of_texts([fingerprints.compared(row, prefix_chars) for row in rows])

    def verify(pairs):
        return near.are_copies(rows, pairs, limit)

    step, of = dedup.copies(prints, limit, verify)
    return {
        row["id"]: (dedup.STEPS[code], rows[original]["id"])
        for row, code, original in zip(rows, step, of, strict=True)
        if code
    }


def test_case_width_and_white_space_do_not_matter():
    rows = [prompt("a", "What is ＲＡＩＮ?"), prompt("b", "  what  IS\nrain? "), prompt("c", "What is snow?")]
    assert copies(rows) == {"b": ("exact", "a")}


def test_the_earliest_stands_whatever_the_order():
    rows = [
        prompt("b", "x", "2024-01-01T00:00:00.5Z"),
        prompt("c", "x", "2024-01-01T00:00:00Z"),
        prompt("a", "x"),
    ]
    for order in (rows, rows[::-1]):
        assert copies(order) == {"a": ("exact", "c"), "b": ("exact", "c")}


def test_long_prefix_is_exact_at_its_length():
    head = "".join(random.Random(0).choices("abcdefgh", k=64))
    tails = ["".join(random.Random(at).choices("ijklmnop", k=200)) for at in range(3)]
    rows = [prompt("a", head + tails[0]), prompt("b", head + tails[1]), prompt("c", head[:63] + tails[2])]
    assert copies(rows) == {"b": ("prefix", "a")}


def test_short_texts_and_shared_system_messages_are_no_copies():
    system = {"role": "system", "content": "You are a helpful assistant of the company. " * 3}
    rows = [
        prompt("a", [system, {"role": "user", "content": "What is rain?"}]),
        prompt("b", [system, {"role": "user", "content": "How do clouds form over the sea?"}]),
        prompt("c", [system, {"role": "user", "content": "What is rain? And what is snow made of?"}]),
    ]
    assert copies(rows) == {}


def test_every_message_of_a_conversation_counts():
    def talk(last):
        said = ["Tell me about tides.", "Tides are the rise and fall of the sea.", last]
        roles = ("user", "assistant", "user")
        return [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]

    rows = [prompt("a", talk("And what about the moon?")), prompt("b", talk("And what about  the MOON?"))]
    rows += [prompt("c", talk("Why are there two of them every day at most places?"))]
    found = copies(rows, prefix_chars=500)
    assert found == {"b": ("exact", "a")}


NEAR = "How do I repair the old wooden bridge behind the harbour market before winter?"


@pytest.mark.parametrize(
    "text",
    [
        "How do I repiar the old wooden bridge behind the harbour market before winter?",
        "how do i repair the old wooden bridge, behind the harbour market, before winter",
        "Please, how do I repair the old wooden bridge behind the harbour market before winter?",
        "How do I repair the old wooden bridge behind the harbour market before winter? Thanks!",
    ],
)
def test_small_changes_are_near_copies(text):
    assert copies([prompt("a", NEAR), prompt("b", text)], prefix_chars=500) == {"b": ("near", "a")}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (
            "Summarise invoice 12 of the harbour market please",
            "Summarise invoice 13 of the harbour market please",
        ),
        ("Is it allowed to park at the harbour market?", "Is it not allowed to park at the harbour market?"),
        (
            "Which train do I take to get to Paris before noon on a Sunday?",
            "Which train do I take to get to Berlin before noon on a Sunday?",
        ),
        ("The bridge can't carry a lorry of that weight", "The bridge can carry a lorry of that weight"),
        *(
            tuple(
                f"What would a person who is new to it have to see or to know of {it} before next week?"
                for it in pair
            )
            for pair in (("Rust", "C++"), ("the musée d'Orsay", "the musée d'Alsace"), ("O'Brien", "O'Neill"))
        ),
        tuple(
            f"请告诉我关于{city}的历史和文化有哪些值得了解的地方，还有那里的人平时喜欢做什么，谢谢您的回答"
            for city in ("北京", "上海")
        ),
    ],
)
def test_a_number_a_name_or_a_negation_makes_another_text(a, b):
    assert copies([prompt("a", a), prompt("b", b)], prefix_chars=500) == {}


def test_a_copy_of_a_copy_that_is_gone_is_measured_against_what_stands():
    words = [f"w{at}ord" for at in range(33)]
    words = ["".join(random.Random(word).choices("abcdefghijkl", k=6)) for word in words]
    chain = [" ".join(words[at : at + 24]) for at in (0, 3, 6, 9)]
    texts = [fingerprints.compared(prompt("", text), 500).spoken for text in chain]
    index = near.jaccard(texts, np.array([[0, 1], [0, 2], [0, 3], [2, 3], [1, 3]]))
    assert index[0] > 0.7 > index[1] and index[3] > 0.7
    rows = [prompt(str(at), text, f"2024-01-0{at + 1}T00:00:00Z") for at, text in enumerate(chain)]
    assert copies(rows, prefix_chars=500) == {"1": ("near", "0"), "3": ("near", "2")}


def test_minhash_estimates_jaccard():
    """Of 128 values as many agree as the index says, four standard errors; texts of one run and of none have values."""
    draw = random.Random(0)
    for length in (60, 400):
        text = "".join(draw.choices("abcdefghijkl", k=length))
        pairs = [(text[: -length // share], text[length // share :]) for share in (12, 6, 3)]
        folded = [part for pair in pairs for part in pair]
        found = fingerprints.minhash(*fingerprints.shingles(folded))
        index = near.jaccard(folded, np.arange(6).reshape(3, 2))
        assert np.abs((found[::2] == found[1::2]).mean(1) - index).max() < 0.2
    few = fingerprints.minhash(*fingerprints.shingles(["", "a", "a", "abcde"]))
    assert (few < 2**25).all() and (few[1] == few[2]).all() and (few[1] != few[3]).all()


@given(st.lists(st.text("ab ", max_size=20), min_size=1, max_size=8), st.data())
def test_jaccard_is_that_of_sets_of_runs(texts, data):
    place = st.integers(0, len(texts) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(place, place), max_size=12)), np.int64).reshape(-1, 2)
    filled = [text.ljust(fingerprints.SHINGLE, "\0") for text in texts]
    runs = [
        {text[at : at + fingerprints.SHINGLE] for at in range(len(text) - fingerprints.SHINGLE + 1)}
        for text in filled
    ]
    right = [len(runs[a] & runs[b]) / len(runs[a] | runs[b]) for a, b in pairs.tolist()]
    assert near.jaccard(texts, pairs).tolist() == pytest.approx(right)


def test_small_pieces_change_nothing_and_compare_each_pair_once(monkeypatch):
    frames = [f"tell me all about the {word} of the old town" for word in ("bridge", "market", "castle")]
    texts = [
        f"{frame} and why {name} liked it" for frame in frames for name in ("Anna", "Bert", "Carla", "Dora")
    ]
    rows = [prompt(f"{at:02d}", text + end) for at, text in enumerate(texts) for end in ("", " ", "!", "?!")]
    rows = [{**row, "id": f"{at:03d}"} for at, row in enumerate(rows)]
    whole = copies(rows, prefix_chars=500)
    minima = fingerprints.of_texts([fingerprints.compared(row, 500) for row in rows])
    sketches = near.Sketches(minima["minima"], minima["fixed"])
    leads = np.ones(len(rows), bool)
    every = [
        tuple(pair)
        for some in sketches.likely(near._with_first(sketches, leads), 0.7)
        for pair in some.tolist()
    ]
    monkeypatch.setattr(near, "PAIRS", 20)
    pieces = [some.tolist() for some in sketches.likely(near._with_first(sketches, leads), 0.7)]
    assert len(pieces) > 10
    found = [tuple(pair) for some in pieces for pair in some]
    assert len(found) == len(set(found)) and set(found) == set(every) and len(every) == len(set(every))
    assert copies(rows, prefix_chars=500) == whole


def test_jaccard_is_exact():
    texts = ["abcdefgh", "abcdefgx", "abc", "abc", "ááááááá"]
    pairs = np.array([[0, 1], [2, 3], [0, 2], [4, 4]])
    assert near.jaccard(texts, pairs).tolist() == pytest.approx([3 / 5, 1, 0, 1])


WORDS = ["river", "bridge", "market", "not", "Paris", "Rome", "7", "8", "old", "castle", "winter", "violin"]
TEXTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join),
        st.sampled_from([None, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]),
    ),
    max_size=24,
)


@settings(max_examples=20, deadline=None)
@given(TEXTS, st.integers(0, 24), st.randoms(use_true_random=False))
def test_what_stands_is_told_and_never_changes(texts, cut, random):
    rows = [prompt(f"{at:02d}", text, time) for at, (text, time) in enumerate(texts)]
    gone = copies(rows, prefix_chars=30)
    text = {row["id"]: fold(row["messages"][0]["content"]) for row in rows}
    standing = [row["id"] for row in sorted(rows, key=dedup.by_age) if row["id"] not in gone]
    assert len({text[identity] for identity in standing}) == len(standing)
    long = [text[identity][:30] for identity in standing if len(text[identity]) >= 30]
    assert len(set(long)) == len(long)
    for identity, (step, original) in gone.items():
        assert original in standing
        assert step != "exact" or text[identity] == text[original]
        assert step != "prefix" or text[identity][:30] == text[original][:30]
    shuffled = rows[:]
    random.shuffle(shuffled)
    assert copies(shuffled, prefix_chars=30) == gone
    earlier = sorted(rows, key=dedup.by_age)[:cut]
    before = copies(earlier, prefix_chars=30)
    assert before == {row["id"]: gone[row["id"]] for row in earlier if row["id"] in gone}


def test_what_nobody_sees_is_folded_away():
    assert fold("\ufeffTul\u200bips\u00ad and\u2060 soil") == "tulips and soil"
    assert fold("cafe\u200b\u0301") == "café"


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize("word", sorted(near._NEGATIONS))
def test_each_negating_word_counts(word):
    plain = "tell me how the castle above the old town is used today"
    assert not are_near(plain, plain.replace("is", f"is {word}"))
    assert not are_near(f"{plain} é", plain.replace("is", f"is {word}") + " é")


@pytest.mark.parametrize(
    "other",
    [
        "how do I store garden tulips wtihout any tools",
        "how do I store gar den tulips without any tools",
        "how do I store gardentulips without any tools",
        "how do I stroe garden tulips without any tools",
    ],
)
def test_slips_of_the_pen_are_near(other):
    assert are_near("how do I store garden tulips without any tools", other)
    assert are_near(other, "how do I store garden tulips without any tools")


def test_one_slip_hides_no_second_negation():
    assert not are_near(
        "how do I not store garden tulips without any tools", "how do I store garden tulips wihtout any tools"
    )


def are_near(one: str, other: str) -> bool:
    return bool(near.are_copies([prompt("a", one), prompt("b", other)], np.array([[0, 1]]), 0.55)[0])
