"""What has the outline of personal data and is none: numbers of things, code, places in a text, reserved names."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable

from stdnum import ean, isbn

Random = random.Random


def _digits(rng: Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _hex(rng: Random, count: int) -> str:
    return "".join(rng.choice("0123456789abcdef") for _ in range(count))


def _isbn(rng: Random) -> str:
    body = "978" + _digits(rng, 9)
    number = body + ean.calc_check_digit(body)
    return f"ISBN {rng.choice((number, isbn.format(number), isbn.to_isbn10(number)))}"


def _failing_card(rng: Random) -> str:
    from stdnum import luhn

    while luhn.is_valid(number := "4" + _digits(rng, 15)):
        pass
    return f"the reference {number[:4]} {number[4:8]} {number[8:12]} {number[12:]}"


def _version(rng: Random) -> str:
    parts = [str(rng.randrange(30)) for _ in range(rng.randrange(3, 5))]
    return rng.choice(("version {}", "v{}", "release {}", "pip install pandas=={}", "firmware {}")).format(
        ".".join(parts)
    )


def _time(rng: Random) -> str:
    day = f"{rng.randrange(1990, 2026)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
    clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}"
    return rng.choice(
        (
            day,
            f"{day} {clock}",
            f"{day}T{clock}Z",
            ".".join(reversed(day.split("-"))),
            f"from {clock} to {clock}",
        )
    )


def _order(rng: Random) -> str:
    name = rng.choice(
        (
            "order number",
            "order #",
            "invoice",
            "ticket",
            "tracking number",
            "part no.",
            "case",
            "serial number",
        )
    )
    form = rng.choice(
        (
            _digits(rng, 8),
            _digits(rng, 12),
            f"{_digits(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
            f"{_digits(rng, 3)}-{_digits(rng, 3)}-{_digits(rng, 4)}",
        )
    )
    return f"{name} {form}"


def _reserved(rng: Random) -> str:
    name = rng.choice(("user", "jane.doe", "admin", "info"))
    return f"{name}@{rng.choice(('example.com', 'example.org', 'mail.example.net', 'host.invalid', 'service.test', 'localhost'))}"


def _code(rng: Random) -> str:
    number = rng.randrange(1, 9)
    return rng.choice(
        (
            "@property def area(self)",
            f"npm i react@{number}.2.0",
            "git clone git@github.com:org/repo.git",
            "ssh deploy@build.acme-tools.io",
            "std::vector<int> a::b",
            "x[1::2] and y[::-1]",
            f"icon@{number}x.png",
            "loss = (a @ b.T).sum()",
            "token: str | None = None",
            "password = os.environ['DB_PASSWORD']",
            'api_key = "YOUR_API_KEY"',
            f"@media (min-width: {number}00px)",
            "the handle @jane_doe",
        )
    )


def _number(rng: Random) -> str:
    one, two = rng.randrange(1, 99), rng.randrange(100, 999)
    return rng.choice(
        (
            f"pi is 3.14159{_digits(rng, 9)}",
            f"{one},{two},{two} people",
            f"{one} {two} {two} inhabitants",
            f"${one},{two}.00",
            f"latitude {one}.{_digits(rng, 6)}, longitude -{one}.{_digits(rng, 6)}",
            f"a ratio of {one}:{two}",
            f"the score was {one}-{one}, {one}-{one}",
            f"1. e4 e5 2. Nf3 Nc6 {one}-0",
            f"pages {two}-{two + 20}, vol. {one}({rng.randrange(1, 12)})",
            f"the years 1939-1945 and {1900 + one}-{1950 + one}",
            f"doi 10.{two}0/{_digits(rng, 6)}",
            f"ISSN 2049-{two}X",
            f"ZIP {_digits(rng, 5)}",
            f"{one}.{two}e-{one}",
            f"timestamp 17{_digits(rng, 8)}",
            f"CAS 7732-18-5, {one}-dichloroethane",
        )
    )


def _street_like(rng: Random) -> str:
    year = rng.randrange(1900, 2020)
    return rng.choice(
        (
            f"In {year} Main Street was quiet",
            f"the {year} Wall Street crash",
            f"{rng.randrange(2, 30)} best street foods",
            "a walk down 5th Avenue",
            f"{rng.randrange(2, 90)} Penn State fans",
            f"chapter {rng.randrange(2, 30)} Baker Street",
            "12 Monkeys",
            f"room {rng.randrange(2, 900)}",
            f"top {rng.randrange(2, 30)} ways to cook rice",
            f"Highway {rng.randrange(2, 90)} Revisited",
            f"Spring {year}",
        )
    )


def _hash(rng: Random) -> str:
    drawn = uuid.UUID(int=rng.getrandbits(128), version=4)
    colour = _hex(rng, 6)
    return rng.choice(
        (
            f"commit {_hex(rng, 40)}",
            f"sha256 {_hex(rng, 64)}",
            str(drawn),
            f"#{colour}",
            f"md5 {_hex(rng, 32)}",
            ":".join(_hex(rng, 2) for _ in range(6)),
        )
    )


def _local_ip(rng: Random) -> str:
    return rng.choice(("127.0.0.1", "0.0.0.0", "::1", "255.255.255.0", "127.0.1.1", "the mask 255.255.0.0"))


LOOK_ALIKES: dict[str, Callable[[Random], str]] = {
    "version": _version,
    "time": _time,
    "isbn": _isbn,
    "order": _order,
    "card_without_check": _failing_card,
    "hash": _hash,
    "reserved_domain": _reserved,
    "code": _code,
    "number": _number,
    "street_like": _street_like,
    "local_ip": _local_ip,
}
