"""Held-out texts and training texts with planted leaks, for the self-check: what was done to which is known.

Everything is drawn from a seed. Clean training texts are as near as clean ones come: the same wordings
about other things, other numbers, another passage of the same length.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_FORMS = (
    "What is the {b} of {x}?", "Who found the {a} {x}?", "Tell me about {x}.", "Describe the {a} {x} in one line.", "Explain {x}.",
    "Why did {x} leave the {a} {b} before {y} came?", "Is the {a} {b} of {x} older than the {b} of {y}?",
    "Write a short poem about {x} and the {a} {b}.", "How many {b}s does the {a} {x} have in {n}?",
    "A {b} from {x} to {y} takes {n} minutes and costs {m} coins. How long do three of them take?",
    "In {n} {x} built a {a} {b} near {y}, and {m} people came to see it on the first day. What did they build?",
)  # fmt: skip
_FRAMES = (
    "You are a patient teacher who answers every question in a single clear and friendly sentence. Question: ",
    "I am preparing a quiz for my family and need short answers that everybody understands at once. ",
)
_KINDS = "capital bridge harbour library mountain garden museum river castle market festival tower statue"
_QUALITIES = "old northern famous silent wooden golden secret royal hidden modern frozen lonely"
_FILLERS = "please really actually kindly just perhaps also very"
_PIECES = "bar del kor min ran sol tav ul vek zor lim fen gor hal jen"


@dataclass(frozen=True)
class Planted:
    """Held-out texts; training texts with the kind of leak planted in each ("" for none)."""

    held_out: list[str]
    training: list[tuple[str, str]]


def planted(seed: int, held_out: int, training: int) -> Planted:
    """`held_out` texts of 2 to 60 words, `training` texts of which half repeat one of them."""
    rng = random.Random(f"leaks {seed}")
    texts: dict[str, None] = {}
    while len(texts) < held_out:
        texts[_text(rng)] = None
    held = list(texts)
    made = []
    kinds = list(_LEAKS)
    for number in range(training):
        if number % 2:
            kind = kinds[number // 2 % len(kinds)]
            made.append((_LEAKS[kind](rng.choice(held), rng), kind))
            continue
        clean = _text(rng)
        while clean in texts:
            clean = _text(rng)
        made.append((clean, ""))
    return Planted(held, made)


def group(kind: str) -> str:
    """exact, contained or near, of a kind of leak."""
    return kind.split(":")[0]


def _name(rng: random.Random) -> str:
    return "".join(rng.choice(_PIECES.split()) for _ in range(3 + int(rng.random() * 2))).capitalize()


def _text(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return " ".join(_sentence(rng) for _ in range(3 + int(rng.random() * 3)))
    frame = rng.choice(_FRAMES) if rng.random() < 0.15 else ""
    return frame + _filled(rng.choice(_FORMS), rng)


def _filled(form: str, rng: random.Random) -> str:
    return form.format(
        a=rng.choice(_QUALITIES.split()), b=rng.choice(_KINDS.split()), x=_name(rng), y=_name(rng),
        n=1000 + int(rng.random() * 1000), m=2 + int(rng.random() * 97),
    )  # fmt: skip


def _sentence(rng: random.Random) -> str:
    words = [
        rng.choice((rng.choice(_KINDS.split()), rng.choice(_QUALITIES.split()), _name(rng).lower()))
        for _ in range(9)
    ]
    return f"The {' '.join(words)}."


def _slip(text: str, rng: random.Random) -> str:
    """One letter lost, doubled, replaced or swapped with its neighbour; digits stay, for they mean another text."""
    places = [at for at in range(len(text) - 1) if text[at].isalpha() and text[at + 1].isalpha()]
    at = rng.choice(places)
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    middle = rng.choice(
        (text[at + 1], text[at] * 2 + text[at + 1], letter + text[at + 1], text[at + 1] + text[at])
    )
    return text[:at] + middle + text[at + 2 :]


def _swapped(text: str, rng: random.Random) -> str:
    words = text.split()
    at = int(rng.random() * (len(words) - 1))
    words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _inserted(text: str, rng: random.Random) -> str:
    words = text.split()
    words.insert(int(rng.random() * (len(words) + 1)), rng.choice(_FILLERS.split()))
    return " ".join(words)


_LEAKS: dict[str, Callable[[str, random.Random], str]] = {
    "exact:same": lambda text, rng: text,
    "exact:folded": lambda text, rng: "  " + text.upper().replace(" ", " \n "),
    "exact:bare": lambda text, rng: "".join(char for char in text if char not in ".,:?!"),
    "contained:asked": lambda text, rng: f"My teacher asked me today: {text} Please answer in one sentence.",
    "contained:quoted": lambda text, rng: f'Answer this for me: "{text}"\nAnswer:',
    "contained:dropped in": lambda text, rng: f"{_sentence(rng)} {text.lower()} {_sentence(rng)}",
    "contained:no frame": lambda text, rng: f"i wonder {text.lower().rstrip('.?')}\n{_sentence(rng)}",
    "near:slip": _slip,
    "near:slip, lower case": lambda text, rng: _slip(text.lower(), rng),
    "near:words swapped": _swapped,
    "near:filler": _inserted,
    "near:slip and filler": lambda text, rng: _inserted(_slip(text, rng), rng),
}
