"""A seeded log of prompts of which it is known what copies what; pure Python, the same for every peer.

A prompt is about invented names in frames of plain English. Later prompts copy earlier ones: exactly, or with one or
two small changes. Others look like copies and are none: another number, another name, the opposite.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
SHARES = {"exact": 0.06, "near": 0.14, "number": 0.03, "name": 0.03, "negation": 0.01}
LOOK_ALIKES = ("number", "name", "negation")
_FRAMES = (
    "Tell me about {name}.",
    "Is it true that {name} {did} the {adjective} {noun}?",
    "Who {did} the {noun} of {name}, and why?",
    "Write a {adjective} poem about the {noun} of {name} near {place}.",
    "Explain how the {noun} of {name} is used in {place} today.",
    "What should I pack for {number} days in {place} if I visit {name} with a {adjective} {noun}?",
    "Give me {number} ideas for a {adjective} party with {name} in {place}, please.",
    "Summarise the following note: the {noun} of {name} was {adjective}, and {other} {did} the {noun2} in {place} "
    "{number} years ago.",
    "Compare the {noun} of {name} with the {noun2} of {other} for a {adjective} reader, in {number} sentences.",
    "Draft an answer to {name}, who says that the {adjective} {noun} which we sent to {place} arrived {number} days late and that "
    "the {noun2} of {other} was missing from it.",
    "My {noun} is {adjective} since {name} {did} it, and {other} tells me that it will stay so. What can I do about the {noun2}?",
    "Classify this review as good or bad: we met {name} in {place}, the {noun} was {adjective}, but the {noun2} took "
    "{number} hours.",
)
_NOUNS_WORDS = (
    "bridge garden violin engine harbour kitchen library market teacher winter letter contract castle "
    "mirror recipe ticket window lesson forest camera blanket painting journey orchard museum ladder "
    "kettle island "
)
_NOUNS = _NOUNS_WORDS.split()
_ADJECTIVES_WORDS = (
    "old quiet broken modern cheap heavy wooden strange careful bright gentle famous narrow simple "
    "hungry early late honest patient curious empty golden rough distant tiny formal "
)
_ADJECTIVES = _ADJECTIVES_WORDS.split()
_DID_WORDS = (
    "repaired painted found sold borrowed lost described planned opened cleaned measured moved built "
)
_DID = _DID_WORDS.split()
_FILLERS = ("please", "really", "kindly", "just", "maybe", "also")
_ENDS = (" Thanks!", " Thank you.", " please", "!!", " ...", " Keep it short.")
_STARTS = ("Hi, ", "Hello! ", "Please ", "Could you help me? ", "Question: ")
_SYLLABLES_WORDS = (
    "bar cel dor fen gal hin jor kal lum mer nov pel quin ros sar tor ul vin wes yar zel brin dra kos "
    "mir tas "
)
_SYLLABLES = _SYLLABLES_WORDS.split()


@dataclass(frozen=True)
class Corpus:
    """records: prompts in order of age; copy_of: {id of an exact or near copy: id of what it copies};
    kinds: {id: how it was made}, for all that are no prompts of their own."""

    records: list[Record]
    copy_of: dict[str, str]
    kinds: dict[str, str]


def corpus(rows: int, seed: int = 0) -> Corpus:
    """`rows` prompts of about rows / 40 users; one user in 200 asks a lot."""
    rng = random.Random(seed)
    records: list[Record] = []
    originals: list[tuple[str, str]] = []
    copy_of: dict[str, str] = {}
    kinds: dict[str, str] = {}
    seen: set[str] = set()
    for at in range(rows):
        identity = f"p{at:07d}"
        kind = rng.choices([*SHARES, "own"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
        text = None
        if originals and kind != "own":
            original, said = rng.choice(originals)
            text = _changed(said, kind, rng)
            if kind in LOOK_ALIKES and text in seen:
                text = None
        if text is None:
            text = _own(rng)
            originals.append((identity, text))
        else:
            kinds[identity] = kind
            if kind in ("exact", "near"):
                copy_of[identity] = original
        seen.add(text)
        user = rng.randrange(rows // 8000 + 1) if rng.random() < 0.03 else rng.randrange(rows // 40 + 10)
        day, second = divmod(at * 300 * 86_400 // rows, 86_400)
        moment = f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"
        records.append({"id": identity, "user_id": f"user-{user}", "text": text, "created_at": moment})
    return Corpus(records, copy_of, kinds)


def _own(rng: random.Random) -> str:
    return rng.choice(_FRAMES).format(
        name=f"{_name(rng)} {_name(rng)}",
        other=_name(rng),
        place=_name(rng),
        noun=rng.choice(_NOUNS),
        noun2=rng.choice(_NOUNS),
        adjective=rng.choice(_ADJECTIVES),
        did=rng.choice(_DID),
        number=rng.randrange(2, 400),
    )


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.choice((2, 3)))).capitalize()


def _changed(text: str, kind: str, rng: random.Random) -> str | None:
    """The text as its copy or look-alike; None where it has nothing of the kind to change."""
    words = text.split()
    if kind == "exact":
        return rng.choice((text, text.upper(), f"  {text}\n", text.replace(" ", "  ")))
    if kind == "near":
        for _ in range(rng.choice((1, 1, 2))):
            text = rng.choice(_EDITS)(text, rng)
        return text
    if kind == "number":
        places = [at for at, word in enumerate(words) if word.isdigit()]
        return _with(words, rng.choice(places), str(rng.randrange(400, 999))) if places else None
    if kind == "name":
        places = [at for at, word in enumerate(words[1:], 1) if word[0].isupper() and len(word) > 4]
        if not places:
            return None
        at = rng.choice(places)
        return _with(words, at, _name(rng) + "".join(char for char in words[at] if not char.isalpha())[-1:])
    places = [at for at, word in enumerate(words) if word in ("is", "was", "can", "should")]
    return _with(words, at := rng.choice(places), f"{words[at]} not") if places else None


def _with(words: list[str], at: int, word: str) -> str:
    return " ".join([*words[:at], word, *words[at + 1 :]])


def _typo(text: str, rng: random.Random) -> str:
    places = [at for at in range(1, len(text) - 1) if text[at].isalpha() and text[at + 1].isalpha()]
    at = rng.choice(places)
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return rng.choice(
        (
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at + 1 :],
            text[:at] + letter + text[at:],
        )
    )


def _order(text: str, rng: random.Random) -> str:
    words = text.split()
    at = rng.randrange(len(words) - 1)
    words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _insert(text: str, rng: random.Random) -> str:
    words = text.split()
    words.insert(rng.randrange(1, len(words)), rng.choice(_FILLERS))
    return " ".join(words)


def _drop(text: str, rng: random.Random) -> str:
    words = text.split()
    places = [at for at, word in enumerate(words) if word in ("the", "a", "of", "in", "that", "and")]
    return " ".join(word for at, word in enumerate(words) if not places or at != places[0])


_EDITS = (
    _typo,
    _order,
    _insert,
    _drop,
    lambda text, rng: text.rstrip(".?!") + rng.choice(_ENDS),
    lambda text, rng: rng.choice(_STARTS) + text,
    lambda text, rng: rng.choice((text.lower(), text.replace(",", ""), text.replace(" ", "  ", 1) + "?")),
)


def shingles(text: str) -> set[str]:
    """The runs of 5 characters of a folded text, as the definition of a near copy counts them."""
    folded = " ".join(text.lower().split())
    return {folded[at : at + 5] for at in range(max(1, len(folded) - 4))}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def near_copies(corpus: Corpus, limit: float = 0.7) -> tuple[list[str], list[str]]:
    """Planted near copies whose Jaccard index is `limit` and more, and those of them under 12 words."""
    text = {row["id"]: row["text"] for row in corpus.records}
    near = [
        identity
        for identity, original in corpus.copy_of.items()
        if corpus.kinds[identity] == "near" and jaccard(text[identity], text[original]) >= limit
    ]
    return near, [identity for identity in near if len(text[identity].split()) < 12]


def score(corpus: Corpus, removed: set[str], limit: float = 0.7) -> dict[str, float]:
    """Recall of the planted near copies (of all, of those under 12 words), and precision.

    A removal is right if the prompt was planted as a copy, exact or near.
    """
    near, short = near_copies(corpus, limit)
    right = sum(identity in corpus.copy_of for identity in removed)
    return {
        "recall": sum(identity in removed for identity in near) / max(len(near), 1),
        "recall_short": sum(identity in removed for identity in short) / max(len(short), 1),
        "precision": right / max(len(removed), 1),
    }
