"""E-mail addresses: as they are written, and as people spell them against robots ("jane [at] x dot org")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlhf.data.pii.text import Seen, Span, holds, words_of

_MARKS = "\u0300-\u036f\u0900-\u0e7f"  # vowel signs and accents, which are no letters to \\w
_LOCAL = rf"(?<![\w.+%@{_MARKS}-])[\w%{_MARKS}][\w.+%'!#$&*~^{_MARKS}-]{{0,63}}"
_LABEL = rf"[\w{_MARKS}-]{{1,63}}"
_TOP = rf"(?:[a-z]{{2,24}}(?![a-z0-9_])|xn--[a-z0-9-]{{2,59}}|[^\W\d_a-z][\w{_MARKS}]{{1,23}})"
_PLAIN = re.compile(rf'(?:{_LOCAL}|"[\w. +-]{{1,64}}")@(?:{_LABEL}\.){{1,8}}{_TOP}(?![(\w])', re.I)
_RESERVED = words_of("example test invalid localhost local localdomain arpa tld internal lan")
_CODE = words_of(  # what stands after the dot in "icon@2x.png" and "a@b.sum"
    "png jpg jpeg gif svg webp ico bmp tgz gz tar js ts jsx tsx mjs css scss html htm json yaml yml toml xml rb "
    "go java cpp txt csv lock log exe dll whl jar deb rpm sum mean shape inv dtype grad numpy item transpose alpha beta rc "
    "min max dot conj real imag reshape flatten"
)
_REPOSITORY = frozenset(("git", "hg", "svn"))
_COPY = re.compile(r":[\w.~-]*/|:[\w.-]+\.git\b")  # host:path, as scp and git write it
_SHELL = re.compile(r"\b(?:ssh|scp|sftp|rsync|mosh|sshfs|ssh-copy-id)\b[^\n@;|&]{0,60}$")

_WORDED = ("at", "arroba", "chiocciola", "arobase", "ät")
_AT = rf"(?:\s{{0,3}}[\[({{<|]\s?(?:{'|'.join(_WORDED)}|@)\s?[\])}}>|]\s{{0,3}}| ?(?:&#64;|&#x40;|&commat;|%40) ?)"
_DOTS = ("dot", "punto", "punkt", "point", "ponto", "period")
_OPEN = rf"\s{{0,3}}[\[({{<|]\s?(?:{'|'.join(_DOTS)}|\.)\s?[\])}}>|]\s{{0,3}}"
_SAID = rf"\s{{1,2}}(?:{'|'.join(_DOTS)})\s{{1,2}}"
_DOT = rf"(?:{_OPEN}|{_SAID}|\.| \. ?)"
_NAME = r"(?<![\w.+@'-])[\w.+'-]{1,64}+"
_NAMES = rf"{_NAME}(?:(?:{_OPEN}|{_SAID})[\w.+-]{{1,64}}+){{0,3}}"
_END = r"(?![\w(-])"
_SPELLED = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        rf"(?P<local>{_NAMES}){_AT}(?P<host>{_LABEL}(?:{_DOT}{_LABEL}){{1,4}}){_END}",
        rf"(?P<local>{_NAMES})\s{{1,2}}(?:{'|'.join(_WORDED)})\s{{1,2}}(?P<host>{_LABEL}(?:{_SAID}{_LABEL}){{1,4}}){_END}",
        rf"(?P<local>{_NAME}) {{0,2}}@ {{0,2}}(?P<host>{_LABEL}(?:{_DOT}{_LABEL}){{1,4}}){_END}",
        r"(?<![\w.+-])(?P<local>[a-z0-9.+]{1,64})([-_])at\2(?P<host>[a-z0-9]{1,63}(?:\2dot\2[a-z0-9]{2,63}){1,4})(?![\w-])",
        r"(?<![\w.+-])(?P<local>[\w.+-]{1,64})\(a\)(?P<host>[\w-]{1,63}(?:\.[\w-]{1,63}){1,4})(?![\w-])",
    )
)
_SHOUTED = re.compile(
    r"\b(?P<local>[a-z0-9._+-]{1,64})AT(?P<host>[a-z0-9-]{1,63}(?:DOT[a-z0-9-]{2,63}){1,4})\b"
)
_MAILBOX = re.compile(
    r" at (?P<host>(?:gmail|googlemail|yahoo|hotmail|outlook|live|icloud|aol|gmx|web|"
    r"proton|protonmail|zoho|yandex|mail|fastmail|tutanota|posteo)\.(?:com|de|net|org|fr|es|it|co\.uk|co\.in|me|ru|at|ch))\b"
)
_BETWEEN = re.compile(rf"{_OPEN}|{_SAID}|DOT| \. ?|[-_]dot[-_]", re.I)

_TOPS = words_of(
    "com org net edu gov mil int info biz name pro mobi tel travel jobs museum coop aero cat asia "
    "email online site shop "
    "store tech dev app cloud blog xyz club live life world today space website digital agency studio design media "
    "network systems solutions services company group team work works center health care law legal page link news press "
    "london berlin paris wien hamburg koeln bayern madrid amsterdam tokyo nyc africa global social community foundation "
    "academy school university finance bank money capital ltd gmbh inc llc church photography photos art gallery"
)
_WORDY = words_of(
    "at is it in to me so no us be my do de la as am an by my pm re"
)  # country codes that are words
_STOP = words_of(
    "the a an this that these those each every any some all my your his her our their its one two "
    "least most first last "
    "which what where look looking stare point points meet arrive is are was be it in on of and or to me you we us"
)
_SCENE = words_of(  # "looks at the red dot in the middle"
    "look looks looked looking stare stares stared point points pointed aim aimed gaze glance "
    "arrive red blue green black white yellow small big tiny "
    "same last first next second single large little bright laser polka"
)
_PLACE_NAME = re.compile(r"\s(?:point|period)\s", re.I)  # "at Cedar Point in Ohio"
_HINTS = ("dot", "punkt", "punto", "point", "ponto", "period")
_BRACKETED = (
    *(
        f"{opened}{blank}{word}{blank}{closed}"
        for opened, closed in ("()", "[]", "{}", "<>", "||")
        for blank in ("", " ")
        for word in ("at", "@", "arroba", "chiocciola")
    ),
    *("(a)", "&#64;", "&#x40;", "&commat;", "%40"),
)


def emails(seen: Seen) -> Iterator[Span]:
    if "@" in seen.text:
        for match in _PLAIN.finditer(seen.text):
            if _is_address(match):
                yield seen.span("email", *match.span())
    if maybe_spelled(seen.lower):
        for pattern in _SPELLED:
            for match in pattern.finditer(seen.text):
                if _is_spelled(match):
                    yield seen.span("email", *match.span())
    elif " @" in seen.text or "@ " in seen.text or " ." in seen.text:
        for match in _SPELLED[2].finditer(seen.text):
            if _is_spelled(match):
                yield seen.span("email", *match.span())
    if "DOT" in seen.text:
        for match in _SHOUTED.finditer(seen.text):
            if _known(match["host"].lower().split("dot")):
                yield seen.span("email", *match.span())
    if " at " in seen.text:
        for match in _MAILBOX.finditer(seen.text):
            local = re.search(r"[\w.+-]+$", seen.text[max(0, match.start() - 64) : match.start()])
            if local and _names_somebody(local[0]):
                yield seen.span("email", match.start() - len(local[0]), match.end())


def maybe_spelled(lower: str) -> bool:
    """Whether a text may hold an address without a plain "@": one in brackets, or the word for the dot."""
    return holds(lower, _HINTS) or (holds(lower, "([{<|&%") and holds(lower, _BRACKETED))


def _is_address(match: re.Match[str]) -> bool:
    local, _, domain = match[0].rpartition("@")
    labels = domain.lower().split(".")
    if labels[-1] in _CODE or _reserved(labels) or re.match(r"v?\d+\.\d+\.", domain):
        return False
    text, start, end = match.string, match.start(), match.end()
    if local.lower() in _REPOSITORY or (_COPY.match(text, end) and text[end : end + 3] != "://"):
        return False
    if re.search(
        r"://(?:[^\s/@]*:)?$", text[max(0, start - 72) : start]
    ):  # the user of a URL, or the password
        return False
    return not _SHELL.search(text, max(0, start - 70), start)


def _reserved(labels: list[str]) -> bool:
    """RFC 2606 and 6761: these names belong to nobody."""
    return labels[-1] in _RESERVED or "example" in labels[:-1]


def _known(labels: list[str]) -> bool:
    top = labels[-1]
    return (len(top) == 2 or top in _TOPS or top.startswith("xn--") or not top.isascii()) and not _reserved(
        labels
    )


def _is_spelled(match: re.Match[str]) -> bool:
    """Spelled words are an address if they end in a domain that there is and are no sentence about a dot."""
    labels = [label.strip().lower() for label in re.split(r"\.", _BETWEEN.sub(".", match["host"]))]
    local = match["local"].lower()
    if "" in labels or not _known(labels) or not re.search(r"[^\W\d_]", local) or labels[-1].isdigit():
        return False
    if (_STOP & {labels[0], local} and " " in match[0]) or _PLAIN.fullmatch(match[0]):
        return False
    if labels[0].isdigit() and labels[0] not in _NUMBERED:
        return False
    if labels[-1] in _WORDY and ({labels[0], local} & _SCENE or _PLACE_NAME.search(match["host"])):
        return False
    return (
        "@" not in match[0] or "@ " in match[0] or " @" not in match[0] or bool(re.search(r"[._\d]", local))
    )


_NUMBERED = frozenset(("126", "139", "163", "188", "189"))  # domains of mail in China


def _names_somebody(local: str) -> bool:
    """ "jane.doe at gmail.com" rather than "look at gmail.com"."""
    return bool(re.search(r"[._+\d]", local)) and bool(re.search(r"[^\W\d_]", local))
