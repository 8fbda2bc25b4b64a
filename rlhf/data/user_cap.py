"""No user may dominate: at most so many prompts of each (paper: 200)."""

from __future__ import annotations

import numpy as np


def over_cap(users: np.ndarray, cap: int) -> np.ndarray:
    """[rows] bool: the prompts over `cap` of one user. users: [rows] numbers of users, in order of age."""
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    fresh = np.ones(len(users), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    at = np.arange(len(users))
    nth = at - np.maximum.accumulate(np.where(fresh, at, 0))
    over = np.empty(len(users), bool)
    over[order] = nth >= cap
    return over
