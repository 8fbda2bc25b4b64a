"""The checks of identification numbers: python-stdnum's, and those that it lacks, after the issuers' own descriptions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import cache

from stdnum import get_cc_module

Check = Callable[[str], bool]


def is_valid(name: str, number: str) -> bool:
    """Whether the number passes the check of that name: "nl.bsn" of python-stdnum, or one of this file."""
    own = _OWN.get(name)
    return own(re.sub(r"[\s.-]", "", number).upper()) if own else _stdnum(name)(re.sub(r"[\s.]", "", number))


@cache
def _stdnum(name: str) -> Check:
    country, kind = name.split(".")
    module = get_cc_module(country, kind)
    assert module, f"python-stdnum has no {name}"
    return module.is_valid


def _date(digits: str, order: str) -> bool:
    """Whether six digits are a day ("ymd" or "dmy") of some century."""
    year, month, day = (int(digits[2 * order.index(part) : 2 * order.index(part) + 2]) for part in "ymd")
    try:
        date(1900 + year if year else 2000, month, day)
    except ValueError:
        return False
    return True


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _singapore(number: str) -> bool:
    rest = (_weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(number[0], 0)) % 11
    letters = "JZIHGFEDCBA" if number[0] in "ST" else "XWUTRQPNMLK" if number[0] in "FG" else "XWUTRQPNJLK"
    return letters[rest] == number[8]


def _taiwan(number: str) -> bool:
    area = 10 + "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0])
    return (area // 10 + area % 10 * 9 + _weighted(number[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def _hong_kong(number: str) -> bool:
    plain = number.replace("(", "").replace(")", "").rjust(9)
    values = [36 if char == " " else int(char, 36) for char in plain]
    return sum(value * weight for value, weight in zip(values, range(9, 0, -1), strict=True)) % 11 == 0


def _german_pension(number: str) -> bool:
    if not _date(f"{int(number[2:4]) % 50:02d}{number[4:8]}", "dmy"):
        return False
    digits = number[:8] + f"{ord(number[8]) - 64:02d}" + number[9:11]
    products = (int(d) * w for d, w in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(number[11])


def _german_card(number: str) -> bool:
    """Identity card and passport: the machine-readable zone's check digit, weights 7, 3, 1."""
    return len(number) == 10 and mrz_digit(number[:9]) == number[9]


def mrz_digit(field: str) -> str:
    """The check digit of a field of a machine-readable zone (ICAO 9303)."""
    values = (0 if char == "<" else int(char, 36) for char in field)
    return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)


def _snils(number: str) -> bool:
    rest = _weighted(number[:9], (9, 8, 7, 6, 5, 4, 3, 2, 1)) % 101 % 100
    return rest == int(number[9:])


def _medicare(number: str) -> bool:
    return number[0] in "23456" and _weighted(number[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(number[8])


def _spanish_social(number: str) -> bool:
    number = number.replace("/", "")
    return int(number[:10]) % 97 == int(number[10:]) or int(number[:2] + str(int(number[2:10]))) % 97 == int(
        number[10:]
    )


def _emirates(number: str) -> bool:
    return 1900 <= int(number[3:7]) <= 2100


def _chinese(number: str) -> bool:
    """ISO 7064 modulo 11-2; regions come and go, so that any is taken."""
    if number[0] not in "12345678" or number[6:8] not in ("18", "19", "20") or not _date(number[8:14], "ymd"):
        return False
    return (
        "10X98765432"[_weighted(number[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11]
        == number[17]
    )


def _luhn(number: str) -> bool:
    from stdnum import luhn

    return luhn.is_valid(number)


def _nino(number: str) -> bool:
    return number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT") and (
        number[0] not in "DFIQUV" and number[1] not in "DFIOQUV"
    )


_OWN: dict[str, Check] = {
    "sg.nric": _singapore, "tw.id": _taiwan, "hk.id": _hong_kong, "de.rvnr": _german_pension, "de.card": _german_card,
    "ru.snils": _snils, "au.medicare": _medicare, "es.nss": _spanish_social, "ae.id": _emirates, "luhn": _luhn,
    "gb.nino": _nino, "any": lambda number: True,
    "dk.dashed": lambda number: _date(number[:6], "dmy"), "lv.dashed": lambda number: _date(number[:6], "dmy"),
    "kr.dated": lambda number: _date(number[:6], "ymd"), "gb.licence": lambda number: number[6:8] != "00",
    "pan.person": lambda number: number[3] == "P", "fr.short": lambda number: 1 <= int(number[3:5]) <= 42 or int(number[3:5]) >= 50,
    "cn.id": lambda number: _chinese(number),
}  # fmt: skip
