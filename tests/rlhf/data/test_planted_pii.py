import pytest

from rlhf.data.pii import KINDS, find
from rlhf.data.pii.text import Span
from rlhf.data.planted.pii import Case, cases, score

MADE = cases(17, 3_000)


@pytest.fixture(scope="module")
def report():
    return score(MADE, find)


def test_the_same_seed_makes_the_same_cases_and_another_does_not():
    assert cases(5, 60) == cases(5, 60) != cases(6, 60)


def test_every_kind_and_every_look_alike_is_planted_where_its_span_says():
    planted = {case.planted for case in MADE}
    assert planted >= set(KINDS) and len(planted) > len(KINDS) + 5
    for case in MADE:
        assert [span.kind for span in case.spans] == [case.planted] * (case.planted in KINDS)
        assert all(case.text[span.start : span.end].strip() for span in case.spans)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_precision_of_each_kind(kind, report):
    figures = report[kind]
    assert figures["planted"] == 150
    assert figures["recall"] >= (0.95 if kind == "address" else 0.99)
    assert figures["precision"] >= (0.97 if kind == "address" else 0.99)


def test_look_alikes_are_left_alone(report):
    assert report["look_alikes"]["flagged"] <= 0.01


def test_the_score_counts_what_is_missed_wrong_and_of_another_kind():
    made = [
        Case("call 555", (Span("phone", 5, 8),), "phone"),
        Case("a@b.c d@e.f", (Span("email", 0, 5),), "email"),
        Case("version 1", (), "version"),
    ]
    found = {
        "call 555": [Span("ssn", 5, 8)],
        "a@b.c d@e.f": [Span("email", 0, 5), Span("email", 6, 11)],
        "version 1": [Span("ip", 8, 9)],
    }
    report = score(made, found.__getitem__)
    assert report["phone"]["recall"] == 0 and report["ssn"]["precision"] == 0
    assert report["email"] == {"planted": 1.0, "recall": 1.0, "precision": 0.5}
    assert report["look_alikes"] == {"planted": 1.0, "flagged": 1.0}
