"""Invented identification numbers of thirty countries, with the check digits that their rules ask for."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

from stdnum import get_cc_module, verhoeff

Random = random.Random


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def letters(rng: Random, count: int) -> str:
    return "".join(rng.choice(string.ascii_uppercase) for _ in range(count))


def groups(text: str, sizes: Sequence[int], joint: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return joint.join(part for part in (*parts, text[at:]) if part)


def _drawn(rng: Random, module: str, body: Callable[[], str]) -> str:
    """A number that the country's check takes: bodies are drawn until one does."""
    country, kind = module.split(".")
    found = get_cc_module(country, kind)
    assert found, f"python-stdnum has no {module}"
    while not found.is_valid(number := body()):
        pass
    return number


def _day(rng: Random, order: str) -> str:
    parts = {
        "d": f"{rng.randrange(1, 29):02d}",
        "m": f"{rng.randrange(1, 13):02d}",
        "y": f"{rng.randrange(40, 100):02d}",
    }
    return "".join(parts[part] for part in order)


def national_id(rng: Random) -> tuple[str, str]:
    name, module, body = rng.choice(_IDS)
    if module == "aadhaar":
        first = rng.choice("23456789") + digits(rng, 10)
        number = first + verhoeff.calc_check_digit(first)
        return groups(number, (4, 4), rng.choice((" ", ""))), name
    if module == "dni":
        number = digits(rng, 8)
        return number + rng.choice(("", "-")) + "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23], name
    if module == "nino":
        number = rng.choice(("AB", "CE", "JG", "LX", "SK", "WM")) + digits(rng, 6) + rng.choice("ABCD")
        return rng.choice((number, groups(number, (2, 2, 2, 2), " "))), name
    return _drawn(rng, module, lambda: body(rng)), name


_IDS: tuple[tuple[str, str, Callable[[Random], str]], ...] = (
    ("", "nino", str),
    ("NHS number", "gb.nhs", lambda rng: groups(digits(rng, 10), (3, 3), rng.choice((" ", "")))),
    (
        "Steuer-ID",
        "de.idnr",
        lambda rng: groups(
            "".join(rng.sample("123456789", 9)) + digits(rng, 2), (2, 3, 3), rng.choice((" ", ""))
        ),
    ),
    (
        "",
        "fr.nir",
        lambda rng: (
            f"{rng.choice('12')} {_day(rng, 'y')} {_day(rng, 'm')} {rng.randrange(10, 90)} "
            f"{digits(rng, 3)} {digits(rng, 3)} {digits(rng, 2)}"
        ),
    ),
    ("", "dni", str),
    ("", "es.nie", lambda rng: rng.choice("XYZ") + digits(rng, 7) + letters(rng, 1)),
    (
        "",
        "it.codicefiscale",
        lambda rng: (
            letters(rng, 6)
            + _day(rng, "y")
            + rng.choice("ABCDEHLMPRST")
            + _day(rng, "d")
            + "H501"
            + letters(rng, 1)
        ),
    ),
    ("BSN", "nl.bsn", lambda rng: digits(rng, 9)),
    ("PESEL", "pl.pesel", lambda rng: _day(rng, "ymd") + digits(rng, 5)),
    (
        "",
        "be.nn",
        lambda rng: f"{_day(rng, 'y')}.{_day(rng, 'm')}.{_day(rng, 'd')}-{digits(rng, 3)}.{digits(rng, 2)}",
    ),
    ("", "se.personnummer", lambda rng: _day(rng, "ymd") + "-" + digits(rng, 4)),
    (
        "CPR",
        "dk.cpr",
        lambda rng: _day(rng, "dmy") + rng.choice(("-", "")) + rng.choice("0123") + digits(rng, 3),
    ),
    (
        "",
        "fi.hetu",
        lambda rng: _day(rng, "dmy") + "-" + digits(rng, 3) + rng.choice("0123456789ABCDEFHJKLMNPRSTUVWXY"),
    ),
    ("fødselsnummer", "no.fodselsnummer", lambda rng: _day(rng, "dmy") + digits(rng, 5)),
    ("", "ch.ssn", lambda rng: f"756.{digits(rng, 4)}.{digits(rng, 4)}.{digits(rng, 2)}"),
    ("NIF", "pt.nif", lambda rng: rng.choice("123") + digits(rng, 8)),
    ("", "br.cpf", lambda rng: f"{digits(rng, 3)}.{digits(rng, 3)}.{digits(rng, 3)}-{digits(rng, 2)}"),
    ("CPF", "br.cpf", lambda rng: digits(rng, 11)),
    ("Aadhaar number", "aadhaar", str),
    ("PAN", "in.pan", lambda rng: letters(rng, 3) + "P" + letters(rng, 1) + digits(rng, 4) + letters(rng, 1)),
    (
        "SIN",
        "ca.sin",
        lambda rng: groups(rng.choice("1234567") + digits(rng, 8), (3, 3), rng.choice((" ", "-"))),
    ),
    ("tax file number", "au.tfn", lambda rng: groups(digits(rng, 9), (3, 3), rng.choice((" ", "")))),
    (
        "",
        "cn.ric",
        lambda rng: (
            rng.choice(("110105", "310101", "440305"))
            + "19"
            + _day(rng, "ymd")
            + digits(rng, 3)
            + rng.choice("0123456789X")
        ),
    ),
    ("", "kr.rrn", lambda rng: _day(rng, "ymd") + "-" + rng.choice("12") + digits(rng, 6)),
    ("individual number", "jp.in_", lambda rng: groups(digits(rng, 12), (4, 4), " ")),
    ("", "za.idnr", lambda rng: _day(rng, "ymd") + digits(rng, 4) + "08" + digits(rng, 1)),
    ("", "cz.rc", lambda rng: _day(rng, "ymd") + "/" + digits(rng, 4)),
    (
        "",
        "cl.rut",
        lambda rng: f"{rng.randrange(5, 25)}.{digits(rng, 3)}.{digits(rng, 3)}-{rng.choice('0123456789K')}",
    ),
    ("T.C. Kimlik", "tr.tckimlik", lambda rng: rng.choice("123456789") + digits(rng, 10)),
    ("CNP", "ro.cnp", lambda rng: rng.choice("12") + _day(rng, "ymd") + "40" + digits(rng, 4)),
)
