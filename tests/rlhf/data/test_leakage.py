import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.leakage import HeldOut
from rlhf.data.planted import leaks as planted_leaks

PASSAGE = "the river rises in the eastern hills and flows past nine old mills before it meets the cold northern sea at last"
HELD_OUT = HeldOut(["What is rain?", f"{PASSAGE}\n\nQuestion: Where does it end?"], ["test", "valid"])


def test_a_whole_text_counts_folded():
    assert HELD_OUT.match(["hello", " what  is RAIN? "]) == "test"
    assert HELD_OUT.match(["What is rain in a bucket?"]) is None


def test_half_of_the_eight_word_runs_count():
    assert HELD_OUT.match([f"It is said that {PASSAGE.upper()}, and more."]) == "valid"
    words = PASSAGE.split()
    assert HELD_OUT.match([" ".join(words[:19]), " ".join(words[12:])]) == "valid"
    assert HELD_OUT.match([" ".join(words[:11])]) is None


def test_nothing_held_out_matches_nothing():
    assert HeldOut([], []).match(["What is rain?", PASSAGE]) is None
    assert HELD_OUT.match([""]) is None


def test_another_process_finds_the_same():
    """Texts alone are sent; and where exactly half of what counts recurs, the order of a set decides nothing."""
    frame, close = ([f"{word}{at}" for at in range(15)] for word in ("begin", "close"))
    texts = [" ".join([*frame, *(f"own{text}x{at}" for at in range(13)), *close]) for text in range(7)]
    there = " ".join([*frame, *(f"own0x{at}" for at in range(10)), "and", "nothing", "else"])
    held_out = HeldOut(texts, list("abcdefg"))
    said = {held_out.match([there])}
    sent = pickle.dumps(held_out)
    assert len(sent) < 1.5 * len("".join(texts)), "the index is made again"
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).match([sys.argv[1]]))"
    for seed in range(6):
        done = subprocess.run(
            [sys.executable, "-c", script, there],
            input=sent,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        said.add(done.stdout.decode().strip())
    assert said == {"a"}


QUESTIONS = [
    "What is the capital of France?",
    "Explain photosynthesis.",
    "How long does a train from Lyon to Paris take if it leaves at 9 and stops 3 times?",
    "日本の首都はどこですか",
]
ASKED = HeldOut(QUESTIONS, ["eval"] * len(QUESTIONS))


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("what is the CAPITAL of france", "exact"),
        ("Please tell me: what is the capital of France? Thank you.", "contained"),
        ("i was wondering what is the capital of france and of its colonies", "contained"),
        ('"Explain photosynthesis." Answer in one line.', "contained"),
        ("What is the captial of France?", "near"),
        ("What really is the capital of France?", "near"),
        ("France: what is the capital of", "near"),
        ("What is thecapital of France?", "exact"),
        ("Explain photosinthesis please", "near"),
        ("How long does a train from Lyon to Paris take if it leavs at 9 and stop 3 times?", "near"),
        ("次の質問に答えてください。日本の首都はどこですか？", "contained"),
    ],
)
def test_small_changes_do_not_hide_a_leak(text, how):
    leak = ASKED.find([text])
    assert leak is not None and (leak.name, leak.how) == ("eval", how)
    assert ASKED.match(["Hello.", text]) == "eval"


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Spain?",
        "What is the population of France?",
        "What is the capital?",
        "Explain photosynthesis in deserts",
        "Explain respiration.",
        "How long does a train from Lyon to Paris take if it leaves at 8 and stops 4 times?",
        "France",
        "中国の首都はどこですか",
        "",
        "???",
    ],
)
def test_the_same_wording_about_something_else_is_no_leak(text):
    assert ASKED.find([text]) is None


def test_a_sentence_may_end_without_a_sign_before_a_capital():
    held_out = HeldOut(["who invented the zipper"], ["eval"])
    assert held_out.match(["Please help: who invented the zipper Cheers"]) == "eval"
    assert held_out.match(["who invented the zipper foot of sewing machines"]) is None
    assert held_out.match(["Who Invented the Zipper Foot"]) is None


def test_a_frame_that_many_share_is_no_leak():
    frame = "You are a patient teacher who answers every question in a single clear sentence. Question: "
    names = ["rain", "snow", "wind", "fog", "hail", "frost", "dew", "ice", "mist", "heat"]
    held_out = HeldOut([f"{frame}What is {name}?" for name in names], ["test"] * len(names))
    assert held_out.match([f"{frame}What is thunder?"]) is None
    assert held_out.match([f"{frame}What is fog?"]) == "test"


def test_planted_leaks_are_found_and_clean_texts_stay():
    planted = planted_leaks.planted(7, held_out=400, training=2400)
    held_out = HeldOut(planted.held_out, ["eval"] * len(planted.held_out))
    found = [(kind, held_out.find([text])) for text, kind in planted.training]
    for group in ("exact", "contained", "near"):
        hits = [leak is not None for kind, leak in found if planted_leaks.group(kind) == group]
        assert sum(hits) >= (0.97 if group == "near" else 1.0) * len(hits) > 0
    clean = [leak for kind, leak in found if not kind]
    assert sum(leak is not None for leak in clean) <= 0.005 * len(clean)


@given(st.lists(st.text(max_size=40), max_size=6), st.text(max_size=60))
def test_whatever_comes_has_an_answer_and_a_text_leaks_itself(texts, text):
    held_out = HeldOut([*texts, text], ["a"] * len(texts) + ["b"])
    assert held_out.find([text]) is not None or not text
    assert held_out.find(["", text]) == held_out.find([text])


@pytest.mark.parametrize(
    ("twins", "text"),
    [
        (
            [
                "How do I setup a website for my bakeshop in Ohio",
                "How do I set up a web site for my bake shop in Ohio",
            ],
            "How do I set up a web site for my bake shop in Ohio, if I have no money and no friends who could help me?",
        ),
        (
            ["photosynthesis explained", "Photosynthesis explained."],
            "Here is photosynthesis explained. Thanks a lot",
        ),
        (
            [
                "Explain how a database index speeds up lookups",
                "Explain how a data base index speeds up look ups",
            ],
            "Please explain how a data base index speeds up look ups",
        ),
    ],
)
def test_of_texts_of_the_same_letters_each_one_counts(twins, text):
    assert HeldOut(twins[1:], ["test"]).match([text]) == "test"
    assert HeldOut(twins, ["valid", "test"]).match([text]) in ("valid", "test")
