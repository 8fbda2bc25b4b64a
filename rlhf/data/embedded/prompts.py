"""The embedded API log: real questions, titles and passages, as users of skewed activity send them.

Its titles and questions are disjoint from the demonstrations'. Copies, long common prefixes, other
languages, personal data and look-alikes are planted, so that curation has its work to do.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from rlhf.data.embedded import foreign, personal
from rlhf.data.embedded.asking import (
    answering_sentence,
    askable,
    closed_question,
    question_about,
    request_about,
)
from rlhf.data.embedded.corpus import Sets
from rlhf.data.embedded.demonstrations import RUDE, asked_in_log, how_to_question, opening_of
from rlhf.data.embedded.text import as_question, clean, overlap, sentences, unit

USERS = 600
SEED = 20260111
PREFIXES = (
    "You are a patient teacher who answers every question in a single clear sentence. Question: ",
    "Please answer the question that follows as briefly and as politely as you possibly can: ",
    "I am preparing a quiz for my family and need short answers that everybody understands. ",
    "As an encyclopaedia editor with many years of experience, reply to this reader's question: ",
    "Answer for a ten year old child who has never heard about the topic before today, please: ",
)
Item = tuple[str, list[dict[str, str]]]  # use case, messages


def build(sets: Sets) -> list[dict[str, Any]]:
    """Prompt records ordered by time: {id, user_id, text | messages, use_case, created_at}."""
    rng = random.Random(SEED)
    items = [*_about(sets), *_open(sets), *_closed(sets), *_facts(sets), *_other(sets)]
    items = list({item[1][-1]["content"]: item for item in items}.values())
    items.sort(key=lambda item: unit("order", item[1][-1]["content"]))
    plain = [item for item in items if item[0] == "open_qa"]
    other = [item for item in items if item[0] != "open_qa"]
    prefixed, first, second, plain = plain[:300], plain[300:550], plain[550:800], plain[800:]
    items = other + plain
    items += [
        ("open_qa", _user(PREFIXES[at % len(PREFIXES)] + messages[-1]["content"]))
        for at, (_, messages) in enumerate(prefixed)
    ]
    items += [_conversation(*pair) for pair in zip(first, second, strict=True)]
    items += [("chat", _user(text)) for text in foreign.foreign_prompts()]
    items += [("rewrite", _user(personal.personal_prompt(rng))) for _ in range(360)]
    items += [("other", _user(personal.look_alike_prompt(rng))) for _ in range(120)]
    originals = [items[int(rng.random() * len(items))] for _ in range(700)]
    items += [
        (case, [*messages[:-1], *_user(_copy(messages[-1]["content"], rng))]) for case, messages in originals
    ]
    order = sorted(range(len(items)), key=lambda at: unit("time", at))
    return list(_log([items[at] for at in order], rng))


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _about(sets: Sets) -> Iterator[Item]:
    seen: set[str] = set()
    for passage in sets.passages:
        if not passage.in_log or not askable(passage.title) or passage.title in seen:
            continue
        seen.add(passage.title)
        yield "open_qa", _user(request_about(passage, passage.title))
        question = question_about(passage)
        if question and unit("also", passage.title) < 0.4:
            yield "open_qa", _user(question)


def _open(sets: Sets) -> Iterator[Item]:
    for passage in sets.passages:
        if passage.in_log:
            yield from (("open_qa", _user(question)) for question in passage.questions)


def _closed(sets: Sets) -> Iterator[Item]:
    for passage in sets.passages:
        for question in passage.questions if passage.in_log else ():
            answer = answering_sentence(question, passage, 0.34)
            if answer and unit("closed", question) < 0.18:
                prompt = closed_question(question, passage.sentences, answer, 80)
                if prompt:
                    yield "closed_qa", _user(prompt)
    for row in sets.quac:
        parts = sentences(clean(row["passage"].removesuffix("CANNOTANSWER")))
        for asked in re.findall(r"question\d+: (.+)", row["question"])[:2]:
            question = as_question(clean(asked))
            best = max(parts, key=lambda part: overlap(question, part))
            prompt = closed_question(question, parts, best, 80) if overlap(question, best) >= 0.4 else None
            if prompt:
                yield "closed_qa", _user(prompt)


def _facts(sets: Sets) -> Iterator[Item]:
    for row in sets.nq:
        if asked_in_log(row["question"]):
            question = clean(row["question"])
            yield "open_qa", _user(question if unit("raw", question) < 0.4 else as_question(question))


def _other(sets: Sets) -> Iterator[Item]:
    for question in sets.health:
        if len(question.split()) <= 25 and unit("health", question) < 0.25:
            yield "open_qa", _user(question)
    for row in sets.piqa_test:
        how_to = how_to_question(row["question"])
        if how_to:
            yield "generation", _user(how_to)
    for row in sets.xsum:
        article = opening_of(row["document"], 75)
        if asked_in_log(row["id"]) and len(article.split()) > 20:
            yield "summarization", _user(f"Summarize in one sentence.\n\n{article}")
    for turns in [turns for _, turns in sets.dialogs if len(turns) >= 5]:
        said = turns[:3]
        if all(said) and not RUDE.search(" ".join(said)) and asked_in_log("dialog", *said):
            roles = ("user", "assistant", "user")
            yield "chat", [{"role": role, "content": turn} for role, turn in zip(roles, said, strict=True)]


def _conversation(first: Item, second: Item) -> Item:
    """A second question after a first one that was answered curtly."""
    reply = {
        "role": "assistant",
        "content": "I am not sure about that. Is there anything else you would like to know?",
    }
    return second[0], [*first[1], reply, *second[1]]


def _copy(text: str, rng: random.Random) -> str:
    kind = int(rng.random() * 4)
    if kind == 0:
        return text
    if kind == 1:
        return text.lower()
    if kind == 2:
        return text.upper() if len(text) < 80 else text + "  "
    return "  " + text.replace(" ", "  ", 2) + " \n"


def _log(items: list[Item], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Users by Zipf's law with exponent .7 (the busiest send several hundred), times in order."""
    reach = list(itertools.accumulate(1 / rank**0.7 for rank in range(1, USERS + 1)))
    ranks = sorted(range(USERS), key=lambda at: unit("user", at))
    now = datetime(2025, 9, 1, 6, tzinfo=UTC)
    for number, (use_case, messages) in enumerate(items, 1):
        now += timedelta(seconds=1 + int(rng.random() * 1100))
        user = ranks[bisect.bisect(reach, rng.random() * reach[-1])]
        row: dict[str, Any] = {"id": f"api-{number:06d}", "user_id": f"user-{user:04d}"}
        row |= {"text": messages[0]["content"]} if len(messages) == 1 else {"messages": messages}
        yield row | {"use_case": use_case, "created_at": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
