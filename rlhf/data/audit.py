"""`rlhf data audit`: what the data room finds of faults that were planted, and what it takes for one wrongly.

Each check draws cases of known truth from a seed, runs the code that curation runs, and gives figures with
the bar that they are held to. Nothing is read but what the project ships.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.data import (
    contract,
    dedup,
    language,
    pii,
    use_case,
)
from rlhf.data.leakage import HeldOut
from rlhf.data.planted import copies as planted_copies
from rlhf.data.planted import languages as planted_languages
from rlhf.data.planted import leaks as planted_leaks
from rlhf.data.planted import lines as planted_lines
from rlhf.data.planted import pii as planted_pii
from rlhf.data.room import curate_files
from rlhf.params import DataParams
from rlhf.records import read_jsonl, write_jsonl

Record = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """One line of the audit: `planted` cases, of which `found`; `wrong` of the `clean` ones were taken for one.

    The bars are shares in [0, 1]; None: that share is not held to one.
    """

    name: str
    planted: int
    found: int
    clean: int
    wrong: int
    recall_bar: float | None = None
    precision_bar: float | None = None
    false_bar: float | None = None

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0

    @property
    def false(self) -> float:
        return self.wrong / self.clean if self.clean else 0.0

    @property
    def holds(self) -> bool:
        return (
            (self.recall_bar is None or self.recall >= self.recall_bar)
            and (self.precision_bar is None or self.precision >= self.precision_bar)
            and (self.false_bar is None or self.false <= self.false_bar)
        )


Check = Callable[[int, int], Iterable[Figures]]


def run(seed: int, count: int) -> Iterator[Figures]:
    """The figures of every check, in order; `count` cases each, drawn from the seed."""
    for check in CHECKS:
        yield from check(seed, count)


def check_contract(seed: int, count: int) -> Iterator[Figures]:
    """Wrong lines among good ones: each is set aside with its line and field, and no other."""
    cases = planted_lines.cases(seed, count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.jsonl"
        path.write_bytes(b"\n".join(line for line, _ in cases))
        rejects: list[contract.Reject] = []
        kept = sum(1 for _ in contract.read("prompts", [path], rejects))
    truth = {number: field for number, (_, field) in enumerate(cases, 1) if field is not None}
    told = {reject.line: reject.field for reject in rejects}
    found = sum(told.get(line) == field for line, field in truth.items())
    yield Figures(
        "contract", len(truth), found, len(cases) - len(truth), len(told.keys() - truth.keys()), 1, 1
    )
    good = len(cases) - len(truth)
    yield Figures("contract, good lines read", good, kept, 0, 0, 1)


def check_copies(seed: int, count: int) -> Iterator[Figures]:
    """Exact copies, equal beginnings and near copies among prompts, and look-alikes that are none."""
    yield _of_copies("exact copies", "exact", *_spelt_otherwise(random.Random(f"exact {seed}"), count))
    yield _of_copies(
        "common prefixes", "prefix", *_of_equal_beginning(random.Random(f"prefix {seed}"), count)
    )
    corpus = planted_copies.corpus(count, seed)
    steps = {row["id"]: row["step"] for row in _removed(corpus.records) if row["step"] in dedup.STEPS}
    near, short = planted_copies.near_copies(corpus)
    for name, planted, bar in (("near copies", near, 0.98), ("near copies, under 12 words", short, 0.9)):
        yield Figures(name, len(planted), sum(id_ in steps for id_ in planted), 0, 0, bar)
    judged = [id_ for id_, step in steps.items() if step != "prefix"]  # an equal beginning is enough there
    right = sum(id_ in corpus.copy_of for id_ in judged)
    yield Figures(
        "copies, exact and near",
        0,
        right,
        len(corpus.records) - len(corpus.copy_of),
        len(judged) - right,
        None,
        0.99,
    )


def check_pii(seed: int, count: int) -> Iterator[Figures]:
    """Invented personal data of each kind, and look-alikes that are none."""
    report = planted_pii.score(planted_pii.cases(seed, count), pii.find)
    look_alikes = report.pop("look_alikes")
    for kind, found in sorted(report.items()):
        planted = round(found["planted"])
        hits = round(found["recall"] * planted)
        wrong = round(hits / found["precision"]) - hits if found["precision"] else planted
        bars = (0.95, 0.97) if kind == "address" else (0.99, 0.99)
        yield Figures(f"pii, {kind}", planted, hits, 0, wrong, *bars)
    clean = round(look_alikes["planted"])
    yield Figures("pii, look-alikes", 0, 0, clean, round(look_alikes["flagged"] * clean), None, None, 0.01)


def check_leakage(seed: int, count: int) -> Iterator[Figures]:
    """Held-out texts in training: as they are, inside longer texts, and with small changes."""
    planted = planted_leaks.planted(seed, held_out=max(200, count // 5), training=count)
    held_out = HeldOut(planted.held_out, ["eval"] * len(planted.held_out))
    found = [(kind, held_out.match([text]) is not None) for text, kind in planted.training]
    clean = [hit for kind, hit in found if not kind]
    for group, bar in (("exact", 1.0), ("contained", 1.0), ("near", 0.97)):
        hits = [hit for kind, hit in found if planted_leaks.group(kind) == group]
        yield Figures(f"leakage, {group}", len(hits), sum(hits), len(clean), sum(clean), bar, None, 0.005)


def check_language(seed: int, count: int) -> Iterator[Figures]:
    """Sentences of some fifty languages, and English of all sorts; English alone is wanted."""
    sentences = [text for _, text in planted_languages.foreign_sentences()]
    dropped = sum(language.foreign(text, ("en",)) is not None for text in sentences)
    english = planted_languages.english_prompts(seed, count)
    wrong = sum(language.foreign(text, ("en",)) is not None for text in english)
    yield Figures(
        "language, foreign dropped", len(sentences), dropped, len(english), wrong, 0.998, None, 0.001
    )


def check_use_case(seed: int, count: int) -> Iterator[Figures]:
    """Wordings that the rules of the classifier were not written for (the same ones for every seed)."""
    lines = use_case.held_out_prompts()
    right = sum(use_case.classify(text) == case for case, text in lines)
    yield Figures("use case", len(lines), right, 0, 0, 0.85)


CHECKS: tuple[Check, ...] = (
    check_contract,
    check_copies,
    check_pii,
    check_leakage,
    check_language,
    check_use_case,
)


def _of_copies(name: str, step: str, rows: list[Record], copies: list[Record]) -> Figures:
    """What curation takes for a copy, of what; every original is earlier than its copy."""
    named = {row["id"]: row["duplicate_of"] for row in _removed([*copies, *rows]) if row["step"] == step}
    truth = {copy["id"]: copy["id"].removeprefix("copy-") for copy in copies}
    found = sum(named.get(identity) == original for identity, original in truth.items())
    return Figures(name, len(truth), found, len(rows), len(named.keys() - truth.keys()), 1, 1)


def _removed(records: Iterable[Record]) -> list[Record]:
    """What curation removes of prompts, with its default parameters, by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.jsonl"
        write_jsonl(path, records)
        curate_files([path], Path(folder) / "out", DataParams(workers=1))
        return list(read_jsonl(Path(folder) / "out" / "removed.jsonl"))


