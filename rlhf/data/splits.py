"""Who is held out: a keyed hash of the user decides, so nobody changes sides when others arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rlhf.data.fold import fold_messages, unit
from rlhf.params import DataParams

Record = dict[str, Any]


def user_split(user_id: str, params: DataParams) -> Literal["train", "valid", "test"]:
    """The split of all of a user's prompts."""
    at = unit(params.seed, "user", user_id)
    if at < params.valid_share:
        return "valid"
    return "test" if at < params.valid_share + params.test_share else "train"


def whole_users(empty: list[str], users: int) -> str:
    """What to say where splits of prompts are empty because there are so few users."""
    return (
        f"{' and '.join(empty)} {'are' if len(empty) > 1 else 'is'} empty: prompts are split by user, and these are of "
        f"{users:,} user{'s' if users != 1 else ''} (where each row is another's, leave user_id out and say --one-user-each)"
    )


def training_use(record: Record, params: DataParams) -> Literal["ppo", "rm"]:
    """Whether a training prompt is PPO's or the reward model's: by its text, so the sets are disjoint."""
    return "ppo" if unit(params.seed, "use", fold_messages(record["messages"])) < params.ppo_share else "rm"


def validation_uses(records: Sequence[Record]) -> list[Literal["choice", "gate"]]:
    """Whether a validation user's prompt measures the reward model and chooses SFT's epoch, or evaluates and gates.

    By its text, so that no prompt does both: what was chosen on a prompt looks better on it than it is. Five parts in
    nine are for choices, in proportion to the defaults of the two: 300 and 200 prompts a round, and 400. Each use has a
    prompt where there are two.
    """
    at = [unit(0, "validation", fold_messages(record["messages"])) for record in records]
    bound, ordered = 5 / 9, sorted(set(at))
    if len(ordered) > 1:
        bound = min(max(bound, ordered[1]), ordered[-1])
    return ["choice" if one < bound else "gate" for one in at]


def demonstration_split(record: Record, params: DataParams) -> Literal["train", "valid"]:
    """By the last question, so that all answers to it fall on one side."""
    question = fold_messages(record["messages"][-1:])
    return "valid" if unit(params.seed, "demonstration", question) < params.valid_share else "train"


def document_split(identity: str, params: DataParams, valid_share: float) -> Literal["train", "valid"]:
    """By the document's id."""
    return "valid" if unit(params.seed, "document", identity) < valid_share else "train"
