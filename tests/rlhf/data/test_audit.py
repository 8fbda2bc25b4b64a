import numpy as np
import pytest

from rlhf.data import audit, dedup, language, pii
from rlhf.data.audit import Figures


@pytest.fixture(scope="module")
def figures() -> dict[str, Figures]:
    return {line.name: line for line in audit.run(seed=3, count=1000)}


def test_every_figure_holds(figures):
    assert len(figures) > 12
    assert [line for line in figures.values() if not line.holds] == []


def test_every_check_plants_something_and_names_its_bar(figures):
    for line in figures.values():
        assert line.planted or line.clean
        assert (line.recall_bar, line.precision_bar, line.false_bar) != (None, None, None)


def test_the_same_seed_gives_the_same_figures(figures):
    again = {line.name: line for line in audit.check_leakage(3, 1000)}
    assert again == {name: line for name, line in figures.items() if name in again}


@pytest.mark.parametrize(
    ("module", "name", "broken", "check"),
    [
        (pii, "find", lambda text: [], audit.check_pii),
        (pii, "find", lambda text: [pii.Span("email", 0, 1)], audit.check_pii),
        (language, "foreign", lambda text, languages: None, audit.check_language),
        (language, "foreign", lambda text, languages: "de", audit.check_language),
        (dedup, "first_of_each", lambda keys: np.arange(len(keys)), audit.check_copies),
        (audit.HeldOut, "match", lambda self, parts: None, audit.check_leakage),
        (audit.HeldOut, "match", lambda self, parts: "eval", audit.check_leakage),
        (audit.contract, "read", lambda kind, files, rejects: iter([]), audit.check_contract),
    ],
)
def test_what_is_broken_misses_its_bar(monkeypatch, module, name, broken, check):
    monkeypatch.setattr(module, name, broken)
    assert not all(line.holds for line in check(3, 300))


def test_shares():
    line = Figures(
        "x", planted=10, found=9, clean=100, wrong=1, recall_bar=0.9, precision_bar=0.9, false_bar=0.01
    )
    assert (line.recall, line.precision, line.false, line.holds) == (0.9, 0.9, 0.01, True)
    assert not Figures("x", 10, 9, 100, 1, recall_bar=0.95).holds
    assert not Figures("x", 10, 9, 100, 1, false_bar=0.005).holds
