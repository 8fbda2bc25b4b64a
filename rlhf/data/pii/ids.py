"""National identification numbers, by the check digits and dates in them (python-stdnum where it knows them).

A number whose form is its own needs nothing else. One of plain digits also needs its name shortly before or after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rlhf.data.pii.id_checks import is_valid
from rlhf.data.pii.text import Seen, Span, holds, labelled_otherwise, names

_AFTER_NAME, _BEFORE_NAME = 40, 34  # characters between a name and its number


def ids(seen: Seen) -> Iterator[Span]:
    after = 0
    for start, _ in seen.runs:
        match = _BY_DIGITS.match(seen.text, start) if start >= after else None
        if match and (kind := _kind(seen, match, _DIGITS)):
            after = match.end()
            yield seen.span(kind, *match.span())
    for match in _BY_LETTERS.finditer(seen.text):
        if kind := _kind(seen, match, _LETTERS):
            yield seen.span(kind, *match.span())
    hinted = {rule for word in seen.words & _HINTED.keys() for rule in _HINTED[word]}
    if not seen.text.isascii():
        hinted.update(rule for rule in NAMED if rule.unspaced and holds(seen.text, rule.unspaced))
    for rule in hinted:
        yield from _named(seen, rule)


def _kind(seen: Seen, match: re.Match[str], forms: tuple[tuple[str, str], ...]) -> str:
    """What the number of that form is; "": none, or it is called something else."""
    checks = forms[int(str(match.lastgroup)[1:])][1].split()
    is_binary = len(set(match[0])) < 3  # 1011010011001
    if is_binary or not any(is_valid(name, match[0]) for name in checks):
        return ""
    if checks[0] not in _OF_ONE_FORM and labelled_otherwise(seen.lower, match.start()):
        return ""
    return "ssn" if checks[0] == "us.ssn" else "national_id"


_OF_ONE_FORM = ("it.codicefiscale", "mx.curp")  # so long and so checked that no label tells otherwise

# Forms that are nobody else's, and the checks of which one must hold
_DIGITS = (
    (r"\d{3}-\d\d-\d{4}", "us.ssn us.itin us.atin"),
    (r"\d{8}[- ]?[A-Z]", "es.dni"),
    (r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", "fi.hetu se.personnummer dk.dashed is.kennitala"),
    (r"(?:19|20)\d{6}[-+]\d{4}", "se.personnummer"),
    (r"[1-478] ?\d\d ?[0-9]\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir"),
    (r"\d{3}\.\d{3}\.\d{3}-\d\d", "br.cpf"),
    (r"\d\d\.\d\d\.\d\d-\d{3}[.-]\d\d", "be.nn be.bis"),
    (r"756\.?\d{4}\.?\d{4}\.?\d\d", "ch.ssn"),
    (r"\d{6}-[0-9]\d{6}", "kr.dated"),
    (r"\d{17}[\dX]", "cn.id"),
    (r"\d{6}/\d{3,4}", "cz.rc"),
    (r"\d{1,2}\.\d{3}\.\d{3}-[\dK]", "cl.rut"),
    (r"\d{5}-\d{7}-\d", "pk.cnic"),
    (r"\d{6}-\d\d-\d{4}", "my.nric"),
    (r"\d-\d{4}-\d{5}-\d\d-\d", "th.pin"),
    (r"784-\d{4}-\d{7}-\d", "ae.id"),
    (r"\d{13}", "za.idnr ro.cnp si.emso"),
    (r"\d{6} \d{4} \d{3}|\d{6} \d{4} \d \d{2}", "za.idnr"),
    (r"\d{6} \d{5}", "no.fodselsnummer"),
    (r"\d{8} ?\d ?[A-Z]{2}\d", "pt.cc"),
    (r"\d{3}-\d{3}-\d{3} \d\d", "ru.snils"),
    (r"\d{3}-\d{3}-\d{3}", "ca.sin"),
    (r"\d\d-\d{8}-\d", "ar.cuit"),
    (r"\d{3}-\d{7}-\d", "do.cedula"),
    (r"\d\d ?\d{6} ?[A-Z] ?\d{3}", "de.rvnr"),
    (r"\d{6}-\d{5}", "lv.dashed"),
)
_LETTERS = (
    (r"[A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-D]", "gb.nino"),
    (r"ZZ(?: ?\d\d ?\d\d ?\d\d| ?\d{6}) ?[A-Z]", "any"),  # what an office writes until the number is known
    (r"[XYZ][- ]?\d{7}[- ]?[A-Z]", "es.nie"),
    (r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPR-T][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]", "it.codicefiscale"),
    (r"[A-Z]{3} ?[A-Z]{3} ?\d\d[A-EHLMPR-T]\d\d ?[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    (r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z\d]\d", "mx.curp"),
    (r"[A-Z]{4}-?\d{6}-?[A-Z\d]{3}", "mx.rfc"),
    (r"[A-Z]{5}\d{4}[A-Z]", "pan.person"),
    (r"[STFGM]\d{7}[A-Z]", "sg.nric"),
    (r"[A-Z][1289]\d{8}", "tw.id"),
    (r"[A-Z]{1,2}\d{6}\([\dA]\)", "hk.id"),
    (r"[A-Z9]{5}\d[0156]\d[0-3]\d\d[A-Z9]{2}[A-Z\d][A-Z]{2}", "gb.licence"),
    (
        r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y\d]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y\d]\d-?[AC-HJKMNP-RT-Y]{2}\d\d",
        "any",
    ),
)


def _any_of(forms: tuple[tuple[str, str], ...], sooner: str) -> re.Pattern[str]:
    """The forms in one pattern: the number of the group that matched is the number of the form."""
    groups = "|".join(
        f"(?P<f{place}>(?:{form})(?![\\w]|[-/]\\w|\\.\\d))" for place, (form, _) in enumerate(forms)
    )
    return re.compile(rf"{sooner}(?<![\w./#+-])(?<!\d,)(?:{groups})")


_BY_DIGITS = _any_of(_DIGITS, "")
_BY_LETTERS = _any_of(_LETTERS, r"(?=[A-Z9]{1,6}[ -]?\d|[1-9][A-Z]|[A-Z]{3} )")


class Named(NamedTuple):
    """Numbers by pattern that count where one of their names is near, and one of the checks holds."""

    kind: str
    name: re.Pattern[str]
    number: re.Pattern[str]
    checks: str
    hints: frozenset[str]  # the first words of the names, for a quick look
    unspaced: tuple[str, ...]  # names in scripts without blanks


def _rule(words: str, number: str, checks: str, kind: str = "national_id") -> Named:
    spaced = [word for word in words.split() if ord(word[0]) < 0x2E80]
    unspaced = tuple(word for word in words.split() if ord(word[0]) >= 0x2E80)
    name = names(" ".join(spaced)).pattern if spaced else r"(?!)"
    pattern = re.compile("|".join((name, *unspaced)))
    hints = frozenset(re.split(r"[_.\d'-]", word)[0] for word in spaced)
    whole = re.compile(rf"(?<![\w.-])(?<!\d,)(?:{number})(?![\w]|[.-]\d|,\d{{1,3}}(?!\d))", re.I)
    return Named(kind, pattern, whole, checks, hints, unspaced)


_NINE = r"\d{3}[ .-]?\d{3}[ .-]?\d{3}"
_TEN = r"\d{3}[ -]?\d{3}[ -]?\d{4}|\d{10}"
_ELEVEN = r"\d{11}|\d\d ?\d{3} ?\d{3} ?\d{3}|\d{6}[ -]?\d{5}"
_TWELVE = r"\d{4}[ -]?\d{4}[ -]?\d{4}"
NAMED = (
    _rule("ssn ssns social_security social soc_sec", r"\d{3}[ .-]?\d\d[ .-]?\d{4}", "us.ssn", "ssn"),
    _rule("itin taxpayer", r"9\d\d[ -]?\d\d[ -]?\d{4}", "us.itin"),
    _rule("nino national_insurance ni_number ni_no", r"[A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-Z]", "any"),
    _rule("nhs", _TEN, "gb.nhs"),
    _rule("utr tax_reference", r"\d{5} ?\d{5}", "gb.utr"),
    _rule("aadhaar aadhar uidai uid आधार", _TWELVE, "in.aadhaar"),
    _rule("pan permanent_account", r"[A-Z]{5} ?\d{4} ?[A-Z]", "in.pan"),
    _rule("epic voter", r"[A-Z]{3}\d{7}", "in.epic"),
    _rule("sin social_insurance nas assurance_sociale", _NINE, "luhn"),
    _rule("tfn tax_file", r"\d{3} ?\d{3} ?\d{2,3}", "au.tfn"),
    _rule("medicare", r"\d{4} ?\d{5} ?\d(?: ?/ ?\d| ?\d)?", "au.medicare"),
    _rule("ird inland_revenue", r"\d{2,3}[ -]?\d{3}[ -]?\d{3}", "nz.ird"),
    _rule(
        "steuer steuerid steueridentifikationsnummer steuernummer idnr steuer-id steuerliche tin tax_id tax_identification "
        "german_tax_number",
        _ELEVEN + r"|\d{2}[ /]?\d{3}[ /]?\d{3}[ /]?\d{3}",
        "de.idnr",
    ),
    _rule(
        "personalausweis ausweis ausweisnummer personalausweisnummer identity_card",
        r"[CFGHJ-NPRTV-Z\d]{9}\d",
        "de.card",
    ),
    _rule(
        "rentenversicherungsnummer sozialversicherungsnummer rvnr svnr sv-nummer versicherungsnummer",
        r"\d\d ?\d{6} ?[A-Z] ?\d{3}",
        "any",
    ),
    _rule(
        "sozialversicherungsnummer svnr sv-nummer versicherungsnummer svnr. sv-nr", r"\d{4} ?\d{6}", "at.vnr"
    ),
    _rule(
        "nir insee sécurité_sociale securite_sociale numéro_de_sécu sécu",
        r"[1-478] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3}(?: ?\d\d)?",
        "fr.nir",
    ),
    _rule("dni nif nie", r"\d{1,2}\.?\d{3}\.?\d{3}[ -]?[A-Z]|[XYZ][ .-]?\d{7}[ .-]?[A-Z]", "es.nif"),
    _rule("seguridad_social naf nss afiliación", r"\d\d[ /-]?\d{8}[ /-]?\d\d", "es.nss"),
    _rule(
        "bsn burgerservicenummer burger sofinummer sofi-nummer citizen_service_number",
        r"\d{9}|\d{3}[. ]\d{3}[. ]\d{3}|\d{4}[. ]\d\d[. ]\d{3}",
        "nl.bsn",
    ),
    _rule(
        "codice_fiscale cf fiscale italian_tax_code",
        r"[A-Z]{6}[\dL-NP-V]{2}[A-Z][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]",
        "it.codicefiscale",
    ),
    _rule(
        "pesel polish_national_id polish_national_identification polish_id", r"\d{11}|\d{6} \d{5}", "pl.pesel"
    ),
    _rule(
        "rijksregisternummer rijksregister registre_national niss insz nationaal numéro_national national_number national_register",
        r"\d{11}|\d{2}\.?\d{2}\.?\d{2}[ -]?\d{3}[ .-]?\d\d|\d{6} \d{3} \d\d",
        "be.nn be.bis",
    ),
    _rule(
        "personnummer samordningsnummer personal_identity",
        r"(?:19|20)?\d{6}[-+ ]?\d{4}",
        "se.personnummer dk.dashed",
    ),
    _rule("cpr cpr-nummer cpr-nr cprnr", r"\d{6}[- ]?\d{4}", "dk.cpr"),
    _rule("henkilötunnus hetu sotu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", "fi.hetu"),
    _rule(
        "fødselsnummer fodselsnummer personnummer fnr d-nummer norwegian_national_id norwegian_id",
        r"\d{6}[ .-]?\d{5}",
        "no.fodselsnummer",
    ),
    _rule("kennitala", r"\d{6}-?\d{4}", "is.kennitala"),
    _rule("ahv avs oasi ahv-nummer ahv-nr", r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d", "ch.ssn"),
    _rule("nif contribuinte fiscal", _NINE, "pt.nif"),
    _rule("cpf", r"\d{3}[. ]?\d{3}[. ]?\d{3}[- ]?\d\d", "br.cpf"),
    _rule("snils снилс", r"\d{3}[ -]?\d{3}[ -]?\d{3}[ -]?\d\d", "ru.snils"),
    _rule("инн inn", r"\d{10}|\d{12}", "ru.inn"),
    _rule("individual_number my_number マイナンバー 個人番号", _TWELVE, "jp.in_"),
    _rule("rrn resident_registration 주민등록번호 주민번호", r"\d{6}[- ]?\d{7}", "kr.rrn kr.dated"),
    _rule("id identity idnr south_african sa_id", r"\d{6} ?\d{4} ?\d{3}|\d{13}", "za.idnr"),
    _rule("teudat zehut israeli תעודת ת.ז", r"\d{8,9}", "il.idnr"),
    _rule(
        "tckn kimlik t.c. tc turkish_id turkish_identity turkish_identification turkish_national_id",
        r"\d{11}",
        "tr.tckimlik",
    ),
    _rule("amka αμκα", r"\d{11}", "gr.amka"),
    _rule(
        "egn егн bulgarian_personal_number bulgarian_national_id unified_civil_number", r"\d{10}", "bg.egn"
    ),
    _rule("oib personal_identification_number", r"\d{11}", "hr.oib"),
    _rule("cnp cod_numeric personal_numeric_code", r"\d{13}", "ro.cnp"),
    _rule("asmens", r"\d{11}", "lt.asmens"),
    _rule("isikukood", r"\d{11}", "ee.ik"),
    _rule(
        "pps ppsn pps-number personal_public_service public_service_number", r"\d{7} ?[A-Z]{1,2}", "ie.pps"
    ),
    _rule("rodné rodne rč", r"\d{6} ?/? ?\d{3,4}", "cz.rc"),
    _rule("nik ktp", r"\d{16}", "id.nik"),
    _rule("cédula cedula ci", r"\d{9}-?\d|\d{3}-?\d{7}-?\d", "ec.ci do.cedula"),
    _rule("nric mykad ic", r"\d{6}-?\d\d-?\d{4}", "my.nric"),
    _rule("cnic", r"\d{5}-?\d{7}-?\d", "pk.cnic"),
    _rule("emirates", r"784[ -]?\d{4}[ -]?\d{7}[ -]?\d", "ae.id"),
    _rule("身份证 身份證 resident_identity", r"\d{17}[\dX]", "cn.id"),
    _rule("thai บัตรประชาชน", r"\d{13}|\d-\d{4}-\d{5}-\d\d-\d", "th.pin"),
    _rule(
        "driving_licence driver_license drivers_license driver's_license driver's_licence driving_license",
        r"(?=(?:\w*\d){5})[A-Z0-9]{6,16}",
        "any",
    ),
)


_HINTED: dict[str, list[Named]] = {
    hint: [rule for rule in NAMED if hint in rule.hints] for rule in NAMED for hint in rule.hints
}


def _named(seen: Seen, rule: Named) -> Iterator[Span]:
    for name in rule.name.finditer(seen.lower):
        at = name.end()
        while match := rule.number.search(seen.text, at, at + _AFTER_NAME + 24):
            if match.start() > at + _AFTER_NAME:
                break
            if any(is_valid(check, match[0]) for check in rule.checks.split()):
                yield seen.span(rule.kind, *match.span())
            at = match.end()
        for match in rule.number.finditer(seen.text, max(0, name.start() - _BEFORE_NAME), name.start()):
            if any(is_valid(check, match[0]) for check in rule.checks.split()):
                yield seen.span(rule.kind, *match.span())
