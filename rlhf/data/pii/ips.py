"""IP addresses, version 4 and 6; version numbers, section numbers and other dotted or coloned numbers are none.

Addresses of the documentation ranges (RFC 5737, 3849) and private ones count, as do those of a log that was made
up: nobody can see from the text alone that they lead to no one. Loopback, "this network", multicast, masks do not.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from rlhf.data.pii.text import Seen, Span, last

_REACH = 32
_V4 = re.compile(
    r"(?<![\w.])(?<![=<>~^!]=)(?<![<>~^-])\d{1,3}(?:\.\d{1,3}){3}+(?!\w|\.\d|\.[a-z]{2,4}\b|-[a-z]|[+-]\w*[a-z])"
)
_IP_WORDS = re.compile(
    r"\b(?:ips?|ipv4|addr(?:ess(?:es)?)?|host(?:name|s)?|servers?|ping(?:ed|ing)?|dns|gateway|subnet|router|login|logged|"
    r"clients?|connect(?:ed|ing|ion|ions)?|remote|traffic|whois|firewall|network|adresse|dirección|indirizzo)\b"
)
_NOT_IP_WORDS = re.compile(
    r"\b(?:version|versions|ver|v|release[sd]?|build|firmware|driver|sdk|kernel|upgrad(?:e|ed|ing)|updat(?:e|ed|ing)|"
    r"downgrad(?:e|ed|ing)|patch|bump(?:ed|s)?|rfc|oid|assembly|revision|rev|tag|changelog|migrat(?:e|ed|ing))\b"
)
_NUMBERED = re.compile(  # what has such a number right behind it, or a small one somewhere behind it
    r"(?:\b(?:sections?|chapters?|clauses?|articles?|paragraphs?|figures?|tables?|appendix|exercises?|theorems?|lemmas?|steps?|"
    r"items?|ec|package|plugin|library|chrome|firefox|edge|safari|java|python|windows|android|ios|macos|linux|office|software|"
    r"app|api)\b|§)"
)
_BIG = 30  # the first part of a chapter or a version is seldom so large, and another one with it
_AFTER = re.compile(r"\s{0,2}\(?(?:release|firmware|build|version|update|patch|driver|sdk|changelog)\b")
_PRODUCT = re.compile(r"[A-Z]\w*/$")  # "Chrome/120.0.0.0"
_HEADING = re.compile(r"(?:^|\n)[#\s]*$")

_V6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,8}+(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)|[0-9A-Fa-f]{1,4}(?![\w:]))?(?!\w)"
)


def ips(seen: Seen) -> Iterator[Span]:
    for match in _V4.finditer(seen.text):
        if _is_v4(match, seen.lower):
            yield seen.span("ip", *match.span())
    if seen.text.count(":") > 1:
        for match in _V6.finditer(seen.text):
            length = len(match[0]) - (match[0].endswith(":") and not match[0].endswith("::"))
            if _is_v6(match[0][:length]):
                yield seen.span("ip", match.start(), match.start() + length)


def _is_v4(match: re.Match[str], lower: str) -> bool:
    try:
        address = ipaddress.IPv4Address(match[0])
    except ValueError:
        return False
    if address.is_loopback or int(address) >> 28 in (14, 15) or int(address) >> 24 == 0:
        return False
    text, start, end = match.string, match.start(), match.end()
    if _PRODUCT.search(text, max(0, start - 24), start) or _AFTER.match(lower, end):
        return False
    small = all(len(part) == 1 for part in match[0].split("."))
    if (
        small
        and _HEADING.search(text, max(0, start - 8), start)
        and re.match(r"\.?\s+[A-Z]", text[end : end + 8])
    ):
        return False
    sentence = max(lower.rfind(sign, max(0, start - _REACH), start) for sign in (". ", "! ", "? ", "\n"))
    numbered = last(_NUMBERED, lower, start, min(_REACH, start - sentence))
    first, *rest = map(int, match[0].split("."))
    if text[numbered:start].strip(" :#(") and first >= _BIG and max(rest) >= _BIG:
        numbered = -1
    return last(_IP_WORDS, lower, start, _REACH) >= max(numbered, last(_NOT_IP_WORDS, lower, start, _REACH))


def _is_v6(written: str) -> bool:
    """Valid, and with more to it than "a::b" of a program or the eight bytes of a hardware address."""
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    groups = [group for group in written.split(":") if group]
    if address.is_loopback or address.is_unspecified or not re.search(r"\d", written):
        return False
    if address.ipv4_mapped is not None:
        return not (address.ipv4_mapped.is_loopback or address.ipv4_mapped.is_unspecified)
    if all(len(group) == 2 for group in groups):
        return False
    routed = bool(
        re.match(r"[23][0-9a-f]{3}|fe[89ab][0-9a-f]|f[cd][0-9a-f]{2}|ff[0-9a-f]{2}|64:ff9b", written.lower())
    )
    return routed or len(groups) >= 5 or (len(groups) >= 3 and any(len(group) == 4 for group in groups))
