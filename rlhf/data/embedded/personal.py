"""Invented personal data for the prompt log: nobody's numbers, but of valid form; and look-alikes."""

from __future__ import annotations

import random

_FIRST = (
    "Anna",
    "Bruno",
    "Carla",
    "Derek",
    "Elena",
    "Farid",
    "Grace",
    "Imani",
    "Jonas",
    "Keiko",
    "Lars",
    "Priya",
)
_LAST = (
    "Abbott",
    "Brandt",
    "Castillo",
    "Dufour",
    "Eriksen",
    "Grady",
    "Hoffmann",
    "Ivers",
    "Keller",
    "Moreau",
)
_DOMAINS = (
    "fernhollow-mail.org",
    "bluegatepost.net",
    "tallpinemail.com",
    "riversendmail.co.uk",
    "kornfeldpost.de",
)
_STREETS = (
    "Maple Street",
    "Harbour Road",
    "Oakfield Avenue",
    "Mill Lane",
    "Sunset Boulevard",
    "Church Street",
)
_TOWNS = ("Springfield, IL 62704", "Portland, OR 97205", "Leeds LS6 2AB", "Austin, TX 78701")
_ASKS = (
    "Write a polite reply to the customer who wrote: please contact me at {}, thank you.",
    "My details are {}. Draft a short letter to my landlord about the heating.",
    "Rewrite this so that it sounds friendlier: send the refund to {} today.",
    "Summarize this note: the caller left {} and asks to be called back about the invoice.",
    "Is it safe to give {} to an online shop?",
    "Translate into plain words: the account belongs to {} and is overdue.",
)
_PLAIN_ASKS = (
    "What does {} mean in a changelog?",
    "Explain {} to a new colleague.",
    "Why does the log say {} again and again?",
    "Where do I find more about {}?",
)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(str(int(rng.random() * 10)) for _ in range(count))


def luhn_complete(body: str) -> str:
    """The digits of body with the check digit that makes them pass Luhn's test."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def iban_complete(country: str, account: str) -> str:
    """An IBAN whose two check digits make it 1 modulo 97."""
    spelled = "".join(str(int(char, 36)) for char in account + country + "00")
    return f"{country}{98 - int(spelled) % 97:02d}{account}"


def _pick(rng: random.Random, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.random() * len(options))]


def personal(rng: random.Random) -> tuple[str, str]:
    """(kind, text) of one invented item."""
    first, last = _pick(rng, _FIRST), _pick(rng, _LAST)
    kind = int(rng.random() * 12)
    if kind <= 1:
        name = f"{first}.{last}{_digits(rng, 2)}".lower()
        return "email", f"{name}@{_pick(rng, _DOMAINS)}"
    if kind == 2:
        return "email", f"{first.lower()} [at] {_pick(rng, _DOMAINS).replace('.', ' [dot] ')}"
    if kind == 3:
        return "phone", f"+1 {_pick(rng, ['212', '415', '303'])} 555 01{_digits(rng, 2)}"
    if kind == 4:
        return "phone", f"({_pick(rng, ['617', '206', '512'])}) 555-01{_digits(rng, 2)}"
    if kind == 5:
        return "phone", f"+44 20 7946 0{_digits(rng, 3)}"
    if kind == 6:
        number = luhn_complete("4" + _digits(rng, 14))
        return "card", " ".join(number[at : at + 4] for at in range(0, 16, 4))
    if kind == 7:
        iban = iban_complete("DE", _digits(rng, 18))
        return "iban", " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    if kind == 8:
        area = 100 + int(rng.random() * 500)
        return "ssn", f"SSN {area:03d}-{1 + int(rng.random() * 98):02d}-{1 + int(rng.random() * 9998):04d}"
    if kind == 9:
        return "ip", f"{11 + int(rng.random() * 80)}.{_byte(rng)}.{_byte(rng)}.{1 + int(rng.random() * 250)}"
    if kind == 10:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        return "api_key", "sk-" + "".join(letters[int(rng.random() * len(letters))] for _ in range(40))
    house = 1 + int(rng.random() * 980)
    return "address", f"{first} {last}, {house} {_pick(rng, _STREETS)}, {_pick(rng, _TOWNS)}"


def _byte(rng: random.Random) -> int:
    return int(rng.random() * 255)


def look_alike(rng: random.Random) -> str:
    """Something that has the outline of personal data and is none."""
    kind = int(rng.random() * 6)
    if kind == 0:
        return f"version {1 + int(rng.random() * 9)}.{_byte(rng) % 20}.{_byte(rng) % 30}"
    if kind == 1:
        return f"order number {_digits(rng, 8)}"
    if kind == 2:
        return f"commit {''.join('0123456789abcdef'[int(rng.random() * 16)] for _ in range(40))}"
    if kind == 3:
        return "user@example.com"
    if kind == 4:
        return f"the years {1900 + int(rng.random() * 60)}-{1961 + int(rng.random() * 60)}"
    return f"error 0x{''.join('0123456789ABCDEF'[int(rng.random() * 16)] for _ in range(8))}"


def personal_prompt(rng: random.Random) -> str:
    return _pick(rng, _ASKS).format(personal(rng)[1])


def look_alike_prompt(rng: random.Random) -> str:
    return _pick(rng, _PLAIN_ASKS).format(look_alike(rng))
