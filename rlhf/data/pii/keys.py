"""API keys, tokens, private keys and passwords: by the form that their issuer gives them, or by the name before them.

Forms are those that issuers document so that leaks can be found. A value by name counts if it looks drawn, not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rlhf.data.pii.text import Seen, Span, holds

_FORMS = (
    r"sk-(?:proj|ant|svcacct|admin|or|None)?-?[\w-]{20,}",
    r"[spr]k_(?:live|test|prod)_\w{10,}|whsec_[\w+/=]{24,}",
    r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AGPA|ANPA|ANVA|AIPA|APKA)[0-9A-Z]{16}(?!\w)",
    r"gh[pousr]_\w{30,}|github_pat_\w{22,}|gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt|oas)-[\w-]{20,}|GR1348941[\w-]{20,}",
    r"xox[abeoprs]-[\w-]{10,}|xapp-\d-[\w-]{10,}",
    r"AIza[\w-]{30,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{40,}",
    r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}|npm_\w{36}|pypi-[\w-]{30,}|rubygems_\w{40,}|r8_\w{30,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}|(?:AC|SK)[0-9a-f]{32}(?!\w)|key-[0-9a-f]{32}(?!\w)",
    r"do[opr]_v1_[0-9a-f]{40,}|shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}|sq0(?:atp|csp|idp)-[\w-]{20,}|EAA[A-Z]\w{40,}|EAAA[\w-]{60}(?![\w-])",
    r"dapi[0-9a-f]{32}|lin_api_\w{30,}|secret_\w{40,}|ntn_\w{30,}|fig[dou]_[\w-]{30,}|PMAK-[\w-]{30,}|ATATT3[\w=-]{40,}",
    r"dckr_pat_[\w-]{20,}|hv[sbr]\.[\w-]{20,}|gl(?:sa|c)_\w{30,}|NRAK-[A-Z0-9]{20,}|sntry[su]_[\w+/=]{30,}",
    r"dp\.(?:pt|st|ct)\.[\w.-]{30,}|pscale_(?:tkn|pw|oauth)_[\w-]{30,}|gsk_\w{30,}|xai-\w{40,}|pplx-\w{30,}|sbp_[0-9a-f]{40}",
    r"AGE-SECRET-KEY-1\w{40,}|fw_\w{20,}|nvapi-[\w-]{40,}|tvly-\w{20,}|ddp_\w{30,}|CFPAT-[\w-]{30,}|sl\.[\w-]{100,}",
    r"eyJ[\w-]{8,}={0,2}\.(?:eyJ)?[\w-]{8,}={0,2}(?:\.[\w-]{8,})?",
)
_FORM = re.compile("|".join(_FORMS))
_BEGINS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|[spr]k_|whsec_|A[KSBCIRGNP][IOCDPN]A|gh[pousr]_|github_|gl|GR13|x[oa][xp][a-z]?[p-]|AIza|ya29|GOC|1//|"
    r"hf_|api_|npm_|pypi-|ruby|r8_|SG\.|AC|SK|key-|do[opr]_|shp|sq0|EAA|dapi|lin_|secret_|ntn_|fig|PMAK|ATATT|dckr_|hv|NRAK|"
    r"sntry|dp\.|pscale_|gsk_|xai-|pplx-|sbp_|AGE-|fw_|nvapi-|tvly-|ddp_|CFPAT-|sl\.|eyJ)"
)
_ODD = (  # a sign that must be there, and the form it belongs to
    (":AA", re.compile(r"(?<!\d)\d{8,10}:AA[\w-]{32,34}(?!\w)")),
    ("Q~", re.compile(r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{30,36}(?![\w~-])")),
    ("-us", re.compile(r"(?<!\w)[0-9a-f]{32}-us\d{1,2}(?!\w)")),
    (".atlasv1.", re.compile(r"(?<!\w)\w{14}\.atlasv1\.[\w-]{40,}")),
    (".", re.compile(r"(?<![\w-])[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])")),
    ("hooks.slack.com", re.compile(r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{20,}")),
    ("/api/webhooks/", re.compile(r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{40,}")),
)
# Keys of which some have no digit
_LETTERS_ALONE = ("AKIA", "glpat-", "hf_", "k_live_", "k_test_", "npm_", "sk-")
_SHORTEST = 16  # characters of what is looked at for a form
_LONG = re.compile(rf"[\w-]{{{_SHORTEST},}}+")
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")
_PEM_LENGTH = 20_000

_DRAWN = re.compile(r"[A-Za-z0-9+/]{40,}+(?:==)?(?![\w=])")  # AWS secrets, Azure keys
_CHANGES = (
    16  # between capitals, small letters and digits: 40 drawn characters have about 25, a path or a name few
)
_LOGIN = re.compile(
    r"(?<![\w])[a-z][a-z0-9+.-]{1,20}://([^\s:@/\"'<>]{0,64}:[^\s@/\"'<>]{1,128})@[\w\[]", re.I
)

_NAMED = re.compile(
    r"(?P<name>(?:api[ _-]?key|access[ _-]?key|account[ _-]?key|auth[ _-]?key|private[ _-]?key|encryption[ _-]?key|"
    r"signing[ _-]?key|license[ _-]?key|secret|token|passw(?:or)?d|passwort|contraseña|mot de passe|passphrase|pwd|passcode|"
    r"credentials?|sharedaccess(?:key|signature)|authorization|bearer)(?:s|\d{1,3}|[_-]\w{1,20}| (?:key|id))?)"
    r"(?=[\s:=\"'`])[\"'`]?(?P<link>\s{0,2}(?:is|was|:=|=>|=|:)?\s{0,2}(?:(?:bearer|basic|token)\s{1,2})?)"
    r"(?P<open>[\"'`]?)(?P<value>(?<=[\"'`])[^\s\"'`]{6,512}|[^\s\"'`,;<>()\[\]{}]{6,512})",
    re.I,
)
_KEY = re.compile(r"(?:api|access|account|auth|private|encryption|signing|license)[ _-]?key")
_HINTS = (
    "secret", "token", "passw", "pwd", "passphrase", "passcode", "credential", "authorization", "bearer",
    "contraseña", "mot de passe", "sharedaccess",
)  # fmt: skip
_LATER = re.compile(
    rf"(?:{_KEY.pattern}|secret|token|passwor[dt])[^\n]{{1,24}}?(?<![\w-])(?P<value>[A-Za-z0-9]{{24,64}})(?![\w-])",
    re.I,
)
_HASHES = re.compile(r"commit|hash|sha|md5|checksum|digest", re.I)
_PLACEHOLDER = re.compile(
    r"your|example|placeholder|change.?me|dummy|redacted|insert|xxx|\*\*|\.\.\.|…|^[$%<{]|^process\.|^os\.|^env\b|getenv|"
    r"^self\.|^this\.|^config|^settings|^params|^request|^response|^None$|^null$|^(?:true|false)$|^https?:|^\w+\.\w+\.\w+$|"
    r"^\w{1,30}\.(?:py|js|ts|json|yaml|yml|txt|env|pem|md)$",
    re.I,
)  # fmt: skip
_VERSION = re.compile(r"v?\d+(?:[.,:/-]\d+)*\w{0,3}")


def keys(seen: Seen) -> Iterator[Span]:
    text = seen.text
    drawn = (seen.runs or holds(text, _LETTERS_ALONE)) and _is_long_enough(text)
    for long in _LONG.finditer(text) if drawn else ():
        for begin in _BEGINS.finditer(text, max(0, long.start() - 8), long.end()):
            match = _FORM.match(text, begin.start())
            if match and _issued(match[0]):
                yield seen.span("api_key", *match.span())
    for sign, form in _ODD:
        if drawn and sign in text:
            for match in form.finditer(text):
                yield seen.span("api_key", *match.span())
    if holds(seen.lower, _HINTS) or ("key" in seen.lower and _KEY.search(seen.lower)):
        for match in _NAMED.finditer(text):
            if _is_secret(match):
                yield seen.span("api_key", *match.span("value"))
        for match in _LATER.finditer(text):
            if _changes(match["value"]) >= 8 and not _HASHES.search(match[0]):
                yield seen.span("api_key", *match.span("value"))
    if "://" in text and "@" in text:
        for match in _LOGIN.finditer(text):
            if not _PLACEHOLDER.search(match[1].partition(":")[2]):
                yield seen.span("api_key", *match.span(1))
    for match in _DRAWN.finditer(text) if drawn else ():
        if _is_drawn(match):
            yield seen.span("api_key", *match.span())


def _is_long_enough(text: str) -> bool:
    """Whether something in the text is as long as the shortest key: quicker than a pattern."""
    return max(map(len, text.split()), default=0) >= _SHORTEST


def private_keys(seen: Seen) -> Iterator[Span]:
    """From BEGIN to END, or the line alone where no END follows."""
    after = 0
    for match in _PEM.finditer(seen.text):
        if match.start() >= after:
            closing = _PEM_END.search(seen.text, match.end(), match.end() + _PEM_LENGTH)
            after = closing.end() if closing else match.end()
            yield seen.span("api_key", match.start(), after)


def _issued(key: str) -> bool:
    """Names in programs and style sheets may begin as a key does, but hold no drawn part."""
    parts = re.split(r"[-_.]", key)
    if key.startswith("AKIA") and len(set(key)) > 8:  # some are letters alone
        return True
    return key.startswith(("eyJ", "hf_")) or any(
        len(part) >= 10 and (re.search(r"\d", part) or _changes(part) >= 5) for part in parts
    )


def _is_drawn(match: re.Match[str]) -> bool:
    token = match[0]
    before = match.string[match.start() - 1 : match.start()]
    if (len(token) != 40 and not (len(token) == 88 and token.endswith("=="))) or (
        before in ("_", "=", ".", "-") and before
    ):
        return False
    if not (re.search(r"[A-Z]", token) and re.search(r"[a-z]", token) and re.search(r"[\d+]", token)):
        return False
    if re.search(
        r"(?:sha\d+|md5|base64|integrity)\W{1,3}$",
        match.string[max(0, match.start() - 16) : match.start()].lower(),
    ):
        return False
    return _changes(token) >= _CHANGES


def _changes(token: str) -> int:
    kinds = [
        "d" if char.isdigit() else "u" if char.isupper() else "l" if char.islower() else "s" for char in token
    ]
    return sum(one != other for one, other in pairwise(kinds))


def _is_secret(match: re.Match[str]) -> bool:
    value, link = match["value"].rstrip(".!?"), match["link"].strip().lower()
    if len(value) < 6 or _PLACEHOLDER.search(value) or _VERSION.fullmatch(value) or len(set(value)) < 4:
        return False
    after = match.string[match.end() : match.end() + 1]
    if after == "(" or (after in "[{" and after):  # a call, or an item of something
        return False
    has_digit, has_letter = bool(re.search(r"\d", value)), bool(re.search(r"[^\W\d_]", value))
    has_sign = bool(re.search(r"[^\w\s.-]", value))
    said = link in ("", "is", "was") and not match["open"]
    if said:  # in running text: only what nobody would say
        return (
            has_letter
            and (has_digit and len(value) >= 8 and not re.fullmatch(r"[A-Za-z]+[-_]?\d{1,4}", value))
        ) or (has_sign and has_digit)
    if re.search(r"pass|pwd|contraseña|credential", match["name"].lower()):
        return (has_letter and (has_digit or has_sign)) or (
            bool(match["open"]) and len(value) >= 8 and value.islower() is False
        )
    return has_letter and has_digit and len(value) >= 12 and _changes(value) >= 3
