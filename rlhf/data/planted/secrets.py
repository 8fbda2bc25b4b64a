"""Invented keys, tokens and passwords in the forms that their issuers give them."""

from __future__ import annotations

import base64
import random
import string

_MIXED = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _of(rng: random.Random, letters: str, count: int) -> str:
    return "".join(rng.choice(letters) for _ in range(count))


def _token(rng: random.Random) -> str:
    mixed = _of(rng, _MIXED, 64)
    hexes = _of(rng, _HEX, 64)
    return rng.choice(
        (
            "AKIA" + _of(rng, string.ascii_uppercase + string.digits, 16),
            "ghp_" + mixed[:36],
            "github_pat_" + mixed[:22] + "_" + _of(rng, _MIXED, 59),
            "glpat-" + mixed[:20],
            f"xoxb-{_of(rng, string.digits, 12)}-{_of(rng, string.digits, 13)}-{mixed[:24]}",
            "sk_live_" + mixed[:24],
            "rk_test_" + mixed[:24],
            "sk-" + mixed[:48],
            "sk-proj-" + mixed[:48],
            "sk-ant-api03-" + mixed[:60] + "AA",
            "AIza" + _of(rng, _MIXED + "-_", 35),
            "hf_" + _of(rng, string.ascii_letters, 34),
            "npm_" + mixed[:36],
            "pypi-AgEIcHlwaS5vcmc" + mixed[:60],
            f"SG.{mixed[:22]}.{_of(rng, _MIXED, 43)}",
            "SK" + hexes[:32],
            "dop_v1_" + hexes,
            "shpat_" + hexes[:32],
            "dckr_pat_" + mixed[:27],
        )
    )


def _web_token(rng: random.Random) -> str:
    parts = (
        b'{"alg":"HS256","typ":"JWT"}',
        b'{"sub":"%s"}' % _of(rng, string.digits, 10).encode(),
        _of(rng, _MIXED, 32).encode(),
    )
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def secret(rng: random.Random) -> tuple[str, str]:
    """(the secret, the name that stands before it, or "")."""
    way = rng.randrange(6)
    if way < 3:
        return _token(rng), ""
    if way == 3:
        return _web_token(rng), ""
    if way == 4:
        return _of(rng, _MIXED + "/+", 40), rng.choice(
            ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "AWS secret access key")
        )
    return _of(rng, _HEX, 32), rng.choice(
        ("API_KEY", "api_key", "access token", "client_secret", "SECRET_TOKEN", "api-key")
    )
