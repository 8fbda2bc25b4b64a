from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.clean import clean, cleaned


def test_pages_lose_what_is_no_text():
    text = (
        "Skip to content\nThe old bridge\x00 of the harbour was built of wood and stone.\n"
        "Share this on Facebook, Twitter\nIt stands.\nIt stands.\n\n\n\n"
        "The old bridge of the harbour was built of wood and stone.\n"
        "© 2024 Harbour Times. All rights reserved.\nRead more\nIt stands."
    )
    assert clean(text) == "The old bridge of the harbour was built of wood and stone.\nIt stands."


def test_sentences_that_mention_it_stay():
    for text in (
        "Read more books and you will see what all rights reserved means.",
        "The cookie policy of the bakery allows two a day.",
        "Privacy policy is a field of law with a long history.",
        "Click here, said the frog, and nothing happened to anybody at all for the rest of that whole long day.",
        "one\ntwo\none\ntwo",
    ):
        assert clean(text) == text


def test_a_document_of_boilerplate_alone_goes():
    assert cleaned({"id": "a", "text": "Read more\n\x00\nLog in"}) is None
    assert cleaned({"id": "a", "text": "Read\x00 this", "source": "w"}) == {
        "id": "a",
        "text": "Read this",
        "source": "w",
    }


@given(st.text(alphabet="ab \n\r\x07.", max_size=60))
def test_cleaning_twice_is_cleaning_once(text):
    assert clean(clean(text)) == clean(text)
