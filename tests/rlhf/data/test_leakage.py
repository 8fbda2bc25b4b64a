from rlhf.data.leakage import HeldOut

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
