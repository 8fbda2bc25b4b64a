"""What counts as personal data: a pattern for the candidates of each kind, and what makes one valid."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

Match = re.Match[str]


@dataclass(frozen=True)
class Rule:
    """Candidates are matches of `pattern` (its group, where it has one).

    They count if `valid`, and, where `near` is given, if it is found shortly before them.
    """

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[Match], bool] = lambda match: True
    near: re.Pattern[str] | None = None


def _is_email(match: Match) -> bool:
    domain = match[0].rpartition("@")[2].lower()
    reserved = domain.rpartition(".")[2] in ("example", "test", "invalid", "localhost")
    return not reserved and not re.fullmatch(r"(?:.*\.)?example\.(?:com|org|net)", domain)


_ISSUER = re.compile(r"4|5[1-5]|2[2-7]\d\d|3[47]|6011|64[4-9]|65|35|3[068]|62|5018|5020|5038|6304|6759")


def _is_card(match: Match) -> bool:
    digits = re.sub(r"\D", "", match[0])
    return bool(_ISSUER.match(digits)) and len(set(digits)) > 1 and luhn.is_valid(digits)


_VERSION = re.compile(
    r"(?:\b(?:version|release|build|firmware|v|ver|section|chapter|kernel|ec|rfc|oid|no)\.?\s*|\bv)$", re.I
)


def _is_ipv4(match: Match) -> bool:
    try:
        address = ipaddress.IPv4Address(match[0])
    except ValueError:
        return False
    if address.is_loopback or address.is_multicast or int(address) >> 28 == 15 or int(address) >> 24 == 0:
        return False
    return not _VERSION.search(match.string[max(0, match.start() - 16) : match.start()])


def _is_ipv6(match: Match) -> bool:
    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return False
    groups = [group for group in match[0].split(":") if group]
    return not (address.is_loopback or address.is_unspecified) and len(groups) >= 3


def _is_secret(match: Match) -> bool:
    secret = match[1]
    mixed = re.search(r"\d", secret) and re.search(r"[A-Za-z]", secret)
    return bool(mixed) and not re.fullmatch(r"v?\d+(?:\.\d+)+\w*", secret)


def _by(check: Callable[[str], bool]) -> Callable[[Match], bool]:
    return lambda match: check(match[0].replace(" ", ""))


def _national(
    pattern: str, check: Callable[[str], bool], near: str | None = None, kind: str = "national_id"
) -> Rule:
    """A number with a check digit; one of plain digits also needs its name before it."""
    return Rule(kind, re.compile(pattern), _by(check), re.compile(near, re.I) if near else None)


_STREETS = "Street|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Crescent|Highway|Hwy|Parkway|Pkwy|Terrace"
_WORDS = "Drive|Dr|Court|Ct|Ter|Square|Sq|Close|Circle|Cir|Trail|Trl|Gardens|Grove|Mews|Place|Pl|Way"
_STREET = rf"(?:(?:{_STREETS})\b\.?|St\b(?!\.? [A-Z][a-z])\.?|(?:{_WORDS})\b\.?(?! to\b| for\b))"  # "St Paul" is none
_NUMBER = r"(?<![\w.,-])(?!(?:1[5-9]|20)\d\d,)\d{1,5}[A-Za-z]?,?"  # "In 1950, ..." starts no address
_NAMES = r"(?:[NSEW]\.? )?(?:[A-Z][\w'’-]*\.? ){1,4}?"
_FLAT = r"(?: (?:NE|NW|SE|SW|[NSEW])\b)?(?:,?\s+(?:Apt|Apartment|Suite|Unit|Flat|#)\.?\s*\w+)?"
_TOWN = r"(?:,?\s+[A-Z][\w .'-]{1,30}?)?(?:,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?|,?\s+[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})"
_AFTER = r"(?=\s*(?:$|[^\w\s]|(?:in|on|at|near|and|or|is|was|with|by|from|to|for|today|please|where|which|that)\b))"
_ADDRESSES = (
    rf"{_NUMBER} {_NAMES}{_STREET}{_FLAT}(?:{_TOWN}|{_AFTER})",
    r"\b[A-ZÄÖÜ][\wäöüß-]{0,40}(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer) \d{1,4}\s?[a-z]?\b"
    r"(?:, ?\d{5} [A-ZÄÖÜ][\wäöüß-]+)?",
    r"\b\d{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai) "
    r"(?:(?:de|du|des|la|le|les) |l'|d')*[A-ZÉÈ][\w'’-]+(?:[ -][A-ZÉÈ][\w'’-]+)*(?:, ?\d{5} [A-ZÉ][\w-]+)?",
    r"\b(?:Calle|Avenida|Plaza|Paseo|Via|Viale|Piazza|Corso) (?:(?:de|del|della|dei|la|las|los|di) )*"
    r"[A-ZÁÉÍÓÚ][\w'’-]+(?: [A-ZÁÉÍÓÚ][\w'’-]+)*,? \d{1,4}\b(?:, ?\d{5} [A-ZÁ][\w-]+)?",
    r"(?i:\bP\.? ?O\.? Box \d{1,6}\b)",
)
_KEYS = (
    r"\b(?:sk-[\w-]{20,}|[spr]k_(?:live|test)_\w{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{36,}"
    r"|github_pat_\w{22,}|glpat-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,}"
    r"|npm_\w{36}|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})",
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[\s\S]*?-----END (?:[A-Z]+ )*PRIVATE KEY-----)?",
)
_NAMED_KEY = (
    r"(?i:\b(?:api[ _-]?key|access[ _-]?key|secret|token|password|passwd|bearer)\b(?:\s+is)?\s*[:=]?\s*[\"']?)"
    r"([\w\-./+=]{16,})"
)
_AT = r"\s{0,3}[\[({<]\s*at\s*[\])}>]\s{0,3}"
_DOT = r"\s{0,3}(?:[\[({<]\s*dot\s*[\])}>]|\.|\sdot\s)\s{0,3}"
_SPELLED_EMAIL = (
    rf"(?<![\w.+-])[\w.+-]{{1,64}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}})+"
    r"|(?<![\w.+-])[\w.+-]{1,64} at [\w-]{1,63} dot (?:com|org|net|edu|gov|io|co|info|de|fr|es|it|uk|nl)\b(?: dot uk\b)?"
)
_UK_NINO = r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b"

RULES = (
    Rule("email", re.compile(r"(?<![\w.+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}\b"), _is_email),
    Rule("email", re.compile(_SPELLED_EMAIL, re.I), lambda match: "example" not in match[0].lower()),
    Rule("card", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), _is_card),
    Rule("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b"), _by(iban.is_valid)),
    _national(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", ssn.is_valid, kind="ssn"),
    _national(r"(?<![\w-])\d{3} ?\d{2} ?\d{4}(?![\w-])", ssn.is_valid, r"\bssn|social security", "ssn"),
    Rule("national_id", re.compile(_UK_NINO)),
    _national(r"\b\d{8}-?[A-Z]\b", dni.is_valid),
    _national(r"\b[XYZ]-?\d{7}-?[A-Z]\b", nie.is_valid),
    _national(r"\b[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z]\b", codicefiscale.is_valid),
    _national(r"(?<!\d)[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d(?!\d)", nir.is_valid),
    _national(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d\d(?!\d)", cpf.is_valid),
    _national(r"(?<!\d)\d{4} ?\d{4} ?\d{4}(?!\d)", aadhaar.is_valid, r"aadhaar|uid"),
    _national(r"(?<!\d)\d{3}[ -]\d{3}[ -]\d{3}(?!\d)", sin.is_valid, r"\bsin\b|social insurance"),
    _national(r"(?<!\d)\d{11}(?!\d)", pesel.is_valid, r"pesel"),
    _national(r"(?<!\d)\d\d ?\d{3} ?\d{3} ?\d{3}(?!\d)", idnr.is_valid, r"steuer|tax"),
    _national(r"(?<!\d)\d{9}(?!\d)", bsn.is_valid, r"\bbsn\b|burgerservice"),
    Rule(
        "passport",
        re.compile(r"\b(?:[A-Z]{1,2}\d{6,8}|\d{9}|[A-Z]\d{2}[A-Z]{2}\d{5}|\d{2}[A-Z]{2}\d{5})\b"),
        near=re.compile(r"passport|reisepass|pasaporte|passeport|passaporto", re.I),
    ),
    Rule("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"), _is_ipv4),
    Rule(
        "ip",
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4})?(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?![\w:])"),
        _is_ipv6,
    ),
    *(Rule("api_key", re.compile(pattern)) for pattern in _KEYS),
    Rule("api_key", re.compile(_NAMED_KEY), _is_secret),
    *(Rule("address", re.compile(pattern)) for pattern in _ADDRESSES),
)