def _spelt_otherwise(rng: random.Random, count: int) -> tuple[list[Record], list[Record]]:
    """Prompts, and copies of a quarter in other case, white space and Unicode forms."""
    rows = _numbered(
        [f"Who saw the {_word(rng)} and the {_word(rng)} ﬁnd number {at}?" for at in range(count)]
    )
    chosen = rng.sample(rows, count // 4)
    return rows, [
        {**row, "id": f"copy-{row['id']}", "text": _folded_alike(row["text"], rng)} for row in chosen
    ]


def _of_equal_beginning(rng: random.Random, count: int) -> tuple[list[Record], list[Record]]:
    """Prompts, and others whose first 64 folded characters are those of a quarter."""
    frames = [
        f"Please answer question {at} kindly, in a single sentence that {at} is in, as you can. "
        for at in range(count)
    ]
    rows = _numbered([f"{frame}What is a {_word(rng)}?" for frame in frames])
    copies = [
        {**row, "id": f"copy-{row['id']}", "text": frames[at].upper() + f"Why {_word(rng)} and {_word(rng)}?"}
        for at, row in list(enumerate(rows))[::4]
    ]
    return rows, copies


def _numbered(texts: list[str]) -> list[Record]:
    return [
        {
            "id": f"{at:06d}",
            "user_id": f"user-{at}",
            "text": text,
            "created_at": f"2024-01-01T{at // 3600 % 24:02d}:00:00Z",
        }
        for at, text in enumerate(texts)
    ]


def _word(rng: random.Random) -> str:
    return "".join(rng.choice("bcdfgklmnprstvz") + rng.choice("aeiouéö") for _ in range(3))


def _folded_alike(text: str, rng: random.Random) -> str:
    """Another spelling of the same folded text: capitals, white space, ligatures apart."""
    text = rng.choice((str.upper, str.lower, str.title))(text) if rng.random() < 0.7 else text
    return "  " + text.replace(" ", rng.choice(("  ", "\n", "\t ", "\u00a0"))).replace("ﬁ", "fi") + "\n"
