"""How many tokens a model has positions for, and rows cut to that.

An answer that was sampled within a policy's positions is read as text by the reward model, and text may have more tokens
than it was written in: bytes that are no character become one of three bytes, and not every spelling is the shortest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)


def positions_of(model: Any) -> int | None:
    """The longest row, in tokens, that a model was made for; None where its configuration names no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def cut_to(
    limit: int | None, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """(prompts, responses), each pair of at most `limit` tokens; the log says how many were cut.

    A response loses tokens before its last one, which closes it where it ended and which its reward is read at. A prompt
    that leaves no room loses its beginning.
    """
    asked, answers = list(prompts), list(responses)
    if limit is None:
        return asked, answers
    cut = [row for row in range(len(asked)) if len(asked[row]) + len(answers[row]) > limit]
    for row in cut:
        response = answers[row]
        room = max(1, limit - len(asked[row]))
        if len(response) > room:
            answers[row] = [*response[: room - 1], response[-1]]
        asked[row] = asked[row][-(limit - len(answers[row])) :]
    if cut:
        log.warning(
            "%d of %d answers have more tokens with their prompt than the reward model's %d positions, and are cut to them",
            len(cut),
            len(asked),
            limit,
        )
    return asked, answers
