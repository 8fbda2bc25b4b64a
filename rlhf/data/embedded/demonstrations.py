"""Demonstrations whose completions people wrote: encyclopaedia sentences, how-tos, summaries, dialogs.

Each is given to one of 12 labelers by a hash of its id. Completions are taken from the sets as they
are written there (first letter and last full stop aside); none is generated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rlhf.data.embedded.asking import (
    answering_sentence,
    askable,
    closed_question,
    naming_sentences,
    question_about,
    request_about,
)
from rlhf.data.embedded.corpus import HELD_OUT_TITLES, Sets
from rlhf.data.embedded.text import (
    as_question,
    as_sentence,
    clean,
    content_stems,
    is_complete,
    overlap,
    sentences,
    short_hash,
    unit,
)

LABELERS = 12
RUDE = re.compile(
    r"\b(?:fuck\w*|shit\w*|bitch\w*|asshole|sex\w*|suck\w*|damn|stupid|idiot|whore|rape\w*|kill\w*)\b", re.I
)
Row = dict[str, Any]


def build(sets: Sets) -> list[Row]:
    """Demonstrations in the contract's shape, each prompt once a completion."""
    rows: dict[str, Row] = {}
    singles = [*_about(sets), *_open(sets), *_closed(sets), *_facts(sets), *_how_to(sets), *_summaries(sets)]
    for row in [*singles, *_few_shot(singles), *_dialogs(sets)]:
        rows.setdefault(row["id"], row)
    return list(rows.values())


def _row(kind: str, use_case: str, source: str, messages: list[dict[str, str]], completion: str) -> Row:
    identity = f"{kind}-{short_hash(*(m['content'] for m in messages), completion)}"
    labeler = 1 + int(unit("labeler", identity) * LABELERS)
    return {
        "id": identity,
        "messages": messages,
        "completion": completion,
        "labeler_id": f"labeler-{labeler:02d}",
        "source": f"labeler-{source}",
        "use_case": use_case,
    }


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _about(sets: Sets) -> Iterator[Row]:
    seen: set[str] = set()
    for passage in sets.passages:
        if passage.in_log or not askable(passage.title):
            continue
        named = naming_sentences(passage)
        for place, sentence in enumerate(named[:2]):
            prompt = f"Tell me about {passage.title}."
            if place or prompt in seen:
                prompt = request_about(passage, passage.title, sentence)
            seen.add(prompt)
            yield _row("about", "open_qa", "plain", _user(prompt), sentence)
        question = question_about(passage)
        if question and named and named[0] == passage.sentences[0] and question not in seen:
            seen.add(question)
            yield _row("about", "open_qa", "plain", _user(question), named[0])


def _open(sets: Sets) -> Iterator[Row]:
    for passage in sets.passages:
        if passage.in_log:
            continue
        for question in passage.questions:
            answer = answering_sentence(question, passage, 0.5)
            if answer:
                yield _row("open", "open_qa", "plain", _user(question), answer)


def _closed(sets: Sets) -> Iterator[Row]:
    for passage in sets.passages:
        if passage.in_log:
            continue
        for question in passage.questions:
            answer = answering_sentence(question, passage, 0.34)
            if answer and unit("closed", question) < 0.4:
                prompt = closed_question(question, passage.sentences, answer, 80)
                if prompt:
                    yield _row("closed", "closed_qa", "plain", _user(prompt), answer)


def asked_in_log(*key: object) -> bool:
    """Which of the sets without titles are asked in the prompt log: False leaves them to demonstrations."""
    return unit("log", *key) < HELD_OUT_TITLES


def _facts(sets: Sets) -> Iterator[Row]:
    for row in sets.nq:
        answer = row["answer"][0] if isinstance(row["answer"], list) else str(row["answer"])
        if not asked_in_log(row["question"]):
            stated = fact(row["question"], clean(answer))
            if stated:
                yield _row("fact", "open_qa", "plain", _user(as_question(row["question"])), stated)


