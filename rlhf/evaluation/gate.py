"""Whether a round's policy may become the champion: its figures against the limits of params.gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlhf.params import GateParams

ASKED = "on validation users' prompts"
JUDGED = f"by the noise-free utility {ASKED}"


@dataclass(frozen=True)
class Decision:
    """passed: every reason holds. reasons: one sentence a limit, what was found and what is asked."""

    passed: bool
    reasons: tuple[str, ...]


def decide(
    limits: GateParams,
    *,
    win_rate_low: float,
    kl: float,
    tax: float,
    champion_win_rate_low: float | None = None,
) -> Decision:
    """Passes where the policy beats SFT, stays near the RL start and kept what pretraining taught.

    All figures are of the validation users: the test users are read by a release alone.
    win_rate_low: lower end of the win rate over SFT by the noise-free utility, 0 to 1. kl: nats a response.
    tax: rise of the held-out pretraining loss over base, nats a token. champion_win_rate_low: the same
    against the champion, where there is one. A figure that is not a finite number fails.
    """
    checks = [
        (f"win rate over SFT {JUDGED}, lower end", win_rate_low, "at least", limits.min_win_rate),
        (f"KL to the RL start {ASKED} (nats a response)", kl, "at most", limits.max_kl),
        ("alignment tax (nats a token)", tax, "at most", limits.max_tax),
    ]
    if champion_win_rate_low is not None:
        against = f"win rate over the champion {JUDGED}, lower end"
        checks.append((against, champion_win_rate_low, "at least", limits.min_win_rate))
    held = [_holds(found, bound, limit) for _, found, bound, limit in checks]
    reasons = [
        f"{'holds' if good else 'fails'}: {name} is {found:.3f}, {bound} {limit:g} is asked"
        for good, (name, found, bound, limit) in zip(held, checks, strict=True)
    ]
    return Decision(all(held), tuple(reasons))


def _holds(found: float, bound: str, limit: float) -> bool:
    return math.isfinite(found) and (found >= limit if bound == "at least" else found <= limit)
