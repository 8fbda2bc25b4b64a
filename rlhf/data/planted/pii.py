"""Texts with invented personal data at known places, and with look-alikes: what recall and precision are counted on.

The numbers have the form and the check digits of real ones (countries' own rules by python-stdnum, numbering plans by
phonenumbers) and belong to nobody we know of. Their patterns are written from the public formats, not from the rules
of the finder (rlhf.data.pii), so that the count says something.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stdnum import luhn

from rlhf.data.pii.text import Span
from rlhf.data.planted.addresses import address
from rlhf.data.planted.ids import digits, groups, letters, national_id
from rlhf.data.planted.look_alikes import LOOK_ALIKES
from rlhf.data.planted.secrets import secret

Random = random.Random


@dataclass(frozen=True)
class Case:
    """A text; the personal data in it; what was planted: a kind of personal data, or the name of a look-alike."""

    text: str
    spans: tuple[Span, ...]
    planted: str


def cases(seed: int, count: int) -> list[Case]:
    """`count` texts in turn of each kind and of each kind of look-alike; the same for the same seed."""
    rng = random.Random(seed)
    kinds = [*KINDS.items()]
    look_alikes = [*LOOK_ALIKES.items()]
    made = []
    for place in range(count):
        if place % 2 == 0:
            kind, maker = kinds[place // 2 % len(kinds)]
            item, name = maker(rng)
            made.append(_planted(rng, kind, item, name))
        else:
            name, maker_of_text = look_alikes[place // 2 % len(look_alikes)]
            made.append(Case(rng.choice(_PLAIN).format(maker_of_text(rng)), (), name))
    return made


def score(texts: Sequence[Case], find: Callable[[str], Iterable[Span]]) -> dict[str, dict[str, float]]:
    """By kind: planted, recall (at least 80 % of the characters found as that kind), precision; look_alikes: share flagged."""
    planted = {kind: 0 for kind in KINDS}
    found, flagged, right = dict(planted), dict(planted), dict(planted)
    look_alikes = wrong = 0
    for case in texts:
        spans = list(find(case.text))
        look_alikes += not case.spans
        wrong += not case.spans and bool(spans)
        for span in spans:
            flagged[span.kind] = flagged.get(span.kind, 0) + 1
            hit = any(truth.kind == span.kind and _shared(truth, span) for truth in case.spans)
            right[span.kind] = right.get(span.kind, 0) + hit
        for truth in case.spans:
            planted[truth.kind] += 1
            covered = sum(_shared(truth, span) for span in spans if span.kind == truth.kind)
            found[truth.kind] += covered >= 0.8 * (truth.end - truth.start)
    report = {
        kind: {
            "planted": float(planted[kind]),
            "recall": found[kind] / planted[kind] if planted[kind] else 1.0,
            "precision": right[kind] / flagged[kind] if flagged[kind] else 1.0,
        }
        for kind in KINDS
    }
    report["look_alikes"] = {
        "planted": float(look_alikes),
        "flagged": wrong / look_alikes if look_alikes else 0.0,
    }
    return report


def _shared(a: Span, b: Span) -> int:
    return max(0, min(a.end, b.end) - max(a.start, b.start))


_ANY = (
    "Please note {} for later.",
    "My details are {}. Draft a short letter to my landlord about the heating.",
    "Is it safe to give {} to an online shop?",
    "Rewrite this so that it sounds friendlier: send the refund to {} today.",
    "{}\nThat is all I have.",
    "- {}\n- the keys are with the neighbour",
    '{{"note": "{}", "urgent": true}}',
    "(see {})",
)
_NAMED = (
    "My {name} is {}, please keep it.",
    "{name}: {}",
    "Fill in the form. {name} {}. Thank you",
    "The clerk asked for the {name} and I said {}.",
)
_PLAIN = (
    "What does {} mean here?",
    "Explain {} to a new colleague.",
    "Why does the log say {} again and again?",
    "{}",
    "Note: {}.",
)


def _planted(rng: Random, kind: str, item: str, name: str) -> Case:
    frame = rng.choice(_NAMED).replace("{name}", name) if name else rng.choice(_ANY)
    before, _, after = frame.partition("{}")
    before, after = before.replace("{{", "{").replace("}}", "}"), after.replace("{{", "{").replace("}}", "}")
    return Case(before + item + after, (Span(kind, len(before), len(before) + len(item)),), kind)


_USERS = (
    "jane.doe m.okafor priya_n lars-erik tomasz.w k.tanaka01 amelie+news o.brien xu_li99 "
    "Nora.Haugen r2d2fan josé.pérez søren петр 李雷"
)
_HOSTS = (
    "fernhollow-mail.org bluegatepost.net tallpinemail.com riversend.co.uk kornfeldpost.de "
    "courrielvert.fr correoazul.es postadelsole.it waterlelie.nl mail.quarrystone.io "
    "inbox.lanternlake.app grünepost.de почта.рф 郵便.jp smallharbour.museum northmail.com.au"
)


def _email(rng: Random) -> tuple[str, str]:
    user, host = rng.choice(_USERS.split()), rng.choice(_HOSTS.split())
    plain = f"{user}@{host}"
    way = rng.randrange(9)
    if way < 4:
        return (plain, plain.upper(), f"mailto:{plain}", plain.replace("@", "＠"))[way].removeprefix(
            "mailto:"
        ), ""
    if not host.isascii() or not user.isascii():
        return plain, ""
    at, dot = rng.choice(
        (
            (" (at) ", " (dot) "),
            (" [at] ", " [dot] "),
            (" at ", " dot "),
            (" AT ", " DOT "),
            ("(at)", "."),
            ("[at]", "[.]"),
            (" {at} ", " {dot} "),
        )
    )
    return user.replace(".", "_") + at + host.replace(".", dot), ""


_REGIONS = (
    "US CA GB IE AU NZ DE AT CH FR BE NL ES PT IT SE NO DK FI PL CZ HU RO GR TR RU UA IN PK SG "
    "HK JP KR CN BR MX AR CO CL ZA NG KE EG AE IL"
)


def _phone(rng: Random) -> tuple[str, str]:
    import phonenumbers as pn

    region = rng.choice(_REGIONS.split())
    kind = rng.choice((pn.PhoneNumberType.MOBILE, pn.PhoneNumberType.FIXED_LINE))
    example = number = pn.example_number_for_type(region, kind)
    assert example and number and example.national_number
    for _ in range(20):  # another number of the same plan, where the plan has one so near
        other = pn.PhoneNumber(country_code=example.country_code)
        other.national_number = example.national_number // 10**4 * 10**4 + rng.randrange(10**4)
        if pn.is_valid_number(other):
            number = other
            break
    form = rng.choice(
        (pn.PhoneNumberFormat.INTERNATIONAL, pn.PhoneNumberFormat.E164, pn.PhoneNumberFormat.NATIONAL)
    )
    written = pn.format_number(number, form)
    if form == pn.PhoneNumberFormat.INTERNATIONAL:
        joint = rng.choice((" ", " ", "-", ".", "\u00a0", "\u2011"))
        written = written.replace(" ", joint)
        if rng.randrange(6) == 0:
            written += rng.choice((" ext. ", " x", " ext ")) + digits(rng, 3)
        if rng.randrange(6) == 0:
            written = "00" + written[1:]
    named = form == pn.PhoneNumberFormat.NATIONAL
    return written, rng.choice(
        ("phone number", "mobile number", "telephone number", "phone", "fax")
    ) if named else ""


_CARDS = (
    ("4", 16),
    ("51", 16),
    ("2221", 16),
    ("34", 15),
    ("37", 15),
    ("6011", 16),
    ("65", 16),
    ("36", 14),
    ("3530", 16),
    ("6221", 16),
    ("5018", 16),
    ("2200", 16),
)


def _card(rng: Random) -> tuple[str, str]:
    prefix, length = rng.choice(_CARDS)
    body = prefix + digits(rng, length - 1 - len(prefix))
    number = body + luhn.calc_check_digit(body)
    sizes = {16: (4, 4, 4), 15: (4, 6), 14: (4, 6)}[length]
    return rng.choice((number, groups(number, sizes, " "), groups(number, sizes, "-"))), ""


_BANKS = (
    ("DE", "n18"), ("GB", "a4n14"), ("FR", "n23"), ("ES", "n20"), ("IT", "a1n22"), ("NL", "a4n10"), ("BE", "n12"),
    ("CH", "n17"), ("AT", "n16"), ("PL", "n24"), ("SE", "n20"), ("NO", "n11"), ("DK", "n14"), ("FI", "n14"),
    ("PT", "n21"), ("IE", "a4n14"), ("CZ", "n20"), ("GR", "n23"), ("RO", "a4n16"), ("TR", "n22"), ("AE", "n19"),
    ("SA", "n20"), ("BR", "n23a1n1"), ("MT", "a4n23"), ("LU", "n16"), ("HU", "n24"),
)  # fmt: skip


def _iban(rng: Random) -> tuple[str, str]:
    country, form = rng.choice(_BANKS)
    account = ""
    for part in form.replace("a", " a").replace("n", " n").split():
        account += (letters if part[0] == "a" else digits)(rng, int(part[1:]))
    spelled = "".join(str(int(char, 36)) for char in account + country + "00")
    iban = f"{country}{98 - int(spelled) % 97:02d}{account}"
    spaced = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    return rng.choice((iban, spaced, spaced, iban.lower(), spaced.replace(" ", "-"))), ""


def _ssn(rng: Random) -> tuple[str, str]:
    while True:
        area, group, serial = rng.randrange(1, 900), rng.randrange(1, 100), rng.randrange(1, 10_000)
        if area != 666:
            break
    way = rng.randrange(4)
    joint = ("-", "-", " ", "")[way]
    return f"{area:03d}{joint}{group:02d}{joint}{serial:04d}", rng.choice(
        ("SSN", "social security number")
    ) if way > 1 or rng.random() < 0.3 else ""


def _passport(rng: Random) -> tuple[str, str]:
    number = rng.choice(
        (
            digits(rng, 9),
            letters(rng, 1) + digits(rng, 8),
            letters(rng, 2) + digits(rng, 7),
            letters(rng, 1) + digits(rng, 7),
            digits(rng, 2) + letters(rng, 2) + digits(rng, 5),
            "C" + digits(rng, 2) + "X" + digits(rng, 5),
            letters(rng, 3) + digits(rng, 6),
            letters(rng, 2) + digits(rng, 6),
        )
    )
    return number, rng.choice(
        (
            "passport number",
            "passport",
            "passport no.",
            "Reisepass",
            "passeport",
            "pasaporte",
            "passaporto",
            "US passport",
        )
    )


def _ip(rng: Random) -> tuple[str, str]:
    way = rng.randrange(6)
    if way < 3:
        first = rng.choice([n for n in range(11, 224) if n not in (127,)])
        return f"{first}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}", ""
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(8)]
    groups[0] = rng.choice(("2001", "2a02", "2607", "fe80", "fd12"))
    if way == 3:
        return ":".join(groups), ""
    if way == 4:
        return ":".join(groups[:3]) + "::" + ":".join(groups[3:5]), ""
    return (
        f"::ffff:{rng.randrange(11, 100)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        "",
    )


KINDS: dict[str, Callable[[Random], tuple[str, str]]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ssn": _ssn,
    "national_id": national_id,
    "passport": _passport,
    "ip": _ip,
    "api_key": secret,
    "address": address,
}