def fact(question: str, answer: str) -> str | None:
    """A question and its short answer as one statement, where word order stays the same; else None."""
    question = clean(question).rstrip("?").strip()
    if re.search(r" (?:by|with|to|for|from|in|on|at|of|about|as|like)$", question) or len(answer.split()) > 5:
        return None
    stated = None
    subject = re.fullmatch(r"who (?!did|does|do |has|have|can|could|would|will)(\w+ .+)", question)
    thing = re.fullmatch(r"(?:what|who) (is|was|are|were) ((?:the|a|an) .+)", question)
    count = re.fullmatch(r"how many (.+?) (are|were) (?:there )(in .+)", question)
    if thing:
        stated = f"{thing[2]} {thing[1]} {answer}"
    elif count:
        stated = f"there {count[2]} {answer} {count[1]} {count[3]}"
    elif subject and not re.match(r"(?:is|was|are|were)\b", subject[1]):
        stated = f"{answer} {subject[1]}"
    return as_sentence(stated) if stated and 6 <= len(stated.split()) <= 30 else None


def _how_to(sets: Sets) -> Iterator[Row]:
    for row in sets.piqa_valid:
        question = how_to_question(row["question"])
        solution = as_sentence(clean(re.sub(r"^[AB]\.\s*", "", row["answer"])))
        if (
            question
            and 6 <= len(solution.split()) <= 40
            and content_stems(question) & content_stems(solution)
        ):
            yield _row("howto", "generation", "user-based", _user(question), solution)


def how_to_question(goal: str) -> str | None:
    """A PIQA goal as a question; None for the goals that are mere nouns."""
    goal = clean(goal).rstrip("?.,: ")
    infinitive = re.match(r"to (\w.*)", goal, re.I)
    if infinitive and "you can" not in goal:
        return f"How do I {infinitive[1]}?"
    return (
        as_question(goal)
        if re.match(r"how|what|where|when|which|why", goal, re.I) and len(goal.split()) > 2
        else None
    )


def opening_of(document: str, max_words: int) -> str:
    """The first whole sentences of a news article, up to max_words."""
    kept: list[str] = []
    for sentence in [part for line in document.splitlines() for part in sentences(clean(line))]:
        if sum(len(k.split()) for k in kept) + len(sentence.split()) > max_words:
            break
        kept.append(sentence)
    return " ".join(kept)


def _summaries(sets: Sets) -> Iterator[Row]:
    for row in sets.xsum:
        article, summary = opening_of(row["document"], 75), as_sentence(clean(row["summary"]))
        if (
            not asked_in_log(row["id"])
            and article
            and is_complete(summary)
            and overlap(summary, article) >= 0.25
        ):
            prompt = f"Summarize in one sentence.\n\n{article}"
            yield _row("summary", "summarization", "user-based", _user(prompt), summary)


def _few_shot(singles: list[Row]) -> Iterator[Row]:
    """An instruction with two answered queries before the one to answer, as turns of a conversation."""
    short = [r for r in singles if r["use_case"] == "open_qa" and len(r["completion"].split()) <= 18]
    short.sort(key=lambda row: unit("few-shot", row["id"]))
    for first, second, last in zip(short[0::3], short[1::3], short[2::3], strict=False):
        messages = []
        for shown in (first, second):
            messages += [*shown["messages"], {"role": "assistant", "content": shown["completion"]}]
        messages += last["messages"]
        yield _row("fewshot", "open_qa", "few-shot", messages, last["completion"])


def _dialogs(sets: Sets) -> Iterator[Row]:
    for _, turns in sets.dialogs:
        for reply in range(1, len(turns), 2):
            messages = [
                {"role": "assistant" if at % 2 else "user", "content": turn}
                for at, turn in enumerate(turns[:reply])
            ]
            completion = as_sentence(turns[reply])
            said = " ".join(turns[: reply + 1])
            if 3 <= len(completion.split()) <= 40 and turns[reply - 1] and not RUDE.search(said):
                yield _row("dialog", "chat", "user-based", messages[-5:], completion)
